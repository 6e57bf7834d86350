//! The state table, row by row: where a transport is, what comes, what the shell must do, and what
//! the peer is sent. Then the order of a logon's checks, the rulings that need a story, and a walk
//! over random inputs.

mod stories;

use super::*;
use crate::limits::LOGON_ANSWER_GRID;
use crate::session::act::Act;
use crate::session::auth::{Key, Keys};
use crate::session::bindings::Bindings;
use crate::session::credentials;
use crate::session::node_view::{Closing, FailedLogon, NodeStatus};
use crate::session::report_log::ReportLog;
use crate::vocabulary::fix::{
    AckLevel, CodType, EstablishmentRejectCode, GateCause, NegotiationRejectCode,
    RetransmitRejectCode,
};
use crate::vocabulary::message::{ClientMessage, NULL_U32, NULL_U64, OrderStatusRequest};
use crate::vocabulary::network::Address;
use crate::vocabulary::random::SplitMix;
use crate::vocabulary::units::{ClOrdId, Epoch, Index, OwnerIdx};
use crate::wire::decode::{Outbound, decode_outbound};
use crate::wire::encode::{encode_client, encode_session};
use crate::wire::frame::split;
use crate::wire::layout::SOFH_BYTES;

const WALL: Nanos = Nanos(1_700_000_000_000_000_000);
const NOW: Nanos = Nanos(1_000 * Nanos::SECOND.0);
const ID: SessionId = SessionId([1; 16]);
const ID_2: SessionId = SessionId([2; 16]);
const CONNECTION: ConnectionIdx = ConnectionIdx(4);
const S: SessionIdx = SessionIdx(0);
const STATUS: NodeStatus = NodeStatus {
    epoch: Epoch(3),
    commit: Index(9),
    durable: Index(8),
    isr_count: 1,
    level: AckLevel::LocalMmap,
};

/// One transport and its node.
struct World {
    transport: Transport,
    sessions: Sessions,
    keys: Keys,
    bindings: Bindings,
    out: Outgoing,
    log: ReportLog,
    gate: Option<Closing>,
    is_primary: bool,
    checks_left: u32,
    peer: Address,
    failed: Option<FailedLogon>,
    now: Nanos,
    wall: Nanos,
}

/// What brings a transport to where it stands.
type Step = (At, fn(&mut World));

/// How far a transport has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    Fresh,
    Opening,
    Negotiated,
    Binding,
    /// Messages 1 to 5 were taken and 3 reports are released.
    Established,
    /// FinishedSending is being journaled.
    Finishing,
    /// It is answered; the client has not read FinishedSending yet when `sent` was not called.
    Answered,
    Finished,
    Ending,
    Closed,
}

impl World {
    fn new() -> Self {
        let key = |id, owner| Key::new(id, OwnerIdx(owner), &[0xa1; 32], None).unwrap();
        Self {
            transport: Transport::new(CONNECTION, NOW),
            sessions: Sessions::new(2, 4),
            keys: Keys::new(vec![key("firm-a", 0), key("firm-a.2", 0), key("firm-b", 1)]).unwrap(),
            bindings: Bindings::new(2),
            out: Outgoing::default(),
            log: ReportLog::new(1 << 12, 2),
            gate: None,
            is_primary: true,
            checks_left: 4,
            peer: Address(1),
            failed: None,
            now: NOW,
            wall: WALL,
        }
    }

    fn at(at: At) -> Self {
        let mut w = Self::new();
        let steps: [Step; 8] = [
            (At::Opening, |w| {
                assert_eq!(say(w.frame(&Logon::default().negotiate())), "Open 0 of 0");
            }),
            (At::Negotiated, |w| w.opened()),
            (At::Binding, |w| {
                assert_eq!(say(w.frame(&Logon::later(1).establish())), "Bind 0 from 1");
            }),
            (At::Established, |w| {
                w.bound();
                (1..=5).for_each(|n| assert_eq!(say(w.frame(&status(n, n))), "Message 0"));
                for number in 1..=3 {
                    let room = w.log.append(S, Seq(number), Index(number), 24);
                    room[..4].copy_from_slice(&[24, 0, 0x50, 0xEB]);
                }
            }),
            (At::Finishing, |w| {
                assert_eq!(say(w.frame(&finished_sending(ID, 5))), "Finishing 0 to 6");
            }),
            (At::Answered, |w| {
                w.sent();
                assert_eq!(say(w.finishing()), "-");
            }),
            (At::Finished, |w| {
                assert_eq!(w.sent(), "FinishedReceiving; FinishedSending(3)");
                assert_eq!(say(w.frame(&finished_receiving(ID))), "Final 0");
            }),
            (At::Ending, |w| {
                assert_eq!(say(w.stop()), "End Linger, down 0 Disconnect");
            }),
        ];
        let closed = at == At::Closed;
        if at != At::Fresh {
            let finishes = [At::Finishing, At::Answered, At::Finished];
            for (reached, step) in steps {
                if finishes.contains(&reached) && !finishes.contains(&at) {
                    continue;
                }
                step(&mut w);
                if reached == at {
                    break;
                }
            }
        }
        if closed {
            w.line_lost();
        }
        if at != At::Answered {
            w.sent();
        }
        w
    }

    fn frame(&mut self, octets: &[u8]) -> Act {
        let (frame, len) = split(octets, 2048).unwrap().unwrap();
        assert_eq!(len, octets.len());
        let mut node = NodeView {
            sessions: &mut self.sessions,
            keys: &self.keys,
            bindings: &mut self.bindings,
            out: &mut self.out,
            log: &self.log,
            released: Index(3),
            gate: self.gate,
            is_primary: self.is_primary,
            credential_checks_left: &mut self.checks_left,
            peer: self.peer,
            failed: &mut self.failed,
        };
        let act = self.transport.on_frame(self.now, self.wall, &frame, &mut node);
        self.transport.assert_invariants(&self.sessions, &self.bindings);
        act
    }

    fn bad_frame(&mut self) -> Act {
        let error = FrameError::TooLong { expected: 512, came: 513 };
        self.transport.on_frame_error(self.now, error, &mut self.out, &mut self.bindings)
    }

    fn timer(&mut self, after: Nanos) -> Act {
        self.now = self.now.saturating_add(after);
        self.transport.on_timer(self.now, &mut self.out, &mut self.bindings)
    }

    fn stop(&mut self) -> Act {
        let (code, out) = (TerminationCode::AdminAction, &mut self.out);
        self.transport.on_stop(self.now, code, "the node stops", out, &mut self.bindings)
    }

    fn displaced(&mut self) -> Act {
        self.transport.on_displaced(self.now, &mut self.out, &mut self.bindings)
    }

    fn peer_closed(&mut self) -> Act {
        self.transport.on_peer_closed(&mut self.bindings)
    }

    fn line_lost(&mut self) -> Act {
        self.transport.on_line_lost(&mut self.bindings)
    }

    /// The machine applies a SessionOpen and releases it.
    fn opened(&mut self) {
        let owner = self.sessions.owner_admitted(S);
        assert!(self.sessions.on_open(S, ID, owner, self.sessions.logon_time_admitted(S)));
        self.transport.on_opened(self.now, &mut self.out);
    }

    /// The machine applies a SessionBind and releases it.
    fn bound(&mut self) {
        let (numbers, out) = ((Seq(4), Seq(0)), &mut self.out);
        self.transport.on_bound(self.now, numbers, &STATUS, &self.log, out);
    }

    /// The machine applies a SessionFinishing and releases it.
    fn finishing(&mut self) -> Act {
        let now = self.now;
        self.transport.on_finishing(now, Seq(3), &mut self.out, &mut self.bindings)
    }

    /// What the peer is sent, as words. Time goes on to the grid.
    fn sent(&mut self) -> String {
        let now = self.now.max(self.out.held_until());
        let mut scratch = [0; 4096];
        let len = self.out.fill(now, &self.log, Index(3), &mut scratch).unwrap();
        self.out.on_sent(&self.log, len);
        let (mut words, mut rest) = (Vec::new(), &scratch[..len]);
        while let Some((frame, len)) = split(rest, 2048).unwrap() {
            words.push(match (frame.template, decode_outbound(&frame)) {
                (0, _) => "report".to_owned(),
                (_, Ok(Outbound::Session(message))) => say_message(&message),
                (_, other) => format!("{other:?}"),
            });
            rest = &rest[len..];
        }
        words.join("; ")
    }
}

/// A logon to be signed.
#[derive(Clone)]
struct Logon {
    key: &'static str,
    secret: u8,
    id: SessionId,
    timestamp: u64,
    flow: u8,
    keepalive: u32,
    next: u64,
    cod: u8,
    window: u32,
    level: u8,
}

impl Default for Logon {
    fn default() -> Self {
        Self {
            key: "firm-a",
            secret: 0xa1,
            id: ID,
            timestamp: WALL.0,
            flow: 1,
            keepalive: 1000,
            next: 1,
            cod: 255,
            window: NULL_U32,
            level: 255,
        }
    }
}

impl Logon {
    /// A logon `count` nanoseconds after the first.
    fn later(count: u64) -> Self {
        Self { timestamp: WALL.0 + count, ..Self::default() }
    }

    fn negotiate(&self) -> Vec<u8> {
        self.signed(|credentials| SessionMessage::Negotiate {
            session_id: self.id,
            timestamp: Nanos(self.timestamp),
            client_flow: self.flow,
            credentials,
        })
    }

    fn establish(&self) -> Vec<u8> {
        self.signed(|credentials| SessionMessage::Establish {
            session_id: self.id,
            timestamp: Nanos(self.timestamp),
            keepalive_interval: self.keepalive,
            next_seq_no: self.next,
            cancel_on_disconnect_type: self.cod,
            cod_timeout_window: self.window,
            report_level: self.level,
            credentials,
        })
    }

    fn signed(&self, message: impl Fn(&[u8]) -> SessionMessage<'_>) -> Vec<u8> {
        let bare = encoded(&message(&[]));
        let (frame, _) = split(&bare, 2048).unwrap().unwrap();
        let key = credentials::Key::try_new(self.key, &[self.secret; 32]).unwrap();
        let signed = key.sign(frame.template, frame.block());
        encoded(&message(signed.as_bytes()))
    }
}

fn encoded(message: &SessionMessage<'_>) -> Vec<u8> {
    let mut octets = [0; 512];
    let len = encode_session(message, &mut octets).unwrap();
    octets[..len].to_vec()
}

/// An application message: an order status request.
fn status(number: u64, request: u64) -> Vec<u8> {
    let mut octets = [0; 512];
    let len = encode_client(
        &ClientMessage::Status(OrderStatusRequest {
            msg_seq_num: Seq(number),
            sending_time: Nanos(0),
            ord_status_req_id: request,
            cl_ord_id: ClOrdId(1),
        }),
        &mut octets,
    );
    octets[..len].to_vec()
}

fn sequence(next: u64) -> Vec<u8> {
    encoded(&SessionMessage::Sequence { next_seq_no: Seq(next) })
}

fn retransmit(id: SessionId, from: u64, count: u32) -> Vec<u8> {
    let (timestamp, from_seq_no) = (Nanos(77), Seq(from));
    encoded(&SessionMessage::RetransmitRequest { session_id: id, timestamp, from_seq_no, count })
}

fn terminate(code: u8) -> Vec<u8> {
    encoded(&SessionMessage::Terminate { session_id: ID, code, reason: b"" })
}

fn finished_sending(id: SessionId, last: u64) -> Vec<u8> {
    let (session_id, last_seq_no) = (id, Seq(last));
    encoded(&SessionMessage::FinishedSending { session_id, last_seq_no })
}

fn finished_receiving(id: SessionId) -> Vec<u8> {
    encoded(&SessionMessage::FinishedReceiving { session_id: id })
}

/// A frame whose template a client must not send.
fn foreign() -> Vec<u8> {
    encoded(&SessionMessage::NotAccepting { from_seq_no: Seq(1), cause: 0 })
}

fn say(act: Act) -> String {
    match act {
        Act::Nothing => "-".into(),
        Act::Later => "Later".into(),
        Act::Drop(why) => format!("Drop {why:?}"),
        Act::AppendOpen { session, owner, .. } => format!("Open {session} of {owner}"),
        Act::AppendBind { session, next_seq_no, displaces, cod, .. } => {
            let from = next_seq_no.map_or_else(|| "null".to_owned(), |n| n.to_string());
            let ends = displaces.map_or(String::new(), |c| format!(", ends {}", c.0));
            let (name, window) = (cod.cod_type.name(), cod.window_ms);
            let cancels = if cod.cod_type == CodType::DoNotCancel {
                String::new()
            } else {
                format!(", cancels {name} after {window} ms")
            };
            format!("Bind {session} from {from}{ends}{cancels}")
        }
        Act::AppendFinishing { session, next } => format!("Finishing {session} to {next}"),
        Act::AppendFinal { session } => format!("Final {session}"),
        Act::AppendMessage { session } => format!("Message {session}"),
        Act::AppendGap { session, next } => format!("Gap {session} to {next}"),
        Act::End { down: None, how } => format!("End {how:?}"),
        Act::End { down: Some(Down { session, cause }), how } => {
            format!("End {how:?}, down {session} {cause:?}")
        }
    }
}

fn say_message(message: &SessionMessage<'_>) -> String {
    let text = |octets: &[u8]| String::from_utf8_lossy(octets).into_owned();
    match message {
        SessionMessage::NegotiationResponse { server_flow, .. } => {
            format!("NegotiationResponse({server_flow})")
        }
        SessionMessage::NegotiationReject { code, .. } => {
            format!("NegotiationReject({:?})", NegotiationRejectCode::from_wire(*code).unwrap())
        }
        SessionMessage::EstablishmentAck {
            keepalive_interval,
            next_seq_no,
            last_incoming_seq_no,
            cancel_on_disconnect_type: cod,
            cod_timeout_window: window,
            ..
        } => {
            let cod = if (*cod, *window) == (0, 0) {
                String::new()
            } else {
                format!(", cancel type {cod} after {window} ms")
            };
            let numbers = format!("next {next_seq_no}, last in {last_incoming_seq_no}");
            format!("Ack({numbers}, {keepalive_interval} ms{cod})")
        }
        SessionMessage::EstablishmentReject { code, .. } => {
            format!("EstablishmentReject({:?})", EstablishmentRejectCode::from_wire(*code).unwrap())
        }
        SessionMessage::Sequence { next_seq_no } => format!("Sequence({next_seq_no})"),
        SessionMessage::Retransmission { next_seq_no, count, .. } => {
            format!("Retransmission({next_seq_no}, {count})")
        }
        SessionMessage::RetransmitReject { code, .. } => {
            format!("RetransmitReject({:?})", RetransmitRejectCode::from_wire(*code).unwrap())
        }
        SessionMessage::Terminate { code, reason, session_id } => {
            let bound = if *session_id == SessionId::NONE { "unbound " } else { "" };
            let code = TerminationCode::from_wire(*code).unwrap();
            format!("{bound}Terminate({code:?}, {})", text(reason))
        }
        SessionMessage::FinishedSending { last_seq_no, .. } => {
            format!("FinishedSending({last_seq_no})")
        }
        SessionMessage::FinishedReceiving { .. } => "FinishedReceiving".into(),
        SessionMessage::NotAccepting { from_seq_no, cause } => {
            format!("NotAccepting({from_seq_no}, {:?})", GateCause::from_wire(*cause).unwrap())
        }
        SessionMessage::ReplicationStatus { epoch, released_seq_no, isr_count, .. } => {
            format!("Status(epoch {epoch}, released {released_seq_no}, {isr_count} in sync)")
        }
        SessionMessage::Negotiate { .. }
        | SessionMessage::Establish { .. }
        | SessionMessage::RetransmitRequest { .. } => "not a message of a server".into(),
    }
}

type Row = (At, &'static str, fn(&mut World) -> Act, &'static str, &'static str);

#[track_caller]
fn check(rows: &[Row]) {
    for (at, event, input, act, sent) in rows {
        let mut w = World::at(*at);
        let came = say(input(&mut w));
        assert_eq!(came, *act, "{at:?}: {event}");
        assert_eq!(w.sent(), *sent, "{at:?}: {event}");
        if came.starts_with("End") {
            assert_eq!(
                say(w.frame(&status(6, 6))),
                "Drop Ended",
                "{at:?}: {event}: octets after it"
            );
            assert_eq!(w.sent(), "");
            assert_eq!(w.bindings.connection_of(S), None, "{at:?}: {event}: frees its session");
        }
    }
}

const END: &str = "End Linger";
const DOWN: &str = "End Linger, down 0 Disconnect";

#[test]
#[rustfmt::skip]
fn before_a_session_is_established() {
    let not_established = "unbound Terminate(UnspecifiedError, not established)";
    check(&[
        (At::Fresh, "Negotiate", |w| w.frame(&Logon::default().negotiate()), "Open 0 of 0", ""),
        (At::Fresh, "bad credentials", |w| w.frame(&Logon { secret: 1, ..Logon::default() }.negotiate()), END, "NegotiationReject(Credentials)"),
        (At::Fresh, "other flow", |w| w.frame(&Logon { flow: 0, ..Logon::default() }.negotiate()), END, "NegotiationReject(FlowTypeNotSupported)"),
        (At::Fresh, "Establish of an unknown id", |w| w.frame(&Logon::default().establish()), END, "EstablishmentReject(Unnegotiated)"),
        (At::Fresh, "application message", |w| w.frame(&status(1, 1)), END, not_established),
        (At::Fresh, "Sequence", |w| w.frame(&sequence(1)), END, not_established),
        (At::Fresh, "RetransmitRequest", |w| w.frame(&retransmit(ID, 1, 1)), END, not_established),
        (At::Fresh, "Terminate", |w| w.frame(&terminate(0)), END, "unbound Terminate(Finished, )"),
        (At::Fresh, "template of a server", |w| w.frame(&foreign()), END, "unbound Terminate(UnspecifiedError, unknown template 20)"),
        (At::Fresh, "no frame", World::bad_frame, END, "unbound Terminate(UnspecifiedError, frame length: expected at most 512, came 513)"),
        (At::Fresh, "EOF", World::peer_closed, "End Now", ""),
        (At::Fresh, "reset", World::line_lost, "End Now", ""),
        (At::Fresh, "a moment before the deadline", |w| w.timer(Nanos(LOGON_DEADLINE.0 - 1)), "-", ""),
        (At::Fresh, "the deadline", |w| w.timer(LOGON_DEADLINE), END, "unbound Terminate(UnspecifiedError, no logon within 5 s)"),
        (At::Fresh, "stop", World::stop, END, "unbound Terminate(AdminAction, the node stops)"),
        (At::Fresh, "no credential check left", |w| { w.checks_left = 0; w.frame(&Logon::default().negotiate()) }, "Later", ""),
        (At::Fresh, "standby", |w| { w.is_primary = false; w.frame(&Logon::default().negotiate()) }, END, "NegotiationReject(NotPrimary)"),

        (At::Opening, "anything waits for the commit", |w| w.frame(&Logon::later(1).establish()), "Later", ""),
        (At::Opening, "committed", |w| { w.opened(); Act::Nothing }, "-", "NegotiationResponse(0)"),
        (At::Opening, "a slow commit is not the client's fault", |w| w.timer(Nanos(60 * Nanos::SECOND.0)), "-", ""),
        (At::Opening, "EOF", World::peer_closed, "End Now", ""),
        (At::Opening, "stop", World::stop, END, "unbound Terminate(AdminAction, the node stops)"),

        (At::Negotiated, "Establish", |w| w.frame(&Logon::later(1).establish()), "Bind 0 from 1", ""),
        (At::Negotiated, "Establish, next number null", |w| w.frame(&Logon { next: NULL_U64, ..Logon::later(1) }.establish()), "Bind 0 from null", ""),
        (At::Negotiated, "Establish of another id", |w| w.frame(&Logon { id: ID_2, ..Logon::later(1) }.establish()), END, "unbound Terminate(UnspecifiedError, another session was negotiated here)"),
        (At::Negotiated, "second Negotiate", |w| w.frame(&Logon::later(1).negotiate()), END, "unbound Terminate(UnspecifiedError, negotiated already)"),
        (At::Negotiated, "application message", |w| w.frame(&status(1, 1)), END, not_established),
        (At::Negotiated, "Terminate", |w| w.frame(&terminate(0)), END, "unbound Terminate(Finished, )"),
        (At::Negotiated, "the deadline", |w| w.timer(Nanos(LOGON_DEADLINE.0 + LOGON_ANSWER_GRID.0)), END, "unbound Terminate(UnspecifiedError, no logon within 5 s)"),
        (At::Negotiated, "EOF", World::peer_closed, "End Now", ""),

        (At::Binding, "anything waits for the commit", |w| w.frame(&status(1, 1)), "Later", ""),
        (At::Binding, "committed", |w| { w.bound(); Act::Nothing }, "-", "Ack(next 4, last in 0, 1000 ms)"),
        (At::Binding, "EOF", World::peer_closed, "End Now, down 0 Disconnect", ""),
        (At::Binding, "stop", World::stop, DOWN, "Terminate(AdminAction, the node stops)"),
    ]);
}

#[test]
#[rustfmt::skip]
fn while_a_session_is_established() {
    let reused = "Terminate(UnspecifiedError, sequence number reused)";
    let too_large = "Terminate(UnspecifiedError, gap too large)";
    check(&[
        (At::Established, "the expected number", |w| w.frame(&status(6, 6)), "Message 0", ""),
        (At::Established, "above it", |w| w.frame(&status(9, 9)), "Message 0", ""),
        (At::Established, "the same again", |w| w.frame(&status(5, 5)), "Drop Repeat", ""),
        (At::Established, "another under its number", |w| w.frame(&status(5, 6)), DOWN, reused),
        (At::Established, "no longer remembered", |w| w.frame(&status(1, 1)), DOWN, reused),
        (At::Established, "number 0", |w| w.frame(&status(0, 1)), DOWN, too_large),
        (At::Established, "number null", |w| w.frame(&status(u64::MAX, 1)), DOWN, too_large),
        (At::Established, "far above", |w| w.frame(&status(1_000_007, 1)), DOWN, too_large),
        (At::Established, "Sequence of the expected number", |w| w.frame(&sequence(6)), "-", ""),
        (At::Established, "Sequence above", |w| w.frame(&sequence(8)), "Gap 0 to 8", ""),
        (At::Established, "Sequence below", |w| w.frame(&sequence(5)), DOWN, "Terminate(UnspecifiedError, sequence number went back)"),
        (At::Established, "Sequence 0", |w| w.frame(&sequence(0)), DOWN, "Terminate(UnspecifiedError, sequence number went back)"),
        (At::Established, "Sequence null", |w| w.frame(&sequence(u64::MAX)), DOWN, too_large),
        (At::Established, "Sequence far above", |w| w.frame(&sequence(1_000_007)), DOWN, too_large),
        (At::Established, "RetransmitRequest", |w| w.frame(&retransmit(ID, 1, 3)), "-", "Retransmission(1, 3); report; report; report; Sequence(4)"),
        (At::Established, "of numbers to come", |w| w.frame(&retransmit(ID, 1, 4)), "-", "RetransmitReject(OutOfRange)"),
        (At::Established, "of too many", |w| w.frame(&retransmit(ID, 1, 65_537)), "-", "RetransmitReject(RequestLimitExceeded)"),
        (At::Established, "of another session", |w| w.frame(&retransmit(ID_2, 1, 3)), "-", "RetransmitReject(InvalidSession)"),
        (At::Established, "a second while one runs", |w| { w.frame(&retransmit(ID, 1, 3)); w.frame(&retransmit(ID, 1, 1)) }, DOWN, "Terminate(ReRequestInProgress, a retransmission is running)"),
        (At::Established, "Negotiate", |w| w.frame(&Logon::later(2).negotiate()), DOWN, "Terminate(UnspecifiedError, established already)"),
        (At::Established, "Establish", |w| w.frame(&Logon::later(2).establish()), DOWN, "Terminate(UnspecifiedError, established already)"),
        (At::Established, "template of a server", |w| w.frame(&foreign()), DOWN, "Terminate(UnspecifiedError, unknown template 20)"),
        (At::Established, "no frame", World::bad_frame, DOWN, "Terminate(UnspecifiedError, frame length: expected at most 512, came 513)"),
        (At::Established, "Terminate", |w| w.frame(&terminate(0)), "End Linger, down 0 Terminate", "Terminate(Finished, )"),
        (At::Established, "Terminate, unknown code", |w| w.frame(&terminate(99)), "End Linger, down 0 Terminate", "Terminate(Finished, )"),
        (At::Established, "EOF", World::peer_closed, "End Now, down 0 Disconnect", ""),
        (At::Established, "reset", World::line_lost, "End Now, down 0 Disconnect", ""),
        (At::Established, "silence of one interval", |w| w.timer(Nanos(Nanos::SECOND.0 + 1)), "-", "Sequence(4)"),
        (At::Established, "silence of 2.5 intervals", |w| w.timer(Nanos(2_500_000_001)), DOWN, "Terminate(KeepaliveLapsed, nothing was heard)"),
        (At::Established, "displaced", World::displaced, DOWN, "Terminate(KeepaliveLapsed, nothing was heard)"),
        (At::Established, "stop", World::stop, DOWN, "Terminate(AdminAction, the node stops)"),

        (At::Established, "FinishedSending", |w| w.frame(&finished_sending(ID, 5)), "Finishing 0 to 6", ""),
        (At::Established, "and some never arrived", |w| w.frame(&finished_sending(ID, 8)), "Finishing 0 to 9", ""),
        (At::Established, "of fewer than came", |w| w.frame(&finished_sending(ID, 4)), DOWN, "Terminate(UnspecifiedError, impossible last number)"),
        (At::Established, "of null", |w| w.frame(&finished_sending(ID, u64::MAX)), DOWN, "Terminate(UnspecifiedError, impossible last number)"),
        (At::Established, "of far more than came", |w| w.frame(&finished_sending(ID, 1_000_006)), DOWN, "Terminate(UnspecifiedError, impossible last number)"),
        (At::Established, "of another session", |w| w.frame(&finished_sending(ID_2, 5)), DOWN, "Terminate(UnspecifiedError, another session is bound)"),
        (At::Established, "FinishedReceiving", |w| w.frame(&finished_receiving(ID)), DOWN, "Terminate(UnspecifiedError, FinishedReceiving before FinishedSending)"),

        (At::Finishing, "a message", |w| w.frame(&status(6, 6)), DOWN, "Terminate(UnspecifiedError, a message after FinishedSending)"),
        (At::Finishing, "FinishedSending again", |w| w.frame(&finished_sending(ID, 5)), DOWN, "Terminate(UnspecifiedError, a message after FinishedSending)"),
        (At::Finishing, "its keep-alive", |w| w.frame(&sequence(6)), "-", ""),
        (At::Finishing, "Sequence above", |w| w.frame(&sequence(7)), DOWN, "Terminate(UnspecifiedError, a number after FinishedSending)"),
        (At::Finishing, "RetransmitRequest", |w| w.frame(&retransmit(ID, 3, 1)), "-", "Retransmission(3, 1); report; Sequence(4)"),
        (At::Finishing, "FinishedReceiving", |w| w.frame(&finished_receiving(ID)), DOWN, "Terminate(UnspecifiedError, FinishedReceiving before FinishedSending)"),
        (At::Finishing, "committed", World::finishing, "-", "FinishedReceiving; FinishedSending(3)"),
        (At::Finishing, "Terminate", |w| w.frame(&terminate(0)), "End Linger, down 0 Terminate", "Terminate(Finished, )"),
        (At::Finishing, "EOF", World::peer_closed, "End Now, down 0 Disconnect", ""),
        (At::Answered, "FinishedReceiving before ours left", |w| w.frame(&finished_receiving(ID)), DOWN, "FinishedReceiving; Terminate(UnspecifiedError, FinishedReceiving before FinishedSending)"),
        (At::Answered, "FinishedReceiving", |w| { w.sent(); w.frame(&finished_receiving(ID)) }, "Final 0", ""),
        (At::Answered, "of another session", |w| { w.sent(); w.frame(&finished_receiving(ID_2)) }, DOWN, "Terminate(UnspecifiedError, another session is bound)"),
        (At::Answered, "RetransmitRequest", |w| { w.sent(); w.frame(&retransmit(ID, 1, 1)) }, "-", "Retransmission(1, 1); report; Sequence(4)"),
        (At::Answered, "committed twice", World::finishing, "-", "FinishedReceiving; FinishedSending(3)"),

        (At::Finished, "Terminate", |w| w.frame(&terminate(0)), END, "Terminate(Finished, )"),
        (At::Finished, "its keep-alive", |w| w.frame(&sequence(6)), "-", ""),
        (At::Finished, "a message", |w| w.frame(&status(6, 6)), END, "Terminate(UnspecifiedError, the session is finished)"),
        (At::Finished, "RetransmitRequest", |w| w.frame(&retransmit(ID, 1, 1)), END, "Terminate(UnspecifiedError, the session is finished)"),
        (At::Finished, "FinishedReceiving again", |w| w.frame(&finished_receiving(ID)), END, "Terminate(UnspecifiedError, the session is finished)"),
        (At::Finished, "a moment before 5 s", |w| w.timer(Nanos(LOGON_DEADLINE.0 - 1)), "-", ""),
        (At::Finished, "5 s", |w| w.timer(LOGON_DEADLINE), END, "Terminate(UnspecifiedError, no Terminate within 5 s of the session's end)"),
        (At::Finished, "EOF", World::peer_closed, "End Now", ""),
        (At::Finished, "stop", World::stop, END, "Terminate(AdminAction, the node stops)"),

        (At::Ending, "anything", |w| w.frame(&terminate(0)), "Drop Ended", ""),
        (At::Ending, "no frame", World::bad_frame, "Drop Ended", ""),
        (At::Ending, "a moment before 1 s", |w| w.timer(Nanos(TERMINATE_LINGER.0 - 1)), "-", ""),
        (At::Ending, "1 s after the grid", |w| w.timer(TERMINATE_LINGER.saturating_add(LOGON_ANSWER_GRID)), "End Now", ""),
        (At::Ending, "EOF", World::peer_closed, "End Flush", ""),
        (At::Ending, "stop", World::stop, "-", ""),
        (At::Ending, "committed too late", |w| { w.bound(); Act::Nothing }, "-", ""),
        (At::Closed, "anything", |w| w.frame(&status(6, 6)), "Drop Ended", ""),
        (At::Closed, "displaced", World::displaced, "-", ""),
        (At::Closed, "timer", |w| w.timer(Nanos::SECOND), "-", ""),
        (At::Closed, "committed too late", |w| { w.opened_late(); Act::Nothing }, "-", ""),
    ]);
}

impl World {
    fn opened_late(&mut self) {
        self.transport.on_opened(self.now, &mut self.out);
        self.bound();
    }
}

/// The code that is told, and what was repaired since the row above.
type Repair = (&'static str, fn(&mut World, &mut Logon));

/// Every row has the fault of its label and all faults below it; the first is told.
#[test]
fn a_logon_is_judged_in_one_order() {
    let all = Logon {
        secret: 1,
        flow: 0,
        keepalive: 99,
        next: 2_000_000,
        cod: 4,
        window: 60_001,
        ..Logon::later(1)
    };
    let negotiate: [Repair; 5] = [
        ("Credentials", |_, _| {}),
        ("NotPrimary", |_, l| l.secret = 0xa1),
        ("NotAccepting", |w, _| w.is_primary = true),
        ("DuplicateId", |w, _| w.gate = None),
        ("FlowTypeNotSupported", |_, l| l.id = ID_2),
    ];
    let establish: [Repair; 10] = [
        ("Credentials", |_, _| {}),
        ("NotPrimary", |_, l| l.secret = 0xa1),
        ("NotAccepting", |w, _| w.is_primary = true),
        ("Unnegotiated", |w, l| (w.gate, l.id) = (None, ID_2)),
        ("KeepaliveInterval", |_, l| l.id = ID),
        ("Unspecified", |_, l| l.keepalive = 100),
        ("Unspecified", |_, l| l.cod = 3),
        ("Unspecified", |_, l| (l.window, l.level) = (60_000, 2)),
        ("InvalidNextSeqNo", |_, l| l.level = 1),
        ("AlreadyEstablished", |_, l| l.next = 6),
    ];
    let judge = |steps: &[Repair], is_negotiate: bool| {
        for row in 1..=steps.len() {
            // Another transport of the same node, while the first is established.
            let mut w = World::at(At::Established);
            w.transport = Transport::new(ConnectionIdx(5), NOW);
            w.out = Outgoing::default();
            w.is_primary = false;
            w.gate = Some(Closing { cause: GateCause::Space, count: 1 });
            let mut logon = all.clone();
            steps[..row].iter().for_each(|(_, repair)| repair(&mut w, &mut logon));
            let (octets, kind) = if is_negotiate {
                (logon.negotiate(), "NegotiationReject")
            } else {
                (Logon { timestamp: WALL.0 + 2, ..logon }.establish(), "EstablishmentReject")
            };
            assert_eq!(say(w.frame(&octets)), END, "row {row}");
            assert_eq!(w.sent(), format!("{kind}({})", steps[row - 1].0), "row {row}");
            assert_eq!(w.bindings.connection_of(S), Some(CONNECTION), "a refusal changes nothing");
            assert_eq!(w.sessions.logon_time_admitted(S), Nanos(WALL.0 + 1));
        }
    };
    judge(&negotiate, true);
    judge(&establish, false);
}

/// What an Establish of a session that exists must have beside a good MAC.
#[test]
#[rustfmt::skip]
fn an_establish_is_its_owners_newer_and_within_the_window() {
    let rows: &[(&str, Logon, &str)] = &[
        ("newer",             Logon { next: 6, ..Logon::later(2) },                  "Bind 0 from 6"),
        ("its other key",     Logon { next: 6, key: "firm-a.2", ..Logon::later(2) }, "Bind 0 from 6"),
        ("replayed",          Logon { next: 6, ..Logon::later(1) },                  "Credentials"),
        ("older",             Logon { next: 6, ..Logon::later(0) },                  "Credentials"),
        ("another owner's",   Logon { next: 6, key: "firm-b", ..Logon::later(2) },   "Credentials"),
        ("no id",             Logon { id: SessionId::NONE, ..Logon::later(2) },      "Credentials"),
        ("6 s ahead",         Logon { next: 6, ..Logon::later(6_000_000_000) },      "Credentials"),
        ("the window's low",  Logon { next: 2, ..Logon::later(2) },                  "Bind 0 from 2"),
        ("below it",          Logon { next: 1, ..Logon::later(2) },                  "InvalidNextSeqNo"),
        ("zero",              Logon { next: 0, ..Logon::later(2) },                  "InvalidNextSeqNo"),
        ("the highest",       Logon { next: 1_000_006, ..Logon::later(2) },          "Bind 0 from 1000006"),
        ("above it",          Logon { next: 1_000_007, ..Logon::later(2) },          "InvalidNextSeqNo"),
        ("shortest interval", Logon { next: 6, keepalive: 100, ..Logon::later(2) },  "Bind 0 from 6"),
        ("longest interval",  Logon { next: 6, keepalive: 60_000, ..Logon::later(2) }, "Bind 0 from 6"),
        ("longer",            Logon { next: 6, keepalive: 60_001, ..Logon::later(2) }, "KeepaliveInterval"),
        ("cancel type 1",     Logon { next: 6, cod: 1, ..Logon::later(2) },          "Bind 0 from 6, cancels OnDisconnect after 0 ms"),
        ("cancel type 2",     Logon { next: 6, cod: 2, window: 1, ..Logon::later(2) }, "Bind 0 from 6, cancels OnTerminate after 1 ms"),
        ("longest window",    Logon { next: 6, cod: 3, window: 60_000, ..Logon::later(2) }, "Bind 0 from 6, cancels OnDisconnectOrTerminate after 60000 ms"),
        ("longer window",     Logon { next: 6, cod: 3, window: 60_001, ..Logon::later(2) }, "Unspecified"),
        ("no type, a window", Logon { next: 6, window: 7, ..Logon::later(2) },       "Bind 0 from 6"),
        ("cancel type 4",     Logon { next: 6, cod: 4, ..Logon::later(2) },          "Unspecified"),
    ];
    for (label, logon, expected) in rows {
        let mut w = World::at(At::Established);
        w.line_lost();
        w.transport = Transport::new(ConnectionIdx(5), NOW);
        w.out = Outgoing::default();
        let came = say(w.frame(&logon.establish()));
        if came == END {
            assert_eq!(w.sent(), format!("EstablishmentReject({expected})"), "{label}");
        } else {
            assert_eq!(came, *expected, "{label}");
        }
    }
}

#[test]
fn the_table_of_sessions_has_an_end() {
    let mut w = World::at(At::Established);
    let mut open = |octet: u8| {
        w.transport = Transport::new(ConnectionIdx(5), NOW);
        w.out = Outgoing::default();
        let act = w.frame(&Logon { id: SessionId([octet; 16]), ..Logon::later(1) }.negotiate());
        (say(act), w.sent())
    };
    assert_eq!(open(7), ("Open 1 of 0".into(), String::new()));
    assert_eq!(open(8), (END.into(), "NegotiationReject(Capacity)".into()));
}

/// A client that resends from number 3: its position is its own, below the session's number.
#[test]
fn a_client_that_resends_has_a_position_of_its_own() {
    let resumed = || {
        let mut w = World::at(At::Established);
        w.line_lost();
        w.transport = Transport::new(ConnectionIdx(5), NOW);
        w.out = Outgoing::default();
        assert_eq!(
            say(w.frame(&Logon { next: 3, ..Logon::later(2) }.establish())),
            "Bind 0 from 3"
        );
        w.bound();
        w.sent();
        w
    };
    #[rustfmt::skip]
    let rows: &[(&[Vec<u8>], &str)] = &[
        (&[sequence(3)],                              "-"), // its keep-alive before it resends
        (&[status(3, 3)],                             "Drop Repeat"),
        (&[status(3, 3), sequence(4)],                "-"),
        (&[status(3, 3), sequence(3)],                DOWN),
        (&[status(3, 3), status(4, 4), status(5, 5)], "Drop Repeat"),
        (&[status(5, 5), status(6, 6)],               "Message 0"),
        (&[sequence(5), status(6, 6), sequence(6)],   DOWN),
        (&[sequence(2)],                              DOWN),
        (&[sequence(7)],                              "Gap 0 to 7"),
        (&[sequence(7), status(6, 6)],                DOWN), // covered by the gap
    ];
    for (row, (frames, expected)) in rows.iter().enumerate() {
        let mut w = resumed();
        let acts: Vec<String> = frames.iter().map(|frame| say(w.frame(frame))).collect();
        assert_eq!(acts.last().map(String::as_str), Some(*expected), "row {row}: {acts:?}");
    }
}

/// Anything in any order, with whole frames, damaged frames, time, commits and closings of the
/// gate.
#[test]
#[expect(clippy::too_many_lines, reason = "one step of the walk is read in one piece")]
fn a_random_walk_keeps_the_invariants() {
    let mut seen = std::collections::BTreeMap::<String, u32>::new();
    let mut finals = 0;
    for seed in 0..300 {
        let mut random = SplitMix(seed);
        let mut w = World::new();
        let (mut stamp, mut connection, mut number) = (0, 10, 1);
        let mut is_open = false;
        for _ in 0..120 {
            stamp += 1;
            w.checks_left = 4;
            let logon = Logon {
                next: number.max(3) - 2 + random.below(4),
                key: if random.below(16) == 0 { "firm-b" } else { "firm-a" },
                level: 1,
                ..Logon::later(stamp)
            };
            // Mostly what fits the state; now and then anything.
            let is_wild = random.below(24) == 0;
            let kind = match (w.transport.session(), is_wild) {
                (_, true) => random.below(12),
                (None, false) => u64::from(is_open),
                (Some(_), false) if random.below(8) == 0 => 10 + random.below(2),
                (Some(_), false) => 2 + random.below(7),
            };
            let mut octets = match kind {
                0 => logon.negotiate(),
                1 => logon.establish(),
                2 => sequence(number + 1 + random.below(8) / 7),
                3 => retransmit(ID, random.below(4), u32::try_from(random.below(4)).unwrap()),
                9 => terminate(0),
                10 => finished_sending(ID, w.sessions.expected_admitted(S).0 - 1 + random.below(2)),
                11 => finished_receiving(ID),
                _ => {
                    number += u64::from(random.below(8) > 0);
                    status(number, number)
                }
            };
            if random.below(16) == 0 {
                let at =
                    SOFH_BYTES + usize::try_from(random.below(octets.len() as u64 - 4)).unwrap();
                octets[at] ^= 1 << random.below(8);
            }
            let act = match split(&octets, w.transport.frame_bytes_max()) {
                Ok(Some(_)) => w.frame(&octets),
                Ok(None) => Act::Nothing,
                Err(error) => w.transport.on_frame_error(w.now, error, &mut w.out, &mut w.bindings),
            };
            let kind = say(act).split(' ').next().unwrap_or("").to_owned();
            *seen.entry(kind).or_default() += 1;
            match act {
                Act::AppendOpen { session, id, owner, timestamp, .. } => {
                    assert!(w.sessions.on_open(session, id, owner, timestamp));
                    is_open = true;
                    w.transport.on_opened(w.now, &mut w.out);
                }
                Act::AppendBind { session, timestamp, next_seq_no, cod, .. } => {
                    assert!(is_open && w.gate.is_none() && w.is_primary);
                    let _ = w.sessions.on_bind(session, next_seq_no, timestamp, cod);
                    w.bound();
                }
                Act::AppendMessage { session } => {
                    assert!(w.gate.is_none(), "nothing passes a shut gate");
                    let message = w.sessions.on_message(session, Seq(number), 104, number);
                    assert!(message.1 || octets != status(number, number));
                }
                Act::AppendGap { session, next } => {
                    assert!(w.gate.is_none() && w.sessions.on_next(session, next).is_some());
                }
                Act::AppendFinishing { session, next } => {
                    assert!(w.gate.is_none());
                    let _ = w.sessions.on_next(session, next);
                    w.sessions.on_finishing(session);
                    number = number.max(next.0 - 1);
                    assert_eq!(w.finishing(), Act::Nothing);
                }
                Act::AppendFinal { session } => {
                    assert!(w.gate.is_none());
                    w.sessions.on_final(session);
                    finals += 1;
                    // Nobody comes back: the slot is another's.
                    w.sessions.forget(session);
                    (is_open, number) = (false, 1);
                }
                Act::Later => panic!("nothing waits here"),
                Act::Nothing | Act::Drop(_) | Act::End { .. } => {}
            }
            match random.below(40) {
                0 => w.gate = Some(Closing { cause: GateCause::Space, count: stamp }),
                1 | 2 => w.gate = None,
                3 => {
                    let _ = w.timer(Nanos(random.below(3_000_000_000)));
                }
                4 => {
                    let _ = w.peer_closed();
                }
                5 => {
                    let _ = w.displaced();
                }
                _ => {}
            }
            w.sent();
            w.transport.assert_invariants(&w.sessions, &w.bindings);
            if w.transport.is_ending() && random.below(3) > 0 {
                let _ = w.line_lost();
                connection += 1;
                w.transport = Transport::new(ConnectionIdx(connection), w.now);
                w.out = Outgoing::default();
            }
        }
    }
    let often = seen.values().filter(|count| **count > 250).count();
    assert!(finals > 20, "{finals} sessions were finished");
    assert_eq!(often, 8, "the walk reaches every act: {seen:?}");
}
