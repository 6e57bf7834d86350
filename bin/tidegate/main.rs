//! The program: one file a command.
//!
//! To add a command: write its file beside this one with `Args` (a `clap::Args` whose doc comments
//! are its help) and `run(&Args) -> ExitCode`; then add `mod`, a variant of [`Command`] and an arm
//! in `main`. Results go to standard output, one clear line on each error to standard error.

mod config_command;
mod demo;
mod drill;
mod guard;
mod journal_command;
mod load;
mod output;
mod run;
mod verify_history;

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// A claim failed, or the run failed.
const EXIT_FAILURE: u8 = 1;
/// The command line or the configuration was refused.
const EXIT_USAGE: u8 = 2;
/// The journal's disk failed under a running node.
const EXIT_JOURNAL: u8 = 3;
/// A mapped file was truncated, or its disk failed, under a running node.
const EXIT_SIGBUS: u8 = 4;

const ABOUT: &str = "\
Tidegate is the gate between trading firms and a market: orders come in over TCP in a binary FIXP
session, each passes once, is journaled, matched and reported, and survives a crash.";

const GUIDE: &str = "\
First steps:
  tidegate demo                     an engine is killed; nothing is lost, nothing twice: 1 minute
  tidegate run                      a node on loopback; stop it with ctrl-c
  tidegate journal verify DIR       is this journal whole?
  tidegate journal replay DIR       execute it again, compare the digests
  tidegate config check             what runs without a file, and what it costs in memory
  tidegate config example > t.toml  a commented file to change
  tidegate config check t.toml      everything that is wrong with it, at once

Exit codes:
  0  done
  1  a claim failed, or the run failed
  2  the command line or the configuration was refused
  3  run: the journal's disk failed; nothing was acknowledged after it
  4  run: a mapped file was cut under the node (SIGBUS); likewise";

/// Tidegate: low-latency order entry.
#[derive(Parser)]
#[command(name = "tidegate", version, about = ABOUT, after_help = GUIDE)]
#[command(propagate_version = true, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run a node until SIGTERM
    ///
    /// Without a file: one node on 127.0.0.1:9700, journal in ./tidegate-data, three demo
    /// instruments, two demo firms. After a crash, start it again on the same directory: the
    /// journal is replayed and clients go on by number.
    Run(run::Args),
    /// Verify, replay, show or compare journals
    Journal(journal_command::Args),
    /// Check a configuration, or print one to start from
    Config(config_command::Args),
    Load(load::Args),
    VerifyHistory(verify_history::Args),
    Demo(demo::Args),
    Drill(drill::Args),
    /// Run another command of this program that ends with its parent
    #[command(hide = true)]
    Guard(guard::Args),
}

fn main() -> ExitCode {
    // A refused command line ends here with code 2, help and version with 0.
    let cli = Cli::parse();
    match cli.command {
        Command::Run(args) => run::run(&args),
        Command::Journal(args) => journal_command::run(&args),
        Command::Config(args) => config_command::run(&args),
        Command::Load(args) => load::run(&args),
        Command::VerifyHistory(args) => verify_history::run(&args),
        Command::Demo(args) => demo::run(&args),
        Command::Drill(args) => drill::run(&args),
        Command::Guard(args) => guard::run(&args),
    }
}
