//! The written forms of settings, each with the sentence that names it in an error.
//!
//! Prices are decimal strings: a TOML float cannot say 0.1, and an integer leaves open of what.
//! Sizes and spans carry their unit, so that nobody counts zeros. All are exact or refused.

use crate::vocabulary::units::{Nanos, Px};
use std::ops::RangeInclusive;
use toml::de::DeValue;
use toml::value::{Datetime, Offset};

const SECOND: u64 = Nanos::SECOND.0;
const SPANS: [(&str, u64); 6] = [
    ("us", 1_000),
    ("ms", Nanos::MILLI.0),
    ("s", SECOND),
    ("min", 60 * SECOND),
    ("h", 3_600 * SECOND),
    ("d", 86_400 * SECOND),
];
const SIZES: [(&str, u64); 4] = [("B", 1), ("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30)];

/// How a price is written, for errors.
pub(super) const PRICE: &str = "a price as a string, such as \"10.05\", with at most 8 decimals";

const DECIMALS: usize = 8;

/// An integer in `range`.
pub(super) fn integer(value: &DeValue<'_>, range: &RangeInclusive<u64>) -> Option<u64> {
    let integer = value.as_integer()?;
    let parsed = u64::from_str_radix(integer.as_str(), integer.radix()).ok()?;
    range.contains(&parsed).then_some(parsed)
}

/// An integer in `range`, which lies within `u32`.
pub(super) fn integer_u32(value: &DeValue<'_>, range: &RangeInclusive<u32>) -> Option<u32> {
    let wide = u64::from(*range.start())..=u64::from(*range.end());
    integer(value, &wide).and_then(|v| u32::try_from(v).ok())
}

/// A size in bytes: an integer, or a string such as "256 MiB".
pub(super) fn size(value: &DeValue<'_>) -> Option<u64> {
    integer(value, &(0..=u64::MAX)).or_else(|| with_unit(value.as_str()?, &SIZES))
}

/// A size as [`size`] reads it, in the largest unit that is exact.
pub(super) fn show_size(bytes: u64) -> String {
    let unit = SIZES.iter().rev().find(|(_, unit)| bytes.is_multiple_of(*unit));
    let (name, unit) = unit.filter(|_| bytes > 0).unwrap_or(&SIZES[0]);
    format!("{} {name}", bytes / unit)
}

/// A span such as "24 h".
pub(super) fn span(value: &DeValue<'_>) -> Option<Nanos> {
    with_unit(value.as_str()?, &SPANS).map(Nanos)
}

/// A span as [`span`] reads it, in the largest unit that is exact.
pub(super) fn show_span(span: Nanos) -> String {
    let fits = |unit: u64| span.0 >= unit && span.0.is_multiple_of(unit);
    match SPANS.iter().rev().find(|(_, unit)| fits(*unit)) {
        Some((name, unit)) => format!("{} {name}", span.0 / unit),
        None => format!("{} ns", span.0),
    }
}

/// A price, exact to 1e-8.
pub(super) fn price(value: &DeValue<'_>) -> Option<Px> {
    let text = value.as_str()?;
    let (negative, digits) = match text.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, text),
    };
    let (whole, part) = digits.split_once('.').unwrap_or((digits, "0"));
    if whole.is_empty() || part.is_empty() || part.len() > DECIMALS {
        return None;
    }
    let whole = decimal(whole)?;
    let part =
        decimal(part)?.checked_mul(10_u64.pow(u32::try_from(DECIMALS - part.len()).ok()?))?;
    let abs = whole.checked_mul(Px::ONE.raw().unsigned_abs())?.checked_add(part)?;
    let abs = i64::try_from(abs).ok()?;
    Px::try_new(if negative { -abs } else { abs })
}

/// A price as [`price`] reads it, without idle zeros but with at least two decimals.
pub(super) fn show_price(price: Px) -> String {
    let all = price.to_string();
    let cents = all.len() - (DECIMALS - 2);
    let (kept, idle) = all.split_at(cents);
    format!("{kept}{}", idle.trim_end_matches('0'))
}

/// A point in time: a TOML date-time with an offset, from 1970 on.
pub(super) fn time(value: &DeValue<'_>) -> Option<Nanos> {
    since_epoch(value.as_datetime()?)
}

/// Octets written as hexadecimal digits.
pub(super) fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |octet: u8| char::from(octet).to_digit(16).and_then(|d| u8::try_from(d).ok());
    let pairs = text.as_bytes().chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    pairs
        .map(|pair| match pair {
            [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
            _ => None,
        })
        .collect()
}

fn since_epoch(datetime: &Datetime) -> Option<Nanos> {
    let (date, time, offset) = (datetime.date?, datetime.time?, datetime.offset?);
    let minutes_east = match offset {
        Offset::Z => 0,
        Offset::Custom { minutes } => i64::from(minutes),
    };
    let (month, second) = (i64::from(date.month), i64::from(time.second.unwrap_or(0)));
    // Days by the civil calendar with the year beginning in March, so that a leap day is the last.
    let year = i64::from(date.year) - i64::from(month <= 2);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + i64::from(date.day) - 1;
    let days = 365 * year + year / 4 - year / 100 + year / 400 + day_of_year - 719_468;
    let minutes = (days * 24 + i64::from(time.hour)) * 60 + i64::from(time.minute) - minutes_east;
    let seconds = u64::try_from(minutes * 60 + second).ok()?;
    let nanos = u64::from(time.nanosecond.unwrap_or(0));
    seconds.checked_mul(Nanos::SECOND.0)?.checked_add(nanos).map(Nanos)
}

/// `"<digits> <unit>"`, the blank optional.
fn with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let end = text.find(|c: char| !c.is_ascii_digit())?;
    let (digits, unit) = text.split_at(end);
    let unit = unit.strip_prefix(' ').unwrap_or(unit);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    decimal(digits)?.checked_mul(*factor)
}

/// Decimal digits and nothing else; Rust's own parser would take a sign.
fn decimal(text: &str) -> Option<u64> {
    text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;
    use toml::de::DeTable;

    /// Reads what stands behind `v =`.
    fn read<T>(written: &str, read: impl FnOnce(&DeValue<'_>) -> Option<T>) -> Option<T> {
        let text = format!("v = {written}");
        let table = DeTable::parse(&text).unwrap().into_inner();
        let (_, value) = table.into_iter().next().unwrap();
        read(value.get_ref())
    }

    #[test]
    fn prices_are_exact_decimal_strings() {
        let check = |written, raw: Option<i64>| {
            let price = read(written, price);
            assert_eq!(price.map(Px::raw), raw, "{written}");
            if let Some(price) = price {
                let again = format!("\"{}\"", show_price(price));
                assert_eq!(read(&again, super::price), Some(price), "{again}");
            }
        };
        check(r#""10.05""#, Some(1_005_000_000));
        check(r#""0.00000001""#, Some(1));
        check(r#""-0.5""#, Some(-50_000_000));
        check(r#""7""#, Some(700_000_000));
        check(r#""00.10""#, Some(10_000_000));
        check(r#""11529215046.06846976""#, Some(1 << 60));
        check(r#""-11529215046.06846976""#, Some(-(1 << 60)));
        check(r#""11529215046.06846977""#, None);
        check(r#""0.000000001""#, None); // nine decimals
        check(r#""99999999999999999999""#, None); // above 2^64
        check(r#""184467440737.1""#, None); // whole x 1e8 above 2^64
        check(r#""1.""#, None);
        check(r#"".5""#, None);
        check(r#""1.-5""#, None);
        check(r#""+1""#, None);
        check(r#""--1""#, None);
        check(r#""1e3""#, None);
        check(r#""1,5""#, None);
        check(r#""١""#, None); // a digit, but not ours
        check(r#""""#, None);
        check("10.05", None); // a float is never exact
        check("10", None); // ten of what
    }

    #[test]
    fn prices_are_shown_with_two_decimals_or_what_they_need() {
        let check = |raw, shown| assert_eq!(show_price(Px::try_new(raw).unwrap()), shown);
        check(100_000_000, "1.00");
        check(1_050_000_000, "10.50");
        check(12_345_000, "0.12345");
        check(-1, "-0.00000001");
        check(0, "0.00");
    }

    #[test]
    fn sizes_and_spans_have_units() {
        let check = |written, bytes| assert_eq!(read(written, size), bytes, "{written}");
        check("4096", Some(4096));
        check("0x1000", Some(4096));
        check("1_000", Some(1000));
        check(r#""4096 B""#, Some(4096));
        check(r#""64KiB""#, Some(65_536));
        check(r#""256 MiB""#, Some(256 << 20));
        check(r#""2 GiB""#, Some(2 << 30));
        check(r#""2 GB""#, None); // 1000 or 1024?
        check(r#""2  GiB""#, None);
        check(r#""GiB""#, None);
        check(r#""17179869184 GiB""#, None); // 2^64
        check(r#""18446744073709551616 B""#, None);
        check("-1", None);
        check("99999999999999999999", None);
        check("1.5", None);
        let check =
            |written, nanos| assert_eq!(read(written, span).map(|n| n.0), nanos, "{written}");
        check(r#""1500 ms""#, Some(1_500_000_000));
        check(r#""90 s""#, Some(90_000_000_000));
        check(r#""24 h""#, Some(86_400_000_000_000));
        check(r#""1 d""#, Some(86_400_000_000_000));
        check(r#""1000000000 d""#, None);
        check("90", None); // of what
        let shown = [1 << 30, 1 << 20, 1536, 7, 0].map(show_size);
        assert_eq!(shown, ["1 GiB", "1 MiB", "1536 B", "7 B", "0 B"]);
        let shown = [86_400_000_000_000, 5_400_000_000_000, 1_500_000_000, 7, 0];
        let shown = shown.map(|nanos| show_span(Nanos(nanos)));
        assert_eq!(shown, ["1 d", "90 min", "1500 ms", "7 ns", "0 ns"]);
    }

    #[test]
    fn times_agree_with_the_calendar() {
        let check = |written, seconds: Option<u64>| {
            let expected = seconds.map(|s| s * 1_000_000_000);
            assert_eq!(read(written, time).map(|n| n.0), expected, "{written}");
        };
        check("1970-01-01T00:00:00Z", Some(0));
        check("1970-03-01T00:00:00Z", Some(59 * 86_400));
        check("2000-02-29T12:00:00Z", Some(951_825_600));
        check("2024-12-31T23:59:59Z", Some(1_735_689_599));
        check("2030-01-01T00:00:00Z", Some(1_893_456_000));
        check("2030-01-01T02:00:00+02:00", Some(1_893_456_000));
        check("2029-12-31T19:00:00-05:00", Some(1_893_456_000));
        check("1970-01-01T00:00:00+01:00", None); // 1969
        check("0000-01-01T00:00:00Z", None);
        check("9999-12-31T23:59:59Z", None); // above 2^64 ns
        check("2030-01-01T00:00:00", None); // whose midnight
        check("2030-01-01", None);
        check(r#""2030-01-01T00:00:00Z""#, None);
        assert_eq!(read("1970-01-01T00:00:00.5Z", time), Some(Nanos(500_000_000)));
    }

    #[test]
    fn hexadecimal_digits_come_in_pairs() {
        assert_eq!(hex("00aF"), Some(vec![0x00, 0xaf]));
        assert_eq!(hex(""), Some(vec![]));
        for wrong in ["0", "0g", "+1", "a1b", "\u{e9}", " a"] {
            assert_eq!(hex(wrong), None, "{wrong}");
        }
    }
}
