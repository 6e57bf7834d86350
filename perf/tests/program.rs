//! The program itself: a whole small run, and what it leaves behind.
//!
//! The runner's processes are real here, so this is where "nothing is left behind" is tested: a
//! floor whose starter is killed must die too, and its end is seen as the end of its output.

use std::io::{BufRead, BufReader, Read};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

const PROGRAM: &str = env!("CARGO_BIN_EXE_tidegate-perf");

#[test]
fn a_small_run_measures_records_and_ends_its_servers() {
    let directory = tempfile::tempdir().unwrap();
    let history = directory.path().join("history.jsonl");
    let output = Command::new(PROGRAM)
        .args(["run", "--pairs=3", "--orders-per-slice=20", "--idle=yield", "--cores=none"])
        .args(["--json", "--record", "--history"])
        .arg(&history)
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
        let is_floor = name.starts_with('F');
        assert_eq!((file("hdr"), file("hgrm")), (is_floor, is_floor), "{name}");
        if is_floor {
            assert_eq!(row["round_trip"]["count"], 60, "{name}");
        } else {
            assert!(row["absent"].as_str().unwrap().contains("cannot yield"), "{name}");
        }
    }
    assert_eq!(rows.len(), 4);
    for row in printed["comparisons"].as_array().unwrap() {
        assert!(row["median"].as_f64().unwrap() > 0.0);
        assert_eq!(row["verdict"], "none", "3 pairs, and these rows have no gate");
    }
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
    check(&["run", "--cores=1,1"], "two different core numbers");
    check(&["run", "--pairs=0"], "1..=1001");
}
