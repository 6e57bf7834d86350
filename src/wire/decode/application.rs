//! Requests of a client, and the form in which they are journaled.

use super::{DecodeError, known_schema, whole_block};
use crate::vocabulary::message::{
    ClientMessage, NULL_I64, NULL_U64, NewOrderSingle, OrderCancelRequest, OrderStatusRequest,
};
use crate::vocabulary::units::{ClOrdId, Nanos, Seq};
use crate::wire::frame::Frame;
use crate::wire::layout::{
    SBE_BYTES, SCHEMA_VERSION, new_order_single, order_cancel_request, order_status_request,
};

/// Octets of the longest canonical form.
pub const CANONICAL_BYTES_MAX: usize = SBE_BYTES + new_order_single::BLOCK;
/// A block that ends between the two appended fields.
const BLOCK_WITH_STOP_PX: usize = new_order_single::STOP_PX.end();
const _: () = assert!(order_cancel_request::BLOCK <= new_order_single::BLOCK);
const _: () = assert!(order_status_request::BLOCK <= new_order_single::BLOCK);

/// Decodes a journaled message. It is taken only in the form that [`canonical`] gives: anything
/// else was written by a build that knew more, or by none, and reading it would be another history.
pub fn decode_client_message(sbe: &[u8]) -> Result<ClientMessage, DecodeError> {
    let not_canonical = DecodeError::NotCanonical { came: sbe.len() };
    let frame = Frame::from_sbe(sbe).ok_or(not_canonical)?;
    known_schema(&frame)?;
    let decoded = decode(&frame);
    if decoded.is_err() || is_canonical(&frame) { decoded } else { Err(not_canonical) }
}

/// Octets of the canonical form of an application message of `template` with a block of
/// `block_length`; `None` when the template is no request or the block is too short.
#[inline]
#[must_use]
pub const fn canonical_len(template: u16, block_length: u16) -> Option<usize> {
    let length = block_length as usize;
    let known = match template {
        new_order_single::TEMPLATE => match length {
            new_order_single::BLOCK.. => new_order_single::BLOCK,
            BLOCK_WITH_STOP_PX.. => BLOCK_WITH_STOP_PX,
            new_order_single::BLOCK_MIN.. => new_order_single::BLOCK_MIN,
            _ => return None,
        },
        order_cancel_request::TEMPLATE if length >= order_cancel_request::BLOCK => {
            order_cancel_request::BLOCK
        }
        order_status_request::TEMPLATE if length >= order_status_request::BLOCK => {
            order_status_request::BLOCK
        }
        _ => return None,
    };
    Some(SBE_BYTES + known)
}

/// The canonical form of a frame that [`super::decode_inbound`] took as an application message: SBE
/// header and block, cut behind the last field that this build knows, blockLength and version
/// rewritten to match. The usual frame has this form already and is returned as it stands. A frame
/// that is no application message has no such form and is returned as it stands, too.
#[inline]
#[must_use]
pub fn canonical<'b>(frame: &Frame<'b>, scratch: &'b mut [u8; CANONICAL_BYTES_MAX]) -> &'b [u8] {
    if is_canonical(frame) {
        return frame.sbe();
    }
    cut(frame, scratch).unwrap_or_else(|| frame.sbe())
}

fn is_canonical(frame: &Frame<'_>) -> bool {
    canonical_len(frame.template, frame.block_length) == Some(frame.sbe().len())
        && frame.version <= SCHEMA_VERSION
}

fn cut<'b>(frame: &Frame<'_>, scratch: &'b mut [u8; CANONICAL_BYTES_MAX]) -> Option<&'b [u8]> {
    let len = canonical_len(frame.template, frame.block_length)?;
    let out = scratch.get_mut(..len)?;
    let (header, block) = out.split_first_chunk_mut::<SBE_BYTES>()?;
    block.copy_from_slice(frame.block().get(..block.len())?);
    let [b0, b1] = u16::try_from(block.len()).ok()?.to_le_bytes();
    let [t0, t1] = frame.template.to_le_bytes();
    let [s0, s1] = frame.schema_id.to_le_bytes();
    let [v0, v1] = frame.version.min(SCHEMA_VERSION).to_le_bytes();
    *header = [b0, b1, t0, t1, s0, s1, v0, v1];
    Some(out)
}

/// The request in `frame`. Only the block is fallible: once it is there, the message is built where
/// it is returned, without a copy between.
#[inline]
pub(super) fn decode(frame: &Frame<'_>) -> Result<ClientMessage, DecodeError> {
    match frame.template {
        new_order_single::TEMPLATE => {
            let block = whole_block(frame)?;
            Ok(ClientMessage::NewOrder(new_order(block, frame.block())))
        }
        order_cancel_request::TEMPLATE => Ok(ClientMessage::Cancel(cancel(whole_block(frame)?))),
        order_status_request::TEMPLATE => Ok(ClientMessage::Status(status(whole_block(frame)?))),
        template => Err(DecodeError::UnknownTemplate { template }),
    }
}

#[inline]
fn new_order(block: &[u8; new_order_single::BLOCK_MIN], appended: &[u8]) -> NewOrderSingle {
    use new_order_single as f;
    NewOrderSingle {
        msg_seq_num: Seq(f::MSG_SEQ_NUM.get(block)),
        sending_time: Nanos(f::SENDING_TIME.get(block)),
        cl_ord_id: ClOrdId(f::CL_ORD_ID.get(block)),
        price: f::PRICE.get(block),
        order_qty: f::ORDER_QTY.get(block),
        security_id: f::SECURITY_ID.get(block),
        account: f::ACCOUNT.get(block),
        side: f::SIDE.get(block),
        ord_type: f::ORD_TYPE.get(block),
        time_in_force: f::TIME_IN_FORCE.get(block),
        post_only: f::POST_ONLY.get(block),
        poss_resend: f::POSS_RESEND.get(block),
        self_match: f::SELF_MATCH_PREVENTION_INSTRUCTION.get(block),
        sender_sub_id: f::SENDER_SUB_ID.get(block),
        stop_px: f::STOP_PX.find(appended).unwrap_or(NULL_I64),
        expire_time: f::EXPIRE_TIME.find(appended).unwrap_or(NULL_U64),
    }
}

#[inline]
fn cancel(block: &[u8; order_cancel_request::BLOCK_MIN]) -> OrderCancelRequest {
    use order_cancel_request as f;
    OrderCancelRequest {
        msg_seq_num: Seq(f::MSG_SEQ_NUM.get(block)),
        sending_time: Nanos(f::SENDING_TIME.get(block)),
        cl_ord_id: ClOrdId(f::CL_ORD_ID.get(block)),
        orig_cl_ord_id: ClOrdId(f::ORIG_CL_ORD_ID.get(block)),
        security_id: f::SECURITY_ID.get(block),
        side: f::SIDE.get(block),
        poss_resend: f::POSS_RESEND.get(block),
        sender_sub_id: f::SENDER_SUB_ID.get(block),
    }
}

#[inline]
fn status(block: &[u8; order_status_request::BLOCK_MIN]) -> OrderStatusRequest {
    use order_status_request as f;
    OrderStatusRequest {
        msg_seq_num: Seq(f::MSG_SEQ_NUM.get(block)),
        sending_time: Nanos(f::SENDING_TIME.get(block)),
        ord_status_req_id: f::ORD_STATUS_REQ_ID.get(block),
        cl_ord_id: ClOrdId(f::CL_ORD_ID.get(block)),
    }
}
/// The ClOrdIDs that a request names, read without decoding the rest: for a prefetch of their keys.
#[inline]
#[must_use]
pub fn keys_named(frame: &Frame<'_>) -> [Option<ClOrdId>; 2] {
    let block = frame.block();
    let first = match frame.template {
        new_order_single::TEMPLATE => new_order_single::CL_ORD_ID.find(block),
        order_cancel_request::TEMPLATE => order_cancel_request::ORIG_CL_ORD_ID.find(block),
        order_status_request::TEMPLATE => order_status_request::CL_ORD_ID.find(block),
        _ => None,
    };
    let second = match frame.template {
        order_cancel_request::TEMPLATE => order_cancel_request::CL_ORD_ID.find(block),
        _ => None,
    };
    [first.map(ClOrdId), second.map(ClOrdId)]
}
