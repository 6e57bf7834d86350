//! Who is measured, and who is compared with whom: two tables.
//!
//! A run knows no server by name. It starts every row of [`CONTENDERS`], measures them in turn,
//! and computes every row of [`COMPARISONS`]. Another server under test is one more row of each,
//! with a `start` that gives its process, its address and its [`Exchange`].
//!
//! The order is that of the rounds. Those that are compared under a gate stand side by side; the
//! two that give the resolution stand far apart, so that it is never finer than a real pair's.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use hdrhistogram::Histogram;
use tempfile::TempDir;

use crate::engine;
use crate::error::PerfError;
use crate::exchange::{Echo, Exchange};
use crate::floor::{FloorKind, Sizes};
use crate::idle::Idle;
use crate::probe::{Probe, Slice, SlicePlan};
use crate::process::Process;
use crate::sockperf;
use crate::verdict::Gate;

/// Names in both tables.
const SOCKPERF: &str = "sockperf";
pub(crate) const F0: &str = "F0";
const F1: &str = "F1";
const ENGINE: &str = "engine";
const BASELINE: &str = "baseline";
pub(crate) const F0_TWIN: &str = "F0-twin";

/// One row of a run.
pub(crate) struct Entry {
    /// Its name in tables, records and file names.
    pub(crate) name: &'static str,
    /// What it is, for the reader of the table.
    pub(crate) what: &'static str,
    /// Starts it.
    pub(crate) start: fn(&Settings) -> Result<Start, PerfError>,
}

/// Everything a run starts, in the order of a round.
pub(crate) const CONTENDERS: &[Entry] = &[
    Entry { name: SOCKPERF, what: "sockperf ping-pong, spinning", start: sockperf::start },
    Entry { name: F0, what: "raw recv loop", start: |s| start_floor(F0, FloorKind::F0, s) },
    Entry { name: F1, what: "mio poll loop", start: |s| start_floor(F1, FloorKind::F1, s) },
    Entry { name: ENGINE, what: "order to ExecutionReportNew", start: engine::start },
    Entry { name: BASELINE, what: "another build of it", start: engine::start_baseline },
    Entry { name: F0_TWIN, what: "F0 again", start: |s| start_floor(F0_TWIN, FloorKind::F0, s) },
];

/// One ratio of a run: the p50 of `of` over the p50 of `over`.
pub(crate) struct Comparison {
    /// Numerator.
    pub(crate) of: &'static str,
    /// Denominator.
    pub(crate) over: &'static str,
    /// What the ratio must keep; `None` where it is only printed.
    pub(crate) gate: Option<Gate>,
}

/// Everything a run computes. A row whose contender is absent is left out.
pub(crate) const COMPARISONS: &[Comparison] = &[
    Comparison { of: F0, over: SOCKPERF, gate: Some(Gate { least: 0.95, most: 1.05 }) },
    Comparison { of: F0_TWIN, over: F0, gate: None },
    Comparison { of: F1, over: F0, gate: None },
    // Goal 1: an order costs at most a tenth more than the same bytes through the same loop.
    Comparison { of: ENGINE, over: F1, gate: Some(Gate { least: 0.0, most: 1.10 }) },
    Comparison { of: ENGINE, over: F0, gate: None },
    Comparison { of: ENGINE, over: BASELINE, gate: None },
    Comparison { of: BASELINE, over: F1, gate: None },
];

/// A core for each side.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Cores {
    /// The measuring client's.
    pub(crate) client: usize,
    /// The measured server's.
    pub(crate) server: usize,
}

/// What a run was asked for.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// Rounds, each giving one pair to every comparison.
    pub(crate) pair_count: usize,
    /// How both sides wait.
    pub(crate) idle: Idle,
    /// Recorded orders in a slice.
    pub(crate) order_count: u64,
    /// Unrecorded ones before them.
    pub(crate) warm_up_count: u64,
    /// Pinned cores; `None` leaves both sides to the scheduler.
    pub(crate) cores: Option<Cores>,
    /// The engine's program; `None` where there is none to measure.
    pub(crate) engine: Option<PathBuf>,
    /// Another build of it, measured beside it.
    pub(crate) baseline: Option<PathBuf>,
    /// The engine's journal gets a new directory in this one.
    pub(crate) data_dir: PathBuf,
}

/// What became of a start.
pub(crate) enum Start {
    /// It runs and can be measured.
    Ready(Box<dyn Contender>),
    /// It cannot be had here, for this reason. The report says so.
    Absent(String),
}

/// A started server.
pub(crate) trait Contender {
    /// Continues the server, measures one slice, suspends it again.
    fn measure(&mut self, settings: &Settings) -> Result<Slice, PerfError>;

    /// Suspends the server after its start.
    fn pause(&mut self) -> Result<(), PerfError>;

    /// All round trips so far in ns, where they were seen one by one.
    fn histogram(&self) -> Option<&Histogram<u64>> {
        None
    }

    /// What else the reader of its figures has to know.
    fn note(&self) -> Option<&str> {
        None
    }
}

/// A server that the probe measures.
pub(crate) struct Probed {
    server: Process,
    address: SocketAddr,
    probe: Probe,
    note: Option<String>,
    /// Removed after the server's end: fields are dropped in their order.
    _directories: Vec<TempDir>,
}

impl Probed {
    /// A running `server` that listens on `address` and speaks `exchange`.
    pub(crate) fn new(server: Process, address: SocketAddr, exchange: Box<dyn Exchange>) -> Self {
        let probe = Probe::new(exchange);
        Self { server, address, probe, note: None, _directories: Vec::new() }
    }

    /// The same server, whose files are in `directories`, with something to be said about it.
    pub(crate) fn with_directories(self, directories: [TempDir; 2], note: String) -> Self {
        Self { note: Some(note), _directories: directories.into(), ..self }
    }
}

impl Contender for Probed {
    fn measure(&mut self, settings: &Settings) -> Result<Slice, PerfError> {
        let plan = SlicePlan {
            warm_up_count: settings.warm_up_count,
            order_count: settings.order_count,
            idle: settings.idle,
        };
        self.server.resume()?;
        let slice = self.probe.measure(self.address, plan)?;
        self.server.pause()?;
        Ok(slice)
    }

    fn pause(&mut self) -> Result<(), PerfError> {
        self.server.pause()
    }

    fn histogram(&self) -> Option<&Histogram<u64>> {
        Some(self.probe.histogram())
    }

    fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }
}

/// A floor says where it listens within this.
const READY_MAX: Duration = Duration::from_secs(5);
/// What it says before the address.
pub(crate) const READY_PREFIX: &str = "listening ";

fn start_floor(name: &str, kind: FloorKind, settings: &Settings) -> Result<Start, PerfError> {
    let sizes = Sizes::ORDER_PATH;
    let program = std::env::current_exe().map_err(PerfError::io("finding this program"))?;
    let kind_name = match kind {
        FloorKind::F0 => "f0",
        FloorKind::F1 => "f1",
    };
    let mut arguments: Vec<OsString> =
        ["echo", "--kind", kind_name, "--idle", settings.idle.name()].map(OsString::from).to_vec();
    arguments.push(format!("--bytes={}", sizes.request_bytes).into());
    arguments.push(format!("--reply={}", sizes.reply_bytes).into());
    if let Some(cores) = settings.cores {
        arguments.push(format!("--core={}", cores.server).into());
    }
    let server = Process::start(name, program.as_os_str(), &arguments)?;
    let address = server.await_line(READY_MAX, |line| {
        line.strip_prefix(READY_PREFIX).and_then(|address| address.parse().ok())
    })?;
    let exchange = Box::new(Echo::new(sizes));
    Ok(Start::Ready(Box::new(Probed::new(server, address, exchange))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tables_name_each_other_and_files() {
        for (index, entry) in CONTENDERS.iter().enumerate() {
            assert!(CONTENDERS[index + 1..].iter().all(|other| other.name != entry.name));
            assert!(entry.name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'));
        }
        for comparison in COMPARISONS {
            assert!(comparison.of != comparison.over);
            for name in [comparison.of, comparison.over] {
                assert!(CONTENDERS.iter().any(|entry| entry.name == name), "{name}");
            }
        }
        assert!(COMPARISONS.iter().any(|row| (row.of, row.over) == (F0_TWIN, F0)));
    }
}
