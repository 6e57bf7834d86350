//! A mapped file is truncated under its process: it ends at its next store, with a line and a code.
//!
//! The child is this test program again, told by an environment variable to play it.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod common;

use common::temp_dir;
use journal::{Region, exit_on_sigbus};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::Path;
use std::process::{Command, Stdio};

const CHILD_FILE: &str = "JOURNAL_TEST_SIGBUS_FILE";
const FILE_BYTES: u64 = 16_384;
const CODE: i32 = 86;

/// In the parent's run this only checks that it is not meant; as the child it maps the file, waits
/// for a line, and stores.
#[test]
fn child_stores_into_a_mapped_file() {
    let Some(file) = std::env::var_os(CHILD_FILE) else {
        return;
    };
    exit_on_sigbus(CODE).unwrap();
    let mut region = Region::map_file(Path::new(&file), FILE_BYTES, true).unwrap();
    println!("\nmapped");
    std::io::stdout().flush().unwrap();
    std::io::stdin().read_line(&mut String::new()).unwrap();
    region.bytes_mut()[9000] = 1;
    println!("stored");
}

/// Lets the child store once `before_the_store` has been done to its file.
fn run_child(before_the_store: impl FnOnce(&Path)) -> (Option<i32>, String, String) {
    let dir = temp_dir();
    let file = dir.path().join("mapped");
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "child_stores_into_a_mapped_file", "--nocapture"])
        .env(CHILD_FILE, &file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    while line != "mapped\n" {
        line.clear();
        assert_ne!(lines.read_line(&mut line).unwrap(), 0, "the child says that it has mapped");
    }
    before_the_store(&file);
    child.stdin.take().unwrap().write_all(b"\n").unwrap();
    let (mut rest, mut errors) = (String::new(), String::new());
    lines.read_to_string(&mut rest).unwrap();
    child.stderr.take().unwrap().read_to_string(&mut errors).unwrap();
    (child.wait().unwrap().code(), rest, errors)
}

#[test]
fn a_truncated_file_ends_the_process_with_a_line_and_a_code() {
    let truncate = |file: &Path| {
        std::fs::OpenOptions::new().write(true).open(file).unwrap().set_len(0).unwrap();
    };
    let (code, rest, errors) = run_child(truncate);
    assert_eq!(code, Some(CODE), "{errors}");
    assert_eq!(rest, "", "nothing is done after it");
    assert_eq!(
        errors,
        "tidegate: SIGBUS: a mapped file was truncated or its disk failed; nothing is acknowledged \
         after this line\n"
    );
}

/// The same child with a file that is left alone, so that the other test is about the file.
#[test]
fn a_whole_file_takes_the_store() {
    let (code, rest, _) = run_child(|_| ());
    assert_eq!(code, Some(0));
    assert!(rest.contains("stored"), "{rest}");
}
