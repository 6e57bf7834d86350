//! `tidegate run`: one node, until a signal asks it to stop.
//!
//! Three threads: the hot one turns the loop; one waits for signals; the first one writes the log.
//! The hot thread never waits for the others.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use journal::{JournalError, Recovery, Region, SpoolFound};
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tidegate::config::{Config, Idle, Local};
use tidegate::coordination::pressure::{Change, RingKind};
use tidegate::session::auth::{Key, Keys};
use tidegate::session::report_log::ReportLog;
use tidegate::shell::activate::{Opened, activate, open};
use tidegate::shell::disk::Disk;
use tidegate::shell::pin;
use tidegate::shell::poll::Sockets;
use tidegate::shell::rebuild::Rebuild;
use tidegate::shell::reports::ReportDisk;
use tidegate::shell::sequencer::Sequencer;
use tidegate::shell::side::{Notice, SideMessage};
use tidegate::shell::turn::{Fault, Links, Node};
use tidegate::telemetry::counters::{Counter, Counters};
use tidegate::vocabulary::durability::Durability;
use tracing::{error, info, warn};

use crate::{EXIT_FAILURE, EXIT_JOURNAL, EXIT_SIGBUS, EXIT_USAGE};

/// Messages a side channel holds; more wait outside, or are lost and counted.
const CHANNEL_MESSAGES_MAX: usize = 1024;

/// Arguments of `tidegate run`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The configuration; without it: loopback, three demo instruments, two demo firms
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Listen here instead; port 0 lets the system choose
    #[arg(long, value_name = "HOST:PORT")]
    listen: Option<SocketAddr>,
    /// Keep the journal here instead; made when it does not exist
    #[arg(long, value_name = "DIR")]
    data_dir: Option<PathBuf>,
    /// What an empty turn does: `spin` wants a core of its own
    #[arg(long, value_enum)]
    idle: Option<IdleArg>,
    /// Pin the hot thread to this core
    #[arg(long, value_name = "N")]
    core: Option<usize>,
    /// When an answer leaves: `local-mmap` at once, `local-fsync` when the disk has it
    #[arg(long, value_name = "MODE", value_parser = durability)]
    durability: Option<Durability>,
    /// Map the journal's ring here instead: best on a file system in memory
    #[arg(long, value_name = "DIR")]
    hot_dir: Option<PathBuf>,
    /// Go on although records are damaged or missing: the journal is cut there
    ///
    /// For this start alone, after a start was refused. What is lost is printed, what is left of it
    /// kept aside; every session opened before is answered HistoryLost from now on. Acknowledged
    /// orders may be gone.
    #[arg(long)]
    accept_loss: bool,
    /// Take a data directory that is a copy, if the original will never run again
    ///
    /// For this start alone. What the original took after the copy was made is missing; every
    /// session opened before is answered HistoryLost from now on.
    #[arg(long)]
    accept_copy: bool,
    /// One JSON object a line on standard output: when it serves, and when it has stopped
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, clap::ValueEnum)]
enum IdleArg {
    Yield,
    Spin,
    Park,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> ExitCode {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_env("TIDEGATE_LOG")
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .init();
    let config = match configure(args) {
        Ok(config) => config,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match serve(&config, args.json) {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure { code, message }) => {
            error!("{message}");
            ExitCode::from(code)
        }
    }
}

/// Why a node ends, and with which code.
struct Failure {
    code: u8,
    message: String,
}

impl<T: Into<String>> From<T> for Failure {
    fn from(message: T) -> Self {
        Self { code: EXIT_FAILURE, message: message.into() }
    }
}

fn configure(args: &Args) -> Result<Config, String> {
    let mut config = match &args.config {
        Some(file) => Config::load(file).map_err(|e| e.to_string())?,
        None => Config::demo(),
    };
    if let Some(listen) = args.listen {
        config = config.with_listen(listen).map_err(|e| e.to_string())?;
    }
    let Local { data_dir, idle, core, .. } = &mut config.local;
    if let Some(dir) = &args.data_dir {
        data_dir.clone_from(dir);
    }
    if let Some(asked) = args.idle {
        *idle = match asked {
            IdleArg::Yield => Idle::Yield,
            IdleArg::Spin => Idle::Spin,
            IdleArg::Park => Idle::Park,
        };
    }
    *core = args.core.or(*core);
    let local = &mut config.local;
    local.durability = args.durability.unwrap_or(local.durability);
    if let Some(dir) = &args.hot_dir {
        local.hot_dir.clone_from(dir);
    }
    (local.accept_loss, local.accept_copy) = (args.accept_loss, args.accept_copy);
    Ok(config)
}

fn durability(text: &str) -> Result<Durability, String> {
    let [mmap, fsync] = Durability::ALL.map(Durability::name);
    Durability::from_name(text).ok_or_else(|| format!("expected {mmap} or {fsync}"))
}

fn serve(config: &Config, is_json: bool) -> Result<(), Failure> {
    let local = &config.local;
    for warning in config.warnings() {
        warn!("{warning}");
    }
    // Before anything is mapped.
    journal::exit_on_sigbus(i32::from(EXIT_SIGBUS))
        .map_err(|e| format!("cannot watch for SIGBUS: {e}"))?;
    let keys = keys(local)?;
    // An activation is journaled. A start that cannot serve must not leave one behind, so the
    // address is tried first; it is taken once there is somebody to answer.
    drop(listen(local.listen, std::net::TcpListener::bind)?);
    let reports = Region::shared(local.report_ring_bytes)
        .map_err(|e| format!("no memory for report_ring_bytes: {e}"))?;
    let mut log = ReportLog::new(reports, config.logical.capacities.session_count_max);
    let opened = open(config).map_err(|e| e.to_string())?;
    let mut report_disk = open_reports(local, &opened);
    let mut rebuild = Rebuild::new(&mut log);
    if let Some(disk) = &mut report_disk {
        disk.rebuild(&mut rebuild);
    }
    let (activated, disk) = activate(config, opened, &mut rebuild).map_err(|e| e.to_string())?;
    rebuild.finish();
    tell_recovery(&local.data_dir, &activated.recovery);
    if let Some(index) = activated.lost_from {
        warn!(
            "acknowledged records from index {index} on may be missing: every session opened \
             before is refused (HistoryLost) until its firm has checked its orders and negotiated \
             another"
        );
    }
    let ring = activated.ring.path().cloned();
    let interval = Duration::from_nanos(local.persist_interval.0);
    let disk = ring
        .ok_or_else(|| "the journal's ring has no file".to_owned())
        .and_then(|ring| disk.start(&ring, interval).map_err(|e| e.to_string()))
        .map_err(|e| format!("cannot start the journal's threads: {e}"))?;
    let sockets = listen(local.listen, Sockets::listen)?;
    let address = sockets.local_addr().map_err(|e| e.to_string())?;
    let waker = sockets.waker();
    let (side, side_of_node) = bounded(CHANNEL_MESSAGES_MAX);
    let (notices_of_node, notices) = bounded(CHANNEL_MESSAGES_MAX);
    let counters = Counters::new();
    let links = Links { side: side_of_node, notices: notices_of_node, counters: counters.clone() };
    watch_signals(side, waker)?;
    let reports = report_disk.map(|disk| {
        let ring = log.region().reader()?;
        disk.start(ring)
    });
    let reports =
        reports.transpose().map_err(|e| format!("cannot start the report thread: {e}"))?;
    info!("listening on {address}");
    say(is_json, &json!({ "listening": address.to_string() }), &format!("listening on {address}"));
    let node = Node::new(config, activated, log, keys, sockets, links);
    let (core, is_locked) = (local.core, local.lock_memory);
    let hot = thread::Builder::new()
        .name("hot".to_owned())
        .spawn(move || turn_until_stopped(node, core, is_locked))
        .map_err(|e| format!("cannot start the hot thread: {e}"))?;
    write_log(&notices);
    let sequencer = match hot.join() {
        Ok(ended) => ended.map_err(|fault| on_fault(&fault))?,
        Err(_) => return Err("the hot thread ended by an assertion".into()),
    };
    if let Some(reports) = reports {
        reports.stop();
    }
    let disk = disk.stop().ok_or("a thread of the journal ended by an assertion")?;
    stop(sequencer, disk, &counters, is_json)
}

/// A failed disk has its own code, and a way back that must be told.
fn on_fault(fault: &Fault) -> Failure {
    match fault {
        Fault::Journal(_) => Failure {
            code: EXIT_JOURNAL,
            message: format!(
                "{fault}. Nothing was acknowledged after this. The ring still holds every record \
                 that was: repair or replace the disk under the data directory and start again \
                 before the machine restarts"
            ),
        },
        Fault::Machine(_) | Fault::Poll(_) => fault.to_string().into(),
    }
}

/// The disk of the reports. Derived data: without it the node serves all the same.
fn open_reports(local: &Local, opened: &Opened) -> Option<ReportDisk> {
    match ReportDisk::open(local, opened) {
        Ok((disk, SpoolFound::Nothing | SpoolFound::Resumed(_))) => Some(disk),
        Ok((disk, SpoolFound::BegunAnew { file, why })) => {
            info!("reports on the disk are made again: {file} is {why}");
            Some(disk)
        }
        Err(error) => {
            warn!("no reports on the disk: {}: {error}", local.data_dir.display());
            None
        }
    }
}

/// What opening the journal found, in an operator's words.
fn tell_recovery(dir: &Path, recovery: &Recovery) {
    info!(
        dir = %dir.display(),
        records = recovery.last_index,
        incarnation = recovery.incarnation,
        "journal: {}",
        recovery.case
    );
    if let Some(note) = &recovery.ring_note {
        warn!("{note}");
    }
    if let Some(change) = recovery.incarnation_changed {
        warn!("new incarnation {}: {}", recovery.incarnation, change.what_happened());
    }
    if let Some(suspect) = recovery.suspect {
        warn!(
            "acknowledged orders may be missing: nothing up to record {} is, any in ({}, {}] may \
             be; sessions opened before this start are answered HistoryLost",
            suspect.after_index, suspect.after_index, suspect.to_index
        );
    }
    if let Some(lost) = &recovery.accepted {
        warn!(
            "accepted as lost: records {} to {} at least; the journal was cut at position {}, {} \
             bytes with {} whole records are kept in {}",
            lost.first_index,
            lost.last_known_index,
            lost.position,
            lost.bytes,
            lost.whole_records,
            names(&lost.side_files)
        );
    }
    if recovery.accepted.is_none() && !recovery.set_aside.is_empty() {
        let files = names(&recovery.set_aside);
        warn!("not usable and set aside; the ring had all their records: {files}");
    }
    if let Some(torn) = &recovery.torn {
        warn!(
            "{} bytes of records that a crash cut short, from index {} on, kept in {}",
            torn.bytes,
            torn.index,
            names(&torn.side_files)
        );
    }
}

fn names(files: &[PathBuf]) -> String {
    if files.is_empty() {
        return "no file".to_owned();
    }
    files.iter().map(|file| file.display().to_string()).collect::<Vec<_>>().join(", ")
}

fn listen<T>(
    address: SocketAddr,
    take: impl FnOnce(SocketAddr) -> std::io::Result<T>,
) -> Result<T, String> {
    take(address).map_err(|e| format!("cannot listen on {address}: {e}"))
}

fn turn_until_stopped(
    node: Node,
    core: Option<usize>,
    is_locked: bool,
) -> Result<Sequencer, Fault> {
    if let Some(Err(why)) = core.map(pin::pin_thread) {
        warn!("{why}");
    }
    if is_locked && let Err(why) = pin::lock_memory() {
        warn!("{why}");
    }
    node.run()
}

fn keys(local: &Local) -> Result<Keys, String> {
    let keys: Result<Vec<Key>, _> = local
        .keys
        .iter()
        .map(|key| Key::new(&key.id, key.owner, key.secret.octets(), key.not_after))
        .collect();
    keys.and_then(Keys::new).map_err(|e| e.to_string())
}

/// SIGTERM and SIGINT ask for a clean stop; a second one ends the process at once, which is safe.
fn watch_signals(side: Sender<SideMessage>, waker: Arc<mio::Waker>) -> Result<(), String> {
    let mut signals =
        Signals::new([SIGTERM, SIGINT]).map_err(|e| format!("cannot watch signals: {e}"))?;
    thread::Builder::new()
        .name("signals".to_owned())
        .spawn(move || {
            let mut is_asked = false;
            for _ in signals.forever() {
                if is_asked {
                    std::process::abort();
                }
                is_asked = true;
                if side.send(SideMessage::Shutdown).is_err() || waker.wake().is_err() {
                    return;
                }
            }
        })
        .map(|_| ())
        .map_err(|e| format!("cannot start the signal thread: {e}"))
}

/// Writes what the hot thread notices, until it is gone.
fn write_log(notices: &Receiver<Notice>) {
    for notice in notices {
        match notice {
            Notice::Serving { epoch, index } => info!(%epoch, %index, "serving"),
            Notice::Established { session } => info!(%session, "established"),
            Notice::Ended { session, why } => info!(%session, "{why}"),
            Notice::Refused { peer, why } => warn!(?peer, "refused: {why}"),
            Notice::SlowReader { session } => warn!(%session, "closed: reads too slowly"),
            Notice::GateShut { cause } => warn!(cause = cause.name(), "gate shut"),
            Notice::GateOpened { cause } => info!(cause = cause.name(), "gate open again"),
            Notice::Pressure { change } => tell_pressure(change),
            Notice::ReportsBroken { why } => warn!("no more reports on the disk: {why}"),
            Notice::JournalFailed => error!("the journal's disk failed: ending every session"),
            Notice::UnknownInstrument { who, security_id } => {
                warn!(%who, ?security_id, "no such instrument: its phase was not set");
            }
            Notice::Stopping => info!("stopping: ending every session"),
            Notice::KeysNearlyFull => warn!("key table nearly full: orders will be refused"),
        }
    }
}

/// What the disk does to the node, in an operator's words.
fn tell_pressure(change: Change) {
    let of = |ring| match ring {
        RingKind::Journal => "the journal",
        RingKind::Reports => "the report log",
    };
    match change {
        Change::LagBegins(ring) => warn!("the disk is behind: a quarter of {} waits", of(ring)),
        Change::LagEnds(ring) => info!("the disk has caught up with {}", of(ring)),
        Change::SpaceShort => warn!("the data directory's disk is nearly full"),
        Change::SpaceEnough => info!("the data directory's disk has room again"),
        Change::ReadingStops => warn!("the disk is far behind: clients are not read"),
        Change::ReadingResumes => info!("clients are read again"),
        // Told as the gate's.
        Change::Shut(_) | Change::End(_) => {}
    }
}

/// Closes the journal and tells where it stands, so that a replay can be compared with it.
fn stop(
    sequencer: Sequencer,
    disk: Disk,
    counters: &Counters,
    is_json: bool,
) -> Result<(), Failure> {
    let (machine, clean) = sequencer.close(disk).map_err(|error| {
        let is_poisoned = matches!(error, JournalError::Poisoned(_));
        let code = if is_poisoned { EXIT_JOURNAL } else { EXIT_FAILURE };
        Failure { code, message: error.to_string() }
    })?;
    let (output, state) = (machine.output_digest(), machine.state_digest());
    let counts: serde_json::Map<String, serde_json::Value> =
        Counter::ALL.iter().map(|c| (c.label().to_owned(), counters.get(*c).into())).collect();
    let line = json!({
        "stopped": { "index": clean.index.0, "epoch": clean.epoch.0 },
        "output_digest": format!("{output:016x}"),
        "state_digest": format!("{state:016x}"),
        "trades": machine.trade_count(),
        "counters": counts,
    });
    let text = format!(
        "stopped cleanly: index {}, epoch {}, output digest {output:016x}, state digest \
         {state:016x}",
        clean.index, clean.epoch
    );
    say(is_json, &line, &text);
    Ok(())
}

/// One line on standard output; nobody may be reading it, and that is no fault.
fn say(is_json: bool, value: &serde_json::Value, text: &str) {
    let mut out = std::io::stdout().lock();
    let line = if is_json { value.to_string() } else { text.to_owned() };
    let _ = writeln!(out, "{line}").and_then(|()| out.flush());
}
