//! Failed logons, for whoever looks after the keys: one JSON object a line.
//!
//! A stranger must not fill the journal, so what failed is not in it; nor may it fill a disk, so
//! this file grows by a bounded rate, and what did not fit is counted on the next line that does.
//! Written by a thread that waits for nobody, from notices of the hot thread, which never waits for
//! it. Nothing a peer sent stands in it but a key id that is well formed; the rest are our own
//! words, and everything is escaped as JSON strings are.
//!
//! ```text
//! {"cause":"the MAC is wrong","key":"firm-a","peer":"10.0.0.9:47","time":"2030-..."}
//! {"cause":"no logon in time","key":null,"left_out":312,"peer":null,"time":"2030-..."}
//! ```

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::limits::{AUDIT_BYTES_A_SECOND_MAX, AUDIT_BYTES_BURST_MAX};
use crate::vocabulary::units::Nanos;

/// The file.
pub struct Audit {
    file: File,
    /// Octets that may still be written, as of `at`.
    budget: u64,
    at: Nanos,
    left_out: u64,
}

/// A logon that failed, or a connection that was refused before one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Failed<'a> {
    /// Who.
    pub peer: Option<SocketAddr>,
    /// The key it named, if that was well formed.
    pub key_id: Option<&'a str>,
    /// Why, in our words.
    pub cause: &'a str,
}

impl Audit {
    /// Opens the file to be continued; it is made when it is not there, for its owner's eyes.
    pub fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        Ok(Self { file, budget: AUDIT_BYTES_BURST_MAX, at: Nanos(0), left_out: 0 })
    }

    /// Writes a line, if there is room for it at `wall`. False when it was left out.
    pub fn on_failed(&mut self, wall: Nanos, failed: &Failed<'_>) -> io::Result<bool> {
        let earned = u128::from(wall.since(self.at).0) * u128::from(AUDIT_BYTES_A_SECOND_MAX)
            / u128::from(Nanos::SECOND.0);
        // Less than an octet is not thrown away: it is earned by the next line.
        if earned > 0 || wall < self.at {
            let earned = u64::try_from(earned).unwrap_or(u64::MAX);
            self.budget = self.budget.saturating_add(earned).min(AUDIT_BYTES_BURST_MAX);
            self.at = wall;
        }
        let line = line(wall, failed, self.left_out);
        if line.len() as u64 > self.budget {
            self.left_out += 1;
            return Ok(false);
        }
        self.budget -= line.len() as u64;
        self.file.write_all(line.as_bytes())?;
        self.left_out = 0;
        Ok(true)
    }

    /// Lines left out since the last one that was written.
    #[must_use]
    pub const fn left_out(&self) -> u64 {
        self.left_out
    }
}

fn line(wall: Nanos, failed: &Failed<'_>, left_out: u64) -> String {
    let peer = failed.peer.map(|peer| peer.to_string());
    let mut object = serde_json::json!({
        "time": time(wall), "peer": peer, "key": failed.key_id, "cause": failed.cause,
    });
    if left_out > 0 {
        object["left_out"] = left_out.into();
    }
    // What JSON allows as it is may still move the cursor of a terminal.
    let escape = |c: char| if c.is_control() { format!("\\u{:04x}", c as u32) } else { c.into() };
    let escaped: String = object.to_string().chars().map(escape).collect();
    format!("{escaped}\n")
}

/// ISO 8601 in UTC, to the millisecond.
fn time(wall: Nanos) -> String {
    let (seconds, millis) = (wall.0 / Nanos::SECOND.0, wall.0 % Nanos::SECOND.0 / Nanos::MILLI.0);
    let (day, second) = (seconds / 86_400, seconds % 86_400);
    // Days since 1 March of year 0: the leap day is the last of its year.
    let day = day + 719_468;
    let (era, of_era) = (day / 146_097, day % 146_097);
    let year = (of_era - of_era / 1_460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let (of_month, is_next) = (of_year - (153 * month + 2) / 5 + 1, u64::from(month >= 10));
    let (year, month) = (era * 400 + year + is_next, (month + 2) % 12 + 1);
    let (hour, minute, second) = (second / 3_600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{of_month:02}T{hour:02}:{minute:02}:{second:02}.{millis:03}Z")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    const WALL: Nanos = Nanos(1_900_000_000_123_456_789);

    #[test]
    fn a_line_is_json_whatever_stands_in_it() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let mut audit = Audit::open(&path).unwrap();
        let peer = Some("[::1]:7".parse().unwrap());
        let hostile = "a\"b\\c\n{\"x\":1}\u{1b}[2J\u{7f}\u{85}";
        let failed = Failed { peer, key_id: Some("firm-a"), cause: hostile };
        assert!(audit.on_failed(WALL, &failed).unwrap());
        let none = Failed { peer: None, key_id: None, cause: "no logon in time" };
        assert!(audit.on_failed(WALL, &none).unwrap());
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<serde_json::Value> =
            text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 2, "{text:?}");
        assert!(text.lines().all(|l| !l.bytes().any(|b| b < b' ' || b == 0x7f)), "{text:?}");
        assert_eq!(lines[0]["peer"], "[::1]:7");
        assert_eq!(lines[0]["key"], "firm-a");
        assert_eq!(lines[0]["time"], "2030-03-17T17:46:40.123Z");
        assert!(lines[1]["peer"].is_null() && lines[1]["key"].is_null());
        let mode = std::fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }

    #[test]
    fn it_grows_at_a_bounded_rate_and_counts_what_it_left_out() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.jsonl");
        let mut audit = Audit::open(&path).unwrap();
        let failed = Failed { peer: None, key_id: None, cause: "the MAC is wrong" };
        let flood = |audit: &mut Audit, wall| {
            (0..20_000).filter(|_| audit.on_failed(wall, &failed).unwrap()).count()
        };
        let size = || std::fs::metadata(&path).unwrap().len();
        assert!(flood(&mut audit, WALL) > 100);
        assert!(size() <= AUDIT_BYTES_BURST_MAX);
        let left_out = audit.left_out();
        assert!(left_out > 0);
        let before = size();
        let later = Nanos(WALL.0 + Nanos::SECOND.0);
        assert!(flood(&mut audit, later) > 10);
        assert!(size() - before <= AUDIT_BYTES_A_SECOND_MAX + 200);
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text.matches(&format!("\"left_out\":{left_out},")).count(), 1);
        // A wall clock that goes back earns nothing and breaks nothing.
        let before = size();
        flood(&mut audit, Nanos(1));
        assert!(size() - before < 200);
    }

    #[test]
    fn times_agree_with_the_calendar() {
        for (seconds, text) in [
            (0, "1970-01-01T00:00:00.000Z"),
            (951_825_600, "2000-02-29T12:00:00.000Z"),
            (1_735_689_599, "2024-12-31T23:59:59.000Z"),
            (1_893_456_000, "2030-01-01T00:00:00.000Z"),
        ] {
            assert_eq!(time(Nanos(seconds * Nanos::SECOND.0)), text);
        }
    }
}
