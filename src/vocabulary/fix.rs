//! FIX and FIXP code sets. The values are the wire values; the schema is the authority.
//!
//! A code arrives as an octet or a 16-bit number and becomes a value here, or stays unknown: there
//! is no default. `layout` tests hold each set against the schema.

macro_rules! code_set {
    ($(#[$doc:meta])* $name:ident: $int:ty {
        $($(#[$vdoc:meta])* $variant:ident = $value:expr),+ $(,)?
    }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
        #[repr($int)]
        pub enum $name {
            $($(#[$vdoc])* $variant = $value),+
        }

        impl $name {
            /// Every value, in the order of the schema.
            pub const ALL: &'static [Self] = &[$(Self::$variant),+];

            /// The value that stands for `wire`, if there is one.
            #[must_use]
            pub const fn from_wire(wire: $int) -> Option<Self> {
                $(if wire == $value { return Some(Self::$variant); })+
                None
            }

            /// The value as written on the wire.
            #[must_use]
            pub const fn wire(self) -> $int {
                self as $int
            }

            /// The name as in the schema.
            #[must_use]
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => stringify!($variant)),+
                }
            }
        }
    };
}

code_set! {
    /// FIXP flow type.
    FlowType: u8 {
        /// Numbered, lost messages can be asked for again.
        Recoverable = 0,
        /// Numbered, repeated messages are dropped, lost ones are reported.
        Idempotent = 1,
        /// Not numbered.
        Unsequenced = 2,
        /// No flow.
        None = 3,
    }
}
code_set! {
    /// Why a Negotiate was refused.
    NegotiationRejectCode: u8 {
        /// Key, MAC, time or owner is wrong; one answer for all of them.
        Credentials = 0,
        /// The client flow is not Idempotent.
        FlowTypeNotSupported = 1,
        /// The session id was seen before.
        DuplicateId = 2,
        /// Anything else; the reason says it.
        Unspecified = 3,
        /// This node is a standby.
        NotPrimary = 4,
        /// The gate is shut.
        NotAccepting = 5,
        /// The session table is full.
        Capacity = 6,
    }
}
code_set! {
    /// Why an Establish was refused.
    EstablishmentRejectCode: u8 {
        /// The id was never negotiated, or is finalized or forgotten.
        Unnegotiated = 0,
        /// Another transport is bound to the session.
        AlreadyEstablished = 1,
        /// The owner is blocked.
        SessionBlocked = 2,
        /// The keep-alive interval is out of range.
        KeepaliveInterval = 3,
        /// Key, MAC, time or owner is wrong; one answer for all of them.
        Credentials = 4,
        /// Anything else; the reason says it.
        Unspecified = 5,
        /// `NextSeqNo` is outside the window that is still remembered.
        InvalidNextSeqNo = 6,
        /// This node is a standby.
        NotPrimary = 7,
        /// The gate is shut.
        NotAccepting = 8,
        /// Acknowledged history may be lost: stop and ask a human.
        HistoryLost = 9,
    }
}
code_set! {
    /// Why a RetransmitRequest was refused.
    RetransmitRejectCode: u8 {
        /// The numbers are not in the report log.
        OutOfRange = 0,
        /// The session id is not the bound one.
        InvalidSession = 1,
        /// More than can be asked for at once.
        RequestLimitExceeded = 2,
    }
}
code_set! {
    /// Why a transport ends.
    TerminationCode: u8 {
        /// Asked for, or answered.
        Finished = 0,
        /// A breach of the protocol; the reason says it.
        UnspecifiedError = 1,
        /// Not used (ruling F14).
        ReRequestOutOfBounds = 2,
        /// A second RetransmitRequest before the first was served.
        ReRequestInProgress = 3,
        /// Nothing was heard for too long.
        KeepaliveLapsed = 4,
        /// This node lost its leadership.
        BackupTakeover = 5,
        /// Too many messages for too long.
        Throttled = 6,
        /// An administrator ended the session, or the node stops.
        AdminAction = 7,
    }
}
code_set! {
    /// Cancel on disconnect: which ends of a transport cancel the session's orders.
    CodType: u8 {
        /// None.
        DoNotCancel = 0,
        /// Loss of the line, or a Terminate of the server.
        OnDisconnect = 1,
        /// Terminate of the client.
        OnTerminate = 2,
        /// Both.
        OnDisconnectOrTerminate = 3,
    }
}
code_set! {
    /// Which unnumbered status messages a session asked for.
    ReportLevel: u8 {
        /// None.
        None = 0,
        /// ReplicationStatus.
        Status = 1,
    }
}
code_set! {
    /// Why a node's gate is shut (`NotAccepting`).
    GateCause: u8 {
        /// Too few in-sync standbys.
        Replication = 0,
        /// Leadership cannot be proven.
        Coordination = 1,
        /// No room in the journal or on the disk.
        Space = 2,
        /// The journal cannot be trusted.
        Journal = 3,
        /// A takeover is under way, or the node stops.
        Failover = 4,
        /// A human shut it.
        Operator = 5,
    }
}
code_set! {
    /// What an acknowledgement promises.
    AckLevel: u8 {
        /// In the mapping of one node.
        LocalMmap = 0,
        /// On the disk of one node.
        LocalFsync = 1,
        /// As local; a standby follows.
        Async = 2,
        /// In the memory of every in-sync node.
        Replicated = 3,
        /// On the disk of every in-sync node.
        ReplicatedFsync = 4,
    }
}
code_set! {
    /// FIX `Side(54)`.
    Side: u8 {
        /// Buy.
        Buy = b'1',
        /// Sell.
        Sell = b'2',
    }
}
code_set! {
    /// FIX `OrdType(40)`.
    OrdType: u8 {
        /// At any price within the collar.
        Market = b'1',
        /// At the price or better.
        Limit = b'2',
        /// Market once the stop price trades.
        Stop = b'3',
        /// Limit once the stop price trades.
        StopLimit = b'4',
    }
}
code_set! {
    /// FIX `TimeInForce(59)`.
    TimeInForce: u8 {
        /// Until the end of the day.
        Day = b'0',
        /// Until cancelled.
        Gtc = b'1',
        /// What trades at once; the rest is cancelled.
        Ioc = b'3',
        /// All at once or nothing.
        Fok = b'4',
        /// Until `ExpireTime`.
        Gtd = b'6',
    }
}
code_set! {
    /// FIX `SelfMatchPreventionInstruction(2964)`.
    SelfMatchInst: u8 {
        /// Trade with oneself.
        NoPrevention = 0,
        /// Cancel the incoming order.
        CancelAggressive = 1,
        /// Cancel the resting order.
        CancelPassive = 2,
        /// Cancel both.
        CancelBoth = 3,
        /// Reduce the larger by the smaller, cancel the smaller.
        DecrementAndCancel = 4,
    }
}
code_set! {
    /// FIX `OrdStatus(39)`.
    OrdStatus: u8 {
        /// Open, nothing traded.
        New = b'0',
        /// Open, partly traded.
        PartiallyFilled = b'1',
        /// Fully traded.
        Filled = b'2',
        /// Cancelled, perhaps after trades.
        Canceled = b'4',
        /// Replaced.
        Replaced = b'5',
        /// A cancel is on its way to a venue.
        PendingCancel = b'6',
        /// Never accepted.
        Rejected = b'8',
        /// Its time ran out.
        Expired = b'C',
        /// On its way to a venue.
        PendingNew = b'A',
    }
}
code_set! {
    /// FIX `ExecType(150)`.
    ExecType: u8 {
        /// New.
        New = b'0',
        /// Canceled.
        Canceled = b'4',
        /// Replaced.
        Replaced = b'5',
        /// Rejected.
        Rejected = b'8',
        /// Expired.
        Expired = b'C',
        /// Restated.
        Restated = b'D',
        /// Trade.
        Trade = b'F',
        /// Order status.
        OrderStatus = b'I',
        /// Triggered.
        Triggered = b'L',
    }
}
code_set! {
    /// FIX `CxlRejResponseTo(434)`.
    CxlRejResponseTo: u8 {
        /// OrderCancelRequest.
        Cancel = b'1',
        /// OrderCancelReplaceRequest.
        CancelReplace = b'2',
    }
}
code_set! {
    /// FIX `ExecRestatementReason(378)`. The null, 255, stands in every ordinary report.
    RestatementReason: u8 {
        /// The market was halted.
        CancelOnTradingHalt = 6,
        /// The system failed.
        CancelOnSystemFailure = 7,
        /// Refused by risk when it was triggered.
        MarketOption = 8,
        /// Canceled, not best.
        Canceled = 9,
        /// The line was lost.
        CancelOnConnectionLoss = 12,
        /// The client terminated.
        CancelOnLogout = 13,
        /// Self-match: the incoming order.
        SelfMatchAggressive = 18,
        /// Self-match: the resting order.
        SelfMatchPassive = 19,
        /// Self-match: both.
        SelfMatchBoth = 20,
        /// Other.
        Other = 99,
    }
}
code_set! {
    /// FIX `OrdRejReason(103)`, as far as it is used (ruling F19).
    OrdRejReason: u16 {
        /// Broker / exchange option: the venue is down.
        BrokerOption = 0,
        /// Unknown symbol.
        UnknownSymbol = 1,
        /// The market is not trading.
        ExchangeClosed = 2,
        /// Order exceeds limit.
        OrderExceedsLimit = 3,
        /// Too late to enter: an expired GTD.
        TooLateToEnter = 4,
        /// Duplicate order.
        DuplicateOrder = 6,
        /// A code out of range, or a field that does not fit the type.
        UnsupportedOrderCharacteristic = 11,
        /// Repeated order.
        SurveillanceOption = 12,
        /// Incorrect quantity.
        IncorrectQuantity = 13,
        /// Unknown account.
        UnknownAccount = 15,
        /// Outside the price band.
        PriceExceedsBand = 16,
        /// Not a multiple of the tick.
        InvalidPriceIncrement = 18,
        /// No reference price.
        ReferencePriceNotAvailable = 19,
        /// Algorithm risk threshold breached: breaker open, or too many messages.
        AlgorithmRiskThreshold = 21,
        /// Insufficient credit.
        InsufficientCredit = 25,
        /// Exceeded clip size.
        ExceededClipSize = 26,
        /// Exceeded the largest notional.
        ExceededMaxNotional = 27,
        /// Other; the text says it.
        Other = 99,
    }
}
code_set! {
    /// FIX `CxlRejReason(102)`, as far as it is used (ruling F19).
    CxlRejReason: u16 {
        /// The order ended already.
        TooLateToCancel = 0,
        /// Unknown order.
        UnknownOrder = 1,
        /// Duplicate ClOrdID.
        DuplicateClOrdId = 6,
        /// Outside the price band.
        PriceExceedsBand = 8,
        /// Not a multiple of the tick.
        InvalidPriceIncrement = 18,
        /// Other; the text says it.
        Other = 99,
    }
}
code_set! {
    /// FIX `BusinessRejectReason(380)`, as far as it is used.
    BusinessRejectReason: u16 {
        /// Other; the text says it.
        Other = 0,
        /// Unknown id.
        UnknownId = 1,
        /// Unsupported message type.
        UnsupportedMessageType = 3,
        /// A required field is missing or null.
        RequiredFieldMissing = 5,
        /// Throttle limit exceeded.
        ThrottleLimitExceeded = 8,
    }
}
code_set! {
    /// The phase of a market. Changes only by a journaled input.
    MarketPhase: u8 {
        /// Before the opening: nothing is accepted but cancels.
        PreOpen = 0,
        /// Trading.
        Trading = 1,
        /// Suspended: cancels only.
        Suspended = 2,
        /// Closed: nothing, cancels neither.
        Closed = 3,
    }
}

impl Side {
    /// The other side.
    #[must_use]
    pub const fn opposite(self) -> Self {
        match self {
            Self::Buy => Self::Sell,
            Self::Sell => Self::Buy,
        }
    }
}

/// The null of a code set on the wire whose encoding is a `char`.
pub const NULL_CHAR: u8 = 0;
/// The null of a code set on the wire whose encoding is a `uint8`.
pub const NULL_U8: u8 = 255;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_octet_is_one_value_or_none() {
        for octet in 0..=u8::MAX {
            if let Some(status) = OrdStatus::from_wire(octet) {
                assert_eq!(status.wire(), octet);
            }
        }
        assert_eq!(OrdStatus::ALL.len(), 9);
        assert_eq!(Side::from_wire(1), None, "a code is a character, not a number");
    }
}
