//! Which machine, which build: what a figure must carry to mean anything later.
//!
//! Names come from `/proc` and git; what cannot be read is written as "unknown", never guessed.
//! The load average before the run is part of it: a busy machine explains a grey run.

use std::fs;
use std::process::{Command, Stdio};

use serde::Serialize;

/// Free cores that a tail needs on a quiet machine.
const TAIL_CORE_COUNT_MIN: usize = 8;
const UNKNOWN: &str = "unknown";

/// The machine of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Machine {
    /// Processor's own name.
    pub cpu: String,
    /// Cores this process may use.
    pub core_count: usize,
    /// Kernel release.
    pub kernel: String,
    /// Load averages over 1, 5 and 15 minutes before the run, as the kernel prints them.
    pub load_before: String,
}

impl Machine {
    /// Reads it; call before any thread is pinned.
    #[must_use]
    pub fn read() -> Self {
        let file = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Self {
            cpu: cpu_name(&file("/proc/cpuinfo")),
            core_count: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: first_words(&file("/proc/sys/kernel/osrelease"), 1),
            load_before: first_words(&file("/proc/loadavg"), 3),
        }
    }

    /// Whether percentiles beyond p90 can mean anything here.
    #[must_use]
    pub fn is_fit_for_tails(&self) -> bool {
        self.core_count >= TAIL_CORE_COUNT_MIN
    }
}

/// The source of a run.
#[derive(Clone, Debug, Serialize)]
pub struct Source {
    /// Commit of the working directory.
    pub commit: String,
    /// Whether the working directory had other changes, the history's own lines aside.
    pub is_changed: bool,
}

impl Source {
    /// Asks git; outside a repository the commit is "unknown" and counts as changed.
    #[must_use]
    pub fn read() -> Self {
        let status = git(&["status", "--porcelain", "--", ":/", ":!/perf/history.jsonl"]);
        Self {
            commit: git(&["rev-parse", "--short=12", "HEAD"]).unwrap_or_else(|| UNKNOWN.to_owned()),
            is_changed: status.is_none_or(|changes| !changes.is_empty()),
        }
    }
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).stderr(Stdio::null()).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| text.trim().to_owned())
}

fn cpu_name(cpuinfo: &str) -> String {
    let name = cpuinfo.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == "model name").then(|| value.trim())
    });
    name.filter(|name| !name.is_empty()).unwrap_or(UNKNOWN).to_owned()
}

fn first_words(text: &str, count: usize) -> String {
    let words: Vec<&str> = text.split_whitespace().take(count).collect();
    if words.len() == count { words.join(" ") } else { UNKNOWN.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_or_unknown() {
        let check = |found: String, expected: &str| assert_eq!(found, expected);
        check(cpu_name("processor\t: 0\nmodel name\t: Some CPU: X\nmodel\t: 2\n"), "Some CPU: X");
        check(cpu_name("processor : 0\nmodel name :\n"), "unknown");
        check(cpu_name(""), "unknown");
        check(first_words("6.1.0-18-amd64\n", 1), "6.1.0-18-amd64");
        check(first_words("0.17 0.24 0.15 1/97 4883\n", 3), "0.17 0.24 0.15");
        check(first_words("0.17 0.24", 3), "unknown");
        check(first_words("", 1), "unknown");
    }

    #[test]
    fn tails_need_cores() {
        let check = |core_count, expected| {
            let machine = Machine { core_count, ..Machine::read() };
            assert_eq!(machine.is_fit_for_tails(), expected);
        };
        check(2, false);
        check(7, false);
        check(8, true);
    }
}
