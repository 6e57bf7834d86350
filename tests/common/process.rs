//! The program as a node of its own process, and a line to it that can be cut.

#![allow(dead_code, reason = "each test file compiles the bench and uses a part of it")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that cannot be built ends the test"
)]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

#[path = "market.rs"]
mod market;

use market::{CAPACITIES, MARKET};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tempfile::{TempDir, tempdir};

pub(crate) const PROGRAM: &str = env!("CARGO_BIN_EXE_tidegate");
/// The longest wait for one thing, on a machine that does much else.
pub(crate) const WAIT_MAX: Duration = Duration::from_mins(1);

/// A directory with a small configuration, and the port that its node listens on.
pub(crate) struct Home {
    dir: TempDir,
    pub(crate) address: SocketAddr,
}

/// A node that listens; killed when dropped.
pub(crate) struct Served {
    child: Child,
}

impl Home {
    pub(crate) fn new() -> Self {
        // A port that was free a moment ago; the system does not hand it out again so soon.
        let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let home = Self { dir: tempdir().unwrap(), address };
        let config = format!(
            r#"
            [local]
            listen = "{address}"
            data_dir = "data"
            hot_dir = "."
            idle = "park"
            demo_keys = true
            journal_ring_bytes = "4 MiB"
            report_ring_bytes = "4 MiB"
            reader_lag_max = "1 MiB"

            {CAPACITIES}{MARKET}
            "#
        );
        fs::write(home.path("t.toml"), config).unwrap();
        home
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Starts a node and waits until it serves.
    pub(crate) fn serve(&self) -> Served {
        let mut child = Command::new(PROGRAM)
            .args(["run", "--json", "--config"])
            .arg(self.path("t.toml"))
            .env_remove("TIDEGATE_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let lines = lines_of(child.stdout.take().unwrap());
        let served = Served { child };
        loop {
            let line = lines.recv_timeout(WAIT_MAX).expect("it neither serves nor says why");
            if line.contains("\"listening\"") {
                return served;
            }
        }
    }

    /// Runs another command of the program to its end; its output, if it ended with 0.
    pub(crate) fn run(args: &[&str]) -> Result<String, String> {
        let output = Command::new(PROGRAM).args(args).stdin(Stdio::null()).output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let error = String::from_utf8_lossy(&output.stderr).into_owned();
        if output.status.success() { Ok(text) } else { Err(format!("{text}\n{error}")) }
    }
}

/// Lines of a pipe, read by a thread so that a wait for one can be bounded.
pub(crate) fn lines_of(pipe: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (send, lines) = channel();
    thread::spawn(move || {
        BufReader::new(pipe).lines().map_while(Result::ok).for_each(|line| drop(send.send(line)));
    });
    lines
}

impl Served {
    pub(crate) fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.child.id()).unwrap()), signal).unwrap();
    }

    /// SIGKILL, and waits until it is gone.
    pub(crate) fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM; whether it stopped in order.
    pub(crate) fn stop(mut self) -> bool {
        self.signal(Signal::SIGTERM);
        self.child.wait().unwrap().success()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        // It has usually ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A line in front of a node that can be cut at any octet.
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    streams: Arc<Mutex<Vec<TcpStream>>>,
}

impl Proxy {
    pub(crate) fn start(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let streams: Arc<Mutex<Vec<TcpStream>>> = Arc::default();
        let shared = Arc::clone(&streams);
        // It ends with the test's process.
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let Ok(server) = TcpStream::connect(target) else { continue };
                let mut streams = shared.lock().unwrap();
                for (from, to) in [(&client, &server), (&server, &client)] {
                    from.set_nodelay(true).unwrap();
                    streams.push(from.try_clone().unwrap());
                    let (from, to) = (from.try_clone().unwrap(), to.try_clone().unwrap());
                    thread::spawn(move || pass(from, to));
                }
            }
        });
        Self { address, streams }
    }

    /// Breaks every line.
    pub(crate) fn cut(&self) {
        for stream in self.streams.lock().unwrap().drain(..) {
            // It may be gone already.
            let _ = stream.shutdown(Shutdown::Both);
        }
    }
}

fn pass(mut from: TcpStream, mut to: TcpStream) {
    let mut octets = [0; 4096];
    while let Ok(count) = from.read(&mut octets) {
        if count == 0 || to.write_all(octets.get(..count).unwrap()).is_err() {
            break;
        }
    }
    let _ = to.shutdown(Shutdown::Write);
}
