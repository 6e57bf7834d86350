//! The disk fails under a running node: full, broken, slow, cut off. Real processes on a real
//! small file system, with the system calls of the real program made to fail.
//!
//! A small tmpfs is mounted for a full disk, which takes root or sudo; `strace` injects errors and
//! delays into the calls of the journal's threads. After each fault the clients' histories are held
//! against the journal: nothing acknowledged is lost, nothing is executed twice.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

#[path = "common/program.rs"]
mod bench;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use bench::{CAPACITIES, Ended, Home, MARKET, Process, Served, WAIT_MAX, ended};
use nix::sys::signal::Signal;
use serde_json::Value;

/// The journal's disk failed: the exit code that `tidegate --help` names.
const EXIT_JOURNAL: i32 = 3;

/// Capacities for every order of a run to be a live key.
fn capacities() -> String {
    CAPACITIES.replace("key_count_max = 16384", "key_count_max = 524288")
}

fn home(local: &str) -> Home {
    let home = Home::new();
    home.configure(
        &format!("journal_ring_bytes = \"1 MiB\"\nspace_low_water = \"1 MiB\"\n{local}"),
        &capacities(),
        MARKET,
    );
    home
}

/// Runs as root, directly or by sudo.
fn as_root(args: &[&str]) {
    let is_root = nix::unistd::geteuid().is_root();
    let mut command = if is_root { Command::new(args[0]) } else { Command::new("sudo") };
    let rest = if is_root { &args[1..] } else { args };
    let done = command.args(if is_root { &[][..] } else { &["-n"][..] }).args(rest).output();
    let done = done.unwrap_or_else(|e| panic!("needs root or sudo: {args:?}: {e}"));
    let said = String::from_utf8_lossy(&done.stderr).into_owned();
    assert!(done.status.success(), "needs root or sudo: {args:?}: {said}");
}

/// A small disk in memory, unmounted when dropped.
struct SmallDisk {
    dir: PathBuf,
}

impl SmallDisk {
    fn mount(dir: PathBuf, bytes: u64) -> Self {
        fs::create_dir(&dir).unwrap();
        let (size, path) = (format!("size={bytes},mode=1777"), dir.display().to_string());
        as_root(&["mount", "-t", "tmpfs", "-o", &size, "none", &path]);
        Self { dir }
    }

    fn resize(&self, bytes: u64) {
        let (size, path) = (format!("remount,size={bytes}"), self.dir.display().to_string());
        as_root(&["mount", "-o", &size, &path]);
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        as_root(&["umount", "-l", &self.dir.display().to_string()]);
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
    home.await_serving(Process::of(command))
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

#[test]
fn a_full_disk_shuts_the_gate_before_anything_fails_and_room_opens_it() {
    let home =
        home("space_low_water = \"4 MiB\"\n".trim_start_matches("space_low_water = \"1 MiB\"\n"));
    let disk = SmallDisk::mount(PathBuf::from(home.data()), 20 << 20);
    let served = home.serve();
    let mut said = Vec::new();
    let load = load(&home, &served.address, 300_000, &["--window", "64"]);
    await_line(&served.process, &["gate shut", "Space"], &mut said);
    // Room comes back, and with it everything else.
    disk.resize(400 << 20);
    await_line(&served.process, &["gate open"], &mut said);
    assert_done(load);
    served.stop();
    assert_history(&home);
    drop(disk);
}
