//! `tidegate run`: one node, until a signal asks it to stop.
//!
//! Three threads: the hot one turns the loop; one waits for signals; the first one writes the log.
//! The hot thread never waits for the others.

use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;

use crossbeam_channel::{Receiver, Sender, bounded};
use serde_json::json;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;
use tidegate::config::{Config, Idle, Local};
use tidegate::coordination::pressure::RingKind;
use tidegate::session::auth::{Key, Keys};
use tidegate::session::report_log::ReportLog;
use tidegate::shell::activate::{Activated, activate};
use tidegate::shell::pin;
use tidegate::shell::poll::Sockets;
use tidegate::shell::sequencer::{Rebuild, Sequencer};
use tidegate::shell::side::{Notice, SideMessage};
use tidegate::shell::turn::{Fault, Links, Node};
use tidegate::telemetry::counters::{Counter, Counters};
use tidegate::vocabulary::durability::Durability;
use tracing::{error, info, warn};

use crate::{EXIT_JOURNAL, EXIT_USAGE};

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
    /// When an answer leaves: once the mapped ring has its record, or once the disk has it
    #[arg(long, value_enum)]
    durability: Option<DurabilityArg>,
    /// Keep the mapped ring of the newest records here instead of /dev/shm
    #[arg(long, value_name = "DIR")]
    hot_dir: Option<PathBuf>,
    /// This once, go on although records are damaged or missing
    ///
    /// The node refuses such a journal: a copy of it may be whole, and what is missing may have
    /// been acknowledged. With this it goes on from the last record that can be trusted. What is
    /// lost is printed, and what follows the damage is kept in a file aside. Every session opened
    /// before is refused from then on (HistoryLost): its firm must check its orders by hand.
    #[arg(long)]
    accept_loss: bool,
    /// This once, take a copied journal for the journal
    ///
    /// Two nodes on two copies of one journal would both answer for it, so a copy is refused. Make
    /// sure that the original never runs again. Records that it wrote after the copy was made are
    /// missing: every session opened before is refused from then on (HistoryLost).
    #[arg(long)]
    accept_copy: bool,
    /// What an empty turn does: `spin` wants a core of its own
    #[arg(long, value_enum)]
    idle: Option<IdleArg>,
    /// Pin the hot thread to this core
    #[arg(long, value_name = "N")]
    core: Option<usize>,
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

#[derive(Clone, Copy, clap::ValueEnum)]
enum DurabilityArg {
    LocalMmap,
    LocalFsync,
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
        Err(failure) => {
            error!("{failure}");
            failure.code()
        }
    }
}

/// Why a node ended.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// It did not start, or could not go on.
    #[error("{0}")]
    Run(String),
    /// Its journal could not be written.
    #[error("{0}")]
    Journal(String),
}

impl Failure {
    fn code(&self) -> ExitCode {
        match self {
            Self::Run(_) => ExitCode::FAILURE,
            Self::Journal(_) => ExitCode::from(EXIT_JOURNAL),
        }
    }
}

impl From<String> for Failure {
    fn from(message: String) -> Self {
        Self::Run(message)
    }
}

impl From<Fault> for Failure {
    fn from(fault: Fault) -> Self {
        let message = fault.to_string();
        match fault {
            Fault::Journal { .. } => Self::Journal(message),
            Fault::Machine(_) | Fault::Poll(_) => Self::Run(message),
        }
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
    let Local { data_dir, hot_dir, durability, idle, core, .. } = &mut config.local;
    if let Some(dir) = &args.data_dir {
        data_dir.clone_from(dir);
    }
    if let Some(dir) = &args.hot_dir {
        hot_dir.clone_from(dir);
    }
    if let Some(asked) = args.durability {
        *durability = match asked {
            DurabilityArg::LocalMmap => Durability::LocalMmap,
            DurabilityArg::LocalFsync => Durability::LocalFsync,
        };
    }
    if let Some(asked) = args.idle {
        *idle = match asked {
            IdleArg::Yield => Idle::Yield,
            IdleArg::Spin => Idle::Spin,
            IdleArg::Park => Idle::Park,
        };
    }
    *core = args.core.or(*core);
    config.local.accept_loss = args.accept_loss;
    config.local.accept_copy = args.accept_copy;
    Ok(config)
}

fn serve(config: &Config, is_json: bool) -> Result<(), Failure> {
    let local = &config.local;
    for warning in config.warnings() {
        warn!("{warning}");
    }
    let keys = keys(local)?;
    // An activation is journaled. A start that cannot serve must not leave one behind, so the
    // address is tried first; it is taken once there is somebody to answer.
    drop(listen(local.listen, std::net::TcpListener::bind)?);
    let report_bytes = usize::try_from(local.report_ring_bytes)
        .map_err(|_| "report_ring_bytes is larger than this machine's memory".to_owned())?;
    let mut log = ReportLog::new(report_bytes, config.logical.capacities.session_count_max);
    let activated = activate(config, &mut Rebuild(&mut log)).map_err(|e| e.to_string())?;
    tell_recovery(local, &activated);
    let sockets = listen(local.listen, Sockets::listen)?;
    let address = sockets.local_addr().map_err(|e| e.to_string())?;
    let waker = sockets.waker();
    let (side, side_of_node) = bounded(CHANNEL_MESSAGES_MAX);
    let (notices_of_node, notices) = bounded(CHANNEL_MESSAGES_MAX);
    let counters = Counters::new();
    let links = Links { side: side_of_node, notices: notices_of_node, counters: counters.clone() };
    watch_signals(side, waker)?;
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
        Ok(ended) => ended?,
        Err(_) => return Err("the hot thread ended by an assertion".to_owned().into()),
    };
    stop(sequencer, &counters, is_json)
}

/// What a start found, and what an operator must do about it.
fn tell_recovery(local: &Local, activated: &Activated) {
    let recovery = &activated.recovery;
    info!(
        dir = %local.data_dir.display(),
        records = recovery.records,
        incarnation = recovery.incarnation,
        "journal: {}",
        recovery.case
    );
    if let Some(change) = recovery.incarnation_changed {
        warn!("{}", change.what_may_be_missing());
    }
    if let Some(torn) = &recovery.torn {
        warn!(
            "{} bytes of a record that a crash cut short, index {}, kept in {}",
            torn.bytes,
            torn.index,
            torn.side_file.display()
        );
    }
    if let Some(index) = activated.lost_from {
        warn!(
            "acknowledged records from index {index} on may be missing: every session opened \
             before is refused (HistoryLost) until its firm has checked its orders and negotiated \
             another"
        );
    }
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
            Notice::GateShut { cause } => {
                warn!(cause = cause.name(), "gate shut: nothing more is accepted");
            }
            Notice::GateOpened => info!("gate open: orders are accepted again"),
            Notice::LagBegins { ring, bytes } => {
                warn!("the disk falls behind: {bytes} bytes of the {} wait for it", name_of(ring));
            }
            Notice::LagEnds { ring } => info!("the disk has caught up with the {}", name_of(ring)),
            Notice::ReadingStopped => {
                warn!("clients are not read until the disk has caught up; nothing is refused");
            }
            Notice::ReadingResumed => info!("clients are read again"),
            Notice::SpaceShort => warn!("too little room is left for the journal"),
            Notice::SpaceEnough => info!("the journal has room again"),
            Notice::JournalFailed { what } => {
                error!("the journal failed: {what}; ending every session");
            }
            Notice::UnknownInstrument { who, security_id } => {
                warn!(%who, ?security_id, "no such instrument: its phase was not set");
            }
            Notice::Stopping => info!("stopping: ending every session"),
            Notice::KeysNearlyFull => warn!("key table nearly full: orders will be refused"),
        }
    }
}

const fn name_of(ring: RingKind) -> &'static str {
    match ring {
        RingKind::Journal => "journal",
        RingKind::Reports => "report log",
    }
}

/// Closes the journal and tells where it stands, so that a replay can be compared with it.
fn stop(sequencer: Sequencer, counters: &Counters, is_json: bool) -> Result<(), Failure> {
    let (machine, clean) = sequencer.close().map_err(|e| Failure::Journal(e.to_string()))?;
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

#[cfg(test)]
mod tests {
    use super::*;
    use tidegate::vocabulary::units::Text;

    /// Whoever starts nodes must know a disk that is to be repaired from a program that is not.
    #[test]
    fn a_failed_journal_has_an_exit_code_of_its_own() {
        let code = |failure: Failure| format!("{:?}", failure.code());
        let what = Text::new("fdatasync");
        let journal = Failure::from(Fault::Journal { what });
        assert!(journal.to_string().contains("fdatasync"), "{journal}");
        assert_eq!(code(journal), format!("{:?}", ExitCode::from(3)));
        let poll = Failure::from(Fault::Poll(std::io::ErrorKind::Other.into()));
        assert_eq!(code(poll), format!("{:?}", ExitCode::FAILURE));
        assert_eq!(code(String::new().into()), format!("{:?}", ExitCode::FAILURE));
    }
}
