//! The only place that reads a clock.
//!
//! Latency is taken from the monotonic clock, whose reading costs some 25 ns and is the same for
//! every contender. The wall clock gives the date of a history line and the timestamp of a logon.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The monotonic clock.
#[inline]
#[expect(clippy::disallowed_methods, reason = "a measuring program reads the clock, here only")]
#[must_use]
pub fn now() -> Instant {
    Instant::now()
}

/// The date and time of day, as `2025-01-31T23:59:59Z`.
#[expect(clippy::disallowed_methods, reason = "a history line carries its date")]
#[must_use]
pub fn utc_date() -> String {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    utc_date_of(since_epoch)
}

/// The wall clock in ns since the Unix epoch, which signs a logon.
#[expect(clippy::disallowed_methods, reason = "a logon carries the time of day")]
#[must_use]
pub fn wall_ns() -> u64 {
    let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO);
    u64::try_from(since_epoch.as_nanos()).unwrap_or(u64::MAX)
}

const SECONDS_PER_DAY: u64 = 86_400;
const MONTH_DAYS: [u64; 12] = [31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];

fn utc_date_of(since_epoch: Duration) -> String {
    let seconds = since_epoch.as_secs();
    let mut day = seconds / SECONDS_PER_DAY;
    let mut year = 1970_u64;
    while day >= year_days(year) {
        day -= year_days(year);
        year += 1;
    }
    let mut month = 1;
    for length in MONTH_DAYS {
        let length = length + u64::from(month == 2 && year_days(year) == 366);
        if day < length {
            break;
        }
        day -= length;
        month += 1;
    }
    let of_day = seconds % SECONDS_PER_DAY;
    let (hour, minute, second) = (of_day / 3600, of_day / 60 % 60, of_day % 60);
    format!("{year:04}-{month:02}-{:02}T{hour:02}:{minute:02}:{second:02}Z", day + 1)
}

fn year_days(year: u64) -> u64 {
    let is_leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    if is_leap { 366 } else { 365 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_follow_the_calendar() {
        let check = |seconds, expected: &str| {
            assert_eq!(utc_date_of(Duration::from_secs(seconds)), expected);
        };
        check(0, "1970-01-01T00:00:00Z");
        check(86_399, "1970-01-01T23:59:59Z");
        check(951_782_400, "2000-02-29T00:00:00Z"); // 2000 is a leap year, by the rule of 400
        check(951_868_800, "2000-03-01T00:00:00Z");
        check(1_735_689_599, "2024-12-31T23:59:59Z");
        check(1_735_689_600, "2025-01-01T00:00:00Z");
        check(4_107_542_400, "2100-03-01T00:00:00Z"); // 2100 is not
    }
}
