//! The crash as a user runs it: a small demo, and what is left when it is interrupted or killed.
//!
//! Real processes, so the operating system decides how far each gets. What is asserted holds for
//! every course; every wait has a bound.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;

/// Looks at the process table before a wait has failed, and the pause between two.
const LOOKS_MAX: u32 = 6_000;
const PAUSE: Duration = Duration::from_millis(10);

fn tidegate() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.stdin(Stdio::null());
    command
}

/// How many processes have `word` in their command line; zombies have none.
fn processes_with(word: &str) -> usize {
    let processes = fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let lines = processes.filter_map(|entry| fs::read(entry.path().join("cmdline")).ok());
    lines.filter(|line| String::from_utf8_lossy(line).contains(word)).count()
}

#[expect(clippy::disallowed_methods, reason = "the wait for a process gives its core away")]
fn await_that(what: &str, mut is_so: impl FnMut() -> bool) {
    for _ in 0..LOOKS_MAX {
        if is_so() {
            return;
        }
        std::thread::sleep(PAUSE);
    }
    panic!("waited too long: {what}");
}

/// A demo that is far from its end, with its engine and its four clients running.
fn start_long_demo(site: &Path) -> Child {
    let word = site.to_str().unwrap();
    let demo = tidegate()
        .args(["demo", "--orders", "1000000", "--keep", word])
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // The demo, the engine and the clients name the directory.
    await_that("six processes", || processes_with(word) == 6);
    demo
}

fn signal(demo: &Child, signal: Signal) {
    kill(Pid::from_raw(i32::try_from(demo.id()).unwrap()), signal).unwrap();
}

#[test]
fn a_small_demo_holds_and_its_evidence_can_be_judged_again() {
    let dir = tempfile::tempdir().unwrap();
    let site = dir.path().join("site");
    let output = tidegate()
        .args(["demo", "--orders", "20000", "--json", "--keep"])
        .arg(&site)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{told}\n{}", String::from_utf8_lossy(&output.stdout));
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["holds"], true);
    assert_eq!(found["orders"], 20_000);
    for accepted in ["accepted", "accepted_by_judge", "keys_after_replay"] {
        assert_eq!(found[accepted], 20_000, "{accepted}");
    }
    let before = found["accepted_before_kill"].as_u64().unwrap();
    assert!((1..20_000).contains(&before), "{before}");
    assert!(found["compared"].as_u64().unwrap() > 0);
    assert!(told.contains("SIGKILL at"), "{told}");
    let judged = tidegate()
        .args(["verify-history", "--journal"])
        .args([site.join("data"), site.join("histories")])
        .output()
        .unwrap();
    assert!(judged.status.success(), "{}", String::from_utf8_lossy(&judged.stdout));
    // What is kept is not written over.
    let again = tidegate().args(["demo", "--keep"]).arg(&site).output().unwrap();
    assert_eq!(again.status.code(), Some(2));
}

#[test]
fn ctrl_c_stops_the_children() {
    let dir = tempfile::tempdir().unwrap();
    let site = dir.path().join("site");
    let demo = start_long_demo(&site);
    signal(&demo, Signal::SIGINT);
    let output = demo.wait_with_output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains("interrupted"), "{told}");
    assert_eq!(processes_with(site.to_str().unwrap()), 0);
}

#[test]
fn a_killed_parent_takes_the_children_along() {
    let dir = tempfile::tempdir().unwrap();
    let site = dir.path().join("site");
    let mut demo = start_long_demo(&site);
    signal(&demo, Signal::SIGKILL);
    demo.wait().unwrap();
    await_that("the children's end", || processes_with(site.to_str().unwrap()) == 0);
}

#[test]
fn arguments_are_refused_before_anything_starts() {
    for arguments in [
        &["demo", "--orders", "1"][..],
        &["drill", "--runs", "0"],
        &["drill", "--duplicates", "0"],
        &["drill", "--record", "/proc/none/drill.md"],
        &["demo", "--keep", "/proc/none"],
    ] {
        let output = tidegate().args(arguments).output().unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty() && !output.stderr.is_empty(), "{arguments:?}");
    }
}
