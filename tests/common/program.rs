//! The program as a process: started, spoken to, stopped; a home for its files.
//!
//! Every wait is bounded: output is read by a thread that a channel with a deadline stands in front
//! of, and a process that outlives its test is killed.

#![allow(dead_code, reason = "each test file compiles the bench and uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a bench that cannot be built ends the test")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

#[path = "market.rs"]
mod market;

use crossbeam_channel::{Receiver, unbounded};
pub(crate) use market::{CAPACITIES, MARKET};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::{TempDir, tempdir};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_tidegate");
/// The longest wait for one line of output, on a machine that does much else.
pub(crate) const WAIT_MAX: Duration = Duration::from_mins(1);

/// What a process left.
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) lines: Vec<String>,
}

impl Ended {
    pub(crate) fn text(&self) -> String {
        self.lines.join("\n")
    }

    /// The last line as JSON.
    pub(crate) fn json(&self) -> Value {
        let line = self.lines.iter().rev().find(|line| line.starts_with('{'));
        serde_json::from_str(line.unwrap_or_else(|| panic!("no JSON: {}", self.text()))).unwrap()
    }
}

/// A process whose standard output and error come as lines.
pub(crate) struct Process {
    child: Child,
    pub(crate) lines: Receiver<String>,
}

impl Process {
    pub(crate) fn start<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> Self {
        let mut command = Command::new(PROGRAM);
        command.args(args);
        Self::of(command)
    }

    /// Starts any command and reads along what it says.
    pub(crate) fn of(mut command: Command) -> Self {
        let mut child = command
            .env_remove("TIDEGATE_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (send, lines) = unbounded();
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let send_err = send.clone();
        thread::spawn(move || {
            BufReader::new(out).lines().map_while(Result::ok).for_each(|l| drop(send.send(l)));
        });
        thread::spawn(move || {
            BufReader::new(err).lines().map_while(Result::ok).for_each(|l| drop(send_err.send(l)));
        });
        Self { child, lines }
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.pid()).unwrap()), signal).unwrap();
    }

    /// Everything it says until it ends.
    pub(crate) fn end(mut self) -> Ended {
        let mut lines = Vec::new();
        loop {
            match self.lines.recv_timeout(WAIT_MAX) {
                Ok(line) => lines.push(line),
                Err(e) if e.is_disconnected() => break,
                Err(e) => panic!("it neither ends nor says anything ({e}): {lines:?}"),
            }
        }
        let status = self.child.wait().unwrap();
        Ended { code: status.code(), lines }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It has usually ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) fn ended<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> Ended {
    Process::start(args).end()
}

/// A directory with a configuration and a journal in it.
pub(crate) struct Home {
    pub(crate) dir: TempDir,
}

impl Home {
    pub(crate) fn new() -> Self {
        let home = Self { dir: tempdir().unwrap() };
        home.configure("", CAPACITIES, MARKET);
        home
    }

    pub(crate) fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    pub(crate) fn data(&self) -> String {
        self.path("data")
    }

    pub(crate) fn configure(&self, local: &str, capacities: &str, market: &str) {
        let local = format!(
            "[local]\nlisten = \"127.0.0.1:0\"\ndata_dir = \"data\"\nhot_dir = \".\"\n\
             idle = \"park\"\ndemo_keys = true\njournal_ring_bytes = \"4 MiB\"\n\
             report_ring_bytes = \"4 MiB\"\nreader_lag_max = \"1 MiB\"\n{local}\n"
        );
        fs::write(self.path("t.toml"), format!("{local}{capacities}{market}")).unwrap();
    }

    pub(crate) fn args(&self) -> Vec<String> {
        ["run", "--json", "--config", &self.path("t.toml")].map(str::to_owned).to_vec()
    }

    /// A start that is expected to fail.
    pub(crate) fn refused(&self) -> Ended {
        ended(&self.args())
    }

    pub(crate) fn serve(&self) -> Served {
        Self::await_serving(Process::start(&self.args()))
    }

    /// Waits until a process says where it listens.
    pub(crate) fn await_serving(process: Process) -> Served {
        let mut said = Vec::new();
        loop {
            let Ok(line) = process.lines.recv_timeout(WAIT_MAX) else {
                panic!("it does not serve: {said:?}");
            };
            if let Ok(Value::Object(line)) = serde_json::from_str(&line)
                && let Some(Value::String(address)) = line.get("listening")
            {
                return Served { process, address: address.clone() };
            }
            said.push(line);
        }
    }

    pub(crate) fn replay(&self) -> Value {
        let replay = ended(&["journal", "replay", "--json", &self.data()]);
        assert_eq!(replay.code, Some(0), "{}", replay.text());
        replay.json()
    }
}

/// A node that listens.
pub(crate) struct Served {
    pub(crate) process: Process,
    pub(crate) address: String,
}

impl Served {
    /// Runs `tidegate load` against it.
    pub(crate) fn load(&self, args: &[&str]) -> Value {
        let mut all = vec!["load", "--json", "--idle", "park", "--address", &self.address];
        all.extend_from_slice(args);
        let load = ended(&all);
        assert_eq!(load.code, Some(0), "{}", load.text());
        load.json()
    }

    /// Stops it in order and gives back what it said last.
    pub(crate) fn stop(self) -> Value {
        self.process.signal(Signal::SIGTERM);
        let ended = self.process.end();
        assert_eq!(ended.code, Some(0), "{}", ended.text());
        ended.json()
    }
}

pub(crate) fn digests(said: &Value) -> (String, String) {
    let text = |key: &str| said[key].as_str().unwrap().to_owned();
    (text("output_digest"), text("state_digest"))
}
