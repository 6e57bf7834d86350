//! The engine as a contender: `tidegate run`, started, pinned and idling like a floor.
//!
//! It is the program as built, with its demo market and a journal in a new directory of its own:
//! all checks, deduplication, book, report log, the mapped ring and the disk behind it, no replica.
//! The file system under the journal is part of the result and is printed beside it. The
//! directories are removed at the end; a run that is killed leaves them to the system's own
//! cleaning.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use nix::sys::statfs::{self, FsType, statfs};

use crate::contenders::{Probed, Settings, Start};
use crate::error::PerfError;
use crate::orders::Orders;
use crate::process::Process;

/// Recovery of an empty journal and touching every page of memory take at most this.
const READY_MAX: Duration = Duration::from_secs(30);
/// Where a file system in memory is on every Linux.
const MEMORY: &str = "/dev/shm";
/// Orders in a run, at most: the demo configuration has 2^20 keys and a ring of 256 MiB, and an
/// order with its cancel takes one and some 250 bytes of them.
const ORDER_COUNT_MAX: u64 = 800_000;

/// Where the engine's program is looked for: beside this one.
pub(crate) fn default_program() -> Option<PathBuf> {
    let program = std::env::current_exe().ok()?.with_file_name("tidegate");
    program.is_file().then_some(program)
}

/// Starts the engine of these settings.
pub(crate) fn start(settings: &Settings) -> Result<Start, PerfError> {
    match &settings.engine {
        Some(program) => start_program("engine", program, settings),
        None => {
            Ok(Start::Absent("no program beside this one; build it or give --engine".to_owned()))
        }
    }
}

/// Starts the other build it is compared with, if one was asked for.
pub(crate) fn start_baseline(settings: &Settings) -> Result<Start, PerfError> {
    match &settings.baseline {
        Some(program) => start_program("baseline", program, settings),
        None => Ok(Start::Absent("not asked for (--baseline)".to_owned())),
    }
}

fn start_program(name: &str, program: &Path, settings: &Settings) -> Result<Start, PerfError> {
    let order_count = settings.order_count + settings.warm_up_count;
    let order_count = u64::try_from(settings.pair_count).map_or(u64::MAX, |n| n * order_count);
    if order_count > ORDER_COUNT_MAX {
        return Err(PerfError::Settings(format!(
            "{order_count} orders with their warm-up; the engine's tables are sized for \
             {ORDER_COUNT_MAX}: ask for fewer --pairs or --orders-per-slice"
        )));
    }
    let directory = tempfile::Builder::new()
        .prefix("tidegate-perf-")
        .tempdir_in(&settings.data_dir)
        .map_err(PerfError::io(format!("a directory in {}", settings.data_dir.display())))?;
    let journal = directory.path().join("journal");
    let mut arguments: Vec<OsString> =
        ["run", "--json", "--listen", "127.0.0.1:0", "--idle", settings.idle.name()]
            .map(OsString::from)
            .to_vec();
    arguments.extend(["--data-dir".into(), journal.into_os_string()]);
    // In memory, as by default, but gone with us: the engine is killed when it was measured. An
    // older build that is a baseline has no such ring.
    let hot = tempfile::Builder::new().prefix("tidegate-perf-").tempdir_in(MEMORY);
    let hot = hot.map_err(PerfError::io(format!("a directory in {MEMORY}")))?;
    if knows_hot_dir(program) {
        arguments.extend(["--hot-dir".into(), hot.path().as_os_str().to_owned()]);
    }
    if let Some(cores) = settings.cores {
        arguments.push(format!("--core={}", cores.server).into());
    }
    // Its log would run through the progress bar at every logon.
    let quiet = [("TIDEGATE_LOG", "warn")];
    let server = Process::start_with(name, program.as_os_str(), &arguments, &quiet)?;
    let address = server.await_line(READY_MAX, address_in)?;
    let note = format!("journal on {}", file_system(directory.path())?);
    let probed = Probed::new(server, address, Box::new(Orders::new()?));
    Ok(Start::Ready(Box::new(probed.with_directories([directory, hot], note))))
}

/// Whether a build can be told where its ring is mapped.
fn knows_hot_dir(program: &Path) -> bool {
    let help = Command::new(program).args(["run", "--help"]).output();
    help.is_ok_and(|help| String::from_utf8_lossy(&help.stdout).contains("--hot-dir"))
}

/// The address in `{"listening":"HOST:PORT"}`.
fn address_in(line: &str) -> Option<SocketAddr> {
    let said: serde_json::Value = serde_json::from_str(line).ok()?;
    said.get("listening")?.as_str()?.parse().ok()
}

/// The name of the file system that holds `path`.
fn file_system(path: &Path) -> Result<String, PerfError> {
    const NAMES: [(FsType, &str); 5] = [
        (statfs::TMPFS_MAGIC, "tmpfs"),
        (statfs::EXT4_SUPER_MAGIC, "ext4"),
        (statfs::XFS_SUPER_MAGIC, "xfs"),
        (statfs::BTRFS_SUPER_MAGIC, "btrfs"),
        (statfs::OVERLAYFS_SUPER_MAGIC, "overlayfs"),
    ];
    let found = statfs(path)
        .map_err(|errno| PerfError::io(format!("asking about {}", path.display()))(errno.into()))?
        .filesystem_type();
    let name = NAMES.iter().find(|(kind, _)| *kind == found);
    Ok(name.map_or_else(|| format!("file system {:#x}", found.0), |(_, name)| (*name).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let check = |line: &str, expected: Option<&str>| {
            assert_eq!(address_in(line), expected.map(|text| text.parse().unwrap()), "{line}");
        };
        check(r#"{"listening":"127.0.0.1:4711"}"#, Some("127.0.0.1:4711"));
        check(r#"{"stopped":{"index":1}}"#, None);
        check(r#"{"listening":4711}"#, None);
        check("listening 127.0.0.1:4711", None);
    }

    #[test]
    fn file_systems_have_names() {
        assert_eq!(file_system(Path::new("/dev/shm")).unwrap(), "tmpfs");
        assert!(file_system(Path::new("/proc")).unwrap().starts_with("file system 0x"));
        assert!(file_system(Path::new("/nonexistent")).is_err());
    }
}
