//! A file becomes a [`Config`], or the list of all that is wrong with it.

use super::error::{ConfigErrors, Faults};
use super::keys;
use super::local::{self, Local, LocalRead};
use super::logical::{self, Logical};
use super::read::{Lines, Section, parse};
use crate::session::report_log::ENTRY_BYTES_MAX;
use std::fs::File;
use std::net::SocketAddr;
use std::path::Path;

/// A commented file with every key at its default and the demo market: the documentation.
pub const EXAMPLE: &str = include_str!("example.toml");

/// Looks a variable up; the value is a secret.
pub type Environment<'e> = &'e dyn Fn(&str) -> Option<String>;

/// Checked settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Config {
    /// This node's own.
    pub local: Local,
    /// Journaled.
    pub logical: Logical,
}

impl Config {
    /// What runs without a file: one node on loopback, three instruments, two firms whose keys are
    /// public.
    #[must_use]
    pub fn demo() -> Self {
        let mut logical = Logical::empty();
        logical.add_demo_market();
        let local = Local { keys: keys::demo_keys(), ..Local::default() };
        Self { local, logical }
    }

    /// Reads a file, the keys file that it names, and the process's environment.
    pub fn load(file: &Path) -> Result<Self, ConfigErrors> {
        let mut faults = Faults::new(file);
        match File::open(file).map_err(|e| e.to_string()).and_then(keys::read_text) {
            Ok(text) => Self::from_toml(file, &text, &variable),
            Err(came) => {
                faults.add(0, "", "a readable file of UTF-8 text up to 1 MiB", came);
                faults.into_result(Self::demo())
            }
        }
    }

    /// Reads `text`. `file` is its name in errors, and its directory is where relative paths begin.
    pub fn from_toml(
        file: &Path,
        text: &str,
        environment: Environment<'_>,
    ) -> Result<Self, ConfigErrors> {
        let mut faults = Faults::new(file);
        let lines = Lines::new(text);
        let root = parse(text, &lines, false, &mut faults);
        // A file of which half was understood lacks keys that are not missing: syntax comes first.
        let mut faults = faults.into_result(()).map(|()| Faults::new(file))?;
        let base = file.parent().unwrap_or_else(|| Path::new(""));
        let config = read(root, &lines, base, environment, &mut faults);
        faults.into_result(config)
    }

    /// The same with another address, as an argument of the command line gives it.
    pub fn with_listen(mut self, listen: SocketAddr) -> Result<Self, ConfigErrors> {
        let mut faults = Faults::new(Path::new("command line"));
        self.local.listen = listen;
        check_exposure(&self.local, 0, "--listen", &mut faults);
        faults.into_result(self)
    }

    /// What is allowed and yet worth a warning, a sentence each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let orders = self.logical.capacities.order_count_max;
        // An order that trades with every other makes two reports a trade, all in one step.
        let sweep = 2 * u64::from(orders) * ENTRY_BYTES_MAX as u64;
        let ring = self.local.report_ring_bytes;
        let is_small = sweep > ring;
        let warning = || {
            format!(
                "report_ring_bytes is {ring}: an order that trades with all {orders} of \
                 order_count_max makes up to {sweep} bytes of reports, and would overwrite some \
                 before they are sent; their outcome can then be asked for by status alone"
            )
        };
        is_small.then(warning).into_iter().collect()
    }

    /// Whether one of the keys is public.
    #[must_use]
    pub fn has_demo_keys(&self) -> bool {
        self.local.keys.iter().any(|key| key.secret.is_demo())
    }
}

/// A variable of the process. Octets that are no text become characters that are no secret, so that
/// such a value is refused and not passed over.
fn variable(name: &str) -> Option<String> {
    std::env::var_os(name).map(|value| value.to_string_lossy().into_owned())
}

fn read(
    mut root: Section<'_>,
    lines: &Lines,
    base: &Path,
    environment: Environment<'_>,
    faults: &mut Faults,
) -> Config {
    let is_market_given = ["instrument", "owner", "key"].iter().any(|key| root.has(key));
    let mut read = local::read(root.take_table("local", lines, faults), base, faults);
    let mut logical = Logical::empty();
    let capacities = root.take_table("capacities", lines, faults);
    logical::read_capacities(capacities, &mut logical, faults);
    if is_market_given {
        let mut tables = |key| {
            let found = root.take_tables(key, lines, faults);
            if found.is_none() && key != "key" {
                let expected = format!("at least one table [[{key}]], as the file gives a market");
                faults.add(0, key, expected, "nothing");
            }
            found.unwrap_or_default()
        };
        let (instruments, owners, keys) = (tables("instrument"), tables("owner"), tables("key"));
        logical::read_instruments(instruments, &mut logical, faults);
        read.local.owner_addresses = logical::read_owners(owners, &mut logical, faults);
        read.local.keys = keys::read(keys, &read, &logical, environment, faults);
    } else {
        for key in ["instrument", "owner", "key"] {
            root.take_tables(key, lines, faults);
        }
        logical.add_demo_market();
        read.local.keys = keys::demo_keys();
    }
    root.finish(faults);
    let LocalRead { local, listen_line, .. } = read;
    check_exposure(&local, listen_line, "local.listen", faults);
    Config { local, logical }
}

/// Public keys are for one machine.
fn check_exposure(local: &Local, line: u32, key: &str, faults: &mut Faults) {
    let is_public = local.keys.iter().any(|key| key.secret.is_demo());
    if is_public && !local.listen.ip().is_loopback() {
        let expected = "a loopback address as long as a key has the public secret of a demo firm";
        faults.add(line, key, expected, local.listen.to_string());
    }
}
