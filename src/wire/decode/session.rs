//! Session messages of either direction.
//!
//! Codes stay octets: an unknown one has an answer of its own in the session (ruling F26).

use super::{DecodeError, block, var_data};
use crate::vocabulary::fix::NULL_U8;
use crate::vocabulary::message::{NULL_U32, NULL_U64, SessionMessage};
use crate::vocabulary::units::{Nanos, Seq, SessionId};
use crate::wire::frame::Frame;
use crate::wire::layout::{
    establish, establishment_ack, establishment_reject, finished_receiving, finished_sending,
    negotiate, negotiation_reject, negotiation_response, not_accepting, replication_status,
    retransmission, retransmit_reject, retransmit_request, sequence, terminate,
};

type Decoded<'a> = Result<SessionMessage<'a>, DecodeError>;

/// The session message that a client may send, and no other template.
pub(super) fn decode_inbound<'a>(frame: &Frame<'a>) -> Decoded<'a> {
    match frame.template {
        sequence::TEMPLATE => sequence(frame),
        negotiate::TEMPLATE => negotiate(frame),
        establish::TEMPLATE => establish(frame),
        retransmit_request::TEMPLATE => retransmit_request(frame),
        terminate::TEMPLATE => terminate(frame),
        finished_sending::TEMPLATE => finished_sending(frame),
        finished_receiving::TEMPLATE => finished_receiving(frame),
        template => Err(DecodeError::UnknownTemplate { template }),
    }
}

/// The session message that a server may send, and no other template.
pub(super) fn decode_outbound<'a>(frame: &Frame<'a>) -> Decoded<'a> {
    match frame.template {
        sequence::TEMPLATE => sequence(frame),
        negotiation_response::TEMPLATE => negotiation_response(frame),
        negotiation_reject::TEMPLATE => negotiation_reject(frame),
        establishment_ack::TEMPLATE => establishment_ack(frame),
        establishment_reject::TEMPLATE => establishment_reject(frame),
        retransmission::TEMPLATE => retransmission(frame),
        retransmit_reject::TEMPLATE => retransmit_reject(frame),
        terminate::TEMPLATE => terminate(frame),
        finished_sending::TEMPLATE => finished_sending(frame),
        finished_receiving::TEMPLATE => finished_receiving(frame),
        not_accepting::TEMPLATE => not_accepting(frame),
        replication_status::TEMPLATE => replication_status(frame),
        template => Err(DecodeError::UnknownTemplate { template }),
    }
}

fn negotiate<'a>(frame: &Frame<'a>) -> Decoded<'a> {
    use negotiate as f;
    let block = block::<{ f::BLOCK_MIN }>(frame)?;
    Ok(SessionMessage::Negotiate {
        session_id: SessionId(f::SESSION_ID.get(block)),
        timestamp: Nanos(f::TIMESTAMP.get(block)),
        client_flow: f::CLIENT_FLOW.get(block),
        credentials: var_data(frame)?,
    })
}

fn negotiation_response<'a>(frame: &Frame<'a>) -> Decoded<'a> {
    use negotiation_response as f;
    let block = block::<{ f::BLOCK_MIN }>(frame)?;
    // The server sends no credentials (ruling F04); were there any, nothing would read them.
    var_data(frame)?;
    Ok(SessionMessage::NegotiationResponse {
        session_id: SessionId(f::SESSION_ID.get(block)),
        request_timestamp: Nanos(f::REQUEST_TIMESTAMP.get(block)),
        server_flow: f::SERVER_FLOW.get(block),
    })
}

fn negotiation_reject<'a>(frame: &Frame<'a>) -> Decoded<'a> {
    use negotiation_reject as f;
    let block = block::<{ f::BLOCK_MIN }>(frame)?;
    Ok(SessionMessage::NegotiationReject {
        session_id: SessionId(f::SESSION_ID.get(block)),
        request_timestamp: Nanos(f::REQUEST_TIMESTAMP.get(block)),
        code: f::CODE.get(block),
        reason: var_data(frame)?,
    })
}

fn establish<'a>(frame: &Frame<'a>) -> Decoded<'a> {
    use establish as f;
    let block = block::<{ f::BLOCK_MIN }>(frame)?;
    let appended = frame.block();
    Ok(SessionMessage::Establish {
        session_id: SessionId(f::SESSION_ID.get(block)),
        timestamp: Nanos(f::TIMESTAMP.get(block)),
        keepalive_interval: f::KEEPALIVE_INTERVAL.get(block),
        next_seq_no: f::NEXT_SEQ_NO.get(block),
        cancel_on_disconnect_type: f::CANCEL_ON_DISCONNECT_TYPE.find(appended).unwrap_or(NULL_U8),
        cod_timeout_window: f::COD_TIMEOUT_WINDOW.find(appended).unwrap_or(NULL_U32),
        report_level: f::REPORT_LEVEL.find(appended).unwrap_or(NULL_U8),
        credentials: var_data(frame)?,
    })
}

fn establishment_ack<'a>(frame: &Frame<'a>) -> Decoded<'a> {
    use establishment_ack as f;
    let block = block::<{ f::BLOCK_MIN }>(frame)?;
    let appended = frame.block();
    Ok(SessionMessage::EstablishmentAck {
        session_id: SessionId(f::SESSION_ID.get(block)),
        request_timestamp: Nanos(f::REQUEST_TIMESTAMP.get(block)),
        keepalive_interval: f::KEEPALIVE_INTERVAL.get(block),
        next_seq_no: Seq(f::NEXT_SEQ_NO.get(block)),
        last_incoming_seq_no: Seq(f::LAST_INCOMING_SEQ_NO.find(appended).unwrap_or(NULL_U64)),
        cancel_on_disconnect_type: f::CANCEL_ON_DISCONNECT_TYPE.find(appended).unwrap_or(NULL_U8),
        cod_timeout_window: f::COD_TIMEOUT_WINDOW.find(appended).unwrap_or(NULL_U32),
    })
}

fn establishment_reject<'a>(frame: &Frame<'a>) -> Decoded<'a> {
    use establishment_reject as f;
    let block = block::<{ f::BLOCK_MIN }>(frame)?;
    Ok(SessionMessage::EstablishmentReject {
        session_id: SessionId(f::SESSION_ID.get(block)),
        request_timestamp: Nanos(f::REQUEST_TIMESTAMP.get(block)),
        code: f::CODE.get(block),
        reason: var_data(frame)?,
    })
}

fn sequence<'a>(frame: &Frame<'a>) -> Decoded<'a> {
    let block = block::<{ sequence::BLOCK_MIN }>(frame)?;
    Ok(SessionMessage::Sequence { next_seq_no: Seq(sequence::NEXT_SEQ_NO.get(block)) })
}

fn retransmit_request<'a>(frame: &Frame<'a>) -> Decoded<'a> {
    use retransmit_request as f;
    let block = block::<{ f::BLOCK_MIN }>(frame)?;
    Ok(SessionMessage::RetransmitRequest {
        session_id: SessionId(f::SESSION_ID.get(block)),
        timestamp: Nanos(f::TIMESTAMP.get(block)),
        from_seq_no: Seq(f::FROM_SEQ_NO.get(block)),
        count: f::COUNT.get(block),
    })
}

fn retransmission<'a>(frame: &Frame<'a>) -> Decoded<'a> {
    use retransmission as f;
    let block = block::<{ f::BLOCK_MIN }>(frame)?;
    Ok(SessionMessage::Retransmission {
        session_id: SessionId(f::SESSION_ID.get(block)),
        request_timestamp: Nanos(f::REQUEST_TIMESTAMP.get(block)),
        next_seq_no: Seq(f::NEXT_SEQ_NO.get(block)),
        count: f::COUNT.get(block),
    })
}

fn retransmit_reject<'a>(frame: &Frame<'a>) -> Decoded<'a> {
    use retransmit_reject as f;
    let block = block::<{ f::BLOCK_MIN }>(frame)?;
    Ok(SessionMessage::RetransmitReject {
        session_id: SessionId(f::SESSION_ID.get(block)),
        request_timestamp: Nanos(f::REQUEST_TIMESTAMP.get(block)),
        code: f::CODE.get(block),
        reason: var_data(frame)?,
    })
}

fn terminate<'a>(frame: &Frame<'a>) -> Decoded<'a> {
    use terminate as f;
    let block = block::<{ f::BLOCK_MIN }>(frame)?;
    Ok(SessionMessage::Terminate {
        session_id: SessionId(f::SESSION_ID.get(block)),
        code: f::CODE.get(block),
        reason: var_data(frame)?,
    })
}

fn finished_sending<'a>(frame: &Frame<'a>) -> Decoded<'a> {
    use finished_sending as f;
    let block = block::<{ f::BLOCK_MIN }>(frame)?;
    Ok(SessionMessage::FinishedSending {
        session_id: SessionId(f::SESSION_ID.get(block)),
        last_seq_no: Seq(f::LAST_SEQ_NO.get(block)),
    })
}

fn finished_receiving<'a>(frame: &Frame<'a>) -> Decoded<'a> {
    use finished_receiving as f;
    let block = block::<{ f::BLOCK_MIN }>(frame)?;
    Ok(SessionMessage::FinishedReceiving { session_id: SessionId(f::SESSION_ID.get(block)) })
}

fn not_accepting<'a>(frame: &Frame<'a>) -> Decoded<'a> {
    use not_accepting as f;
    let block = block::<{ f::BLOCK_MIN }>(frame)?;
    Ok(SessionMessage::NotAccepting {
        from_seq_no: Seq(f::FROM_SEQ_NO.get(block)),
        cause: f::CAUSE.get(block),
    })
}

fn replication_status<'a>(frame: &Frame<'a>) -> Decoded<'a> {
    use replication_status as f;
    let block = block::<{ f::BLOCK_MIN }>(frame)?;
    Ok(SessionMessage::ReplicationStatus {
        epoch: f::EPOCH.get(block),
        released_seq_no: Seq(f::RELEASED_SEQ_NO.get(block)),
        commit_index: f::COMMIT_INDEX.get(block),
        durable_index: f::DURABLE_INDEX.get(block),
        isr_count: f::ISR_COUNT.get(block),
        level: f::LEVEL.get(block),
    })
}
