//! Session messages. They are rare, and some carry text: room is a question here, not an assertion.

use super::header;
use crate::limits::FRAME_BYTES_MAX;
use crate::vocabulary::message::SessionMessage;
use crate::vocabulary::units::{Nanos, Seq, SessionId};
use crate::wire::layout::{
    HEADER_BYTES, establish, establishment_ack, establishment_reject, finished_receiving,
    finished_sending, negotiate, negotiation_reject, negotiation_response, not_accepting,
    replication_status, retransmission, retransmit_reject, retransmit_request, sequence, terminate,
};

/// Writes the frame of a session message to the start of `out` and returns its octets; `None` when
/// it does not fit into `out` or into [`FRAME_BYTES_MAX`]. Then `out` is left as it was.
#[must_use]
#[expect(clippy::too_many_lines, reason = "one arm a template: the length is the protocol's")]
pub fn encode_session(message: &SessionMessage<'_>, out: &mut [u8]) -> Option<usize> {
    match *message {
        SessionMessage::Negotiate { session_id, timestamp, client_flow, credentials } => {
            let request = (session_id, timestamp, client_flow);
            coded(out, negotiate::TEMPLATE, request, credentials)
        }
        SessionMessage::NegotiationResponse { session_id, request_timestamp, server_flow } => {
            let response = (session_id, request_timestamp, server_flow);
            coded(out, negotiation_response::TEMPLATE, response, &[])
        }
        SessionMessage::NegotiationReject { session_id, request_timestamp, code, reason } => {
            let refusal = (session_id, request_timestamp, code);
            coded(out, negotiation_reject::TEMPLATE, refusal, reason)
        }
        SessionMessage::Establish {
            session_id,
            timestamp,
            keepalive_interval,
            next_seq_no,
            cancel_on_disconnect_type,
            cod_timeout_window,
            report_level,
            credentials,
        } => {
            use establish as f;
            let (block, len) = open::<{ f::BLOCK }>(out, f::TEMPLATE, Some(credentials))?;
            f::SESSION_ID.put(block, session_id.0);
            f::TIMESTAMP.put(block, timestamp.0);
            f::KEEPALIVE_INTERVAL.put(block, keepalive_interval);
            f::NEXT_SEQ_NO.put(block, next_seq_no);
            f::CANCEL_ON_DISCONNECT_TYPE.put(block, cancel_on_disconnect_type);
            f::COD_TIMEOUT_WINDOW.put(block, cod_timeout_window);
            f::REPORT_LEVEL.put(block, report_level);
            Some(len)
        }
        SessionMessage::EstablishmentAck {
            session_id,
            request_timestamp,
            keepalive_interval,
            next_seq_no,
            last_incoming_seq_no,
            cancel_on_disconnect_type,
            cod_timeout_window,
        } => {
            use establishment_ack as f;
            let (block, len) = open::<{ f::BLOCK }>(out, f::TEMPLATE, None)?;
            f::SESSION_ID.put(block, session_id.0);
            f::REQUEST_TIMESTAMP.put(block, request_timestamp.0);
            f::KEEPALIVE_INTERVAL.put(block, keepalive_interval);
            f::NEXT_SEQ_NO.put(block, next_seq_no.0);
            f::LAST_INCOMING_SEQ_NO.put(block, last_incoming_seq_no.0);
            f::CANCEL_ON_DISCONNECT_TYPE.put(block, cancel_on_disconnect_type);
            f::COD_TIMEOUT_WINDOW.put(block, cod_timeout_window);
            Some(len)
        }
        SessionMessage::EstablishmentReject { session_id, request_timestamp, code, reason } => {
            let refusal = (session_id, request_timestamp, code);
            coded(out, establishment_reject::TEMPLATE, refusal, reason)
        }
        SessionMessage::Sequence { next_seq_no } => {
            let (block, len) = open::<{ sequence::BLOCK }>(out, sequence::TEMPLATE, None)?;
            sequence::NEXT_SEQ_NO.put(block, next_seq_no.0);
            Some(len)
        }
        SessionMessage::RetransmitRequest { session_id, timestamp, from_seq_no, count } => {
            let wanted = (session_id, timestamp, from_seq_no, count);
            range(out, retransmit_request::TEMPLATE, wanted)
        }
        SessionMessage::Retransmission { session_id, request_timestamp, next_seq_no, count } => {
            let batch = (session_id, request_timestamp, next_seq_no, count);
            range(out, retransmission::TEMPLATE, batch)
        }
        SessionMessage::RetransmitReject { session_id, request_timestamp, code, reason } => {
            let refusal = (session_id, request_timestamp, code);
            coded(out, retransmit_reject::TEMPLATE, refusal, reason)
        }
        SessionMessage::Terminate { session_id, code, reason } => {
            use terminate as f;
            let (block, len) = open::<{ f::BLOCK }>(out, f::TEMPLATE, Some(reason))?;
            f::SESSION_ID.put(block, session_id.0);
            f::CODE.put(block, code);
            Some(len)
        }
        SessionMessage::FinishedSending { session_id, last_seq_no } => {
            use finished_sending as f;
            let (block, len) = open::<{ f::BLOCK }>(out, f::TEMPLATE, None)?;
            f::SESSION_ID.put(block, session_id.0);
            f::LAST_SEQ_NO.put(block, last_seq_no.0);
            Some(len)
        }
        SessionMessage::FinishedReceiving { session_id } => {
            use finished_receiving as f;
            let (block, len) = open::<{ f::BLOCK }>(out, f::TEMPLATE, None)?;
            f::SESSION_ID.put(block, session_id.0);
            Some(len)
        }
        SessionMessage::NotAccepting { from_seq_no, cause } => {
            use not_accepting as f;
            let (block, len) = open::<{ f::BLOCK }>(out, f::TEMPLATE, None)?;
            f::FROM_SEQ_NO.put(block, from_seq_no.0);
            f::CAUSE.put(block, cause);
            Some(len)
        }
        SessionMessage::ReplicationStatus {
            epoch,
            released_seq_no,
            commit_index,
            durable_index,
            isr_count,
            level,
        } => {
            use replication_status as f;
            let (block, len) = open::<{ f::BLOCK }>(out, f::TEMPLATE, None)?;
            f::EPOCH.put(block, epoch);
            f::RELEASED_SEQ_NO.put(block, released_seq_no.0);
            f::COMMIT_INDEX.put(block, commit_index);
            f::DURABLE_INDEX.put(block, durable_index);
            f::ISR_COUNT.put(block, isr_count);
            f::LEVEL.put(block, level);
            Some(len)
        }
    }
}

/// Templates 1, 2, 3, 7 and 13 have one layout: id, time, an octet, text.
fn coded(
    out: &mut [u8],
    template: u16,
    (session_id, timestamp, code): (SessionId, Nanos, u8),
    text: &[u8],
) -> Option<usize> {
    use negotiate as f;
    const _: () = assert!(f::BLOCK == negotiation_response::BLOCK);
    const _: () = assert!(f::BLOCK == negotiation_reject::BLOCK);
    const _: () = assert!(f::BLOCK == establishment_reject::BLOCK);
    const _: () = assert!(f::BLOCK == retransmit_reject::BLOCK);
    let (block, len) = open::<{ f::BLOCK }>(out, template, Some(text))?;
    f::SESSION_ID.put(block, session_id.0);
    f::TIMESTAMP.put(block, timestamp.0);
    f::CLIENT_FLOW.put(block, code);
    Some(len)
}

/// Templates 11 and 12 have one layout: id, time, first number, count.
fn range(
    out: &mut [u8],
    template: u16,
    (session_id, timestamp, from_seq_no, count): (SessionId, Nanos, Seq, u32),
) -> Option<usize> {
    use retransmit_request as f;
    const _: () = assert!(f::BLOCK == retransmission::BLOCK);
    let (block, len) = open::<{ f::BLOCK }>(out, template, None)?;
    f::SESSION_ID.put(block, session_id.0);
    f::TIMESTAMP.put(block, timestamp.0);
    f::FROM_SEQ_NO.put(block, from_seq_no.0);
    f::COUNT.put(block, count);
    Some(len)
}

/// Writes headers and var data of a frame; the block, and the octets in all, are what is returned.
/// `None` is a message without var data, which is not the same as empty var data.
fn open<'b, const BLOCK: usize>(
    out: &'b mut [u8],
    template: u16,
    var_data: Option<&[u8]>,
) -> Option<(&'b mut [u8; BLOCK], usize)> {
    let len = HEADER_BYTES + BLOCK + var_data.map_or(0, |octets| 2 + octets.len());
    if len > FRAME_BYTES_MAX {
        return None;
    }
    let (head, rest) = out.get_mut(..len)?.split_first_chunk_mut::<HEADER_BYTES>()?;
    let (block, rest) = rest.split_first_chunk_mut::<BLOCK>()?;
    if let Some(octets) = var_data {
        let (length, place) = rest.split_first_chunk_mut()?;
        *length = u16::try_from(octets.len()).ok()?.to_le_bytes();
        place.copy_from_slice(octets);
    }
    *head = header(template, BLOCK, len);
    Some((block, len))
}
