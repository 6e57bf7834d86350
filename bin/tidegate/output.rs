//! Results on standard output, errors on standard error: the same way in every command.

use std::io::{ErrorKind, Write as _};
use std::process::ExitCode;

/// Writes a result and ends with `code`. A reader that went away (`| head`) is not a failure.
pub(crate) fn print(text: &str, code: ExitCode) -> ExitCode {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Err(e) if e.kind() != ErrorKind::BrokenPipe => {
            error(&format!("standard output: {e}"));
            ExitCode::FAILURE
        }
        Ok(()) | Err(_) => code,
    }
}

/// Writes one line about an error; nobody is left to tell if that fails too.
pub(crate) fn error(what: &str) {
    let _ = writeln!(std::io::stderr().lock(), "tidegate: {what}");
}
