//! Wire, inbound: octets of a receive buffer become decoded requests.
//!
//! What the hot thread does with a connection that has something: split the frames, decode each,
//! and take its canonical form, which is what would be journaled. Messages of three lengths follow
//! each other at random, so that neither the template nor the length can be predicted. The octets
//! are read in order, as behind a `recv`, from a buffer that fits the second-level cache.

use tidegate::limits::FRAME_BYTES_MAX;
use tidegate::vocabulary::message::ClientMessage;
use tidegate::wire::decode::{CANONICAL_BYTES_MAX, Inbound, canonical, decode_inbound};
use tidegate::wire::frame;

use crate::flow::{Flow, Shape};
use crate::measure::{Laps, Meter};
use crate::plan::{Fold, Plan};
use crate::row::Row;

const BATCH: usize = 64;
const SHAPE: Shape =
    Shape { session_count: 1000, owner_count: 64, instrument_count: 64, working_count: 2000 };

/// Runs it.
pub(crate) fn run(plan: &Plan) -> Vec<Row> {
    let frame_count = plan.pick(256, 8192, 8192);
    let pass_count = plan.pick(1, 5, 20);
    let burst = Flow::new(plan.seed, SHAPE).burst(frame_count);
    let mut meter = Meter::new(pass_count * frame_count.div_ceil(BATCH));
    let mut fold = Fold::EMPTY;
    for _ in 0..plan.round_count {
        meter.round(|laps| {
            for _ in 0..pass_count {
                decode(&burst.frames, laps, &mut fold);
            }
        });
    }
    let state = format!(
        "{frame_count} frames of new orders, cancels, status requests ({} KiB), read in order",
        burst.frames.len() / 1024
    );
    let row = Row::new("wire_decode", "mixed", "request", &meter, state, fold.0);
    vec![row.with_batches(BATCH, &meter)]
}

fn decode(mut octets: &[u8], laps: &mut Laps<'_>, fold: &mut Fold) {
    let mut in_batch = 0;
    let mut scratch = [0; CANONICAL_BYTES_MAX];
    while let Ok(Some((frame, length))) = frame::split(octets, FRAME_BYTES_MAX) {
        match decode_inbound(&frame) {
            Ok(Inbound::Application(message)) => {
                let stored = canonical(&frame, &mut scratch);
                fold.add(value_of(&message) ^ stored.len() as u64);
            }
            Ok(Inbound::Session(_)) | Err(_) => unreachable!("the flow has requests alone"),
        }
        octets = octets.split_at(length).1;
        in_batch += 1;
        if in_batch == BATCH {
            laps.end_batch(BATCH);
            in_batch = 0;
        }
    }
    if in_batch > 0 {
        laps.end_batch(in_batch);
    }
    assert!(octets.is_empty(), "every frame was whole");
}

/// A number that needs every field of the message.
fn value_of(message: &ClientMessage) -> u64 {
    match message {
        ClientMessage::NewOrder(m) => {
            let numbers = m.msg_seq_num.0 ^ m.cl_ord_id.0 ^ m.sending_time.0 ^ m.expire_time;
            let codes = [m.side, m.ord_type, m.time_in_force, m.post_only, m.self_match, 0, 0, 0];
            let prices = m.price ^ m.order_qty ^ m.stop_px;
            let ids = u64::from(m.security_id) << 32 | u64::from(m.account);
            numbers
                ^ prices.cast_unsigned().rotate_left(32)
                ^ ids
                ^ u64::from_le_bytes(codes)
                ^ u64::from(m.sender_sub_id) << 48
                ^ u64::from(m.poss_resend) << 40
        }
        ClientMessage::Cancel(m) => {
            let codes = u64::from(m.security_id) << 32
                | u64::from(m.sender_sub_id) << 16
                | u64::from(m.side) << 8
                | u64::from(m.poss_resend);
            m.msg_seq_num.0 ^ m.sending_time.0 ^ m.cl_ord_id.0 ^ m.orig_cl_ord_id.0 ^ codes
        }
        ClientMessage::Status(m) => {
            m.msg_seq_num.0 ^ m.sending_time.0 ^ m.ord_status_req_id ^ m.cl_ord_id.0
        }
    }
}
