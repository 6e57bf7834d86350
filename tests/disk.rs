//! The disk fails under a running node: full, broken, slow, cut off. Real processes on a real
//! small file system, with the system calls of the real program made to fail.
//!
//! A small tmpfs is mounted for a full disk, which takes root or sudo; `strace` injects errors and
//! delays into the system calls of the journal's threads. After each fault the clients' histories
//! are held against the journal: nothing acknowledged is lost, nothing is executed twice.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

#[path = "common/program.rs"]
mod bench;

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use bench::{CAPACITIES, Ended, Home, MARKET, Process, Served, WAIT_MAX, ended};
use nix::sys::signal::Signal;
use serde_json::Value;

/// The journal's disk failed: the exit code that `tidegate --help` names.
const EXIT_JOURNAL: i32 = 3;
/// A mapped file was cut under the node.
const EXIT_SIGBUS: i32 = 4;

/// Capacities for every order of a run to be a live key.
fn capacities() -> String {
    CAPACITIES.replace("key_count_max = 16384", "key_count_max = 524288")
}

/// A small ring, and these settings besides.
fn home(local: &str) -> Home {
    let home = Home::new();
    home.configure(local, &capacities(), MARKET);
    let path = home.path("t.toml");
    let text = fs::read_to_string(&path).unwrap();
    let small = text.replace("journal_ring_bytes = \"4 MiB\"", "journal_ring_bytes = \"1 MiB\"");
    fs::write(path, small).unwrap();
    home
}

/// Runs as root, directly or by sudo.
fn as_root(args: &[&str]) -> Result<(), String> {
    let id = Command::new("id").arg("-u").output().unwrap();
    let args = if id.stdout == b"0\n" { args.to_vec() } else { [&["sudo", "-n"], args].concat() };
    let done = Command::new(args[0]).args(&args[1..]).output();
    let done = done.map_err(|e| format!("needs root or sudo: {args:?}: {e}"))?;
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    done.status.success().then_some(()).ok_or_else(|| format!("needs root: {args:?}: {said}"))
}

/// A small disk in memory, unmounted when dropped.
struct SmallDisk {
    dir: PathBuf,
}

impl SmallDisk {
    /// `Err` says why this machine lets nobody mount, not even root: containers are like that.
    fn mount(dir: PathBuf, bytes: u64) -> Result<Self, String> {
        fs::create_dir(&dir).unwrap();
        let (size, path) = (format!("size={bytes},mode=1777"), dir.display().to_string());
        as_root(&["mount", "-t", "tmpfs", "-o", &size, "none", &path])?;
        Ok(Self { dir })
    }

    fn resize(&self, bytes: u64) {
        let (size, path) = (format!("remount,size={bytes}"), self.dir.display().to_string());
        as_root(&["mount", "-o", &size, &path]).unwrap();
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        as_root(&["umount", "-l", &self.dir.display().to_string()]).unwrap();
    }
}

/// The node, with faults injected into its system calls. The process is the node's own: the tracer
/// is its grandchild.
fn serve_with(home: &Home, faults: &[&str]) -> Served {
    let mut command = Command::new("strace");
    command.args(["-D", "-f", "-qq", "--seccomp-bpf", "-o", "/dev/null"]);
    for fault in faults {
        let call = fault.split(':').next().unwrap();
        command.args(["-e", &format!("trace={call}"), "-e", &format!("inject={fault}")]);
    }
    command.arg(bench::PROGRAM).args(home.args());
    Home::await_serving(Process::of(command))
}

/// A load that goes on in the background, over reconnects.
fn load(home: &Home, address: &str, orders: u32, more: &[&str]) -> Process {
    let (orders, histories) = (orders.to_string(), home.path("histories"));
    fs::create_dir_all(&histories).unwrap();
    let mut args = vec!["load", "--json", "--idle", "park", "--address", address];
    args.extend(["--orders", &orders, "--instruments", "1", "--reconnect", "60", "--overlap"]);
    args.extend(["20", "--stall", "60", "--history", &histories]);
    args.extend_from_slice(more);
    Process::start(&args)
}

/// Reads along until a line of the log contains all of `words`.
fn await_line(process: &Process, words: &[&str], said: &mut Vec<String>) -> String {
    loop {
        let Ok(line) = process.lines.recv_timeout(WAIT_MAX) else {
            panic!("{words:?} never came: {}", said.join("\n"));
        };
        said.push(line.clone());
        if words.iter().all(|word| line.contains(word)) {
            return line;
        }
    }
}

fn assert_done(load: Process) -> Value {
    let load = load.end();
    assert_eq!(load.code, Some(0), "{}", load.text());
    let load = load.json();
    assert_eq!(load["counts"]["without_an_outcome"], 0, "{load}");
    load
}

/// Every claim of the judge holds.
fn assert_history(home: &Home) {
    let judged = ended(&[
        "verify-history".to_owned(),
        "--journal".to_owned(),
        home.data(),
        home.path("histories"),
    ]);
    assert_eq!(judged.code, Some(0), "{}", judged.text());
}

fn assert_ended(ended: &Ended, code: i32, words: &[&str]) {
    assert_eq!(ended.code, Some(code), "{}", ended.text());
    for word in words {
        assert!(ended.text().contains(word), "{word}: {}", ended.text());
    }
}

/// A load that goes on while the node comes and goes, and the address it goes on at.
struct Trading {
    home: Home,
    load: Process,
    address: String,
}

impl Trading {
    fn begin(home: Home, served: &Served, orders: u32, more: &[&str]) -> Self {
        let load = load(&home, &served.address, orders, more);
        Self { address: served.address.clone(), home, load }
    }

    /// Starts the node again where its clients look for it, on a healthy disk.
    fn serve_again(&self) -> Served {
        let mut args = self.home.args();
        args.extend(["--listen".to_owned(), self.address.clone()]);
        Home::await_serving(Process::start(&args))
    }

    /// Every order has its one outcome, and every claim of the judge holds.
    fn end(self, served: Served) {
        assert_done(self.load);
        served.stop();
        assert_history(&self.home);
    }
}

/// Reads along until the process has ended.
fn until_ended(served: Served, code: i32, words: &[&str]) {
    assert_ended(&served.process.end(), code, words);
}

/// On a real small file system; where nobody may mount one, by making the kernel say it is full.
#[test]
fn a_full_disk_shuts_the_gate_before_anything_fails_and_room_opens_it() {
    let home = home("space_low_water = \"4 MiB\"");
    let disk = SmallDisk::mount(PathBuf::from(home.data()), 20 << 20);
    let served = match &disk {
        Ok(_) => home.serve(),
        Err(why) => {
            eprintln!("{why}: no room is injected instead");
            serve_with(&home, &["fallocate:error=ENOSPC:when=12..400"])
        }
    };
    let mut said = Vec::new();
    let trading = Trading::begin(home, &served, 150_000, &["--window", "64"]);
    await_line(&served.process, &["gate shut", "Space"], &mut said);
    // Room comes back, and with it everything else.
    if let Ok(disk) = &disk {
        disk.resize(400 << 20);
    }
    await_line(&served.process, &["gate open"], &mut said);
    trading.end(served);
    drop(disk);
}

/// The disk says that it has room and gives none: a quota, a reserve for root.
#[test]
fn a_disk_that_gives_no_room_is_waited_for() {
    let home = home("");
    let served = serve_with(&home, &["fallocate:error=ENOSPC:when=12..400"]);
    let mut said = Vec::new();
    let trading = Trading::begin(home, &served, 60_000, &["--window", "64"]);
    await_line(&served.process, &["gate shut", "Space"], &mut said);
    await_line(&served.process, &["gate open"], &mut said);
    trading.end(served);
}

/// The first sync that fails is the last thing the journal does. What was acknowledged by then is
/// in the ring, and a start on a healthy disk finds all of it.
#[test]
fn a_failing_sync_ends_the_node_and_loses_nothing() {
    for durability in ["local-mmap", "local-fsync"] {
        let home = home(&format!("durability = \"{durability}\""));
        let served = serve_with(&home, &["fdatasync:error=EIO:when=40+"]);
        let trading = Trading::begin(home, &served, 20_000, &[]);
        until_ended(served, EXIT_JOURNAL, &["sync it", "Input/output error", "start again"]);
        let served = trading.serve_again();
        trading.end(served);
    }
}

/// A write that fails, and one that finds no room although there should be, are the same.
#[test]
fn a_failing_write_ends_the_node_and_loses_nothing() {
    for (error, text) in [("EIO", "Input/output error"), ("ENOSPC", "No space left")] {
        let home = home("");
        let served = serve_with(&home, &[&format!("pwrite64:error={error}:when=200+")]);
        let trading = Trading::begin(home, &served, 20_000, &[]);
        until_ended(served, EXIT_JOURNAL, &["write", text]);
        let served = trading.serve_again();
        trading.end(served);
    }
}

/// One sync takes ten seconds. Answers go on until half of the ring waits, then clients are not
/// read, then the gate shuts; when the disk is back so is everything.
#[test]
fn a_sync_of_ten_seconds_holds_the_node_and_loses_nothing() {
    let home = home("");
    let served = serve_with(&home, &["fdatasync:delay_enter=10000000:when=30"]);
    let mut said = Vec::new();
    let trading = Trading::begin(home, &served, 60_000, &["--window", "64"]);
    for words in [
        &["the disk is behind"][..],
        &["clients are not read"],
        &["gate shut", "Journal"],
        &["gate open"],
    ] {
        await_line(&served.process, words, &mut said);
    }
    trading.end(served);
}

/// Somebody truncates the ring under the node. It ends with a sentence and a code of its own; the
/// next start refuses what is left by name, and a person decides.
#[test]
fn a_truncated_ring_ends_the_node_by_name() {
    let home = home("");
    let served = home.serve();
    let ring = fs::read_dir(home.path(".")).unwrap().map(|entry| entry.unwrap().path());
    let is_ring = |path: &PathBuf| path.display().to_string().contains("tidegate-");
    let ring = ring.filter(is_ring).find(|path| path.is_file()).unwrap();
    fs::OpenOptions::new().write(true).open(&ring).unwrap().set_len(4096).unwrap();
    let load = load(&home, &served.address, 10, &["--connections", "1"]);
    until_ended(served, EXIT_SIGBUS, &["SIGBUS"]);
    drop(load);
    let refused = home.refused();
    let (ring, name) =
        (ring.file_name().unwrap().to_str().unwrap(), "ring file of the wrong length");
    assert_ended(&refused, 1, &[ring, name, "expected", "found", "--accept-loss"]);
    let mut args = home.args();
    args.push("--accept-loss".to_owned());
    let served = Home::await_serving(Process::start(&args));
    served.stop();
    assert_eq!(home.serve().stop()["stopped"]["epoch"], 3);
}

/// The machine restarts without a clean stop: the ring is gone, and what the disk had is there.
#[test]
fn without_its_ring_the_node_says_what_may_be_missing() {
    let home = home("");
    let served = home.serve();
    let done = load(&home, &served.address, 2_000, &[]);
    assert_done(done);
    served.process.signal(Signal::SIGKILL);
    served.process.end();
    for entry in fs::read_dir(home.path(".")).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_file() && entry.display().to_string().contains("tidegate-") {
            fs::remove_file(entry).unwrap();
        }
    }
    let mut said = Vec::new();
    let process = Process::start(&home.args());
    await_line(&process, &["journal: ring gone"], &mut said);
    await_line(
        &process,
        &["acknowledged orders may be missing", "nothing up to record"],
        &mut said,
    );
    await_line(&process, &["HistoryLost"], &mut said);
    drop(process);
}
