//! What peers send each other, as decoded and not yet judged.
//!
//! Application messages keep their fields as raw integers: a bad enum value or an impossible price
//! in a well-framed message is not a breach of protocol. It consumes its number and gets a refusal,
//! so judging is the engine's work and the order in which it judges is part of the contract.
//! Null values stay what they are on the wire (`i64::MIN`, `u64::MAX`, `u32::MAX`, 255, 0).

use super::units::{ClOrdId, Nanos, Seq, SessionId};

/// The null of a price or an optional quantity.
pub const NULL_I64: i64 = i64::MIN;
/// The null of an optional `u64` field.
pub const NULL_U64: u64 = u64::MAX;
/// The null of an optional `u32` field.
pub const NULL_U32: u32 = u32::MAX;

/// Template 100.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct NewOrderSingle {
    /// MsgSeqNum(34).
    pub msg_seq_num: Seq,
    /// SendingTime(52); neither checked nor used (ruling F29).
    pub sending_time: Nanos,
    /// ClOrdID(11).
    pub cl_ord_id: ClOrdId,
    /// Price(44) x 1e-8, or [`NULL_I64`].
    pub price: i64,
    /// OrderQty(38).
    pub order_qty: i64,
    /// SecurityID(48).
    pub security_id: u32,
    /// Account(1).
    pub account: u32,
    /// Side(54).
    pub side: u8,
    /// OrdType(40).
    pub ord_type: u8,
    /// TimeInForce(59).
    pub time_in_force: u8,
    /// PostOnly: 0 or 1.
    pub post_only: u8,
    /// PossResend(97): 0 or 1.
    pub poss_resend: u8,
    /// SelfMatchPreventionInstruction(2964).
    pub self_match: u8,
    /// SenderSubID(50).
    pub sender_sub_id: u16,
    /// StopPx(99) x 1e-8, or [`NULL_I64`]; null in a block of version 1.
    pub stop_px: i64,
    /// ExpireTime(126), or [`NULL_U64`]; null in a block of version 1.
    pub expire_time: u64,
}

/// Template 102.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OrderCancelRequest {
    /// MsgSeqNum(34).
    pub msg_seq_num: Seq,
    /// SendingTime(52).
    pub sending_time: Nanos,
    /// ClOrdID(11) of the cancel itself.
    pub cl_ord_id: ClOrdId,
    /// OrigClOrdID(41): the order.
    pub orig_cl_ord_id: ClOrdId,
    /// SecurityID(48).
    pub security_id: u32,
    /// Side(54).
    pub side: u8,
    /// PossResend(97).
    pub poss_resend: u8,
    /// SenderSubID(50).
    pub sender_sub_id: u16,
}

/// Template 104.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct OrderStatusRequest {
    /// MsgSeqNum(34).
    pub msg_seq_num: Seq,
    /// SendingTime(52).
    pub sending_time: Nanos,
    /// OrdStatusReqID(790).
    pub ord_status_req_id: u64,
    /// ClOrdID(11): the order asked about.
    pub cl_ord_id: ClOrdId,
}

/// An application message of a client: it has a number and is journaled whatever becomes of it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ClientMessage {
    /// Template 100.
    NewOrder(NewOrderSingle),
    /// Template 102.
    Cancel(OrderCancelRequest),
    /// Template 104.
    Status(OrderStatusRequest),
}

impl ClientMessage {
    /// MsgSeqNum(34).
    #[must_use]
    pub const fn msg_seq_num(&self) -> Seq {
        match self {
            Self::NewOrder(m) => m.msg_seq_num,
            Self::Cancel(m) => m.msg_seq_num,
            Self::Status(m) => m.msg_seq_num,
        }
    }

    /// The id that a repeated session number is compared by (ruling F01).
    #[must_use]
    pub const fn request_id(&self) -> u64 {
        match self {
            Self::NewOrder(m) => m.cl_ord_id.0,
            Self::Cancel(m) => m.cl_ord_id.0,
            Self::Status(m) => m.ord_status_req_id,
        }
    }

    /// The SBE template id.
    #[must_use]
    pub const fn template(&self) -> u16 {
        match self {
            Self::NewOrder(_) => 100,
            Self::Cancel(_) => 102,
            Self::Status(_) => 104,
        }
    }
}

/// Session messages, in either direction. They carry no number of their own.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SessionMessage<'a> {
    /// Template 1.
    Negotiate {
        /// The id the client chose.
        session_id: SessionId,
        /// Wall clock of the client.
        timestamp: Nanos,
        /// FlowType.
        client_flow: u8,
        /// Key id, `|`, MAC in hex (ruling F04).
        credentials: &'a [u8],
    },
    /// Template 2.
    NegotiationResponse {
        /// The negotiated id.
        session_id: SessionId,
        /// Timestamp of the Negotiate.
        request_timestamp: Nanos,
        /// FlowType.
        server_flow: u8,
    },
    /// Template 3.
    NegotiationReject {
        /// The refused id.
        session_id: SessionId,
        /// Timestamp of the Negotiate.
        request_timestamp: Nanos,
        /// NegotiationRejectCode.
        code: u8,
        /// For a human.
        reason: &'a [u8],
    },
    /// Template 5.
    Establish {
        /// The negotiated id.
        session_id: SessionId,
        /// Wall clock of the client.
        timestamp: Nanos,
        /// Milliseconds.
        keepalive_interval: u32,
        /// The client's next number, or [`NULL_U64`] for "what you expect".
        next_seq_no: u64,
        /// CODType, or 255.
        cancel_on_disconnect_type: u8,
        /// Milliseconds, or [`NULL_U32`].
        cod_timeout_window: u32,
        /// ReportLevel, or 255.
        report_level: u8,
        /// Key id, `|`, MAC in hex (ruling F04).
        credentials: &'a [u8],
    },
    /// Template 6.
    EstablishmentAck {
        /// The bound id.
        session_id: SessionId,
        /// Timestamp of the Establish.
        request_timestamp: Nanos,
        /// The server's interval in milliseconds.
        keepalive_interval: u32,
        /// Number of the next report to be released.
        next_seq_no: Seq,
        /// Last number applied before this Establish; 0 if none.
        last_incoming_seq_no: Seq,
        /// CODType in force.
        cancel_on_disconnect_type: u8,
        /// Window in force in milliseconds.
        cod_timeout_window: u32,
    },
    /// Template 7.
    EstablishmentReject {
        /// The refused id.
        session_id: SessionId,
        /// Timestamp of the Establish.
        request_timestamp: Nanos,
        /// EstablishmentRejectCode.
        code: u8,
        /// For a human.
        reason: &'a [u8],
    },
    /// Template 8.
    Sequence {
        /// The sender's next number.
        next_seq_no: Seq,
    },
    /// Template 11.
    RetransmitRequest {
        /// The bound id.
        session_id: SessionId,
        /// Wall clock of the client.
        timestamp: Nanos,
        /// First number wanted.
        from_seq_no: Seq,
        /// How many.
        count: u32,
    },
    /// Template 12.
    Retransmission {
        /// The bound id.
        session_id: SessionId,
        /// Timestamp of the request.
        request_timestamp: Nanos,
        /// First number of this batch.
        next_seq_no: Seq,
        /// Messages in this batch.
        count: u32,
    },
    /// Template 13.
    RetransmitReject {
        /// The bound id.
        session_id: SessionId,
        /// Timestamp of the request.
        request_timestamp: Nanos,
        /// RetransmitRejectCode.
        code: u8,
        /// For a human.
        reason: &'a [u8],
    },
    /// Template 14.
    Terminate {
        /// The bound id; zero octets before one is bound.
        session_id: SessionId,
        /// TerminationCode.
        code: u8,
        /// For a human.
        reason: &'a [u8],
    },
    /// Template 15.
    FinishedSending {
        /// The bound id.
        session_id: SessionId,
        /// The number of the sender's last message; 0 if there was none. A client must not send
        /// [`NULL_U64`].
        last_seq_no: Seq,
    },
    /// Template 16.
    FinishedReceiving {
        /// The bound id.
        session_id: SessionId,
    },
    /// Template 20.
    NotAccepting {
        /// First number that was dropped.
        from_seq_no: Seq,
        /// GateCause.
        cause: u8,
    },
    /// Template 21.
    ReplicationStatus {
        /// Leadership term.
        epoch: u64,
        /// Last report of this session that may be sent.
        released_seq_no: Seq,
        /// Last committed journal index.
        commit_index: u64,
        /// Last journal index on disk.
        durable_index: u64,
        /// Members in sync, the leader included.
        isr_count: u8,
        /// AckLevel.
        level: u8,
    },
}
