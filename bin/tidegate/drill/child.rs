//! A child: another command of this program in a process of its own, never left behind.
//!
//! It is killed when its handle is dropped, on error paths too; for the paths without drops it runs
//! under the guard. It has a process group of its own, so that ctrl-c reaches the parent alone,
//! which then stops its children in order. Lines that it prints wait in a bounded channel: the
//! parent reads all of them or drops the child.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read};
use std::os::unix::process::CommandExt as _;
use std::os::unix::process::ExitStatusExt as _;
use std::process::{Command, ExitStatus, Stdio};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, bounded};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

use super::patience::Patience;

/// Unread lines of a child; it waits in its next write when there are more.
const LINES_MAX: usize = 4096;
/// Words that a child's end is described with are taken from this many last lines.
const LAST_LINES: usize = 4;

/// Where a child's standard error goes.
pub(crate) enum Errors {
    /// To this file.
    Log(File),
    /// To the parent, line by line.
    Lines,
}

/// A running process, or one that has ended and was not asked about yet.
pub(crate) struct Child {
    name: String,
    process: std::process::Child,
    lines: Receiver<String>,
    /// The last lines that were no JSON.
    complaints: Vec<String>,
}

impl Child {
    /// Starts `tidegate ARGUMENTS`.
    pub(crate) fn start(name: &str, arguments: &[String], errors: Errors) -> Result<Self, String> {
        let failed = |e: std::io::Error| format!("cannot start {name}: {e}");
        let has_error_lines = matches!(errors, Errors::Lines);
        let mut process = Command::new(std::env::current_exe().map_err(failed)?)
            .args(["guard", "--parent", &std::process::id().to_string(), "--"])
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(match errors {
                Errors::Log(file) => Stdio::from(file),
                Errors::Lines => Stdio::piped(),
            })
            .process_group(0)
            .spawn()
            .map_err(failed)?;
        let (sender, lines) = bounded(LINES_MAX);
        if has_error_lines && let Some(stream) = process.stderr.take() {
            forward(stream, sender.clone());
        }
        if let Some(stream) = process.stdout.take() {
            forward(stream, sender);
        }
        Ok(Self { name: name.to_owned(), process, lines, complaints: Vec::new() })
    }

    /// The next JSON line that it printed, if there is one now; other lines are kept to explain
    /// how it ended. An error when it has ended and everything was read.
    pub(crate) fn try_next(&mut self) -> Result<Option<Value>, String> {
        loop {
            let line = match self.lines.try_recv() {
                Ok(line) => line,
                Err(crossbeam_channel::TryRecvError::Empty) => return Ok(None),
                Err(crossbeam_channel::TryRecvError::Disconnected) => {
                    return Err(format!("{} ended early{}", self.name, self.last_words()));
                }
            };
            if let Ok(value) = serde_json::from_str(&line) {
                return Ok(Some(value));
            }
            if self.complaints.len() == LAST_LINES {
                self.complaints.remove(0);
            }
            self.complaints.push(line);
        }
    }

    /// Its next JSON line that has `key`, within `bound`.
    pub(crate) fn await_key(
        &mut self,
        patience: &Patience,
        key: &str,
        bound: Duration,
    ) -> Result<Value, String> {
        let step = format!("\"{key}\" from {}", self.name);
        patience
            .wait(&step, bound, || Ok(self.try_next()?.filter(|value| value.get(key).is_some())))
    }

    /// How it ended, within `bound`. Its lock and its port are free then.
    pub(crate) fn await_end(
        &mut self,
        patience: &Patience,
        bound: Duration,
    ) -> Result<ExitStatus, String> {
        let step = format!("the end of {}", self.name);
        let name = &self.name;
        let process = &mut self.process;
        patience.wait(&step, bound, || {
            process.try_wait().map_err(|e| format!("cannot wait for {name}: {e}"))
        })
    }

    /// Ends its standard input.
    pub(crate) fn close_input(&mut self) {
        drop(self.process.stdin.take());
    }

    /// Whether it still runs.
    pub(crate) fn is_running(&mut self) -> bool {
        matches!(self.process.try_wait(), Ok(None))
    }

    /// Sends it a signal. An error when it has ended already: the signal hit nothing.
    pub(crate) fn signal(&mut self, signal: Signal) -> Result<(), String> {
        if !self.is_running() {
            return Err(format!("{} had ended before {signal}{}", self.name, self.last_words()));
        }
        let id = i32::try_from(self.process.id()).map_err(|e| e.to_string())?;
        kill(Pid::from_raw(id), signal).map_err(|e| format!("{signal} to {}: {e}", self.name))
    }

    fn last_words(&self) -> String {
        if self.complaints.is_empty() {
            String::new()
        } else {
            format!(": {}", self.complaints.join("; "))
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        // An ended process is only collected. The threads that read its pipes end with it.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// How a process ended, in words.
pub(crate) fn end_words(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit code {code}"),
        (None, Some(signal)) => {
            Signal::try_from(signal).map_or_else(|_| format!("signal {signal}"), |s| s.to_string())
        }
        (None, None) => "unknown".to_owned(),
    }
}

/// Reads lines in a thread until the stream ends or the child's handle is gone.
fn forward<R: Read + Send + 'static>(stream: R, lines: Sender<String>) {
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                return;
            }
        }
    });
}
