//! The loop of the load: one thread, all connections, one turn after another.

use super::connection::{Connection, End};
use super::figures::Figures;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use mio::{Events, Poll};
use serde_json::json;
use std::cell::Cell;
use std::io::{self, IsTerminal as _, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tidegate::client::transport::Clock;
use tidegate::limits::LOGON_CONNECTIONS_MAX;
use tidegate::vocabulary::units::Nanos;

/// Events taken from one poll.
const EVENTS_MAX: usize = 1024;
/// Sleep of the idle mode `park`; the system rounds shorter ones up to this.
const PARK: Duration = Duration::from_millis(1);
/// Logons in progress at once: an engine holds no more than 256 and drops the oldest.
const LOGONS_MAX: usize = 128;
const _: () = assert!(LOGONS_MAX < LOGON_CONNECTIONS_MAX as usize);
/// The progress bar moves at most this often.
const PROGRESS_EVERY: Nanos = Nanos(100_000_000);
/// Progress lines of a run, about.
const PROGRESS_LINES: u64 = 200;

/// What a turn without work does.
#[derive(Clone, Copy, PartialEq, Eq, Debug, clap::ValueEnum)]
pub(super) enum Idle {
    /// Give the core to whoever wants it
    Yield,
    /// Keep the core: the shortest reaction, for a core of its own
    Spin,
    /// Sleep while nothing is due within a millisecond: for shared machines
    Park,
}

/// What the loop is told besides its connections.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    pub(super) idle: Idle,
    /// Without an answer for this long, the run ends.
    pub(super) stall: Nanos,
    pub(super) orders: u64,
    /// Whether progress is told line by line instead of shown as a bar.
    pub(super) has_progress_lines: bool,
    /// While it is up, no order is sent.
    pub(super) is_held: Arc<AtomicBool>,
}

/// Runs until every connection has ended; how long orders were on their way.
pub(super) fn drive(
    poll: &mut Poll,
    connections: &mut [Connection<'_>],
    settings: &Settings,
    clock: Clock,
    figures: &mut Figures,
) -> io::Result<Nanos> {
    let interrupted = Arc::new(AtomicBool::new(false));
    for signal in [signal_hook::consts::SIGINT, signal_hook::consts::SIGTERM] {
        signal_hook::flag::register(signal, Arc::clone(&interrupted))?;
    }
    let mut events = Events::with_capacity(EVENTS_MAX);
    let shown = Progress::new(settings);
    let (mut start, mut elapsed) = (None, Nanos(0));
    let mut progress = (0, clock.now());
    let mut is_busy = true;
    while connections.iter().any(|c| c.end().is_none()) {
        let timeout = park_time(settings.idle, is_busy, connections, start, clock);
        match poll.poll(&mut events, Some(timeout)) {
            Err(e) if e.kind() != io::ErrorKind::Interrupted => return Err(e),
            Ok(()) | Err(_) => {}
        }
        for event in &events {
            if let Some(connection) = connections.get_mut(event.token().0) {
                let is_over = event.is_read_closed() || event.is_error();
                connection.on_ready(event.is_readable() || is_over);
            }
        }
        let mut done = log_on(connections, clock.now(), poll.registry())?;
        for connection in &mut *connections {
            done += connection.turn(clock.now(), start, figures)?;
        }
        is_busy = done > 0;
        let now = clock.now();
        if start.is_none() && connections.iter().all(Connection::is_settled) {
            shown.tell_settled();
            if !settings.is_held.load(Ordering::Relaxed) {
                start = Some(now);
            }
            // Waiting to begin is no stall.
            progress.1 = now;
        }
        if progress.0 != figures.resolved {
            progress = (figures.resolved, now);
            elapsed = start.map_or(Nanos(0), |start| now.since(start));
        }
        if connections.iter().all(Connection::is_drained) {
            for connection in &mut *connections {
                connection.finish(now)?;
            }
        }
        let is_stalled = now.since(progress.1) > settings.stall;
        if is_stalled || interrupted.load(Ordering::Relaxed) {
            let why = if is_stalled { "no answer for too long" } else { "interrupted" };
            for connection in &mut *connections {
                connection.abort(why)?;
            }
        }
        shown.show(now, figures);
        idle(settings.idle, is_busy);
    }
    for connection in connections {
        connection.flush_history()?;
    }
    shown.clear();
    Ok(elapsed)
}

/// Begins the logons that are due, a bounded number of them at once; how many it began.
fn log_on(
    connections: &mut [Connection<'_>],
    now: Nanos,
    registry: &mio::Registry,
) -> io::Result<usize> {
    let running = connections.iter().filter(|c| c.is_logging_on()).count();
    let mut begun = 0;
    for connection in connections {
        if running + begun >= LOGONS_MAX {
            break;
        }
        begun += usize::from(connection.log_on(now, registry)?);
    }
    Ok(begun)
}

/// Why connections ended early, one line each reason with how many.
pub(super) fn failures(connections: &[Connection<'_>]) -> Vec<(String, usize)> {
    let mut failures = std::collections::BTreeMap::<String, usize>::new();
    for connection in connections {
        if let Some(End::Failed(why)) = connection.end() {
            *failures.entry(why.clone()).or_default() += 1;
        }
    }
    failures.into_iter().collect()
}

fn idle(idle: Idle, is_busy: bool) {
    match idle {
        Idle::Yield | Idle::Park if !is_busy => std::thread::yield_now(),
        Idle::Spin if !is_busy => std::hint::spin_loop(),
        Idle::Yield | Idle::Spin | Idle::Park => {}
    }
}

/// How long the poll may sleep.
fn park_time(
    idle: Idle,
    is_busy: bool,
    connections: &[Connection<'_>],
    start: Option<Nanos>,
    clock: Clock,
) -> Duration {
    if is_busy || idle != Idle::Park {
        return Duration::ZERO;
    }
    let next =
        connections.iter().filter(|c| c.end().is_none()).filter_map(|c| c.next_due(start)).min();
    let span = next.map(|at| Duration::from_nanos(at.since(clock.now()).0));
    if span.is_some_and(|span| span < PARK) { Duration::ZERO } else { PARK }
}

/// Progress on standard error: a bar if that is a terminal, or lines for a program.
struct Progress {
    bar: ProgressBar,
    shown: Cell<Nanos>,
    lines: Option<Lines>,
}

/// Progress for a program: a line each time this many more orders have an outcome.
struct Lines {
    step: u64,
    /// Orders at which the next line is due.
    next: Cell<u64>,
    was_settled: Cell<bool>,
}

impl Progress {
    fn new(settings: &Settings) -> Self {
        let lines = settings.has_progress_lines.then(|| Lines {
            step: (settings.orders / PROGRESS_LINES).max(1),
            next: Cell::new(1),
            was_settled: Cell::new(false),
        });
        let target = if io::stderr().is_terminal() && lines.is_none() {
            ProgressDrawTarget::stderr()
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(settings.orders), target);
        let template = "{bar:40} {pos}/{len} orders, {per_sec}, {eta} left";
        if let Ok(style) = ProgressStyle::with_template(template) {
            bar.set_style(style);
        }
        Self { bar, shown: Cell::new(Nanos(0)), lines }
    }

    /// Every connection has logged on, or never will.
    fn tell_settled(&self) {
        if self.lines.as_ref().is_some_and(|lines| !lines.was_settled.replace(true)) {
            tell(&json!({ "settled": true }));
        }
    }

    fn show(&self, now: Nanos, figures: &Figures) {
        let resolved = figures.resolved;
        if let Some(lines) = self.lines.as_ref().filter(|lines| resolved >= lines.next.get()) {
            lines.next.set(resolved + lines.step);
            tell(&json!({ "resolved": resolved, "reconnects": figures.reconnects }));
        }
        if now.since(self.shown.get()) >= PROGRESS_EVERY {
            self.shown.set(now);
            self.bar.set_position(resolved);
        }
    }

    fn clear(&self) {
        self.bar.finish_and_clear();
    }
}

fn tell(line: &serde_json::Value) {
    // Nobody may be reading, and that is no fault.
    let _ = writeln!(io::stderr().lock(), "{line}");
}
