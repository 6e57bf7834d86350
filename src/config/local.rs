//! The node's own settings: nothing here changes what a client is answered.

use super::error::Faults;
use super::keys::Key;
use super::read::{At, Section};
use super::value;
use crate::limits;
use crate::vocabulary::network::Network;
use crate::vocabulary::units::OwnerIdx;
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use toml::de::DeValue;

/// Sizes a ring may have; a power of two, so that a position becomes an offset by a mask.
const RING_BYTES: RangeInclusive<u64> = 1 << 20..=64 << 30;
const RING_BYTES_DEFAULT: u64 = 256 << 20;
/// Below this the ordinary burst of one turn would close a healthy reader.
const READER_LAG_BYTES_MIN: u64 = 64 << 10;
const READER_LAG_BYTES_DEFAULT: u64 = 4 << 20;
const _: () = assert!(READER_LAG_BYTES_MIN <= *RING_BYTES.start() / 2);
const CONNECTION_COUNT: RangeInclusive<u32> = 1..=65_536;
const CONNECTION_COUNT_DEFAULT: u32 = 1_024;
/// Connections of one address a second.
const ADDRESS_RATES: RangeInclusive<u32> = 0..=1_000_000;
const ADDRESS_RATE_DEFAULT: u32 = 1_000;
/// 0 and the null of a `u32` name no node.
const NODES: RangeInclusive<u32> = 1..=u32::MAX - 1;
const CORE_MAX: u32 = 4_095;
const LISTEN_DEFAULT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9700);
const DATA_DIR_DEFAULT: &str = "./tidegate-data";

/// What the hot thread does with a turn in which nothing happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Idle {
    /// Gives the core to whoever wants it and goes on.
    #[default]
    Yield,
    /// Goes on at once; wants a core of its own.
    Spin,
    /// Sleeps in the poll until the next deadline, at most 1 ms.
    Park,
}

/// What a start does when the configured logical settings differ from the journaled ones.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum OnConfigChange {
    /// Refuses to start, naming each difference.
    #[default]
    Refuse,
    /// Appends the differences that a running journal can take; refuses if there is any other.
    Apply,
}

/// Settings of this node. Not journaled; changed by a restart.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Local {
    /// Where clients connect. Port 0 lets the system choose one.
    pub listen: SocketAddr,
    /// The journal's directory.
    pub data_dir: PathBuf,
    /// This node's number, in `[1, 2^32 - 2]`.
    pub node: u32,
    /// The journal ring; a power of two in `[1 MiB, 64 GiB]`.
    pub journal_ring_bytes: u64,
    /// The ring of encoded reports; a power of two in `[1 MiB, 64 GiB]`.
    pub report_ring_bytes: u64,
    /// A reader this many bytes behind is closed; in `[64 KiB, report_ring_bytes / 2]`.
    pub reader_lag_max: u64,
    /// The core the hot thread is pinned to.
    pub core: Option<usize>,
    /// What an empty turn does.
    pub idle: Idle,
    /// Whether memory is locked, which a system may forbid to an ordinary user.
    pub lock_memory: bool,
    /// Connections at once, in `[1, 65,536]`.
    pub connection_count_max: u32,
    /// Connections of one address at once (of one /64, in IPv6), at most `connection_count_max`.
    pub connections_per_address_max: u32,
    /// Connections of one address a second; 0 for any.
    pub connections_per_address_rate: u32,
    /// Networks from which connections are taken; empty for all.
    pub listen_allow: Vec<Network>,
    /// From where owners log on; those that are not listed, from everywhere.
    pub owner_addresses: Vec<(OwnerIdx, Vec<Network>)>,
    /// Where failed logons are written to.
    pub audit_file: Option<PathBuf>,
    /// Connections without an established session, at most `connection_count_max`.
    pub logon_connections_max: u32,
    /// What a start does about changed logical settings.
    pub on_config_change: OnConfigChange,
    /// Whether a market that never had a phase is opened at activation, by a journaled Admin record
    /// whose who is "configuration".
    pub open_at_start: bool,
    /// Who may log on; at most two an owner.
    pub keys: Vec<Key>,
}

impl Default for Local {
    /// What an absent key means; no key may log on.
    fn default() -> Self {
        Self {
            listen: LISTEN_DEFAULT,
            data_dir: PathBuf::from(DATA_DIR_DEFAULT),
            node: *NODES.start(),
            journal_ring_bytes: RING_BYTES_DEFAULT,
            report_ring_bytes: RING_BYTES_DEFAULT,
            reader_lag_max: READER_LAG_BYTES_DEFAULT,
            core: None,
            idle: Idle::default(),
            lock_memory: false,
            connection_count_max: CONNECTION_COUNT_DEFAULT,
            connections_per_address_max: CONNECTION_COUNT_DEFAULT,
            connections_per_address_rate: ADDRESS_RATE_DEFAULT,
            listen_allow: Vec::new(),
            owner_addresses: Vec::new(),
            audit_file: None,
            logon_connections_max: limits::LOGON_CONNECTIONS_MAX,
            on_config_change: OnConfigChange::default(),
            open_at_start: true,
            keys: Vec::new(),
        }
    }
}

/// `[local]` as read, with what other parts of the file need of it.
pub(super) struct LocalRead {
    pub(super) local: Local,
    /// Line of `listen`, or of the table.
    pub(super) listen_line: u32,
    pub(super) keys_file: Option<At<PathBuf>>,
    /// Whether the demo firms' keys that have no secret elsewhere get their public ones.
    pub(super) demo_keys: bool,
}

/// Reads `[local]`. Relative paths are taken from `base`, the directory of the file.
pub(super) fn read(mut section: Section<'_>, base: &Path, faults: &mut Faults) -> LocalRead {
    let mut local = Local { data_dir: base.join(DATA_DIR_DEFAULT), ..Local::default() };
    let mut listen_line = section.line();
    let s = &mut section;
    let address = "an address and port as a string, such as \"127.0.0.1:9700\"";
    if let Some(listen) = s.take("listen", address, faults, |v| v.as_str()?.parse().ok()) {
        (local.listen, listen_line) = (listen.value, listen.line);
    }
    set(&mut local.data_dir, s.take("data_dir", "a path", faults, |v| path(v, base)));
    set(&mut local.node, count(s, "node", &NODES, faults));
    let core = count(s, "core", &(0..=CORE_MAX), faults);
    local.core = core.and_then(|core| usize::try_from(core.value).ok());
    let idle = "\"yield\", \"spin\" or \"park\"";
    set(
        &mut local.idle,
        s.take("idle", idle, faults, |v| match v.as_str()? {
            "yield" => Some(Idle::Yield),
            "spin" => Some(Idle::Spin),
            "park" => Some(Idle::Park),
            _ => None,
        }),
    );
    set(&mut local.lock_memory, flag(s, "lock_memory", faults));
    set(&mut local.open_at_start, flag(s, "open_at_start", faults));
    let policy = "\"refuse\" or \"apply\"";
    set(
        &mut local.on_config_change,
        s.take("config", policy, faults, |v| match v.as_str()? {
            "refuse" => Some(OnConfigChange::Refuse),
            "apply" => Some(OnConfigChange::Apply),
            _ => None,
        }),
    );
    read_bounds(s, &mut local, faults);
    set(&mut local.listen_allow, networks(s, "listen_allow", faults));
    local.audit_file = s.take("audit_file", "a path", faults, |v| path(v, base)).map(|at| at.value);
    let keys_file = s.take("keys_file", "a path", faults, |v| path(v, base));
    let demo_keys = flag(s, "demo_keys", faults).is_some_and(|flag| flag.value);
    section.finish(faults);
    LocalRead { local, listen_line, keys_file, demo_keys }
}

/// Sizes and counts, and what they demand of each other. A default gives way to a smaller
/// neighbour; a written value does not.
fn read_bounds(s: &mut Section<'_>, local: &mut Local, faults: &mut Faults) {
    set(&mut local.journal_ring_bytes, ring(s, "journal_ring_bytes", faults));
    set(&mut local.report_ring_bytes, ring(s, "report_ring_bytes", faults));
    let lag = READER_LAG_BYTES_MIN..=local.report_ring_bytes / 2;
    let expected = format!(
        "a size in [{}, {}], the upper end being half of report_ring_bytes",
        value::show_size(*lag.start()),
        value::show_size(*lag.end()),
    );
    local.reader_lag_max = local.reader_lag_max.min(*lag.end());
    set(
        &mut local.reader_lag_max,
        s.take("reader_lag_max", &expected, faults, |v| {
            value::size(v).filter(|bytes| lag.contains(bytes))
        }),
    );
    let connections = count(s, "connection_count_max", &CONNECTION_COUNT, faults);
    set(&mut local.connection_count_max, connections);
    let each = 1..=local.connection_count_max;
    local.connections_per_address_max = *each.end();
    let each = count(s, "connections_per_address_max", &each, faults);
    set(&mut local.connections_per_address_max, each);
    let rate = count(s, "connections_per_address_rate", &ADDRESS_RATES, faults);
    set(&mut local.connections_per_address_rate, rate);
    let logons = 1..=limits::LOGON_CONNECTIONS_MAX.min(local.connection_count_max);
    local.logon_connections_max = *logons.end();
    set(&mut local.logon_connections_max, count(s, "logon_connections_max", &logons, faults));
}

/// Puts a value that was read in the place of a default.
pub(super) fn set<T>(place: &mut T, read: Option<At<T>>) {
    if let Some(read) = read {
        *place = read.value;
    }
}

/// Takes an integer in `range`.
pub(super) fn count(
    section: &mut Section<'_>,
    key: &'static str,
    range: &RangeInclusive<u32>,
    faults: &mut Faults,
) -> Option<At<u32>> {
    let expected = format!("an integer in [{}, {}]", range.start(), range.end());
    section.take(key, &expected, faults, |v| value::integer_u32(v, range))
}

fn ring(s: &mut Section<'_>, key: &'static str, faults: &mut Faults) -> Option<At<u64>> {
    let expected = format!(
        "a power of two of bytes in [{}, {}], such as \"256 MiB\"",
        value::show_size(*RING_BYTES.start()),
        value::show_size(*RING_BYTES.end()),
    );
    s.take(key, &expected, faults, |v| {
        value::size(v).filter(|b| b.is_power_of_two() && RING_BYTES.contains(b))
    })
}

fn flag(s: &mut Section<'_>, key: &'static str, faults: &mut Faults) -> Option<At<bool>> {
    s.take(key, "true or false", faults, DeValue::as_bool)
}

/// Takes a list of networks.
pub(super) fn networks(
    s: &mut Section<'_>,
    key: &'static str,
    faults: &mut Faults,
) -> Option<At<Vec<Network>>> {
    let expected = format!(
        "an array of at most {} networks such as \"10.0.0.0/8\", without bits behind the prefix",
        limits::NETWORK_COUNT_MAX
    );
    s.take(key, &expected, faults, |v| {
        let listed = v.as_array()?;
        let read = listed.iter().map(|n| Network::parse(n.get_ref().as_str()?));
        read.collect::<Option<Vec<_>>>().filter(|list| list.len() <= limits::NETWORK_COUNT_MAX)
    })
}

fn path(value: &DeValue<'_>, base: &Path) -> Option<PathBuf> {
    let text = value.as_str()?;
    (!text.is_empty() && !text.contains('\0')).then(|| base.join(text))
}
