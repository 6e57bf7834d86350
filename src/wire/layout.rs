//! Where each field stands in its block.
//!
//! A message is a block of fields without gaps: the order of the fields and their types alone give
//! every offset. So a block is written here as a list, in the order of the schema, and the offsets
//! are a chain of constants: each field begins where the one before it ends. The codec names
//! fields, never offsets. `tests/layout.rs` holds each list against `tidegate.xml`, which is the
//! authority.
//!
//! A message is declared as `template "Name" shortest..=longest { fields }`. The longest block is
//! the one this build writes; the shortest is that of the first version (or of FIXP's standard),
//! which stays valid for ever: a field that is not wholly inside a block is absent, which reads as
//! its null.

use std::marker::PhantomData;

/// Octets of the compact SOFH: length, encoding type; both `u16`.
pub const SOFH_BYTES: usize = 4;
/// Octets of the SBE header: blockLength, templateId, schemaId, version; all `u16`.
pub const SBE_BYTES: usize = 8;
/// Octets before the block. The shortest frame has no more.
pub const HEADER_BYTES: usize = SOFH_BYTES + SBE_BYTES;
/// SOFH encoding type: SBE 1.0, little-endian.
pub const ENCODING_TYPE: u16 = 0xEB50;
/// Our schema.
pub const SCHEMA_ID: u16 = 4001;
/// The version of the schema that this build knows.
pub const SCHEMA_VERSION: u16 = 2;

/// A value with a fixed place in a block; little-endian.
pub trait Primitive: Copy {
    /// The primitive type of the schema, `char` and `uint8` being both an octet.
    const NAME: &'static str;

    /// The value at octet `at`, if it is wholly inside `block`.
    fn read(block: &[u8], at: usize) -> Option<Self>;

    /// Writes the value at octet `at` and says whether it was wholly inside `block`.
    fn write(self, block: &mut [u8], at: usize) -> bool;
}

macro_rules! primitives {
    ($($kind:ty = $name:literal, $from:expr, $to:expr;)+) => {$(
        impl Primitive for $kind {
            const NAME: &'static str = $name;

            #[inline]
            fn read(block: &[u8], at: usize) -> Option<Self> {
                block.get(at..)?.first_chunk().copied().map($from)
            }

            #[inline]
            fn write(self, block: &mut [u8], at: usize) -> bool {
                let place = block.get_mut(at..).and_then(<[u8]>::first_chunk_mut);
                place.map(|place| *place = $to(self)).is_some()
            }
        }
    )+};
}

primitives! {
    u8 = "octet", Self::from_le_bytes, Self::to_le_bytes;
    u16 = "uint16", Self::from_le_bytes, Self::to_le_bytes;
    u32 = "uint32", Self::from_le_bytes, Self::to_le_bytes;
    u64 = "uint64", Self::from_le_bytes, Self::to_le_bytes;
    i64 = "int64", Self::from_le_bytes, Self::to_le_bytes;
    [u8; 16] = "octet[16]", std::convert::identity, std::convert::identity;
    [u8; 32] = "octet[32]", std::convert::identity, std::convert::identity;
}

/// The place of a field in its block.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Field<T> {
    at: usize,
    kind: PhantomData<T>,
}

impl<T: Primitive> Field<T> {
    const fn new(at: usize) -> Self {
        Self { at, kind: PhantomData }
    }

    /// The offset behind the field.
    pub(super) const fn end(self) -> usize {
        self.at + size_of::<T>()
    }

    const fn layout(self, name: &'static str) -> FieldLayout {
        FieldLayout { name, at: self.at, size: size_of::<T>(), primitive: T::NAME }
    }

    /// The value in a block of a length that holds it by construction.
    #[inline]
    pub(super) fn get<const LEN: usize>(self, block: &[u8; LEN]) -> T {
        match T::read(block, self.at) {
            Some(value) => value,
            None => panic!("the field at {} is outside a block of {LEN}", self.at),
        }
    }

    /// The value in a block of any length; `None` when the block ends before the field does.
    #[inline]
    pub(super) fn find(self, block: &[u8]) -> Option<T> {
        T::read(block, self.at)
    }

    /// Writes the value into a block of a length that holds it by construction.
    #[inline]
    pub(super) fn put<const LEN: usize>(self, block: &mut [u8; LEN], value: T) {
        let fits = value.write(block, self.at);
        assert!(fits, "the field at {} is outside a block of {LEN}", self.at);
    }
}

/// A field as data, for tests and documents.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct FieldLayout {
    /// Name as in the schema.
    pub name: &'static str,
    /// Offset in the block.
    pub at: usize,
    /// Octets.
    pub size: usize,
    /// [`Primitive::NAME`].
    pub primitive: &'static str,
}

/// A message as data, for tests and documents.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct MessageLayout {
    /// Name as in the schema.
    pub name: &'static str,
    /// SBE template id.
    pub template: u16,
    /// Shortest block that is taken.
    pub block_min: usize,
    /// The block that this build writes.
    pub block: usize,
    /// Its fields in order.
    pub fields: &'static [FieldLayout],
}

macro_rules! chain {
    ($at:expr;) => {};
    ($at:expr; $field:ident $name:literal $kind:ty, $($rest:tt)*) => {
        #[doc = $name]
        pub const $field: Field<$kind> = Field::new($at);
        chain!($field.end(); $($rest)*);
    };
}

macro_rules! messages {
    ($($module:ident = $template:literal $message:literal $min:literal..=$len:literal {
        $($field:ident $name:literal $kind:ty),+ $(,)?
    })+) => {
        $(
            #[doc = concat!("Template ", $template, ": ", $message, ".")]
            pub mod $module {
                use super::{Field, FieldLayout};

                /// The SBE template id.
                pub const TEMPLATE: u16 = $template;
                /// Octets of the shortest block that is taken.
                pub const BLOCK_MIN: usize = $min;
                /// Octets of the block that this build writes.
                pub const BLOCK: usize = $len;
                chain!(0; $($field $name $kind,)+);
                /// The fields in order.
                pub const FIELDS: &[FieldLayout] = &[$($field.layout($name)),+];

                const _: () = assert!($(size_of::<$kind>() +)+ 0 == BLOCK);
                const _: () = assert!(BLOCK_MIN <= BLOCK);
                const _: () = assert!(
                    $($field.end() == BLOCK_MIN ||)+ false,
                    "the shortest block ends inside a field"
                );
            }
        )+

        /// Every message of this build.
        pub const MESSAGES: &[MessageLayout] = &[$(
            MessageLayout {
                name: $message,
                template: $module::TEMPLATE,
                block_min: $module::BLOCK_MIN,
                block: $module::BLOCK,
                fields: $module::FIELDS,
            }
        ),+];
    };
}

messages! {
    negotiate = 1 "Negotiate" 25..=25 {
        SESSION_ID "SessionId" [u8; 16],
        TIMESTAMP "Timestamp" u64,
        CLIENT_FLOW "ClientFlow" u8,
    }
    negotiation_response = 2 "NegotiationResponse" 25..=25 {
        SESSION_ID "SessionId" [u8; 16],
        REQUEST_TIMESTAMP "RequestTimestamp" u64,
        SERVER_FLOW "ServerFlow" u8,
    }
    negotiation_reject = 3 "NegotiationReject" 25..=25 {
        SESSION_ID "SessionId" [u8; 16],
        REQUEST_TIMESTAMP "RequestTimestamp" u64,
        CODE "Code" u8,
    }
    establish = 5 "Establish" 36..=42 {
        SESSION_ID "SessionId" [u8; 16],
        TIMESTAMP "Timestamp" u64,
        KEEPALIVE_INTERVAL "KeepaliveInterval" u32,
        NEXT_SEQ_NO "NextSeqNo" u64,
        CANCEL_ON_DISCONNECT_TYPE "CancelOnDisconnectType" u8,
        COD_TIMEOUT_WINDOW "CODTimeoutWindow" u32,
        REPORT_LEVEL "ReportLevel" u8,
    }
    establishment_ack = 6 "EstablishmentAck" 36..=49 {
        SESSION_ID "SessionId" [u8; 16],
        REQUEST_TIMESTAMP "RequestTimestamp" u64,
        KEEPALIVE_INTERVAL "KeepaliveInterval" u32,
        NEXT_SEQ_NO "NextSeqNo" u64,
        LAST_INCOMING_SEQ_NO "LastIncomingSeqNo" u64,
        CANCEL_ON_DISCONNECT_TYPE "CancelOnDisconnectType" u8,
        COD_TIMEOUT_WINDOW "CODTimeoutWindow" u32,
    }
    establishment_reject = 7 "EstablishmentReject" 25..=25 {
        SESSION_ID "SessionId" [u8; 16],
        REQUEST_TIMESTAMP "RequestTimestamp" u64,
        CODE "Code" u8,
    }
    sequence = 8 "Sequence" 8..=8 {
        NEXT_SEQ_NO "NextSeqNo" u64,
    }
    retransmit_request = 11 "RetransmitRequest" 36..=36 {
        SESSION_ID "SessionId" [u8; 16],
        TIMESTAMP "Timestamp" u64,
        FROM_SEQ_NO "FromSeqNo" u64,
        COUNT "Count" u32,
    }
    retransmission = 12 "Retransmission" 36..=36 {
        SESSION_ID "SessionId" [u8; 16],
        REQUEST_TIMESTAMP "RequestTimestamp" u64,
        NEXT_SEQ_NO "NextSeqNo" u64,
        COUNT "Count" u32,
    }
    retransmit_reject = 13 "RetransmitReject" 25..=25 {
        SESSION_ID "SessionId" [u8; 16],
        REQUEST_TIMESTAMP "RequestTimestamp" u64,
        CODE "Code" u8,
    }
    terminate = 14 "Terminate" 17..=17 {
        SESSION_ID "SessionId" [u8; 16],
        CODE "Code" u8,
    }
    finished_sending = 15 "FinishedSending" 24..=24 {
        SESSION_ID "SessionId" [u8; 16],
        LAST_SEQ_NO "LastSeqNo" u64,
    }
    finished_receiving = 16 "FinishedReceiving" 16..=16 {
        SESSION_ID "SessionId" [u8; 16],
    }
    not_applied = 18 "NotApplied" 12..=12 {
        FROM_SEQ_NO "FromSeqNo" u64,
        COUNT "Count" u32,
    }
    not_accepting = 20 "NotAccepting" 9..=9 {
        FROM_SEQ_NO "FromSeqNo" u64,
        CAUSE "Cause" u8,
    }
    replication_status = 21 "ReplicationStatus" 34..=34 {
        EPOCH "Epoch" u64,
        RELEASED_SEQ_NO "ReleasedSeqNo" u64,
        COMMIT_INDEX "CommitIndex" u64,
        DURABLE_INDEX "DurableIndex" u64,
        ISR_COUNT "IsrCount" u8,
        LEVEL "Level" u8,
    }
    new_order_single = 100 "NewOrderSingle" 56..=72 {
        MSG_SEQ_NUM "MsgSeqNum" u64,
        SENDING_TIME "SendingTime" u64,
        CL_ORD_ID "ClOrdID" u64,
        PRICE "Price" i64,
        ORDER_QTY "OrderQty" i64,
        SECURITY_ID "SecurityID" u32,
        ACCOUNT "Account" u32,
        SIDE "Side" u8,
        ORD_TYPE "OrdType" u8,
        TIME_IN_FORCE "TimeInForce" u8,
        POST_ONLY "PostOnly" u8,
        POSS_RESEND "PossResend" u8,
        SELF_MATCH_PREVENTION_INSTRUCTION "SelfMatchPreventionInstruction" u8,
        SENDER_SUB_ID "SenderSubID" u16,
        STOP_PX "StopPx" i64,
        EXPIRE_TIME "ExpireTime" u64,
    }
    order_cancel_request = 102 "OrderCancelRequest" 40..=40 {
        MSG_SEQ_NUM "MsgSeqNum" u64,
        SENDING_TIME "SendingTime" u64,
        CL_ORD_ID "ClOrdID" u64,
        ORIG_CL_ORD_ID "OrigClOrdID" u64,
        SECURITY_ID "SecurityID" u32,
        SIDE "Side" u8,
        POSS_RESEND "PossResend" u8,
        SENDER_SUB_ID "SenderSubID" u16,
    }
    order_status_request = 104 "OrderStatusRequest" 32..=32 {
        MSG_SEQ_NUM "MsgSeqNum" u64,
        SENDING_TIME "SendingTime" u64,
        ORD_STATUS_REQ_ID "OrdStatusReqID" u64,
        CL_ORD_ID "ClOrdID" u64,
    }
    execution_report_new = 200 "ExecutionReportNew" 104..=104 {
        MSG_SEQ_NUM "MsgSeqNum" u64,
        SENDING_TIME "SendingTime" u64,
        APPL_SEQ_NUM "ApplSeqNum" u64,
        ORDER_ID "OrderID" u64,
        CL_ORD_ID "ClOrdID" u64,
        EXEC_ID "ExecID" u64,
        TRANSACT_TIME "TransactTime" u64,
        PRICE "Price" i64,
        ORDER_QTY "OrderQty" i64,
        SECURITY_ID "SecurityID" u32,
        ACCOUNT "Account" u32,
        SIDE "Side" u8,
        ORD_TYPE "OrdType" u8,
        TIME_IN_FORCE "TimeInForce" u8,
        ORD_STATUS "OrdStatus" u8,
        POSS_RESEND "PossResend" u8,
        POST_ONLY "PostOnly" u8,
        SENDER_SUB_ID "SenderSubID" u16,
        STOP_PX "StopPx" i64,
        EXPIRE_TIME "ExpireTime" u64,
    }
    execution_report_canceled = 202 "ExecutionReportCanceled" 85..=85 {
        MSG_SEQ_NUM "MsgSeqNum" u64,
        SENDING_TIME "SendingTime" u64,
        APPL_SEQ_NUM "ApplSeqNum" u64,
        ORDER_ID "OrderID" u64,
        CL_ORD_ID "ClOrdID" u64,
        EXEC_ID "ExecID" u64,
        TRANSACT_TIME "TransactTime" u64,
        ORIG_CL_ORD_ID "OrigClOrdID" u64,
        CUM_QTY "CumQty" i64,
        SECURITY_ID "SecurityID" u32,
        ACCOUNT "Account" u32,
        SIDE "Side" u8,
        ORD_STATUS "OrdStatus" u8,
        EXEC_TYPE "ExecType" u8,
        EXEC_RESTATEMENT_REASON "ExecRestatementReason" u8,
        POSS_RESEND "PossResend" u8,
    }
    execution_report_trade = 203 "ExecutionReportTrade" 108..=108 {
        MSG_SEQ_NUM "MsgSeqNum" u64,
        SENDING_TIME "SendingTime" u64,
        APPL_SEQ_NUM "ApplSeqNum" u64,
        ORDER_ID "OrderID" u64,
        CL_ORD_ID "ClOrdID" u64,
        EXEC_ID "ExecID" u64,
        TRANSACT_TIME "TransactTime" u64,
        LAST_PX "LastPx" i64,
        LAST_QTY "LastQty" i64,
        LEAVES_QTY "LeavesQty" i64,
        CUM_QTY "CumQty" i64,
        TRD_MATCH_ID "TrdMatchID" u64,
        SECURITY_ID "SecurityID" u32,
        ACCOUNT "Account" u32,
        SIDE "Side" u8,
        ORD_STATUS "OrdStatus" u8,
        AGGRESSOR_INDICATOR "AggressorIndicator" u8,
        POSS_RESEND "PossResend" u8,
    }
    execution_report_reject = 204 "ExecutionReportReject" 101..=101 {
        MSG_SEQ_NUM "MsgSeqNum" u64,
        SENDING_TIME "SendingTime" u64,
        APPL_SEQ_NUM "ApplSeqNum" u64,
        ORDER_ID "OrderID" u64,
        CL_ORD_ID "ClOrdID" u64,
        EXEC_ID "ExecID" u64,
        TRANSACT_TIME "TransactTime" u64,
        SECURITY_ID "SecurityID" u32,
        ACCOUNT "Account" u32,
        ORD_REJ_REASON "OrdRejReason" u16,
        ORD_STATUS "OrdStatus" u8,
        POSS_RESEND "PossResend" u8,
        TEXT "Text" [u8; 32],
        RETRYABLE "Retryable" u8,
    }
    execution_report_status = 205 "ExecutionReportStatus" 132..=132 {
        MSG_SEQ_NUM "MsgSeqNum" u64,
        SENDING_TIME "SendingTime" u64,
        APPL_SEQ_NUM "ApplSeqNum" u64,
        ORDER_ID "OrderID" u64,
        CL_ORD_ID "ClOrdID" u64,
        EXEC_ID "ExecID" u64,
        TRANSACT_TIME "TransactTime" u64,
        ORD_STATUS_REQ_ID "OrdStatusReqID" u64,
        PRICE "Price" i64,
        ORDER_QTY "OrderQty" i64,
        LEAVES_QTY "LeavesQty" i64,
        CUM_QTY "CumQty" i64,
        SECURITY_ID "SecurityID" u32,
        ACCOUNT "Account" u32,
        SIDE "Side" u8,
        ORD_STATUS "OrdStatus" u8,
        POSS_RESEND "PossResend" u8,
        LAST_RPT_REQUESTED "LastRptRequested" u8,
        TOT_NUM_REPORTS "TotNumReports" u32,
        ORD_TYPE "OrdType" u8,
        TIME_IN_FORCE "TimeInForce" u8,
        SENDER_SUB_ID "SenderSubID" u16,
        STOP_PX "StopPx" i64,
        EXPIRE_TIME "ExpireTime" u64,
    }
    order_cancel_reject = 206 "OrderCancelReject" 102..=102 {
        MSG_SEQ_NUM "MsgSeqNum" u64,
        SENDING_TIME "SendingTime" u64,
        APPL_SEQ_NUM "ApplSeqNum" u64,
        ORDER_ID "OrderID" u64,
        CL_ORD_ID "ClOrdID" u64,
        EXEC_ID "ExecID" u64,
        TRANSACT_TIME "TransactTime" u64,
        ORIG_CL_ORD_ID "OrigClOrdID" u64,
        CXL_REJ_REASON "CxlRejReason" u16,
        CXL_REJ_RESPONSE_TO "CxlRejResponseTo" u8,
        ORD_STATUS "OrdStatus" u8,
        POSS_RESEND "PossResend" u8,
        TEXT "Text" [u8; 32],
        RETRYABLE "Retryable" u8,
    }
    business_message_reject = 208 "BusinessMessageReject" 77..=77 {
        MSG_SEQ_NUM "MsgSeqNum" u64,
        SENDING_TIME "SendingTime" u64,
        APPL_SEQ_NUM "ApplSeqNum" u64,
        REF_SEQ_NUM "RefSeqNum" u64,
        BUSINESS_REJECT_REF_ID "BusinessRejectRefID" u64,
        BUSINESS_REJECT_REASON "BusinessRejectReason" u16,
        REF_TEMPLATE_ID "RefTemplateID" u16,
        TEXT "Text" [u8; 32],
        RETRYABLE "Retryable" u8,
    }
}
