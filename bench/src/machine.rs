//! Machine: an order from the receive buffer to its encoded reports, on one core.
//!
//! The whole path of the hot thread without sockets: split, decode, admit, append to the mapped
//! journal, apply (dedup, checks, book), encode into the report log. The tables are in their steady
//! state when the clock starts: a million live keys, of which as many expire as arrive, a report
//! ring that has come round or holds all reports, a ring file that never stops growing.
//!
//! Three rows from three kinds of rounds that take turns: whole turns of 64 messages, the two
//! halves of such turns, and turns of a single message, which are long enough to be clocked one by
//! one.

use journal::Ring;
use tidegate::vocabulary::settings::Capacities;
use tidegate::vocabulary::units::Nanos;

use crate::flow::{Burst, Flow, Shape};
use crate::measure::{Meter, count};
use crate::node::{MESSAGE_INTERVAL, Node};
use crate::plan::{Plan, Size};
use crate::row::Row;
use crate::scratch::Scratch;

/// Messages of a turn: what one `recv` of 8 KiB may bring, or 64 connections with one each.
const TURN: usize = 64;
const NOTE: &str = "goal 3's shape without risk, throttle, volatility and breakers, which do not \
                    exist yet; no sockets";

/// Runs it.
pub(crate) fn run(plan: &Plan) -> Vec<Row> {
    let scratch = Scratch::new();
    let turn_messages: usize = plan.pick(256, 10_240, 51_200);
    let single_messages: usize = plan.pick(64, 2_000, 10_000);
    let measured = plan.round_count * (2 * turn_messages + single_messages);
    let ring = scratch.journal(ring_bytes(fill_messages(plan) + count(measured))).ring;
    let (mut node, mut flow) = filled(plan, ring);
    let mut whole = Meter::new(turn_messages / TURN);
    let (mut intake, mut apply) =
        (Meter::new(turn_messages / TURN), Meter::new(turn_messages / TURN));
    let mut single = Meter::new(single_messages);
    let before = (node.machine.trade_count(), node.machine.exec_count());
    for _ in 0..plan.round_count {
        turns(&mut node, &flow.burst(turn_messages), TURN, &mut whole);
        halves(&mut node, &flow.burst(turn_messages), &mut intake, &mut apply);
        turns(&mut node, &flow.burst(single_messages), 1, &mut single);
    }
    let messages = whole.operation_count() + intake.operation_count() + single.operation_count();
    let counted = format!(
        "{NOTE}; of {messages} messages came {} trades, {} reports",
        node.machine.trade_count() - before.0,
        node.machine.exec_count() - before.1
    );
    let (state, hash) = (node.state(), node.machine.output_digest());
    let row = |case: &str, meter| Row::new("machine", case, "message", meter, state.clone(), hash);
    vec![
        row("turns of 64", &whole).with_batches(TURN, &whole).noting(counted),
        row("turns of 64, intake", &intake)
            .with_batches(TURN, &intake)
            .noting("split, decode, admit, append"),
        row("turns of 64, apply", &apply)
            .with_batches(TURN, &apply)
            .noting("read back, decode, engine, encode into the report log"),
        row("turns of 1", &single).with_batches(1, &single).noting(NOTE),
    ]
}

/// A node in its steady state, and the flow that goes on from there.
pub(crate) fn filled(plan: &Plan, ring: Ring) -> (Node, Flow) {
    let key_count = key_count(plan);
    let shape = Shape {
        session_count: plan.pick(16, 1000, 1000),
        owner_count: plan.pick(4, 64, 64),
        instrument_count: plan.pick(2, 16, 64),
        working_count: plan.pick(200, 20_000, 100_000),
    };
    let capacities = Capacities {
        session_count_max: shape.session_count,
        resend_window: plan.pick(64, 1024, 8192),
        key_count_max: (2 * key_count).next_power_of_two(),
        key_retention: Nanos(messages_a_retention(plan) * MESSAGE_INTERVAL.0),
        order_count_max: plan.pick(1 << 10, 1 << 16, 1 << 18),
        hash_seed: plan.seed,
    };
    let log_bytes = plan.pick(1 << 18, 1 << 24, 1 << 28);
    let mut node = Node::found(ring, capacities, log_bytes, shape);
    let mut flow = Flow::new(plan.seed, shape);
    let fill = usize::try_from(fill_messages(plan)).unwrap_or(0);
    node.run(&mut flow, fill, TURN);
    if plan.size != Size::Tiny {
        let live = node.machine.engine().key_count();
        assert!(live >= key_count / 10 * 9, "the table is filled: {live} of {key_count}");
    }
    (node, flow)
}

/// Bytes of a ring that takes `message_count` messages and what surrounds them.
pub(crate) const fn ring_bytes(message_count: u64) -> u64 {
    // A new order takes 120 bytes, all other records of a run fit the MiB.
    ((1 << 20) + message_count * 120).next_power_of_two()
}

/// Messages after which a node is in its steady state: a tenth more than fill the table, so that
/// keys expire as fast as they come.
pub(crate) fn fill_messages(plan: &Plan) -> u64 {
    messages_a_retention(plan) * 11 / 10
}

/// 45 of 100 messages bring a new key.
fn messages_a_retention(plan: &Plan) -> u64 {
    u64::from(key_count(plan)) * 100 / 45
}

/// Live keys in the steady state.
fn key_count(plan: &Plan) -> u32 {
    plan.pick(1_000, 60_000, 1_000_000)
}

/// One round of whole turns.
fn turns(node: &mut Node, burst: &Burst, turn: usize, meter: &mut Meter) {
    meter.round(|laps| {
        let mut octets = &burst.frames[..];
        for sessions in burst.sessions.chunks(turn) {
            octets = node.intake(octets, sessions);
            node.apply();
            laps.end_batch(sessions.len());
        }
    });
    assert_settled(node, burst);
}

/// One round whose turns are clocked in two halves.
fn halves(node: &mut Node, burst: &Burst, intake: &mut Meter, apply: &mut Meter) {
    intake.round(|intake_laps| {
        apply.round(|apply_laps| {
            let mut octets = &burst.frames[..];
            for sessions in burst.sessions.chunks(TURN) {
                intake_laps.restart();
                octets = node.intake(octets, sessions);
                intake_laps.end_batch(sessions.len());
                apply_laps.restart();
                node.apply();
                apply_laps.end_batch(sessions.len());
            }
        });
    });
    assert_settled(node, burst);
}

fn assert_settled(node: &Node, burst: &Burst) {
    assert!(count(burst.sessions.len()) > 0, "a round has messages");
    assert!(node.machine.index().0 == node.ring.last_index(), "every record was applied");
    burst.sessions.iter().for_each(|&session| node.machine.sessions().assert_settled(session));
}
