//! `tidegate config`: check a file before anything is built from it, or print one to start from.

use crate::EXIT_USAGE;
use crate::output::print;
use clap::Subcommand;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use tidegate::config::{Config, ConfigError, ConfigErrors, EXAMPLE, MemoryLine};

/// How the settings that apply without a file are called.
const BUILT_IN: &str = "built-in settings";

/// Arguments of `tidegate config`.
#[derive(clap::Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Check a file and show what it costs in memory
    ///
    /// Tells everything that is wrong with the file, one line each: file, line, key, what was
    /// expected with its range and unit, and what came. Nothing is started or written. Secrets are
    /// looked for where they would be (keys_file, environment) and never shown.
    Check {
        /// The configuration; without it, the built-in settings of `tidegate run` without a file
        file: Option<PathBuf>,
        /// One JSON object on standard output, errors included
        #[arg(long)]
        json: bool,
    },
    /// Print a complete, commented configuration that `config check` accepts
    ///
    /// Every key stands at its default. Try:
    ///   tidegate config example > tidegate.toml
    ///   tidegate config check tidegate.toml
    #[command(verbatim_doc_comment)]
    Example,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> ExitCode {
    match &args.command {
        Command::Example => print(EXAMPLE, ExitCode::SUCCESS),
        Command::Check { file, json } => check(file.as_deref(), *json),
    }
}

fn check(file: Option<&Path>, is_json: bool) -> ExitCode {
    let name = file.map_or_else(|| BUILT_IN.to_owned(), |file| file.display().to_string());
    match (file.map_or_else(|| Ok(Config::demo()), Config::load), is_json) {
        (Ok(config), true) => print(&to_line(&as_json(&name, &config)), ExitCode::SUCCESS),
        (Ok(config), false) => print(&as_text(&name, &config), ExitCode::SUCCESS),
        (Err(errors), true) => print(&to_line(&errors_as_json(&name, &errors)), refused()),
        (Err(errors), false) => {
            eprintln!("{errors}");
            refused()
        }
    }
}

fn refused() -> ExitCode {
    ExitCode::from(EXIT_USAGE)
}

fn to_line(value: &Value) -> String {
    format!("{value}\n")
}

fn as_text(name: &str, config: &Config) -> String {
    let (local, logical) = (&config.local, &config.logical);
    let mut text = format!(
        "{name}: ok\n\n  node {} on {}, data in {}, newest records in {}, answers at {}\n  {} \
         instruments, {} owners, {} accounts, {} \
         keys\n",
        local.node,
        local.listen,
        local.data_dir.display(),
        local.hot_dir.display(),
        local.durability.name(),
        logical.instruments.len(),
        logical.owners.len(),
        logical.accounts.len(),
        local.keys.len(),
    );
    if config.has_demo_keys() {
        text.push_str("  the keys of the demo firms are public: for this machine alone\n");
    }
    for warning in config.warnings() {
        let _ = writeln!(text, "  warning: {warning}");
    }
    text.push_str("\nMemory, taken at start-up:\n");
    let mut row = |bytes: u64, what: &str, from: &str| {
        let line = format!("  {:>12} MiB  {what:<15}  {from}", mebibytes(bytes));
        // Writing into a String cannot fail.
        let _ = writeln!(text, "{}", line.trim_end());
    };
    for line in config.memory() {
        row(line.bytes, line.what, &line.from);
    }
    row(config.memory_bytes(), "sum", "");
    text
}

/// MiB with one decimal, rounded up, so that nothing shows as nothing.
fn mebibytes(bytes: u64) -> String {
    let tenths = (u128::from(bytes) * 10).div_ceil(1 << 20);
    format!("{}.{}", tenths / 10, tenths % 10)
}

fn as_json(name: &str, config: &Config) -> Value {
    let (local, logical) = (&config.local, &config.logical);
    let symbols = logical.instruments.iter().map(|i| i.symbol.to_string());
    let owners = logical.owners.iter();
    let owners = owners.map(|o| json!({"id": o.id, "name": o.name.to_string()}));
    let memory = config.memory().into_iter();
    let memory = memory.map(
        |MemoryLine { what, from, bytes }| json!({"what": what, "from": from, "bytes": bytes}),
    );
    json!({
        "ok": true,
        "file": name,
        "warnings": config.warnings(),
        "listen": local.listen.to_string(),
        "data_dir": local.data_dir.display().to_string(),
        "hot_dir": local.hot_dir.display().to_string(),
        "durability": local.durability.name(),
        "space_low_water_bytes": local.space_low_water_bytes,
        "node": local.node,
        "instruments": symbols.collect::<Vec<_>>(),
        "owners": owners.collect::<Vec<_>>(),
        "accounts": logical.accounts.iter().map(|a| a.account.0).collect::<Vec<_>>(),
        "keys": local.keys.iter().map(|k| k.id.as_str()).collect::<Vec<_>>(),
        "demo_keys": config.has_demo_keys(),
        "memory": memory.collect::<Vec<_>>(),
        "memory_bytes": config.memory_bytes(),
    })
}

fn errors_as_json(name: &str, errors: &ConfigErrors) -> Value {
    let error = |e: &ConfigError| {
        json!({
            "file": e.file.display().to_string(),
            "line": (e.line > 0).then_some(e.line),
            "key": e.key,
            "expected": e.expected,
            "came": e.came,
        })
    };
    json!({
        "ok": false,
        "file": name,
        "errors": errors.as_slice().iter().map(error).collect::<Vec<_>>(),
    })
}
