//! A server process: started once, stopped between its slices, never left behind.
//!
//! All servers of a run exist at the same time, so that slices can alternate; but a busy-polling
//! server takes a whole core while it waits. So every server but the measured one is suspended
//! (SIGSTOP) and continued for its slice, floors and all others alike; the warm-up of a slice
//! brings its caches back.
//!
//! A child is killed when its handle is dropped, on error paths too. For the paths without drops
//! (the runner itself is killed) each child is started through `tidegate-perf guard`, which asks
//! the kernel for SIGKILL at the runner's death and then becomes the real program, under the same
//! process id. What a child prints is drained and the first [`LINE_COUNT_MAX`] unread lines kept.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::clock;
use crate::error::PerfError;

/// Unread lines of a child's output kept; later ones are dropped.
const LINE_COUNT_MAX: usize = 1024;

/// A child process. Invariant: alive (perhaps suspended) until dropped or collected.
pub(crate) struct Process {
    name: String,
    child: Child,
    lines: Receiver<String>,
}

impl Process {
    /// Starts `program` with `arguments` under the guard, without input, errors passed through.
    pub(crate) fn start<S: AsRef<OsStr>>(
        name: &str,
        program: &OsStr,
        arguments: &[S],
    ) -> Result<Self, PerfError> {
        Self::start_with(name, program, arguments, &[])
    }

    /// The same with these variables in its environment as well.
    pub(crate) fn start_with<S: AsRef<OsStr>>(
        name: &str,
        program: &OsStr,
        arguments: &[S],
        environment: &[(&str, &str)],
    ) -> Result<Self, PerfError> {
        let failed = |source| PerfError::Io { what: format!("starting {name}"), source };
        let own_program = std::env::current_exe().map_err(failed)?;
        let mut child = Command::new(own_program)
            .args(["guard", "--parent", &std::process::id().to_string(), "--"])
            .arg(program)
            .args(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let (sender, lines) = sync_channel(LINE_COUNT_MAX);
        let stdout = child.stdout.take();
        std::thread::spawn(move || {
            let Some(stdout) = stdout else { return };
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = sender.try_send(line);
            }
        });
        Ok(Self { name: name.to_owned(), child, lines })
    }

    /// The first thing `find` finds in a line the child prints within `bound`.
    pub(crate) fn await_line<T>(
        &self,
        bound: Duration,
        mut find: impl FnMut(&str) -> Option<T>,
    ) -> Result<T, PerfError> {
        let deadline = clock::now() + bound;
        loop {
            match self.line_before(deadline) {
                Ok(line) => {
                    if let Some(found) = find(&line) {
                        return Ok(found);
                    }
                }
                Err(RecvTimeoutError::Timeout) => {
                    return Err(PerfError::TimedOut { what: self.name.clone(), after: bound });
                }
                Err(RecvTimeoutError::Disconnected) => {
                    let name = self.name.as_str();
                    return Err(PerfError::unexpected(name, "to be told it is ready", "its end"));
                }
            }
        }
    }

    /// All the child prints until it ends, within `bound`.
    pub(crate) fn collect(self, bound: Duration) -> Result<Vec<String>, PerfError> {
        let deadline = clock::now() + bound;
        let mut lines = Vec::new();
        loop {
            match self.line_before(deadline) {
                Ok(line) => lines.push(line),
                Err(RecvTimeoutError::Disconnected) => return Ok(lines),
                Err(RecvTimeoutError::Timeout) => {
                    return Err(PerfError::TimedOut { what: self.name.clone(), after: bound });
                }
            }
        }
    }

    /// Suspends the process.
    pub(crate) fn pause(&self) -> Result<(), PerfError> {
        self.signal(Signal::SIGSTOP, "suspending")
    }

    /// Continues it.
    pub(crate) fn resume(&self) -> Result<(), PerfError> {
        self.signal(Signal::SIGCONT, "continuing")
    }

    fn line_before(&self, deadline: Instant) -> Result<String, RecvTimeoutError> {
        self.lines.recv_timeout(deadline.saturating_duration_since(clock::now()))
    }

    fn signal(&self, signal: Signal, doing: &str) -> Result<(), PerfError> {
        i32::try_from(self.child.id())
            .map_err(std::io::Error::other)
            .and_then(|id| kill(Pid::from_raw(id), signal).map_err(std::io::Error::from))
            .map_err(PerfError::io(format!("{doing} {}", self.name)))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // SIGKILL also ends a suspended process; an already ended one is only collected.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Becomes `program`, to be killed when the process `parent` dies. Returns only on failure.
pub(crate) fn become_guarded(
    parent: u32,
    program: &OsStr,
    arguments: &[std::ffi::OsString],
) -> PerfError {
    if let Err(errno) = nix::sys::prctl::set_pdeathsig(Signal::SIGKILL) {
        return PerfError::io("asking for a signal at the parent's death")(errno.into());
    }
    // The parent may have died before the kernel was asked.
    let parent_now = std::os::unix::process::parent_id();
    if parent_now != parent {
        return PerfError::unexpected("guard", format!("parent {parent}"), parent_now.to_string());
    }
    let failed = Command::new(program).args(arguments).exec();
    PerfError::io(format!("starting {}", program.to_string_lossy()))(failed)
}
