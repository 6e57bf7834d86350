//! `tidegate guard`: becomes another command of this program that cannot outlive its parent.
//!
//! A parent that ends in order stops its children itself. One that is killed cannot, and what it
//! leaves behind keeps a port, a journal's lock and a core. So each child asks the kernel for
//! SIGKILL at its parent's death first, and then becomes the real command under the same process
//! id. The request holds for the parent's thread that started it: children are started from the
//! first thread, which lives as long as the process.

use std::ffi::OsString;
use std::os::unix::process::{CommandExt as _, parent_id};
use std::process::{Command, ExitCode};

use nix::sys::prctl::set_pdeathsig;
use nix::sys::signal::Signal;

use crate::output::error;

/// Arguments of `tidegate guard`.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// The process whose death ends this one
    #[arg(long, value_name = "PID")]
    parent: u32,
    /// A command of this program and its arguments
    #[arg(required = true, last = true)]
    command: Vec<OsString>,
}

/// Runs the command; returns only when it cannot.
pub(crate) fn run(args: &Args) -> ExitCode {
    if let Err(e) = set_pdeathsig(Signal::SIGKILL) {
        error(&format!("guard: cannot ask for a signal at the parent's death: {e}"));
        return ExitCode::FAILURE;
    }
    // The parent may have died before the kernel was asked.
    if parent_id() != args.parent {
        error(&format!("guard: the parent is {}, not {}", parent_id(), args.parent));
        return ExitCode::FAILURE;
    }
    let failed = match std::env::current_exe() {
        Ok(program) => Command::new(program).args(&args.command).exec(),
        Err(e) => e,
    };
    error(&format!("guard: cannot start the command: {failed}"));
    ExitCode::FAILURE
}
