//! The slow twin reads the stream as a strict client does: it knows every report ever appended and
//! says of each received frame whether it is the one that had to come.

use super::*;
use crate::limits::REPORT_BYTES_MAX;
use crate::vocabulary::random::SplitMix;
use crate::wire::frame::split;
use std::collections::VecDeque;

const OURS: SessionIdx = SessionIdx(0);
const OTHER: SessionIdx = SessionIdx(1);
const ID: SessionId = SessionId([7; 16]);
const NOW: Nanos = Nanos(1);

/// Appends a report that only its session, number and length make up, as a frame of template 200.
fn append(log: &mut ReportLog, session: SessionIdx, number: u64, index: u64, len: usize) {
    let room = log.append(session, Seq(number), Index(index), len);
    room[..len].copy_from_slice(&report_frame(session, number, len));
}

fn report_frame(session: SessionIdx, number: u64, len: usize) -> Vec<u8> {
    let octets = u16::try_from(len).unwrap().to_le_bytes();
    let mut frame = vec![octets[0], octets[1], 0x50, 0xEB, 0, 0, 200, 0, 0xA1, 0x0F, 2, 0];
    frame.extend(number.to_le_bytes());
    let mut random = SplitMix(number ^ u64::from(session.0) << 60);
    frame.resize_with(len, || u8::try_from(random.below(256)).unwrap());
    frame
}

fn encoded(message: &SessionMessage<'_>) -> Vec<u8> {
    let mut octets = [0; 512];
    let len = encode_session(message, &mut octets).unwrap();
    octets[..len].to_vec()
}

fn mark(number: u64) -> SessionMessage<'static> {
    SessionMessage::NotAccepting { from_seq_no: Seq(number), cause: 0 }
}

/// A strict client.
#[derive(Default)]
struct Twin {
    /// Lengths and indexes of our reports, from number 1.
    reports: Vec<(usize, u64)>,
    /// Session messages that must come, in this order among themselves.
    controls: VecDeque<Vec<u8>>,
    /// The next live number.
    live: u64,
    /// The request that is served: next number, how many are left, its timestamp.
    replay: Option<(u64, u32, u64)>,
    /// Reports left of the running batch; its Sequence follows at `Some(0)`.
    batch: Option<u32>,
    /// Live reports since the last batch.
    since_batch: u32,
    unread: Vec<u8>,
}

impl Twin {
    fn receive(&mut self, octets: &[u8], released: u64) {
        self.unread.extend(octets);
        while let Some((_, len)) = split(&self.unread, 2048).unwrap() {
            let frame: Vec<u8> = self.unread.drain(..len).collect();
            self.on_frame(&frame, released);
        }
    }

    fn on_frame(&mut self, frame: &[u8], released: u64) {
        match (self.batch, &mut self.replay) {
            (Some(0), replay) => {
                let sequence = SessionMessage::Sequence { next_seq_no: Seq(self.live) };
                assert_eq!(frame, encoded(&sequence), "a batch ends with the next live number");
                self.batch = None;
                self.since_batch = 0;
                if replay.is_some_and(|(_, left, _)| left == 0) {
                    *replay = None;
                }
            }
            (Some(more), Some((next, left, _))) => {
                let number = *next;
                (*next, *left) = (number + 1, *left - 1);
                self.batch = Some(more - 1);
                assert_eq!(frame, self.report(number), "inside a batch stands nothing else");
            }
            (Some(_), None) => panic!("a batch without a request"),
            (None, replay) => match frame[6] {
                12 => {
                    let (next, left, timestamp) = replay.expect("a batch was asked for");
                    let header = SessionMessage::Retransmission {
                        session_id: ID,
                        request_timestamp: Nanos(timestamp),
                        next_seq_no: Seq(next),
                        count: left.min(256),
                    };
                    assert_eq!(frame, encoded(&header));
                    self.batch = Some(left.min(256));
                }
                200 => {
                    assert_eq!(frame, self.report(self.live), "live reports come in order");
                    assert!(self.index(self.live) <= released, "never above the released record");
                    self.live += 1;
                    self.since_batch += 1;
                    assert!(self.replay.is_none() || self.since_batch <= 256, "a replay starves");
                }
                8 => {
                    let sequence = SessionMessage::Sequence { next_seq_no: Seq(self.live) };
                    assert_eq!(frame, encoded(&sequence), "a Sequence fits where it stands");
                    assert_eq!(Some(frame), self.controls.pop_front().as_deref());
                }
                _ => assert_eq!(Some(frame), self.controls.pop_front().as_deref()),
            },
        }
    }

    fn at(number: u64) -> usize {
        usize::try_from(number - 1).unwrap()
    }

    fn report(&self, number: u64) -> Vec<u8> {
        report_frame(OURS, number, self.reports[Self::at(number)].0)
    }

    fn index(&self, number: u64) -> u64 {
        self.reports[Self::at(number)].1
    }

    fn lag(&self) -> u64 {
        self.reports[Self::at(self.live)..].iter().map(|(len, _)| *len as u64).sum()
    }

    /// What a request must be answered with.
    fn judge(&self, from: u64, count: u32, released: u64) -> Result<(), RetransmitRefusal> {
        use RetransmitRejectCode::{OutOfRange, RequestLimitExceeded};
        if self.replay.is_some() {
            return Err(RetransmitRefusal::InProgress);
        }
        if count > 65_536 {
            return Err(RetransmitRefusal::Reject(RequestLimitExceeded));
        }
        let next = 1 + self.reports.iter().filter(|(_, index)| *index <= released).count() as u64;
        let is_in_range =
            from > 0 && count > 0 && u128::from(from) + u128::from(count) <= next.into();
        if is_in_range { Ok(()) } else { Err(RetransmitRefusal::Reject(OutOfRange)) }
    }
}

#[test]
fn a_strict_client_reads_exactly_what_it_must() {
    for seed in 0..40_u64 {
        let mut random = SplitMix(seed);
        let mut log = ReportLog::new(1 << 20, 2);
        let mut out = Outgoing::default();
        let mut twin = Twin { live: 1 + random.below(600), ..Twin::default() };
        let (mut index, mut released, mut other) = (0, 0, 0);
        let mut scratch = vec![0; 4096];
        let grow = |log: &mut ReportLog, twin: &mut Twin, random: &mut SplitMix, index: u64| {
            let len = 24 + usize::try_from(random.below(REPORT_BYTES_MAX as u64 - 23)).unwrap();
            twin.reports.push((len, index));
            append(log, OURS, twin.reports.len() as u64, index, len);
        };
        for _ in 1..twin.live {
            index += 1;
            grow(&mut log, &mut twin, &mut random, index);
        }
        released = released.max(index);
        assert!(out.push_control(&mark(u64::MAX)));
        twin.controls.push_back(encoded(&mark(u64::MAX)));
        out.start(&log, OURS, Seq(twin.live));
        for step in 0..400 {
            match random.below(8) {
                0 | 1 => {
                    for _ in 0..random.below(12) {
                        index += u64::from(random.below(3) > 0);
                        grow(&mut log, &mut twin, &mut random, index);
                        other += 1;
                        append(&mut log, OTHER, other, index, 24);
                    }
                    released += random.below(index + 1 - released);
                }
                2 => {
                    let message = match random.below(2) {
                        0 => mark(step),
                        _ => SessionMessage::Sequence { next_seq_no: out.next_live() },
                    };
                    if out.push_control(&message) {
                        twin.controls.push_back(encoded(&message));
                    } else {
                        let queued: usize = twin.controls.iter().map(Vec::len).sum();
                        assert!(queued + 32 > CONTROL_BYTES - LAST_BYTES, "refused while empty");
                    }
                }
                3 => {
                    let from = random.below(twin.reports.len() as u64 + 2);
                    let count = u32::try_from(random.below(700)).unwrap();
                    let count = if random.below(20) == 0 { 65_537 } else { count };
                    let wanted = twin.judge(from, count, released);
                    let asked = (Seq(from), count);
                    let came = out.try_retransmit(&log, Index(released), ID, Nanos(step), asked);
                    assert_eq!(came, wanted, "seed {seed} step {step}: {from} + {count}");
                    if came.is_ok() {
                        twin.replay = Some((from, count, step));
                        // It begins at once, but for a live report that was sent in part.
                        twin.since_batch = 255;
                    }
                }
                _ => {
                    let room = 200 + usize::try_from(random.below(3_800)).unwrap();
                    let len = out.fill(NOW, &log, Index(released), &mut scratch[..room]).unwrap();
                    let sent = match random.below(3) {
                        0 => len,
                        _ => usize::try_from(random.below(len as u64 + 1)).unwrap(),
                    };
                    out.on_sent(&log, sent);
                    twin.receive(&scratch[..sent], released);
                    assert_eq!(out.lag_bytes(&log), twin.lag(), "seed {seed} step {step}");
                    let is_busy = twin.replay.is_some() || !twin.controls.is_empty();
                    assert_eq!(out.has_unsent(), is_busy || !twin.unread.is_empty());
                }
            }
        }
        while out.wants_send(NOW, &log, Index(index)) {
            let len = out.fill(NOW, &log, Index(index), &mut scratch).unwrap();
            assert!(len > 0, "what wants to be sent is sent");
            out.on_sent(&log, len);
            twin.receive(&scratch[..len], index);
        }
        assert!(twin.unread.is_empty() && twin.controls.is_empty() && twin.replay.is_none());
        assert_eq!(twin.live, twin.reports.len() as u64 + 1, "seed {seed}: everything arrived");
        assert_eq!(out.next_live(), Seq(twin.live));
    }
}

/// Our log with `count` reports of 24 octets, indexes equal to numbers, and a started stream.
fn started(count: u64, next_out: u64) -> (ReportLog, Outgoing) {
    let mut log = ReportLog::new(1 << 16, 2);
    for number in 1..=count {
        append(&mut log, OURS, number, number, 24);
    }
    let mut out = Outgoing::default();
    out.start(&log, OURS, Seq(next_out));
    (log, out)
}

fn drain(out: &mut Outgoing, log: &ReportLog, released: u64) -> Vec<u8> {
    let mut octets = Vec::new();
    let mut scratch = [0; 256];
    loop {
        let len = out.fill(NOW, log, Index(released), &mut scratch).unwrap();
        out.on_sent(log, len);
        octets.extend(&scratch[..len]);
        if len == 0 {
            return octets;
        }
    }
}

#[test]
fn the_last_message_ends_the_stream_but_not_inside_a_batch() {
    let terminate = SessionMessage::Terminate { session_id: ID, code: 0, reason: &[b'x'; 96] };
    let (log, mut out) = started(20, 11);
    assert_eq!(out.try_retransmit(&log, Index(20), ID, Nanos(5), (Seq(1), 3)), Ok(()));
    let mut scratch = [0; 100];
    let len = out.fill(NOW, &log, Index(20), &mut scratch).unwrap();
    out.on_sent(&log, len.min(70)); // The header and a part of the first report.
    while out.push_control(&mark(9)) {}
    out.push_last(&terminate);
    assert!(!out.push_control(&mark(10)) && !out.is_ended());
    let stream = drain(&mut out, &log, 20);
    let resume = encoded(&SessionMessage::Sequence { next_seq_no: Seq(11) });
    let place = stream.windows(resume.len()).position(|w| w == resume).unwrap();
    assert_eq!(&stream[place - 24..place], &report_frame(OURS, 3, 24)[..], "the batch is whole");
    assert!(stream.ends_with(&encoded(&terminate)), "and nothing follows the last message");
    assert!(out.is_ended() && !out.wants_send(NOW, &log, Index(20)));
}

#[test]
fn an_overwritten_report_is_an_error_and_never_another_report() {
    let (mut log, mut out) = started(20, 1);
    for number in 1..=3_000 {
        append(&mut log, OTHER, number, 20 + number, 24);
    }
    assert_eq!(out.fill(NOW, &log, Index(20), &mut [0; 256]), Err(Overwritten));
    let (_, mut young) = started(0, 1);
    let rejected = young.try_retransmit(&log, Index(20), ID, NOW, (Seq(1), 1));
    let out_of_range = RetransmitRefusal::Reject(RetransmitRejectCode::OutOfRange);
    assert_eq!(rejected, Err(out_of_range), "older than the ring");
}

/// One row a request on 20 reports of which 15 are released.
#[test]
fn requests_are_judged_as_ruled() {
    use RetransmitRejectCode::{OutOfRange, RequestLimitExceeded};
    let reject = |code| Err(RetransmitRefusal::Reject(code));
    let rows = [
        (1, 15, Ok(())),
        (15, 1, Ok(())),
        (15, 2, reject(OutOfRange)), // not released
        (16, 1, reject(OutOfRange)),
        (0, 1, reject(OutOfRange)),
        (1, 0, reject(OutOfRange)),
        (21, 1, reject(OutOfRange)),
        (u64::MAX, 65_536, reject(OutOfRange)),
        (u64::MAX, 1, reject(OutOfRange)),
        (1, 65_537, reject(RequestLimitExceeded)),
        (0, u32::MAX, reject(RequestLimitExceeded)),
    ];
    for (from, count, expected) in rows {
        let (log, mut out) = started(20, 16);
        let asked = (Seq(from), count);
        let came = out.try_retransmit(&log, Index(15), ID, NOW, asked);
        assert_eq!(came, expected, "from {from} count {count}");
        let second = out.try_retransmit(&log, Index(15), ID, NOW, (Seq(1), 1));
        assert_eq!(second == Err(RetransmitRefusal::InProgress), came.is_ok());
        drain(&mut out, &log, 15);
        let third = out.try_retransmit(&log, Index(15), ID, NOW, (Seq(1), 1));
        assert_eq!(third, Ok(()), "the first is handed over");
    }
    let (log, _) = started(20, 16);
    let before = Outgoing::default().try_retransmit(&log, Index(15), ID, NOW, (Seq(1), 1));
    assert_eq!(before, reject(OutOfRange), "nothing is replayed before the session is bound");
}

#[test]
fn answers_wait_for_their_grid() {
    let (log, mut out) = started(0, 1);
    let mut scratch = [0; 256];
    assert!(out.push_control(&mark(1)));
    let ms = |n| Nanos(n * Nanos::MILLI.0);
    for (now, grid, leaves) in [(0, 10, 10), (9, 10, 10), (10, 10, 20), (49, 50, 50), (50, 50, 100)]
    {
        out.hold(ms(now), ms(grid));
        assert_eq!(out.held_until(), ms(leaves));
        assert_eq!(out.fill(Nanos(ms(leaves).0 - 1), &log, Index(0), &mut scratch), Ok(0));
        assert!(!out.wants_send(Nanos(ms(leaves).0 - 1), &log, Index(0)));
        assert_eq!(out.fill(ms(leaves), &log, Index(0), &mut scratch), Ok(21));
        assert!(out.wants_send(ms(leaves), &log, Index(0)));
    }
}

/// FinishedSending stands behind the last report, never inside a batch, and once.
#[test]
fn finished_sending_is_last() {
    let mut log = ReportLog::new(1 << 12, 2);
    (1..=3).for_each(|number| append(&mut log, OURS, number, number, 40));
    let mut out = Outgoing::default();
    out.start(&log, OURS, Seq(1));
    out.finish(ID, Seq(3));
    let sent = |out: &mut Outgoing, released, room: usize| {
        let mut scratch = vec![0; room];
        let len = out.fill(NOW, &log, Index(released), &mut scratch).unwrap();
        let wants = out.wants_send(NOW, &log, Index(released));
        assert_eq!(len > 0, wants, "what would be composed is wanted");
        out.on_sent(&log, len);
        scratch.truncate(len);
        scratch
    };
    let reports = |numbers: std::ops::RangeInclusive<u64>| {
        numbers.flat_map(|n| report_frame(OURS, n, 40)).collect::<Vec<u8>>()
    };
    assert_eq!(sent(&mut out, 2, 512), reports(1..=2));
    assert!(sent(&mut out, 2, 512).is_empty() && out.is_finishing());
    assert_eq!(out.try_retransmit(&log, Index(3), ID, Nanos(7), (Seq(1), 2)), Ok(()));
    let batch = |next| {
        let (session_id, request_timestamp) = (ID, Nanos(7));
        let next_seq_no = Seq(1);
        let header =
            SessionMessage::Retransmission { session_id, request_timestamp, next_seq_no, count: 2 };
        let resume = SessionMessage::Sequence { next_seq_no: Seq(next) };
        [encoded(&header), reports(1..=2), encoded(&resume)].concat()
    };
    let finished =
        encoded(&SessionMessage::FinishedSending { session_id: ID, last_seq_no: Seq(3) });
    let came = sent(&mut out, 3, 512);
    assert_eq!(came, [batch(3), reports(3..=3), finished].concat());
    assert!(!out.is_finishing() && sent(&mut out, 3, 512).is_empty());
    assert_eq!(out.try_retransmit(&log, Index(3), ID, Nanos(7), (Seq(1), 2)), Ok(()));
    assert_eq!(
        sent(&mut out, 3, 512),
        batch(4),
        "still served, and FinishedSending is not repeated"
    );
}
