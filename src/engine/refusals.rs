//! The one table of refusals: in the order in which an order is checked, with the FIX reason,
//! whether the key is used up, and the text a client reads.
//!
//! The order is part of the contract (ruling F19): of two faults the first row is reported, so two
//! builds and two nodes answer alike. A *final* refusal uses the key: the same request gets the
//! same answer for as long as the key lives. A *retryable* one leaves the key free.
//!
//! Rows are never renumbered: the code is kept with the key and in snapshots.

use crate::vocabulary::fix::{CxlRejReason, OrdRejReason};

/// Why a new order is refused. The value is kept with the key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Refusal {
    /// ClOrdID is 0 or null; there is no key to use up.
    NoKey = 1,
    /// The key stands for another order. Answers this request only; the original is untouched.
    DuplicateOrder = 2,
    /// A code is not in its set.
    BadCode = 3,
    /// StopPx or ExpireTime is missing, or stands where none belongs.
    BadField = 4,
    /// The combination is in the protocol but not offered by this engine.
    NotOffered = 5,
    /// No such instrument.
    UnknownSecurity = 6,
    /// Not an account of this owner.
    UnknownAccount = 7,
    /// OrderQty is outside its range or not a multiple of the lot.
    BadQuantity = 8,
    /// Price is missing or outside its range.
    BadPrice = 9,
    /// Price is not a multiple of the tick.
    BadTick = 10,
    /// Price is outside the static band.
    OutsideBand = 11,
    /// The owner has too many open orders.
    OpenOrders = 12,
    /// The market is not trading.
    MarketPhase = 13,
    /// The key table or the order arena is full.
    Capacity = 14,
}

/// One row of the table.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Row {
    /// The refusal.
    pub refusal: Refusal,
    /// OrdRejReason(103).
    pub reason: OrdRejReason,
    /// Whether the key stays free.
    pub is_retryable: bool,
    /// Text(58), at most 32 characters.
    pub text: &'static str,
}

const fn row(
    refusal: Refusal,
    reason: OrdRejReason,
    is_retryable: bool,
    text: &'static str,
) -> Row {
    assert!(text.len() <= 32, "a refusal's text fits its field");
    Row { refusal, reason, is_retryable, text }
}

/// The table, in the order of the checks.
#[rustfmt::skip]
pub const TABLE: [Row; 14] = [
    row(Refusal::NoKey,           OrdRejReason::Other,                          false, "ClOrdID is 0 or null"),
    row(Refusal::DuplicateOrder,  OrdRejReason::DuplicateOrder,                 false, "ClOrdID used with other fields"),
    row(Refusal::BadCode,         OrdRejReason::UnsupportedOrderCharacteristic, false, "a code is not in its set"),
    row(Refusal::BadField,        OrdRejReason::UnsupportedOrderCharacteristic, false, "StopPx or ExpireTime misplaced"),
    row(Refusal::NotOffered,      OrdRejReason::UnsupportedOrderCharacteristic, false, "order type or flag not offered"),
    row(Refusal::UnknownSecurity, OrdRejReason::UnknownSymbol,                  false, "unknown SecurityID"),
    row(Refusal::UnknownAccount,  OrdRejReason::UnknownAccount,                 false, "not an account of this owner"),
    row(Refusal::BadQuantity,     OrdRejReason::IncorrectQuantity,              false, "OrderQty out of range or lot"),
    row(Refusal::BadPrice,        OrdRejReason::Other,                          false, "Price missing or out of range"),
    row(Refusal::BadTick,         OrdRejReason::InvalidPriceIncrement,          false, "Price not a multiple of tick"),
    row(Refusal::OutsideBand,     OrdRejReason::PriceExceedsBand,               false, "Price outside the static band"),
    row(Refusal::OpenOrders,      OrdRejReason::OrderExceedsLimit,              true,  "too many open orders"),
    row(Refusal::MarketPhase,     OrdRejReason::ExchangeClosed,                 true,  "market is not trading"),
    row(Refusal::Capacity,        OrdRejReason::Other,                          true,  "capacity"),
];

impl Refusal {
    /// Its row.
    #[must_use]
    pub const fn row(self) -> &'static Row {
        let row = &TABLE[self as usize - 1];
        assert!(row.refusal as u8 == self as u8, "rows stand in the order of their codes");
        row
    }

    /// The refusal kept as `code`.
    #[must_use]
    pub fn from_code(code: u8) -> Option<Self> {
        TABLE.iter().map(|row| row.refusal).find(|refusal| *refusal as u8 == code)
    }

    /// The code kept with the key.
    #[must_use]
    pub const fn code(self) -> u8 {
        self as u8
    }
}

/// Why a cancel is refused, in the order of the checks. None uses a key.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum CancelRefusal {
    /// ClOrdID is 0 or null.
    NoKey,
    /// ClOrdID is the key of an order.
    DuplicateClOrdId,
    /// A code is not in its set.
    BadCode,
    /// No such order of this owner.
    UnknownOrder,
    /// The order is on another instrument or side.
    WrongOrder,
    /// The order ended already.
    TooLate,
    /// The market is closed.
    MarketClosed,
}

/// One row of the table of cancels.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct CancelRow {
    /// The refusal.
    pub refusal: CancelRefusal,
    /// CxlRejReason(102).
    pub reason: CxlRejReason,
    /// Whether the same request may succeed later.
    pub is_retryable: bool,
    /// Text(58), at most 32 characters.
    pub text: &'static str,
}

const fn cancel_row(
    refusal: CancelRefusal,
    reason: CxlRejReason,
    is_retryable: bool,
    text: &'static str,
) -> CancelRow {
    assert!(text.len() <= 32, "a refusal's text fits its field");
    CancelRow { refusal, reason, is_retryable, text }
}

/// The table of cancels, in the order of the checks.
#[rustfmt::skip]
pub const CANCEL_TABLE: [CancelRow; 7] = [
    cancel_row(CancelRefusal::NoKey,            CxlRejReason::Other,            false, "ClOrdID is 0 or null"),
    cancel_row(CancelRefusal::DuplicateClOrdId, CxlRejReason::DuplicateClOrdId, false, "ClOrdID is the key of an order"),
    cancel_row(CancelRefusal::BadCode,          CxlRejReason::Other,            false, "a code is not in its set"),
    cancel_row(CancelRefusal::UnknownOrder,     CxlRejReason::UnknownOrder,     false, "unknown order"),
    cancel_row(CancelRefusal::WrongOrder,       CxlRejReason::UnknownOrder,     false, "other SecurityID or Side"),
    cancel_row(CancelRefusal::TooLate,          CxlRejReason::TooLateToCancel,  false, "order ended already"),
    cancel_row(CancelRefusal::MarketClosed,     CxlRejReason::Other,            true,  "market is closed"),
];

impl CancelRefusal {
    /// Its row.
    #[must_use]
    pub const fn row(self) -> &'static CancelRow {
        let row = &CANCEL_TABLE[self as usize];
        assert!(row.refusal as u8 == self as u8, "rows stand in the order of their codes");
        row
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_rows_agree() {
        for row in &TABLE {
            assert_eq!(Refusal::from_code(row.refusal.code()), Some(row.refusal));
            assert_eq!(row.refusal.row(), row);
        }
        assert_eq!(Refusal::from_code(0), None);
        assert_eq!(Refusal::from_code(99), None);
        for row in &CANCEL_TABLE {
            assert_eq!(row.refusal.row(), row);
        }
    }
}
