//! The machine and the source of a drill: what its record must carry to mean anything later.
//!
//! What cannot be read is "unknown", never guessed.

use std::fs;
use std::process::{Command, Stdio};

use serde_json::{Value, json};

use super::patience::wall;

/// Where and when a drill ran.
pub(crate) struct Machine {
    cpu: String,
    core_count: usize,
    kernel: String,
    /// Load averages over 1, 5 and 15 minutes before the first run.
    load: String,
    commit: String,
    /// UTC, YYYY-MM-DD.
    date: String,
}

impl Machine {
    /// Reads it.
    pub(crate) fn read() -> Self {
        let file = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpu = file("/proc/cpuinfo");
        let cpu = cpu.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            (key.trim() == "model name").then(|| value.trim().to_owned())
        });
        let load: Vec<String> =
            file("/proc/loadavg").split_whitespace().take(3).map(str::to_owned).collect();
        Self {
            cpu: known(cpu.unwrap_or_default()),
            core_count: std::thread::available_parallelism().map_or(1, usize::from),
            kernel: known(file("/proc/sys/kernel/osrelease").trim().to_owned()),
            load: known(load.join(" ")),
            commit: commit(),
            date: date(wall().0 / 1_000_000_000 / 86_400),
        }
    }

    pub(crate) fn as_markdown(&self) -> String {
        let Self { cpu, core_count, kernel, load, commit, date } = self;
        format!(
            "| | |\n|---|---|\n| date | {date} |\n| commit | {commit} |\n| machine | {cpu}, \
             {core_count} cores, Linux {kernel} |\n| load before | {load} |\n"
        )
    }

    pub(crate) fn as_json(&self) -> Value {
        let Self { cpu, core_count, kernel, load, commit, date } = self;
        json!({
            "cpu": cpu,
            "cores": core_count,
            "kernel": kernel,
            "load_before": load,
            "commit": commit,
            "date": date,
        })
    }
}

fn known(text: String) -> String {
    if text.is_empty() { "unknown".to_owned() } else { text }
}

/// The commit of the working directory, and whether the sources differ from it.
fn commit() -> String {
    let git = |arguments: &[&str]| {
        let output = Command::new("git").args(arguments).stderr(Stdio::null()).output().ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let Some(commit) = git(&["rev-parse", "--short=12", "HEAD"]) else {
        return known(String::new());
    };
    let changes =
        git(&["status", "--porcelain", "--untracked-files=no", "--", ":/*.rs", ":/*.toml"]);
    if changes.is_none_or(|changes| !changes.is_empty()) {
        format!("{commit} with changes")
    } else {
        commit
    }
}

/// A day since 1970-01-01 in the Gregorian calendar.
fn date(days: u64) -> String {
    // Years are counted from March, so that the leap day is the last of its year.
    let days = days + 719_468;
    let (era, day_of_era) = (days / 146_097, days % 146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_have_dates() {
        let check = |days: u64, expected: &str| assert_eq!(date(days), expected);
        check(0, "1970-01-01");
        check(59, "1970-03-01");
        check(11_016, "2000-02-29");
        check(11_017, "2000-03-01");
        check(20_453, "2025-12-31");
        check(47_540, "2100-02-28");
        check(47_541, "2100-03-01");
    }
}
