//! Flow: requests as the clients of a market send them, as frames.
//!
//! What an order costs depends on what came before it, so all benches that take requests share this
//! one flow and none feeds one message over and over. Many sessions interleave at random, each with
//! its own numbers; prices stand around a mid that wanders; a fifth of the new orders cross. Orders
//! in work are cancelled at random once there are enough of them, which some trade has closed by
//! then: a cancel too late is part of a market. Of 100 messages 8 repeat an order sent before, most
//! of them a recent one, and 2 ask for a status.
//!
//! Made before the clock starts: a generator inside the window would be measured with the engine.

use tidegate::vocabulary::fix::{OrdType, SelfMatchInst, Side, TimeInForce};
use tidegate::vocabulary::message::{
    ClientMessage, NULL_I64, NULL_U64, NewOrderSingle, OrderCancelRequest, OrderStatusRequest,
};
use tidegate::vocabulary::random::SplitMix;
use tidegate::vocabulary::units::{ClOrdId, Nanos, OwnerIdx, Seq, SessionIdx};
use tidegate::wire::encode::{CLIENT_BYTES_MAX, encode_client};

/// Price of one tick x 1e-8.
pub(crate) const TICK: i64 = 1_000_000;
/// The mid that every instrument begins at, in ticks.
pub(crate) const MID_TICKS: i64 = 100_000;
/// How far the mid wanders, in ticks.
const WANDER_TICKS: i64 = 20_000;
/// Orders that a repetition may go back to, and the recent ones that most go back to.
const REPEAT_WINDOW: usize = 1 << 17;
const REPEAT_RECENT: usize = 1 << 10;

/// How many of everything.
#[derive(Clone, Copy, Debug)]
#[expect(clippy::struct_field_names, reason = "a count says so in its name")]
pub(crate) struct Shape {
    pub(crate) session_count: u32,
    pub(crate) owner_count: u16,
    pub(crate) instrument_count: u32,
    /// Orders in work at which cancels balance new orders.
    pub(crate) working_count: usize,
}

/// The clients.
pub(crate) struct Flow {
    shape: Shape,
    random: SplitMix,
    /// Next MsgSeqNum of each session.
    numbers: Box<[u64]>,
    /// Next id of each session; the session is in its upper half, as firms do it.
    ids: Box<[u64]>,
    /// Mid of each instrument, in ticks.
    mids: Box<[i64]>,
    /// Orders that were sent and not cancelled yet; some are filled.
    working: Vec<Sent>,
    /// The last orders sent, filled or not: a ring.
    sent: Vec<Sent>,
    sent_count: usize,
}

/// An order that was sent.
#[derive(Clone, Copy)]
struct Sent {
    session: u32,
    order: NewOrderSingle,
}

/// Frames one behind the other, and whose they are.
pub(crate) struct Burst {
    pub(crate) frames: Vec<u8>,
    pub(crate) sessions: Vec<SessionIdx>,
}

impl Flow {
    pub(crate) fn new(seed: u64, shape: Shape) -> Self {
        let sessions = 0..u64::from(shape.session_count);
        Self {
            shape,
            random: SplitMix(seed),
            numbers: sessions.clone().map(|_| 1).collect(),
            ids: sessions.map(|session| (session + 1) << 32).collect(),
            mids: (0..shape.instrument_count).map(|_| MID_TICKS).collect(),
            working: Vec::with_capacity(2 * shape.working_count),
            sent: Vec::with_capacity(REPEAT_WINDOW),
            sent_count: 0,
        }
    }

    /// The owner of a session.
    pub(crate) fn owner(&self, session: u32) -> OwnerIdx {
        let owner = session % u32::from(self.shape.owner_count);
        OwnerIdx(u16::try_from(owner).unwrap_or(0))
    }

    /// The account that an owner trades on.
    pub(crate) fn account(owner: OwnerIdx) -> u32 {
        1000 + u32::from(owner.0)
    }

    /// The next `count` messages, as frames.
    pub(crate) fn burst(&mut self, count: usize) -> Burst {
        let mut frames = Vec::with_capacity(count * CLIENT_BYTES_MAX);
        let mut sessions = Vec::with_capacity(count);
        let mut frame = [0; CLIENT_BYTES_MAX];
        for _ in 0..count {
            let (session, message) = self.next();
            let len = encode_client(&message, &mut frame);
            frames.extend_from_slice(frame.split_at(len).0);
            sessions.push(session);
        }
        Burst { frames, sessions }
    }

    /// The next message.
    pub(crate) fn next(&mut self) -> (SessionIdx, ClientMessage) {
        let (session, mut message) = match self.random.below(100) {
            0..2 if self.sent_count > 0 => self.status(),
            2..10 if self.sent_count > 0 => self.repetition(),
            kind => {
                // Below the level two of three messages are new orders, above it two are cancels.
                let is_full = self.working.len() >= self.shape.working_count;
                let is_cancel = kind < if is_full { 70 } else { 40 };
                if is_cancel && !self.working.is_empty() { self.cancel() } else { self.order() }
            }
        };
        let number = Seq(self.take_number(session));
        match &mut message {
            ClientMessage::NewOrder(m) => m.msg_seq_num = number,
            ClientMessage::Cancel(m) => m.msg_seq_num = number,
            ClientMessage::Status(m) => m.msg_seq_num = number,
        }
        (SessionIdx(session), message)
    }

    fn order(&mut self) -> (u32, ClientMessage) {
        let session = self.any(self.shape.session_count);
        let security_id = self.any(self.shape.instrument_count);
        let mid = self.wander(security_id);
        let is_buy = self.random.below(2) == 0;
        // Crossing orders reach a few ticks into the other side, the rest stand behind the mid.
        let is_crossing = self.random.below(5) == 0;
        let distance = if is_crossing { -self.distance(2) } else { self.distance(5) };
        let ticks = if is_buy { mid - distance } else { mid + distance };
        let order = NewOrderSingle {
            msg_seq_num: Seq(0),
            sending_time: Nanos(0),
            cl_ord_id: self.take_id(session),
            price: ticks * TICK,
            order_qty: self.signed(50) * 10 + 10,
            security_id,
            account: Self::account(self.owner(session)),
            side: if is_buy { Side::Buy } else { Side::Sell }.wire(),
            ord_type: OrdType::Limit.wire(),
            time_in_force: TimeInForce::Day.wire(),
            post_only: 0,
            poss_resend: 0,
            self_match: SelfMatchInst::NoPrevention.wire(),
            sender_sub_id: 7,
            stop_px: NULL_I64,
            expire_time: NULL_U64,
        };
        let sent = Sent { session, order };
        self.working.push(sent);
        if self.sent.len() < REPEAT_WINDOW {
            self.sent.push(sent);
        } else {
            self.sent[self.sent_count % REPEAT_WINDOW] = sent;
        }
        self.sent_count += 1;
        (session, ClientMessage::NewOrder(order))
    }

    fn cancel(&mut self) -> (u32, ClientMessage) {
        let at = self.index(self.working.len());
        let Sent { session, order } = self.working.swap_remove(at);
        let cancel = OrderCancelRequest {
            msg_seq_num: Seq(0),
            sending_time: Nanos(0),
            cl_ord_id: self.take_id(session),
            orig_cl_ord_id: order.cl_ord_id,
            security_id: order.security_id,
            side: order.side,
            poss_resend: 0,
            sender_sub_id: 7,
        };
        (session, ClientMessage::Cancel(cancel))
    }

    fn repetition(&mut self) -> (u32, ClientMessage) {
        let Sent { session, mut order } = self.any_sent();
        order.poss_resend = 1;
        (session, ClientMessage::NewOrder(order))
    }

    fn status(&mut self) -> (u32, ClientMessage) {
        let Sent { session, order } = self.any_sent();
        let status = OrderStatusRequest {
            msg_seq_num: Seq(0),
            sending_time: Nanos(0),
            ord_status_req_id: self.take_id(session).0,
            cl_ord_id: order.cl_ord_id,
        };
        (session, ClientMessage::Status(status))
    }

    /// An order sent before; 7 of 10 times a recent one.
    fn any_sent(&mut self) -> Sent {
        let is_recent = self.random.below(10) < 7;
        let window = if is_recent { REPEAT_RECENT } else { REPEAT_WINDOW };
        let back = 1 + self.index(window.min(self.sent_count));
        self.sent[(self.sent_count - back) % REPEAT_WINDOW]
    }

    /// Moves a mid by a tick every fourth order, and gives it.
    fn wander(&mut self, security_id: u32) -> i64 {
        let step = self.random.below(8);
        let mid = &mut self.mids[security_id as usize];
        *mid += match step {
            0 if *mid < MID_TICKS + WANDER_TICKS => 1,
            1 if *mid > MID_TICKS - WANDER_TICKS => -1,
            _ => 0,
        };
        *mid
    }

    /// At least 1, usually about `mean`, seldom several times it: prices crowd near the mid.
    fn distance(&mut self, mean: u64) -> i64 {
        let mut distance = 1;
        while distance < 200 && self.random.below(mean) != 0 {
            distance += 1;
        }
        distance
    }

    fn take_number(&mut self, session: u32) -> u64 {
        let next = &mut self.numbers[session as usize];
        *next += 1;
        *next - 1
    }

    fn take_id(&mut self, session: u32) -> ClOrdId {
        let next = &mut self.ids[session as usize];
        *next += 1;
        ClOrdId(*next)
    }

    fn any(&mut self, bound: u32) -> u32 {
        u32::try_from(self.random.below(u64::from(bound))).unwrap_or(0)
    }

    fn index(&mut self, bound: usize) -> usize {
        usize::try_from(self.random.below(crate::measure::count(bound))).unwrap_or(0)
    }

    fn signed(&mut self, bound: u64) -> i64 {
        i64::try_from(self.random.below(bound)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape =
        Shape { session_count: 8, owner_count: 4, instrument_count: 3, working_count: 100 };

    #[test]
    fn the_mix_is_what_the_header_says() {
        let mut flow = Flow::new(1, SHAPE);
        let (mut orders, mut repeats, mut cancels, mut statuses) = (0, 0, 0, 0);
        for _ in 0..10_000 {
            match flow.next().1 {
                ClientMessage::NewOrder(m) if m.poss_resend == 1 => repeats += 1,
                ClientMessage::NewOrder(_) => orders += 1,
                ClientMessage::Cancel(_) => cancels += 1,
                ClientMessage::Status(_) => statuses += 1,
            }
        }
        assert!((700..900).contains(&repeats), "{repeats}");
        assert!((150..250).contains(&statuses), "{statuses}");
        assert!((4200..4800).contains(&orders), "{orders}");
        assert!((4200..4800).contains(&cancels), "{cancels}");
        assert!(flow.working.len() < 300, "cancels balance new orders");
    }

    #[test]
    fn sessions_number_their_messages_without_a_gap() {
        let mut flow = Flow::new(2, SHAPE);
        let mut next = [1; 8];
        for _ in 0..1000 {
            let (session, message) = flow.next();
            let expected = &mut next[session.0 as usize];
            assert_eq!(message.msg_seq_num(), Seq(*expected));
            *expected += 1;
        }
    }
}
