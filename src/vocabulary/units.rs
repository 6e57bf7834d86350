//! Numbers with a unit and a range.
//!
//! No bare integer crosses a function boundary of the engine: a sequence number and a journal index
//! are both 64-bit counters, and mixing them up compiles unless they are types. Prices and
//! quantities are bounded once, when they are made, so that later negations, sums and products
//! (in `i128`) cannot overflow.

use std::fmt;

macro_rules! counter {
    ($(#[$doc:meta])* $name:ident($int:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
        pub struct $name(pub $int);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

counter! {
    /// Nanoseconds: a point in time since the Unix epoch, or a span. Valid until the year 2554.
    Nanos(u64)
}
counter! {
    /// A message number of one direction of one session, from 1. 0 and `u64::MAX` are never
    /// numbers.
    Seq(u64)
}
counter! {
    /// The index of a journal record, from 1. 0 means "before the first".
    Index(u64)
}
counter! {
    /// A leadership term, from 1; it rises at every activation of a leader.
    Epoch(u32)
}
counter! {
    /// The slot of a logical session in the machine's table, in `[0, session_count_max)`.
    SessionIdx(u32)
}
counter! {
    /// The slot of an owner (a firm) in configuration order.
    OwnerIdx(u16)
}
counter! {
    /// FIX `SecurityID(48)`: the index of an instrument in configuration order.
    SecurityId(u32)
}
counter! {
    /// FIX `Account(1)`. 0 and `u32::MAX` are never accounts.
    Account(u32)
}
counter! {
    /// FIX `ClOrdID(11)`. 0 and `u64::MAX` are never keys.
    ClOrdId(u64)
}
counter! {
    /// FIX `OrderID(37)`: the journal index of the order's record. 0 means "no order".
    OrderId(u64)
}
counter! {
    /// FIX `ExecID(17)`: the count of reports with this field ever emitted, from 1.
    ExecId(u64)
}
counter! {
    /// FIX `TrdMatchID(880)`: the count of trades ever made, from 1.
    TrdMatchId(u64)
}
counter! {
    /// FIX `SenderSubID(50)`: a trader, free for the firm to choose. 0 means "not given".
    SenderSubId(u16)
}
counter! {
    /// The slot of an open order in the order arena.
    OrderSlot(u32)
}

impl Nanos {
    /// One second.
    pub const SECOND: Self = Self(1_000_000_000);
    /// One millisecond.
    pub const MILLI: Self = Self(1_000_000);

    /// `count` milliseconds.
    #[must_use]
    pub const fn from_millis(count: u32) -> Self {
        Self(count as u64 * 1_000_000)
    }

    /// The later point, stopping at the largest value instead of wrapping.
    #[must_use]
    pub const fn saturating_add(self, span: Self) -> Self {
        Self(self.0.saturating_add(span.0))
    }

    /// The span from `earlier` to here; zero when `earlier` is later.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Self {
        Self(self.0.saturating_sub(earlier.0))
    }
}

impl Seq {
    /// The number of the first message of a flow.
    pub const FIRST: Self = Self(1);

    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl Index {
    /// The index after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl ClOrdId {
    /// Whether the value can name an order: neither 0 nor the null.
    #[must_use]
    pub const fn is_key(self) -> bool {
        self.0 != 0 && self.0 != u64::MAX
    }
}

/// A price x 1e-8, in `[-2^60, 2^60]`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Px(i64);

impl Px {
    /// Largest absolute value of a price.
    pub const ABS_MAX: i64 = 1 << 60;
    /// One whole unit of the currency.
    pub const ONE: Self = Self(100_000_000);

    /// The price, unless it is outside `[-2^60, 2^60]`.
    #[must_use]
    pub const fn try_new(raw: i64) -> Option<Self> {
        if raw >= -Self::ABS_MAX && raw <= Self::ABS_MAX { Some(Self(raw)) } else { None }
    }

    /// The value x 1e-8.
    #[must_use]
    pub const fn raw(self) -> i64 {
        self.0
    }

    /// Whether this is a whole number of `tick`s. `tick` is positive.
    #[must_use]
    pub const fn is_multiple_of(self, tick: Self) -> bool {
        debug_assert!(tick.0 > 0);
        self.0 % tick.0 == 0
    }
}

impl fmt::Display for Px {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let abs = self.0.unsigned_abs();
        let (whole, part) = (abs / 100_000_000, abs % 100_000_000);
        write!(f, "{sign}{whole}.{part:08}")
    }
}

/// A quantity in `[0, 2^40]`. An order's own quantity is at least 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Qty(i64);

impl Qty {
    /// No quantity.
    pub const ZERO: Self = Self(0);
    /// Largest quantity of one order.
    pub const MAX: Self = Self(1 << 40);

    /// The quantity, unless it is outside `[0, 2^40]`.
    #[must_use]
    pub const fn try_new(raw: i64) -> Option<Self> {
        if raw >= 0 && raw <= Self::MAX.0 { Some(Self(raw)) } else { None }
    }

    /// The value.
    #[must_use]
    pub const fn raw(self) -> i64 {
        self.0
    }

    /// Whether there is nothing.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// What is left after `part` is taken; `part` is at most this.
    #[must_use]
    pub const fn minus(self, part: Self) -> Self {
        assert!(part.0 <= self.0, "a part is larger than the whole");
        Self(self.0 - part.0)
    }

    /// Both together; the caller knows that the sum belongs to one order.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        let sum = self.0 + other.0;
        assert!(sum <= Self::MAX.0, "a sum of one order's parts is above its largest quantity");
        Self(sum)
    }

    /// Whether this is a whole number of `lot`s. `lot` is positive.
    #[must_use]
    pub const fn is_multiple_of(self, lot: Self) -> bool {
        debug_assert!(lot.0 > 0);
        self.0 % lot.0 == 0
    }
}

impl fmt::Display for Qty {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A FIXP session id: 16 opaque octets in wire order, chosen by the client (ruling F32).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct SessionId(pub [u8; 16]);

impl SessionId {
    /// The id that names no session; refused at logon, used in Terminate before one is bound.
    pub const NONE: Self = Self([0; 16]);
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|octet| write!(f, "{octet:02x}"))
    }
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A string of at most `N` ASCII octets, NUL padded, as SBE writes `char[N]`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Text<const N: usize>([u8; N]);

impl<const N: usize> Text<N> {
    /// The first `N` octets of `text`, with everything but printable ASCII replaced by `?`.
    #[must_use]
    pub const fn new(text: &str) -> Self {
        let source = text.as_bytes();
        let mut octets = [0; N];
        let mut i = 0;
        while i < N && i < source.len() {
            octets[i] = if source[i] >= b' ' && source[i] <= b'~' { source[i] } else { b'?' };
            i += 1;
        }
        Self(octets)
    }

    /// The octets as they stand on the wire.
    #[must_use]
    pub const fn from_octets(octets: [u8; N]) -> Self {
        Self(octets)
    }

    /// The octets as they stand on the wire.
    #[must_use]
    pub const fn octets(&self) -> &[u8; N] {
        &self.0
    }

    /// The text up to the first NUL; octets that are not ASCII end it too.
    #[must_use]
    pub fn as_str(&self) -> &str {
        let len = self.0.iter().position(|&o| o == 0 || !o.is_ascii()).unwrap_or(N);
        std::str::from_utf8(self.0.split_at(len).0).unwrap_or("")
    }
}

impl<const N: usize> Default for Text<N> {
    fn default() -> Self {
        Self([0; N])
    }
}

impl<const N: usize> fmt::Display for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().escape_debug().fmt(f)
    }
}

impl<const N: usize> fmt::Debug for Text<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_and_quantities_are_bounded_where_they_are_made() {
        assert_eq!(Px::try_new(1 << 60).map(Px::raw), Some(1 << 60));
        assert_eq!(Px::try_new((1 << 60) + 1), None);
        assert_eq!(Px::try_new(i64::MIN), None);
        assert_eq!(Qty::try_new(1 << 40), Some(Qty::MAX));
        assert_eq!(Qty::try_new((1 << 40) + 1), None);
        assert_eq!(Qty::try_new(-1), None);
    }

    #[test]
    fn prices_print_with_eight_decimals() {
        let print = |raw| Px::try_new(raw).unwrap().to_string();
        assert_eq!(print(1_050_000_000), "10.50000000");
        assert_eq!(print(-1), "-0.00000001");
    }

    #[test]
    fn text_is_cut_padded_and_cleaned() {
        assert_eq!(Text::<4>::new("abcdef").as_str(), "abcd");
        assert_eq!(Text::<4>::new("a\n").as_str(), "a?");
        assert_eq!(Text::<4>::from_octets([b'a', 0xff, b'b', 0]).as_str(), "a");
    }
}
