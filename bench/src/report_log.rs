//! Report log: reports are appended, and read by the cursors of the connections they belong to.
//!
//! 1,000 sessions interleave at random, so that the reports of one lie far apart. A turn appends 64
//! reports of the lengths that the machine makes, then every session that was told something reads
//! up to its end, and each frame is copied once more, as into a send buffer. The ring has come
//! round before the clock starts: every append overwrites the oldest reports. `retransmit` looks
//! for a random old number, which a mark brings within 255 links.

use std::hint::black_box;

use tidegate::limits::REPORT_BYTES_MAX;
use tidegate::session::report_log::{AtCursor, Cursor, ReportLog};
use tidegate::vocabulary::random::SplitMix;
use tidegate::vocabulary::units::{Index, Seq, SessionIdx};
use tidegate::wire::encode::encode_report;

use crate::measure::{Meter, count};
use crate::plan::{Fold, Plan};
use crate::row::Row;
use crate::wire_encode::reports;

const TURN: usize = 64;
/// Octets of the send buffer that frames are copied to, in turn.
const SEND_BYTES: usize = 1 << 16;

struct Told {
    log: ReportLog,
    cursors: Vec<Cursor>,
    numbers: Vec<u64>,
    frames: Vec<Vec<u8>>,
    send: Vec<u8>,
    sent: usize,
    index: u64,
}

/// Runs it.
pub(crate) fn run(plan: &Plan) -> Vec<Row> {
    let session_count: u32 = plan.pick(16, 1000, 1000);
    let log_bytes = plan.pick(1 << 14, 1 << 24, 1 << 28);
    let mut told = Told::new(plan, log_bytes, session_count);
    let mut random = SplitMix(plan.seed);
    let mut fold = Fold::EMPTY;
    while told.log.head() < 2 * count(log_bytes) {
        let sessions = draw(&mut random, session_count, TURN);
        told.append(&sessions);
        told.read(&sessions, &mut fold);
    }
    let turn_count = plan.pick(8, 500, 2000);
    let find_count = plan.pick(16, 500, 2000);
    let (mut turns, mut finds) = (Meter::new(turn_count), Meter::new(find_count));
    for _ in 0..plan.round_count {
        let sessions = draw(&mut random, session_count, turn_count * TURN);
        turns.round(|laps| {
            for sessions in sessions.chunks(TURN) {
                told.append(sessions);
                told.read(sessions, &mut fold);
                laps.end_batch(sessions.len());
            }
        });
        let wanted = told.draw_live(&mut random, session_count, find_count);
        finds.round(|laps| {
            for &(session, number) in &wanted {
                let Some(entry) = told.log.find(session, number) else {
                    unreachable!("the wanted numbers are in the ring")
                };
                fold.add(entry.index.0);
                laps.end_batch(1);
            }
        });
    }
    black_box(&told.send);
    let state = format!(
        "{} KiB ring that has come round, {session_count} sessions in random order, {} octets a \
         frame on average",
        log_bytes >> 10,
        told.frames.iter().map(Vec::len).sum::<usize>() / told.frames.len()
    );
    let row = |case: &str, operation, meter| {
        Row::new("report_log", case, operation, meter, state.clone(), fold.0)
    };
    vec![
        row("append and read", "report", &turns)
            .with_batches(TURN, &turns)
            .noting("the frame is copied twice: into the log, and out of it to a send buffer"),
        row("retransmit", "find", &finds)
            .with_batches(1, &finds)
            .noting("the first report of a retransmission: at most 255 links from its mark"),
    ]
}

impl Told {
    fn new(plan: &Plan, log_bytes: usize, session_count: u32) -> Self {
        let log = ReportLog::heap(log_bytes, session_count);
        let cursors =
            (0..session_count).map(|session| log.cursor(SessionIdx(session), Seq(1))).collect();
        let mut octets = [0; REPORT_BYTES_MAX];
        let frame = |report: &_| {
            let len = encode_report(report, &mut octets);
            octets[..len].to_vec()
        };
        let frames = reports(plan, plan.pick(64, 1024, 1024)).iter().map(frame).collect();
        Self {
            log,
            cursors,
            numbers: vec![1; session_count as usize],
            frames,
            send: vec![0; SEND_BYTES],
            sent: 0,
            index: 0,
        }
    }

    #[inline]
    fn append(&mut self, sessions: &[SessionIdx]) {
        for &session in sessions {
            self.index += 1;
            let at = usize::try_from(self.index).unwrap_or(0) % self.frames.len();
            let frame = &self.frames[at];
            let number = &mut self.numbers[session.0 as usize];
            let place = self.log.append(session, Seq(*number), Index(self.index), frame.len());
            place[..frame.len()].copy_from_slice(frame);
            *number += 1;
        }
    }

    #[inline]
    fn read(&mut self, sessions: &[SessionIdx], fold: &mut Fold) {
        for &session in sessions {
            let cursor = &mut self.cursors[session.0 as usize];
            loop {
                match self.log.at(cursor) {
                    AtCursor::Entry(entry) => {
                        if self.sent + entry.frame.len() > self.send.len() {
                            self.sent = 0;
                        }
                        let place = &mut self.send[self.sent..self.sent + entry.frame.len()];
                        place.copy_from_slice(entry.frame);
                        self.sent += entry.frame.len();
                        fold.add(entry.number.0 ^ entry.index.0);
                        cursor.advance(&entry);
                    }
                    AtCursor::End => break,
                    AtCursor::Lost => unreachable!("each turn is read before the next"),
                }
            }
        }
    }

    /// Numbers that are in the ring, anywhere behind its tail.
    fn draw_live(
        &self,
        random: &mut SplitMix,
        session_count: u32,
        wanted_count: usize,
    ) -> Vec<(SessionIdx, Seq)> {
        let one = |session: SessionIdx| {
            let next = self.numbers[session.0 as usize];
            // The oldest live number of a session is between two others: found by bisection.
            let (mut gone, mut live) = (0, next - 1);
            while live - gone > 1 {
                let middle = u64::midpoint(gone, live);
                match self.log.find(session, Seq(middle)) {
                    Some(_) => live = middle,
                    None => gone = middle,
                }
            }
            (session, live, next)
        };
        let bounds: Vec<_> = (0..session_count).map(|session| one(SessionIdx(session))).collect();
        let live = bounds
            .iter()
            .filter(|(session, first, _)| self.log.find(*session, Seq(*first)).is_some());
        let live: Vec<_> = live.collect();
        assert!(!live.is_empty(), "some session has live reports");
        let wanted = |_| {
            let at = usize::try_from(random.below(count(live.len()))).unwrap_or(0);
            let (session, first, next) = *live[at];
            (session, Seq(first + random.below(next - first)))
        };
        (0..wanted_count).map(wanted).collect()
    }
}

fn draw(random: &mut SplitMix, session_count: u32, count: usize) -> Vec<SessionIdx> {
    let one = |_| {
        let session = random.below(u64::from(session_count));
        SessionIdx(u32::try_from(session).unwrap_or(0))
    };
    (0..count).map(one).collect()
}
