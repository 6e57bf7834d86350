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
use tidegate::session::auth::{Key, Keys};
use tidegate::session::report_log::ReportLog;
use tidegate::shell::activate::activate;
use tidegate::shell::audit::{Audit, Failed};
use tidegate::shell::clock;
use tidegate::shell::pin;
use tidegate::shell::poll::Sockets;
use tidegate::shell::sequencer::{Rebuild, Sequencer};
use tidegate::shell::side::{Notice, SideMessage};
use tidegate::shell::turn::{Fault, Links, Node};
use tidegate::telemetry::counters::{Counter, Counters};
use tidegate::vocabulary::units::Text;
use tracing::{error, info, warn};

use crate::EXIT_USAGE;

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
        Err(message) => {
            error!("{message}");
            ExitCode::FAILURE
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
    Ok(config)
}

fn serve(config: &Config, is_json: bool) -> Result<(), String> {
    let local = &config.local;
    for warning in config.warnings() {
        warn!("{warning}");
    }
    let keys = keys(local)?;
    let audit = match &local.audit_file {
        Some(path) => {
            let audit = Audit::open(path);
            Some(audit.map_err(|e| format!("cannot open audit_file {}: {e}", path.display()))?)
        }
        None => None,
    };
    // An activation is journaled. A start that cannot serve must not leave one behind, so the
    // address is tried first; it is taken once there is somebody to answer.
    drop(listen(local.listen, std::net::TcpListener::bind)?);
    let report_bytes = usize::try_from(local.report_ring_bytes)
        .map_err(|_| "report_ring_bytes is larger than this machine's memory".to_owned())?;
    let mut log = ReportLog::new(report_bytes, config.logical.capacities.session_count_max);
    let activated = activate(config, &mut Rebuild(&mut log)).map_err(|e| e.to_string())?;
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
    write_log(&notices, audit);
    let sequencer = match hot.join() {
        Ok(ended) => ended.map_err(|fault| fault.to_string())?,
        Err(_) => return Err("the hot thread ended by an assertion".to_owned()),
    };
    stop(sequencer, &counters, is_json)
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
    let keys = keys.and_then(Keys::new).map_err(|e| e.to_string())?;
    Ok(keys.with_networks(&local.owner_addresses))
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
fn write_log(notices: &Receiver<Notice>, mut audit: Option<Audit>) {
    for notice in notices {
        if let Some(audit) = &mut audit {
            write_audit(audit, &notice);
        }
        match notice {
            Notice::Serving { epoch, index } => info!(%epoch, %index, "serving"),
            Notice::Established { session } => info!(%session, "established"),
            Notice::Ended { session, why } => info!(%session, "{why}"),
            Notice::Refused { peer, why } => warn!(?peer, "refused: {why}"),
            Notice::LogonFailed { peer, key_id, cause } => {
                let key = key_id.map(|id| id.to_string());
                warn!(?peer, ?key, "logon failed: {cause}");
            }
            Notice::SlowReader { session } => warn!(%session, "closed: reads too slowly"),
            Notice::GateShut { cause } => warn!(cause = cause.name(), "gate shut"),
            Notice::UnknownInstrument { who, security_id } => {
                warn!(%who, ?security_id, "no such instrument: its phase was not set");
            }
            Notice::Stopping => info!("stopping: ending every session"),
            Notice::KeysNearlyFull => warn!("key table nearly full: orders will be refused"),
        }
    }
}

/// Failed logons go to a file of their own. A disk that does not take them stops nothing.
fn write_audit(audit: &mut Audit, notice: &Notice) {
    let failed = match notice {
        Notice::LogonFailed { peer, key_id, cause } => {
            Failed { peer: *peer, key_id: key_id.as_ref().map(Text::as_str), cause }
        }
        Notice::Refused { peer, why } => Failed { peer: *peer, key_id: None, cause: why.as_str() },
        Notice::Serving { .. }
        | Notice::Established { .. }
        | Notice::Ended { .. }
        | Notice::SlowReader { .. }
        | Notice::GateShut { .. }
        | Notice::UnknownInstrument { .. }
        | Notice::Stopping
        | Notice::KeysNearlyFull => return,
    };
    if let Err(error) = audit.on_failed(clock::wall(), &failed) {
        warn!("audit_file: {error}");
    }
}

/// Closes the journal and tells where it stands, so that a replay can be compared with it.
fn stop(sequencer: Sequencer, counters: &Counters, is_json: bool) -> Result<(), String> {
    let (machine, clean) = sequencer.close().map_err(|e| e.to_string())?;
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
