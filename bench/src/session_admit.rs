//! Session admit: the number of each message, judged before the journal and applied after it.
//!
//! Turns of 64 messages of 1,000 sessions in random order: all are admitted, then all applied, as
//! the hot thread does it. Two of 100 messages come again under a number used before (after a
//! reconnect) and are dropped; one of 1,000 skips numbers; one of 1,000 reuses a number for another
//! request. Each session remembers its last numbers, so an admission touches one random line of
//! that memory.

use tidegate::session::logical::{Admission, CodTerms, Sessions};
use tidegate::vocabulary::random::SplitMix;
use tidegate::vocabulary::units::{Nanos, OwnerIdx, Seq, SessionId, SessionIdx};

use crate::measure::Meter;
use crate::plan::{Fold, Plan};
use crate::row::Row;

const TURN: usize = 64;
const TEMPLATE: u16 = 100;

#[derive(Clone, Copy)]
struct Message {
    session: SessionIdx,
    number: Seq,
    request_id: u64,
    expected: Admission,
}

/// Runs it.
pub(crate) fn run(plan: &Plan) -> Vec<Row> {
    let session_count: u32 = plan.pick(16, 1000, 1000);
    let resend_window: u32 = plan.pick(64, 8192, 8192);
    let mut sessions = Sessions::new(session_count, resend_window);
    for index in 0..session_count {
        let mut id = [1; 16];
        id[..4].copy_from_slice(&index.to_le_bytes());
        let opened = sessions.on_open(SessionIdx(index), SessionId(id), OwnerIdx(0), Nanos(1));
        assert!(opened, "a new session opens");
        let _ = sessions.on_bind(SessionIdx(index), None, Nanos(2), CodTerms::NONE);
    }
    let mut numbers: Vec<u64> = vec![1; session_count as usize];
    let mut random = SplitMix(plan.seed);
    let mut fold = Fold::EMPTY;
    // Long enough that the remembered numbers have come round in most sessions.
    let window_total = u64::from(session_count) * u64::from(resend_window);
    let warm_up_turns = plan.pick(16, 2_000, window_total / TURN as u64);
    for _ in 0..warm_up_turns {
        let messages = draw(&mut random, &mut numbers, resend_window, TURN);
        turn(&mut sessions, &messages, &mut fold);
    }
    let turn_count = plan.pick(8, 1000, 4000);
    let mut meter = Meter::new(turn_count);
    for _ in 0..plan.round_count {
        let messages = draw(&mut random, &mut numbers, resend_window, turn_count * TURN);
        meter.round(|laps| {
            for messages in messages.chunks(TURN) {
                turn(&mut sessions, messages, &mut fold);
                laps.end_batch(messages.len());
            }
        });
    }
    (0..session_count).for_each(|session| sessions.assert_settled(SessionIdx(session)));
    let state = format!(
        "{session_count} sessions in random order, {resend_window} numbers remembered each \
         ({} MiB), {warm_up_turns} turns before",
        (window_total * 9) >> 20
    );
    let row = Row::new("session_admit", "admit and apply", "message", &meter, state, fold.0);
    vec![row.with_batches(TURN, &meter)]
}

#[inline]
fn turn(sessions: &mut Sessions, messages: &[Message], fold: &mut Fold) {
    for m in messages {
        let came = sessions.admit(m.session, m.number, TEMPLATE, m.request_id);
        assert!(came == m.expected, "{came:?} came for number {}", m.number);
    }
    for m in messages {
        if m.expected == Admission::Fresh {
            let (gap, is_next) = sessions.on_message(m.session, m.number, TEMPLATE, m.request_id);
            assert!(is_next, "what was admitted is applied");
            fold.add(m.number.0 ^ gap.map_or(0, |gap| gap.from.0 << 32));
        }
    }
}

fn draw(random: &mut SplitMix, next: &mut [u64], window: u32, count: usize) -> Vec<Message> {
    // The id that a number was sent with is a function of the number.
    let id_of = |number: u64| number.wrapping_mul(0x9e37_79b9) | 1;
    let one = |_| {
        let index = random.below(next.len() as u64);
        let next = &mut next[usize::try_from(index).unwrap_or(0)];
        let session = SessionIdx(u32::try_from(index).unwrap_or(0));
        let (number, is_same, expected) = match random.below(1000) {
            0..20 if *next > 1 => (*next - 1, true, Admission::Repeat),
            20 if *next > u64::from(window) => {
                let back = 1 + random.below(u64::from(window) / 2);
                (*next - back, false, Admission::Reused)
            }
            _ => {
                let number = if is_gap(*next) { *next + 1 } else { *next };
                *next = number + 1;
                (number, true, Admission::Fresh)
            }
        };
        let id = id_of(number);
        let request_id = if is_same { id } else { id + 1 };
        Message { session, number: Seq(number), request_id, expected }
    };
    (0..count).map(one).collect()
}

/// Numbers that every session skips: one in a thousand.
const fn is_gap(number: u64) -> bool {
    number % 1000 == 999
}
