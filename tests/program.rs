//! The program itself, as a process: how it refuses to start, how it stops, and what a kill leaves.
//!
//! Every wait is bounded: output is read by a thread that a channel with a deadline stands in front
//! of, and a process that outlives its test is killed.

#![allow(clippy::unwrap_used, reason = "a bench that cannot be built ends the test")]

use std::fs;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::Duration;

use crossbeam_channel::{Receiver, unbounded};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use tempfile::{TempDir, tempdir};

const PROGRAM: &str = env!("CARGO_BIN_EXE_tidegate");
/// The longest wait for one line of output, on a machine that does much else.
const WAIT_MAX: Duration = Duration::from_mins(1);

/// What a process left.
struct Ended {
    code: Option<i32>,
    lines: Vec<String>,
}

impl Ended {
    fn text(&self) -> String {
        self.lines.join("\n")
    }

    /// The last line as JSON.
    fn json(&self) -> Value {
        let line = self.lines.iter().rev().find(|line| line.starts_with('{'));
        serde_json::from_str(line.unwrap_or_else(|| panic!("no JSON: {}", self.text()))).unwrap()
    }
}

/// A process whose standard output and error come as lines.
struct Process {
    child: Child,
    lines: Receiver<String>,
}

impl Process {
    fn start<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> Self {
        let mut child = Command::new(PROGRAM)
            .args(args)
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

    fn pid(&self) -> u32 {
        self.child.id()
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(i32::try_from(self.pid()).unwrap()), signal).unwrap();
    }

    /// Everything it says until it ends.
    fn end(mut self) -> Ended {
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

fn ended<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> Ended {
    Process::start(args).end()
}

/// A directory with a configuration and a journal in it.
struct Home {
    dir: TempDir,
}

const CAPACITIES: &str = "
    [capacities]
    session_count_max = 64
    resend_window = 256
    key_count_max = 16384
    order_count_max = 4096
";

const MARKET: &str = r#"
    [[instrument]]
    symbol = "AAA"
    tick = "0.01"
    lot = 1
    low_limit = "0.01"
    high_limit = "1000000"

    [[owner]]
    id = 1
    name = "Firm A"
    accounts = [1001, 1002]
    orders_max = 4096

    [[owner]]
    id = 2
    name = "Firm B"
    accounts = [2001, 2002]
    orders_max = 4096

    [[key]]
    id = "firm-a"
    owner = 1

    [[key]]
    id = "firm-b"
    owner = 2
"#;

impl Home {
    fn new() -> Self {
        let home = Self { dir: tempdir().unwrap() };
        home.configure("", CAPACITIES, MARKET);
        home
    }

    fn path(&self, name: &str) -> String {
        self.dir.path().join(name).display().to_string()
    }

    fn data(&self) -> String {
        self.path("data")
    }

    fn configure(&self, local: &str, capacities: &str, market: &str) {
        let local = format!(
            "[local]\nlisten = \"127.0.0.1:0\"\ndata_dir = \"data\"\nidle = \"park\"\n\
             demo_keys = true\njournal_ring_bytes = \"4 MiB\"\nreport_ring_bytes = \"4 MiB\"\n\
             reader_lag_max = \"1 MiB\"\n{local}\n"
        );
        fs::write(self.path("t.toml"), format!("{local}{capacities}{market}")).unwrap();
    }

    fn args(&self) -> Vec<String> {
        ["run", "--json", "--config", &self.path("t.toml")].map(str::to_owned).to_vec()
    }

    /// A start that is expected to fail.
    fn refused(&self) -> Ended {
        ended(&self.args())
    }

    fn serve(&self) -> Served {
        let process = Process::start(&self.args());
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

    fn replay(&self) -> Value {
        let replay = ended(&["journal", "replay", "--json", &self.data()]);
        assert_eq!(replay.code, Some(0), "{}", replay.text());
        replay.json()
    }
}

/// A node that listens.
struct Served {
    process: Process,
    address: String,
}

impl Served {
    /// Runs `tidegate load` against it.
    fn load(&self, args: &[&str]) -> Value {
        let mut all = vec!["load", "--json", "--idle", "park", "--address", &self.address];
        all.extend_from_slice(args);
        let load = ended(&all);
        assert_eq!(load.code, Some(0), "{}", load.text());
        load.json()
    }

    /// Stops it in order and gives back what it said last.
    fn stop(self) -> Value {
        self.process.signal(Signal::SIGTERM);
        let ended = self.process.end();
        assert_eq!(ended.code, Some(0), "{}", ended.text());
        ended.json()
    }
}

fn digests(said: &Value) -> (String, String) {
    let text = |key: &str| said[key].as_str().unwrap().to_owned();
    (text("output_digest"), text("state_digest"))
}

#[test]
fn what_the_command_line_or_the_configuration_says_wrongly_is_named() {
    let home = Home::new();
    fs::write(home.path("bad.toml"), "[local]\nnode = 0\nidle = \"sleep\"\n").unwrap();
    let (none, bad) = (home.path("none.toml"), home.path("bad.toml"));
    let rows: [(&[&str], &[&str]); 5] = [
        (&["run", "--nope"], &["--nope"]),
        (&["run", "--listen", "here"], &["--listen", "here"]),
        (&["run", "--listen", "0.0.0.0:1"], &["--listen", "loopback"]),
        (&["run", "--config", &none], &["none.toml", "a readable file"]),
        (&["run", "--config", &bad], &["bad.toml:2", "node", "bad.toml:3", "idle"]),
    ];
    for (args, named) in rows {
        let ended = ended(args);
        assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.text());
        for name in named {
            assert!(ended.text().contains(name), "{args:?}: {name} in {}", ended.text());
        }
    }
}

#[test]
fn a_port_or_a_directory_that_cannot_be_had_is_named() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut args = home.args();
    args.extend(["--listen".to_owned(), address.clone()]);
    let refused = ended(&args);
    assert_eq!(refused.code, Some(1), "{}", refused.text());
    assert!(refused.text().contains(&format!("cannot listen on {address}")), "{}", refused.text());

    fs::write(home.path("file"), "").unwrap();
    let below = home.path("file/data");
    let mut args = home.args();
    args.extend(["--data-dir".to_owned(), below.clone()]);
    let refused = ended(&args);
    assert_eq!(refused.code, Some(1), "{}", refused.text());
    assert!(refused.text().contains(&below), "{}", refused.text());
}

#[test]
fn a_second_process_on_one_directory_is_told_who_holds_it() {
    let home = Home::new();
    let served = home.serve();
    let refused = home.refused();
    assert_eq!(refused.code, Some(1), "{}", refused.text());
    let holder = format!("in use by process {}", served.process.pid());
    assert!(refused.text().contains(&holder), "{}", refused.text());
    // The first is not disturbed.
    served.load(&["--orders", "100", "--connections", "2"]);
    served.stop();
    let clean = home.serve().stop();
    assert_eq!(clean["stopped"]["epoch"], 2);
}

#[test]
fn a_stop_says_the_digests_that_a_replay_finds() {
    let home = Home::new();
    let served = home.serve();
    let load = served.load(&[
        "--orders",
        "2000",
        "--connections",
        "4",
        "--duplicates",
        "20",
        "--cancels",
        "20",
        "--instruments",
        "1",
    ]);
    assert_eq!(load["counts"]["without_an_outcome"], 0, "{load}");
    let stopped = served.stop();
    assert_eq!(digests(&stopped), digests(&home.replay()));
    assert!(stopped["counters"]["messages"].as_u64().unwrap() >= 2000, "{stopped}");
    assert_eq!(stopped["counters"]["protocol_breaches"], 0, "{stopped}");
}

#[test]
fn a_killed_node_starts_again_where_it_was() {
    let home = Home::new();
    let served = home.serve();
    served.load(&["--orders", "1000", "--connections", "2", "--instruments", "1"]);
    served.process.signal(Signal::SIGKILL);
    let killed = served.process.end();
    assert_eq!(killed.code, None, "{}", killed.text());
    let replayed = home.replay();
    let stopped = home.serve().stop();
    // A new epoch changes the state and no report.
    assert_eq!(digests(&stopped).0, digests(&replayed).0);
    assert_eq!(stopped["trades"], replayed["trades"]);
    assert_eq!(digests(&stopped), digests(&home.replay()));
    assert_eq!(stopped["stopped"]["epoch"], 2);
}

#[test]
fn a_damaged_or_foreign_journal_is_refused_by_name() {
    let home = Home::new();
    let served = home.serve();
    served.load(&["--orders", "500", "--connections", "2", "--instruments", "1"]);
    served.stop();
    let ring = Path::new(&home.data()).join(journal::RING_FILE);
    let mut bytes = fs::read(&ring).unwrap();
    bytes[20_000] ^= 1;
    fs::write(&ring, &bytes).unwrap();
    let refused = home.refused();
    assert_eq!(refused.code, Some(1), "{}", refused.text());
    for named in [journal::RING_FILE, "at byte", "expected", "found"] {
        assert!(refused.text().contains(named), "{named}: {}", refused.text());
    }

    // Whole, and written by a build that knows a kind of record that this one does not.
    let home = Home::new();
    let options = journal::RingOptions::new(4 << 20, 1);
    let dir = home.data();
    let (mut ring, _) = journal::Ring::open_or_create(Path::new(&dir), &options).unwrap();
    ring.append(1, 1, 99, 0, 0, b"what is this").unwrap();
    ring.close().unwrap();
    let refused = home.refused();
    assert_eq!(refused.code, Some(1), "{}", refused.text());
    for named in ["cannot be replayed", "record 1", "99"] {
        assert!(refused.text().contains(named), "{named}: {}", refused.text());
    }
}

#[test]
fn settings_that_differ_are_refused_line_by_line_or_applied() {
    let home = Home::new();
    // A session makes it a journal that has answered somebody: before, it would be completed.
    let served = home.serve();
    served.load(&["--orders", "10", "--connections", "2", "--instruments", "1"]);
    served.stop();
    let second = r#"
    [[instrument]]
    symbol = "BBB"
    tick = "0.05"
    lot = 10
    low_limit = "0.05"
    high_limit = "1000"
    "#;
    let fewer = CAPACITIES.replace("order_count_max = 4096", "order_count_max = 8192");
    home.configure("", &fewer, &format!("{MARKET}{second}"));
    let refused = home.refused();
    assert_eq!(refused.code, Some(1), "{}", refused.text());
    for named in ["order_count_max", "fixed for the life", "BBB", "can be applied", "config ="] {
        assert!(refused.text().contains(named), "{named}: {}", refused.text());
    }
    home.configure("config = \"apply\"", &fewer, &format!("{MARKET}{second}"));
    let refused = home.refused();
    assert_eq!(refused.code, Some(1), "not all of it can be applied: {}", refused.text());

    home.configure("config = \"apply\"", CAPACITIES, &format!("{MARKET}{second}"));
    let served = home.serve();
    let load = served.load(&["--orders", "400", "--connections", "2", "--instruments", "2"]);
    assert_eq!(load["counts"]["without_an_outcome"], 0, "{load}");
    served.stop();
    // Applied once: the next start has nothing to apply.
    home.configure("", CAPACITIES, &format!("{MARKET}{second}"));
    home.serve().stop();
    assert_eq!(home.replay()["epoch"], 3);
}

#[test]
fn a_thousand_connections_trade() {
    let home = Home::new();
    let capacities = CAPACITIES.replace("session_count_max = 64", "session_count_max = 1024");
    home.configure("", &capacities, MARKET);
    let served = home.serve();
    let load = served.load(&[
        "--orders",
        "4000",
        "--connections",
        "1000",
        "--window",
        "2",
        "--instruments",
        "1",
    ]);
    assert_eq!(load["counts"]["without_an_outcome"], 0, "{load}");
    let stopped = served.stop();
    assert_eq!(stopped["counters"]["sessions_established"], 1000, "{stopped}");
    assert_eq!(stopped["counters"]["connections_refused"], 0, "{stopped}");
    assert_eq!(digests(&stopped), digests(&home.replay()));
}

/// Failed logons stand in a file of their own, a JSON object a line, whatever a stranger sends.
#[test]
fn failed_logons_are_written_to_the_audit_file() {
    let home = Home::new();
    home.configure("audit_file = \"audit.jsonl\"", CAPACITIES, MARKET);
    let served = home.serve();
    let mut stranger = std::net::TcpStream::connect(&served.address).unwrap();
    stranger.write_all(b"\x1b[2J\nGET / HTTP/1.1\r\n\r\n").unwrap();
    let mut answer = Vec::new();
    // It is told and closed.
    stranger.set_read_timeout(Some(WAIT_MAX)).unwrap();
    stranger.read_to_end(&mut answer).unwrap();
    assert!(!answer.is_empty());
    served.process.signal(Signal::SIGTERM);
    let ended = served.process.end();
    assert_eq!(ended.code, Some(0), "{}", ended.text());
    let text = fs::read_to_string(home.path("audit.jsonl")).unwrap();
    let line: Value = serde_json::from_str(text.trim_end()).unwrap();
    assert_eq!(line["cause"], "a breach of the protocol");
    assert!(line["peer"].as_str().unwrap().starts_with("127.0.0.1:"), "{text}");
    assert!(line["key"].is_null() && !text.contains('\u{1b}'), "{text}");
}
