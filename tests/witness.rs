//! A client in another language, by the protocol's text, against the program over TCP.
//!
//! `tests/witness/fixp_client.py` needs python3 and two packages from PyPI, which are installed
//! once below the build directory. A machine without them has not shown this claim, so the test
//! fails there and says what is missing. The other witness, a codec made from the schema by a
//! generator, is a workspace of its own: `tests/witness/README.md`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that cannot be built ends the test"
)]

#[path = "common/process.rs"]
mod process;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use process::{Home, WAIT_MAX, lines_of};

/// What is installed; a change of it installs anew.
const PACKAGES: [&str; 2] = ["sbe==0.4.3", "bitstring<5"];

/// A directory with the packages, installed unless they are there.
fn packages() -> PathBuf {
    let tmp = Path::new(env!("CARGO_TARGET_TMPDIR"));
    let ready = tmp.join("witness-sbe-0.4.3");
    if ready.is_dir() {
        return ready;
    }
    // A half-made directory is never taken for a whole one.
    let making = tmp.join(format!("witness-making-{}", std::process::id()));
    let output = Command::new("python3")
        .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"])
        .arg(&making)
        .args(PACKAGES)
        .env("PIP_ROOT_USER_ACTION", "ignore")
        .stdin(Stdio::null())
        .output()
        .unwrap_or_else(|e| panic!("the witness needs python3 (Debian: python3 python3-pip): {e}"));
    assert!(
        output.status.success(),
        "the witness needs {PACKAGES:?} from PyPI, by pip (Debian: python3-pip):\n{}",
        String::from_utf8_lossy(&output.stderr)
    );
    if fs::rename(&making, &ready).is_err() {
        // Another run was faster.
        assert!(ready.is_dir(), "{} cannot be made", ready.display());
        fs::remove_dir_all(&making).unwrap();
    }
    ready
}

#[test]
fn a_python_client_trades_recovers_and_comes_back() {
    let packages = packages();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let home = Home::new();
    let served = home.serve();
    let mut witness = Command::new("python3")
        .arg(root.join("tests/witness/fixp_client.py"))
        .arg(root.join("src/wire/tidegate.xml"))
        .arg(home.address.ip().to_string())
        .arg(home.address.port().to_string())
        .env("PYTHONPATH", packages)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (out, err) = (witness.stdout.take().unwrap(), witness.stderr.take().unwrap());
    let (said, errors) = (lines_of(out), lines_of(err));
    let mut steps = Vec::new();
    // It ends by itself: each of its own waits is bounded by 20 s.
    while let Ok(line) = said.recv_timeout(WAIT_MAX) {
        println!("{line}");
        steps.push(line);
    }
    let status = witness.wait().unwrap();
    let errors: Vec<String> = errors.iter().collect();
    assert!(status.success(), "after {steps:#?}:\n{}", errors.join("\n"));
    let expected = [
        "ok logs on with a block of 42 octets",
        "ok logs on with the standard's block of 36 octets",
        "ok two firms trade",
        "ok what is sent twice is executed once",
        "ok a lost line loses nothing",
        "ok a number that is used for another order ends the line",
        "ok a terminated session comes back",
        "ok Terminate is answered",
        "ok wrong and replayed credentials are refused",
        "witness: all as the protocol says",
    ];
    assert_eq!(steps, expected);
    assert!(served.stop());
}
