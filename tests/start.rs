//! A start that cannot serve changes nothing: the journal holds activations, and a supervisor that
//! starts an engine again and again on a port in use would fill it with them.

use std::net::TcpListener;
use std::process::{Command, Stdio};

#[test]
fn a_port_in_use_is_refused_before_the_journal_is_touched() {
    let dir = tempfile::tempdir().unwrap();
    let data = dir.path().join("data");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_tidegate"))
        .args(["run", "--json", "--listen", &address, "--data-dir"])
        .arg(&data)
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{told}");
    assert!(told.contains(&format!("cannot listen on {address}")), "{told}");
    assert!(output.stdout.is_empty());
    assert!(!data.exists(), "nothing was founded");
}
