//! The program itself: a whole small run, and what it leaves behind.
//!
//! The runner's processes are real here, so this is where "nothing is left behind" is tested: a
//! floor whose starter is killed must die too, and its end is seen as the end of its output.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_tidegate-perf");

/// The engine's program is built by a test of the whole workspace, not by one of this package:
/// `src/orders.rs` tests the order path in either case.
fn has_engine() -> bool {
    std::path::Path::new(PROGRAM).with_file_name("tidegate").is_file()
}

#[test]
fn a_small_run_measures_records_and_ends_its_servers() {
    let directory = tempfile::tempdir().unwrap();
    let history = directory.path().join("history.jsonl");
    std::fs::create_dir(directory.path().join("data")).unwrap();
    let output = Command::new(PROGRAM)
        .args(["run", "--pairs=3", "--orders-per-slice=20", "--idle=yield", "--cores=none"])
        .args(["--json", "--record", "--history"])
        .arg(&history)
        .arg("--data-dir")
        .arg(directory.path().join("data"))
        .arg("--out")
        .arg(directory.path().join("histograms"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let printed: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let recorded = std::fs::read_to_string(&history).unwrap();
    assert_eq!(serde_json::from_str::<serde_json::Value>(&recorded).unwrap(), printed);

    let rows = printed["contenders"].as_array().unwrap();
    for row in rows {
        let name = row["name"].as_str().unwrap();
        let file = |extension: &str| {
            directory.path().join("histograms").join(format!("{name}.{extension}")).exists()
        };
        let absence = match name {
            "sockperf" => Some("cannot yield"),
            "baseline" => Some("not asked for"),
            "engine" if !has_engine() => Some("no program beside this one"),
            _ => None,
        };
        let is_measured = absence.is_none();
        assert_eq!((file("hdr"), file("hgrm")), (is_measured, is_measured), "{name}");
        match absence {
            None => assert_eq!(row["round_trip"]["count"], 60, "{name}"),
            Some(why) => assert!(row["absent"].as_str().unwrap().contains(why), "{name}"),
        }
        let note = row["note"].as_str().is_some_and(|note| note.starts_with("journal on "));
        assert_eq!(note, name == "engine" && is_measured, "{name}");
    }
    assert_eq!(rows.len(), 6);
    let comparisons = printed["comparisons"].as_array().unwrap();
    assert_eq!(comparisons.len(), if has_engine() { 4 } else { 2 });
    for row in comparisons {
        assert!(row["median"].as_f64().unwrap() > 0.0);
        let is_gated = row["of"] == "engine" && row["over"] == "F1";
        assert_eq!(row["gate"].is_object(), is_gated);
        assert_eq!(row["verdict"], if is_gated { "grey" } else { "none" }, "only 3 pairs");
    }
    let left = std::fs::read_dir(directory.path().join("data")).unwrap();
    assert_eq!(left.count(), 0, "the journal is removed at the end");
    assert!(printed["resolution"].as_f64().unwrap() >= 0.0);
}

#[test]
fn a_floor_dies_with_the_process_that_started_it() {
    let mut starter = Command::new("sh")
        .args(["-c", r#""$0" guard --parent $$ -- "$0" echo --kind f0; true"#, PROGRAM])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut floor_output = BufReader::new(starter.stdout.take().unwrap());
    let mut line = String::new();
    floor_output.read_line(&mut line).unwrap();
    assert!(line.starts_with("listening 127.0.0.1:"), "{line:?}");

    starter.kill().unwrap();
    starter.wait().unwrap();
    let (sender, ended) = mpsc::channel();
    std::thread::spawn(move || {
        sender.send(floor_output.read_to_string(&mut String::new()).is_ok())
    });
    assert_eq!(ended.recv_timeout(Duration::from_secs(10)), Ok(true), "the floor lives on");
}

#[test]
fn what_cannot_be_had_is_refused_by_name() {
    let check = |arguments: &[&str], expected: &str| {
        let output = Command::new(PROGRAM).args(arguments).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{arguments:?}");
        assert!(said.contains(expected), "{arguments:?}: {said}");
    };
    check(&["guard", "--parent", "1", "--", PROGRAM, "echo"], "expected parent 1");
    check(&["echo", "--kind=f0", "--core=9999"], "cannot pin to core 9999");
    check(&["run", "--pairs=1", "--cores=1,9999"], "cannot pin to core 9999");
    check(&["run", "--record", "--history=/nonexistent/x"], "does not exist");
    check(&["run", "--engine=/nonexistent/x"], "no such program");
    check(&["run", "--engine", PROGRAM, "--data-dir=/nonexistent"], "a directory in /nonexistent");
    check(&["run", "--engine", PROGRAM, "--pairs=1001"], "fewer --pairs");
    check(&["run", "--engine", PROGRAM, "--pairs=1"], "engine: expected to be told it is ready");
    check(&["run", "--cores=1,1"], "two different core numbers");
    check(&["run", "--pairs=0"], "1..=1001");
}
