//! Scripts: what the server says, what the application sees, what the client answers.

mod going_on;

use super::*;
use crate::client::event::Advice;
use crate::session::credentials::Key;
use crate::vocabulary::event::{BusinessMessageReject, Report, ReportBody};
use crate::vocabulary::fix::{
    EstablishmentRejectCode, EstablishmentRejectCode as Code, FlowType, NegotiationRejectCode,
};
use crate::vocabulary::message::OrderStatusRequest;
use crate::vocabulary::units::{ClOrdId, Index};
use crate::wire::decode::{Inbound as Request, decode_inbound};
use crate::wire::encode::encode_report;
use crate::wire::frame::split;

const ID: SessionId = SessionId([9; 16]);
const WALL: Nanos = Nanos(1_700_000_000_000_000_000);
const SECOND: u64 = 1_000_000_000;

/// A session, its line, and the time.
struct Script {
    session: ClientSession,
    send: Vec<u8>,
    now: Nanos,
}

impl Script {
    fn new(overlap: u32) -> Self {
        let key = Key::try_new("firm-a", &[0xa1; 32]).unwrap();
        let identity = ClientIdentity { session_id: ID, key };
        let options = SessionOptions { overlap, ..SessionOptions::default() };
        Self { session: ClientSession::new(identity, options), send: Vec::new(), now: Nanos(0) }
    }

    /// Logs on for the first time and is live.
    fn live() -> Self {
        let mut script = Self::new(0);
        script.connect();
        assert_eq!(script.sent(), ["Negotiate"]);
        script.say(&script.negotiated());
        assert_eq!(script.sent(), ["Establish next=1"]);
        let seen = script.say(&script.ack(1, 0));
        assert!(matches!(seen, Some(ClientEvent::Established { is_live: true, .. })));
        script
    }

    /// Breaks the line and comes back to a server whose next report is `next`.
    fn come_back(&mut self, next: u64, last_incoming: u64) -> Option<ClientEvent> {
        self.session.on_disconnected(self.now);
        self.connect();
        let next_out = self.session.next_out();
        assert_eq!(self.sent(), [format!("Establish next={next_out}")]);
        self.say(&self.ack(next, last_incoming))
    }

    fn connect(&mut self) {
        self.send.clear();
        self.session.on_connected(self.now, WALL, &mut self.send);
    }

    fn say(&mut self, message: &SessionMessage<'_>) -> Option<ClientEvent> {
        let mut frame = [0; 512];
        let len = encode_session(message, &mut frame).unwrap();
        self.hear(&frame[..len])
    }

    fn report(&mut self, number: u64) -> Option<ClientEvent> {
        let mut frame = [0; 512];
        let len = encode_report(&report(number), &mut frame);
        self.hear(&frame[..len])
    }

    fn not_applied(&mut self, from: u64, count: u32) -> Option<ClientEvent> {
        let mut frame = [0; 512];
        let body = ReportBody::NotApplied { from_seq_no: Seq(from), count };
        let len = encode_report(&Report { body, ..report(0) }, &mut frame);
        self.hear(&frame[..len])
    }

    fn hear(&mut self, octets: &[u8]) -> Option<ClientEvent> {
        let (frame, _) = split(octets, 512).unwrap().unwrap();
        self.session.on_frame(self.now, &frame, &mut self.send)
    }

    fn wait(&mut self, span: u64) -> Option<ClientEvent> {
        self.now = Nanos(self.now.0 + span);
        self.session.on_timer(self.now, &mut self.send)
    }

    fn request(&mut self) -> Option<Seq> {
        let mut message = ClientMessage::Status(OrderStatusRequest {
            msg_seq_num: Seq(0),
            sending_time: Nanos(0),
            ord_status_req_id: 1,
            cl_ord_id: ClOrdId(1),
        });
        self.session.on_send(self.now, &mut message, &mut self.send)
    }

    /// What was sent since the last call, one word a frame.
    fn sent(&mut self) -> Vec<String> {
        let mut words = Vec::new();
        let octets = std::mem::take(&mut self.send);
        let mut rest = &octets[..];
        while let Some((frame, len)) = split(rest, 512).unwrap() {
            words.push(match decode_inbound(&frame).unwrap() {
                Request::Application(m) => format!("Request {}", m.msg_seq_num()),
                Request::Session(SessionMessage::Negotiate { .. }) => "Negotiate".into(),
                Request::Session(SessionMessage::Establish { next_seq_no, .. }) => {
                    format!("Establish next={next_seq_no}")
                }
                Request::Session(SessionMessage::Sequence { next_seq_no }) => {
                    format!("Sequence {next_seq_no}")
                }
                Request::Session(SessionMessage::RetransmitRequest {
                    from_seq_no, count, ..
                }) => format!("RetransmitRequest {from_seq_no}+{count}"),
                Request::Session(SessionMessage::Terminate { code, .. }) => {
                    format!("Terminate {code}")
                }
                Request::Session(SessionMessage::FinishedSending { last_seq_no, .. }) => {
                    format!("FinishedSending {last_seq_no}")
                }
                Request::Session(SessionMessage::FinishedReceiving { .. }) => {
                    "FinishedReceiving".into()
                }
                other @ Request::Session(_) => format!("{other:?}"),
            });
            rest = &rest[len..];
        }
        words
    }

    fn negotiated(&self) -> SessionMessage<'static> {
        SessionMessage::NegotiationResponse {
            session_id: ID,
            request_timestamp: self.session.stamp,
            server_flow: FlowType::Recoverable.wire(),
        }
    }

    fn ack(&self, next: u64, last_incoming: u64) -> SessionMessage<'static> {
        SessionMessage::EstablishmentAck {
            session_id: ID,
            request_timestamp: self.session.stamp,
            keepalive_interval: 1000,
            next_seq_no: Seq(next),
            last_incoming_seq_no: Seq(last_incoming),
            cancel_on_disconnect_type: 0,
            cod_timeout_window: 0,
        }
    }

    fn batch(&self, from: u64, count: u32) -> SessionMessage<'static> {
        SessionMessage::Retransmission {
            session_id: ID,
            request_timestamp: self.session.stamp,
            next_seq_no: Seq(from),
            count,
        }
    }

    fn denied(&self) -> SessionMessage<'static> {
        self.denied_as(0)
    }

    fn denied_as(&self, code: u8) -> SessionMessage<'static> {
        SessionMessage::RetransmitReject {
            session_id: ID,
            request_timestamp: self.session.stamp,
            code,
            reason: b"no",
        }
    }

    /// A refused Establish on a new line.
    fn refused(&mut self, code: EstablishmentRejectCode) -> Option<ClientEvent> {
        self.session.on_disconnected(self.now);
        self.connect();
        self.say(&SessionMessage::EstablishmentReject {
            session_id: ID,
            request_timestamp: self.session.stamp,
            code: code.wire(),
            reason: b"",
        })
    }
}

fn report(number: u64) -> Report {
    Report {
        msg_seq_num: Seq(number),
        sending_time: Nanos(1),
        appl_seq_num: Index(number),
        body: ReportBody::BusinessReject(BusinessMessageReject {
            ref_seq_num: Seq(1),
            business_reject_ref_id: 1,
            business_reject_reason: 1,
            ref_template_id: 104,
            text: Text::new("no such order"),
            retryable: false,
        }),
    }
}

const fn sequence(next: u64) -> SessionMessage<'static> {
    SessionMessage::Sequence { next_seq_no: Seq(next) }
}

#[expect(clippy::unnecessary_wraps, reason = "it is compared with an Option")]
fn seen(number: u64) -> Option<ClientEvent> {
    Some(ClientEvent::Report(report(number)))
}

/// An end by this client because the server broke the protocol.
#[track_caller]
fn is_breach(script: &mut Script, event: Option<ClientEvent>) {
    let code = TerminationCode::UnspecifiedError.wire();
    assert!(
        matches!(event, Some(ClientEvent::Terminated { by: Party::Client, code: c, .. })
            if c == code),
        "{event:?}"
    );
    assert_eq!(script.sent().last(), Some(&format!("Terminate {code}")));
}

#[test]
fn the_first_logon_negotiates_and_the_next_ones_do_not() {
    let mut s = Script::live();
    assert_eq!(s.request(), Some(Seq(1)));
    assert_eq!(s.request(), Some(Seq(2)));
    assert_eq!(s.sent(), ["Request 1", "Request 2"]);
    s.session.on_disconnected(s.now);
    assert_eq!(s.request(), None, "nothing is sent without a line");
    let event = s.come_back(1, 2);
    assert_eq!(
        event,
        Some(ClientEvent::Established { last_incoming: Seq(2), next_out: Seq(3), is_live: true })
    );
}

#[test]
fn logons_are_signed_and_their_times_rise() {
    let mut s = Script::new(0);
    let mut stamps = Vec::new();
    for _ in 0..2 {
        s.connect();
        let (frame, _) = split(&s.send, 512).unwrap().unwrap();
        let Ok(Request::Session(SessionMessage::Negotiate { timestamp, credentials, .. })) =
            decode_inbound(&frame)
        else {
            panic!("a first logon is a Negotiate");
        };
        let key = Key::try_new("firm-a", &[0xa1; 32]).unwrap();
        assert_eq!(credentials, key.sign(1, frame.block()).as_bytes());
        stamps.push(timestamp.0);
        s.session.on_disconnected(s.now);
    }
    // The wall clock stood still; the second Negotiate must still be later (ruling F05).
    assert_eq!(stamps, [WALL.0, WALL.0 + 1]);
}

#[test]
fn a_lost_negotiation_response_leads_to_establish() {
    let mut s = Script::new(0);
    s.connect();
    let reject = SessionMessage::NegotiationReject {
        session_id: ID,
        request_timestamp: s.session.stamp,
        code: NegotiationRejectCode::DuplicateId.wire(),
        reason: b"seen",
    };
    let event = s.say(&reject);
    assert!(matches!(event, Some(ClientEvent::Rejected { advice: Advice::ReconnectNow, .. })));
    let event = s.come_back(1, 0);
    assert!(matches!(event, Some(ClientEvent::Established { is_live: true, .. })));
}

#[test]
fn missing_reports_come_once_and_in_order() {
    let mut s = Script::live();
    assert_eq!(s.report(1), seen(1));
    let event = s.come_back(6, 0);
    assert!(matches!(event, Some(ClientEvent::Established { is_live: false, .. })));
    assert_eq!(s.sent(), ["RetransmitRequest 2+4"]);
    assert_eq!(s.request(), None, "nothing is sent before the replay");
    // A live report overtakes the replay: it is not shown now but asked for afterwards.
    assert_eq!(s.report(6), None);
    assert_eq!(s.say(&s.batch(2, 3)), None);
    for number in 2..5 {
        assert_eq!(s.report(number), seen(number));
    }
    assert_eq!(s.say(&sequence(7)), None);
    assert_eq!(s.say(&s.batch(5, 1)), None);
    assert_eq!(s.report(5), seen(5));
    assert!(s.sent().is_empty(), "one request at a time");
    assert_eq!(s.say(&sequence(7)), None);
    assert_eq!(s.sent(), ["RetransmitRequest 6+1"]);
    assert_eq!(s.say(&s.batch(6, 1)), None);
    assert_eq!(s.report(6), seen(6));
    assert_eq!(s.say(&sequence(7)), Some(ClientEvent::Live));
    assert_eq!(s.report(7), seen(7));
    assert_eq!(s.request(), Some(Seq(1)));
}

#[test]
fn a_long_gap_is_asked_for_in_pieces() {
    let mut s = Script::live();
    s.come_back(65_536 + 257 + 1, 0);
    assert_eq!(s.sent(), ["RetransmitRequest 1+65536"]);
    for first in (1..=65_536 + 257).step_by(256) {
        let count = (65_536 + 257 + 1 - first).min(256);
        if first == 65_537 {
            assert_eq!(s.sent(), ["RetransmitRequest 65537+257"]);
        }
        s.say(&s.batch(first, u32::try_from(count).unwrap()));
        for number in first..first + count {
            assert_eq!(s.report(number), seen(number));
        }
        let event = s.say(&sequence(65_536 + 257 + 1));
        let is_last = first + count == 65_536 + 257 + 1;
        assert_eq!(event, is_last.then_some(ClientEvent::Live), "{first}");
    }
    assert_eq!(s.session.next_in(), Seq(65_536 + 257 + 1));
}

#[test]
fn overlap_asks_again_and_shows_nothing_twice() {
    let mut s = Script::live();
    s.session.options.overlap = 3;
    for number in 1..=5 {
        assert_eq!(s.report(number), seen(number));
    }
    let event = s.come_back(6, 0);
    assert!(matches!(event, Some(ClientEvent::Established { is_live: false, .. })));
    assert_eq!(s.sent(), ["RetransmitRequest 3+3"]);
    // A live report may come before the replay; nothing is missing, so it is shown at once.
    assert_eq!(s.report(6), seen(6));
    s.say(&s.batch(3, 3));
    for number in 3..=5 {
        assert_eq!(s.report(number), None);
    }
    assert_eq!(s.say(&sequence(7)), Some(ClientEvent::Live));
    assert_eq!(s.report(7), seen(7));
    assert_eq!(s.say(&sequence(8)), None);
    assert!(s.sent().is_empty());
}

#[test]
fn an_overlap_that_is_gone_is_done_without() {
    let mut s = Script::live();
    s.session.options.overlap = 1;
    s.report(1);
    s.come_back(2, 0);
    assert_eq!(s.sent(), ["RetransmitRequest 1+1"]);
    assert_eq!(s.say(&s.denied()), Some(ClientEvent::Live));

    // The same with a report missing, and a live one that overtook the refusal.
    s.session.options.overlap = 1;
    s.come_back(3, 0);
    assert_eq!(s.sent(), ["RetransmitRequest 1+2"]);
    assert_eq!(s.report(3), None);
    assert_eq!(s.say(&s.denied()), None);
    assert_eq!(s.sent(), ["RetransmitRequest 2+2"]);
}

#[test]
fn not_applied_takes_a_number_and_carries_none() {
    let mut s = Script::live();
    assert_eq!(s.report(1), seen(1));
    let Some(ClientEvent::Report(gap)) = s.not_applied(4, 2) else {
        panic!("NotApplied is a report");
    };
    assert_eq!(gap.msg_seq_num, Seq(2));
    assert_eq!(gap.body, ReportBody::NotApplied { from_seq_no: Seq(4), count: 2 });
    assert_eq!(s.report(3), seen(3));
    let event = s.report(3);
    is_breach(&mut s, event);
}

#[test]
fn a_number_that_is_not_the_count_ends_the_line() {
    let mut s = Script::live();
    let event = s.report(2);
    is_breach(&mut s, event);
    assert_eq!(s.session.next_in(), Seq::FIRST);
    // The numbers are in doubt, not the session: it comes back and recovers.
    let event = s.come_back(1, 0);
    assert!(matches!(event, Some(ClientEvent::Established { .. })));
}

#[test]
fn a_sequence_that_skips_numbers_is_recovered_from() {
    let mut s = Script::live();
    assert_eq!(s.say(&sequence(3)), None);
    assert_eq!(s.sent(), ["RetransmitRequest 1+2"]);
    assert!(!s.session.is_live());
    s.say(&s.batch(1, 2));
    assert_eq!(s.report(1), seen(1));
    assert_eq!(s.report(2), seen(2));
    assert_eq!(s.say(&sequence(3)), Some(ClientEvent::Live));
}

#[test]
fn what_a_server_may_not_say() {
    type Row = (&'static str, fn(&mut Script) -> Option<ClientEvent>);
    let rows: [Row; 10] = [
        ("Sequence back", |s| {
            s.report(1);
            s.say(&sequence(1))
        }),
        ("Sequence back after a skip", |s| {
            s.say(&sequence(5));
            s.say(&sequence(4))
        }),
        ("Retransmission unasked", |s| s.say(&s.batch(1, 1))),
        ("batch of other numbers", |s| {
            s.come_back(9, 0);
            s.say(&s.batch(2, 1))
        }),
        ("batch above 256", |s| {
            s.come_back(900, 0);
            s.say(&s.batch(1, 257))
        }),
        ("empty batch", |s| {
            s.come_back(9, 0);
            s.say(&s.batch(1, 0))
        }),
        ("Sequence inside a batch", |s| {
            s.come_back(9, 0);
            s.say(&s.batch(1, 2));
            s.report(1);
            s.say(&sequence(9))
        }),
        ("no Sequence after a batch", |s| {
            s.come_back(9, 0);
            s.say(&s.batch(1, 1));
            s.report(1);
            s.report(2)
        }),
        ("ack unasked", |s| s.say(&s.ack(1, 0))),
        ("impossible number", |s| s.say(&sequence(u64::MAX))),
    ];
    for (name, breach) in rows {
        println!("{name}");
        let mut s = Script::live();
        let event = breach(&mut s);
        is_breach(&mut s, event);
    }
}

#[test]
fn lost_data_stops_the_session_for_ever() {
    let cause = |event| match event {
        Some(ClientEvent::Stopped(cause)) => cause,
        other => panic!("{other:?}"),
    };
    let mut s = Script::live();
    s.report(1);
    s.report(2);
    let (expected, offered) = (Seq(3), Seq(2));
    assert_eq!(cause(s.come_back(2, 0)), StopCause::DataLoss { expected, offered });
    s.session.on_disconnected(s.now);
    s.connect();
    assert!(s.sent().is_empty(), "a stopped session never logs on again");
    assert!(s.session.is_stopped());

    let rejected = |code: EstablishmentRejectCode| {
        let mut s = Script::live();
        s.session.on_disconnected(s.now);
        s.connect();
        let message = SessionMessage::EstablishmentReject {
            session_id: ID,
            request_timestamp: s.session.stamp,
            code: code.wire(),
            reason: b"",
        };
        s.say(&message)
    };
    assert_eq!(cause(rejected(Code::HistoryLost)), StopCause::HistoryLost);
    assert_eq!(cause(rejected(Code::Unnegotiated)), StopCause::Forgotten);
    let quarter = Advice::RetryAfter(Nanos(SECOND / 4));
    let rows = [
        (Code::AlreadyEstablished, quarter),
        (Code::NotPrimary, Advice::NextAddress),
        (Code::NotAccepting, Advice::NextAddress),
        (Code::Credentials, Advice::GiveUp),
        (Code::SessionBlocked, Advice::GiveUp),
        (Code::InvalidNextSeqNo, Advice::GiveUp),
    ];
    for (code, expected) in rows {
        let event = rejected(code);
        assert!(matches!(event, Some(ClientEvent::Rejected { advice, .. }) if advice == expected));
    }

    let mut s = Script::live();
    s.come_back(3, 0);
    assert_eq!(cause(s.say(&s.denied())), StopCause::ReportsGone { from: Seq(1) });
}

#[test]
fn silence_is_answered_at_both_ends() {
    let mut s = Script::live();
    assert_eq!(s.session.next_deadline(), Some(Nanos(SECOND / 4 * 3)));
    assert_eq!(s.wait(SECOND / 2), None);
    assert!(s.sent().is_empty());
    s.wait(SECOND / 4);
    assert_eq!(s.sent(), ["Sequence 1"], "something is sent within the interval");
    s.say(&sequence(1));
    s.wait(SECOND / 4 * 3);
    assert_eq!(s.sent(), ["Sequence 1"]);
    // More than an interval without a word from the server: a probe; 2.5 intervals: the end.
    s.wait(SECOND / 4 + 1);
    assert_eq!(s.sent(), ["Sequence 1"]);
    assert!(s.session.is_probed);
    s.wait(SECOND / 4 * 3);
    assert_eq!(s.sent(), ["Sequence 1"], "the heartbeat goes on");
    let event = s.wait(SECOND / 4 * 3);
    assert!(matches!(event, Some(ClientEvent::Terminated { by: Party::Client, code: 4, .. })));
    assert_eq!(s.sent(), ["Terminate 4"]);
    assert_eq!(s.session.next_deadline(), None);
}

#[test]
fn a_probe_that_is_answered_leaves_the_line_alone() {
    let mut s = Script::live();
    s.wait(SECOND + 1);
    assert!(s.session.is_probed);
    s.say(&sequence(1));
    s.wait(SECOND);
    assert!(!s.session.is_probed);
}

#[test]
fn an_unanswered_logon_is_given_up() {
    let mut s = Script::new(0);
    s.connect();
    assert_eq!(s.wait(5 * SECOND - 1), None);
    assert!(matches!(s.wait(1), Some(ClientEvent::Terminated { .. })));
}

#[test]
fn terminate_is_answered_and_the_session_lives_on() {
    let mut s = Script::live();
    let terminate = SessionMessage::Terminate {
        session_id: ID,
        code: TerminationCode::Throttled.wire(),
        reason: b"slow down",
    };
    let event = s.say(&terminate);
    let expected =
        ClientEvent::Terminated { by: Party::Server, code: 6, reason: Text::new("slow down") };
    assert_eq!(event, Some(expected));
    assert_eq!(s.sent(), ["Terminate 0"]);
    assert_eq!(s.report(1), None, "octets after a Terminate are ignored");

    s.come_back(1, 0);
    s.session.on_finish(s.now, &mut s.send);
    assert_eq!(s.sent(), ["Terminate 0"]);
    assert_eq!(s.report(1), seen(1), "what was on the way still counts");
    let answer = SessionMessage::Terminate { session_id: ID, code: 0, reason: b"" };
    let event = s.say(&answer);
    assert!(matches!(event, Some(ClientEvent::Terminated { by: Party::Client, code: 0, .. })));
    assert!(s.sent().is_empty());
}

#[test]
fn garbage_ends_the_line_and_not_the_program() {
    let mut s = Script::live();
    let event = s.session.on_bad_bytes(s.now, &mut s.send);
    is_breach(&mut s, event);
    assert_eq!(s.session.on_bad_bytes(s.now, &mut s.send), None);
}

#[test]
fn not_accepting_is_told() {
    let mut s = Script::live();
    let event = s.say(&SessionMessage::NotAccepting { from_seq_no: Seq(4), cause: 2 });
    assert_eq!(event, Some(ClientEvent::NotAccepting { from_seq_no: Seq(4), cause: 2 }));
}

/// A server with all its reports, which breaks the line, cuts batches and sends live reports in
/// between as it likes, within the protocol.
struct Server {
    /// Whether report `n` is a NotApplied, at `n - 1`.
    gaps: Vec<bool>,
    /// The next report that goes out live.
    live: u64,
    /// What is left of a request: the next number and the one after the last.
    request: Option<(u64, u64)>,
    dice: u64,
}

impl Server {
    fn below(&mut self, bound: u64) -> u64 {
        self.dice ^= self.dice << 13;
        self.dice ^= self.dice >> 7;
        self.dice ^= self.dice << 17;
        self.dice % bound
    }

    fn next(&self) -> u64 {
        self.gaps.len() as u64 + 1
    }

    fn tell(&self, s: &mut Script, number: u64) -> Option<ClientEvent> {
        if self.gaps[usize::try_from(number - 1).unwrap()] {
            s.not_applied(number, 1)
        } else {
            s.report(number)
        }
    }

    /// Serves one batch of the running request, if there is one.
    fn serve(&mut self, s: &mut Script, seen: &mut Vec<u64>) {
        let Some((from, end)) = self.request else {
            return;
        };
        let count = (1 + self.below(4)).min(end - from);
        let batch = s.batch(from, u32::try_from(count).unwrap());
        note(s.say(&batch), seen);
        for number in from..from + count {
            note(self.tell(s, number), seen);
        }
        self.request = Some((from + count, end)).filter(|(from, end)| from < end);
        note(s.say(&sequence(self.live)), seen);
    }
}

/// Collects the numbers shown; nothing but reports and recovery may be.
fn note(event: Option<ClientEvent>, seen: &mut Vec<u64>) {
    match event {
        None | Some(ClientEvent::Live | ClientEvent::Established { .. }) => {}
        Some(ClientEvent::Report(report)) => seen.push(report.msg_seq_num.0),
        Some(other) => panic!("{other:?}"),
    }
}

#[test]
fn whatever_the_line_does_every_report_is_seen_once_and_in_order() {
    for seed in 1..=200_u64 {
        println!("seed {seed}");
        let mut s = Script::live();
        let mut seen = Vec::new();
        let mut server = Server {
            gaps: Vec::new(),
            live: 1,
            request: None,
            dice: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
        };
        for step in 0..300 {
            let is_last = step >= 250;
            match server.below(10) {
                0..=3 if !is_last => {
                    let is_gap = server.below(4) == 0;
                    server.gaps.push(is_gap);
                }
                4..=5 => {
                    if server.live < server.next() {
                        server.live += 1;
                        note(server.tell(&mut s, server.live - 1), &mut seen);
                    }
                }
                6 if !is_last => {
                    s.session.options.overlap = u32::try_from(server.below(5)).unwrap();
                    server.live = server.next();
                    server.request = None;
                    s.session.on_disconnected(s.now);
                    s.connect();
                    s.sent();
                    note(s.say(&s.ack(server.live, 0)), &mut seen);
                }
                _ => server.serve(&mut s, &mut seen),
            }
            for word in s.sent() {
                let range = word.strip_prefix("RetransmitRequest ").expect("only requests");
                let (from, count) = range.split_once('+').unwrap();
                let (from, count): (u64, u64) = (from.parse().unwrap(), count.parse().unwrap());
                assert_eq!(server.request, None, "one request at a time");
                assert!(count >= 1 && from + count <= server.next(), "only what there is");
                server.request = Some((from, from + count));
            }
        }
        while server.live < server.next() {
            server.live += 1;
            note(server.tell(&mut s, server.live - 1), &mut seen);
        }
        assert!(s.session.is_live() && server.request.is_none());
        assert_eq!(seen, (1..server.next()).collect::<Vec<u64>>());
    }
}
