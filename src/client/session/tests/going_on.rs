//! What is owed, sent again, or brought to its end.

use super::*;

#[test]
fn an_ack_with_an_impossible_interval_is_a_breach() {
    for (interval, is_good) in
        [(0, false), (99, false), (100, true), (60_000, true), (60_001, false)]
    {
        let mut s = Script::new(0);
        s.connect();
        s.say(&s.negotiated());
        let SessionMessage::EstablishmentAck { session_id, request_timestamp, .. } = s.ack(1, 0)
        else {
            unreachable!("it is an ack");
        };
        let event = s.say(&SessionMessage::EstablishmentAck {
            session_id,
            request_timestamp,
            keepalive_interval: interval,
            next_seq_no: Seq(1),
            last_incoming_seq_no: Seq(0),
            cancel_on_disconnect_type: 3,
            cod_timeout_window: 250,
        });
        if is_good {
            assert!(matches!(event, Some(ClientEvent::Established { is_live: true, .. })));
            assert_eq!(s.session.cod_in_force(), (3, 250));
        } else {
            is_breach(&mut s, event);
        }
    }
}

#[test]
fn a_server_that_lives_and_serves_nothing_is_left() {
    let mut s = Script::live();
    s.come_back(9, 0);
    assert_eq!(s.sent(), ["RetransmitRequest 1+8"]);
    // Something is served after eight seconds: that counts. Heartbeats do not.
    for second in 1..=18 {
        match second {
            ..9 => assert_eq!(s.say(&sequence(9)), None),
            9 => {
                s.say(&s.batch(1, 8));
                assert_eq!(s.report(1), seen(1));
            }
            _ => s.session.last_received = s.now,
        }
        let event = s.wait(SECOND);
        let is_left =
            matches!(event, Some(ClientEvent::Terminated { by: Party::Client, code: 1, .. }));
        assert_eq!(is_left, second == 18, "{second}: {event:?}");
    }
    assert_eq!(s.sent().last().map(String::as_str), Some("Terminate 1"));
    let event = s.come_back(9, 0);
    assert!(matches!(event, Some(ClientEvent::Established { is_live: false, .. })));
    assert_eq!(s.sent(), ["RetransmitRequest 2+7"], "what came before is not asked for again");
}

#[test]
fn a_request_that_is_too_large_is_made_smaller() {
    let mut s = Script::live();
    s.come_back(40_001, 0);
    let mut count = 40_000;
    while count > 1 {
        assert_eq!(s.sent(), [format!("RetransmitRequest 1+{count}")]);
        assert_eq!(s.say(&s.denied_as(2)), None);
        count /= 2;
    }
    assert_eq!(s.sent(), ["RetransmitRequest 1+1"]);
    s.say(&s.batch(1, 1));
    assert_eq!(s.report(1), seen(1));
    s.say(&sequence(40_001));
    assert_eq!(s.sent(), ["RetransmitRequest 2+1"], "the size that was served is kept");
    let event = s.say(&s.denied_as(2));
    is_breach(&mut s, event);
}

#[test]
fn other_refusals_to_retransmit_end_the_line_and_not_the_session() {
    for code in [1, 77] {
        let mut s = Script::live();
        s.come_back(3, 0);
        let event = s.say(&s.denied_as(code));
        is_breach(&mut s, event);
        assert!(!s.session.is_stopped());
    }
}

#[test]
fn an_id_that_somebody_used_and_nobody_knows_is_given_up_for_another() {
    let mut s = Script::new(0);
    s.connect();
    s.say(&SessionMessage::NegotiationReject {
        session_id: ID,
        request_timestamp: s.session.stamp,
        code: NegotiationRejectCode::DuplicateId.wire(),
        reason: b"seen",
    });
    let event = s.refused(Code::Unnegotiated);
    assert!(matches!(event, Some(ClientEvent::Rejected { advice: Advice::NewSession, .. })));
    // One that the server negotiated, and was never established, may not be denied.
    let mut s = Script::new(0);
    s.connect();
    s.say(&s.negotiated());
    let event = s.refused(Code::Unnegotiated);
    assert_eq!(event, Some(ClientEvent::Stopped(StopCause::Forgotten)));
}

fn message(seq: u64) -> ClientMessage {
    ClientMessage::Status(OrderStatusRequest {
        msg_seq_num: Seq(seq),
        sending_time: Nanos(0),
        ord_status_req_id: 1,
        cl_ord_id: ClOrdId(1),
    })
}

#[test]
fn requests_are_sent_again_under_their_own_numbers() {
    let mut s = Script::live();
    for _ in 0..5 {
        s.request();
    }
    s.sent();
    s.session.on_disconnected(s.now);
    s.session.resume_at(Some(Seq(3)));
    s.connect();
    assert_eq!(s.sent(), ["Establish next=3"]);
    s.say(&s.ack(1, 2));
    // A heartbeat in between must not open a gap over what is still to come.
    s.wait(SECOND / 4 * 3);
    assert_eq!(s.sent(), ["Sequence 3"]);
    for (seq, is_sent) in [(2, false), (3, true), (3, false), (5, true), (4, false), (6, false)] {
        assert_eq!(s.session.on_resend(s.now, &message(seq), &mut s.send), is_sent, "{seq}");
    }
    assert_eq!(s.sent(), ["Request 3", "Request 5"]);
    s.session.on_resent(s.now, &mut s.send);
    assert!(s.sent().is_empty(), "nothing is left out");
    assert_eq!(s.request(), Some(Seq(6)));

    // The server remembers fewer numbers: the next Establish takes the other way.
    s.session.resume_at(Some(Seq(1)));
    let event = s.refused(Code::InvalidNextSeqNo);
    assert!(matches!(event, Some(ClientEvent::Rejected { advice: Advice::ReconnectNow, .. })));
    s.sent();
    s.session.on_disconnected(s.now);
    s.connect();
    assert_eq!(s.sent(), ["Establish next=7"]);
    // What is not sent again is a gap, and told at once.
    s.session.on_disconnected(s.now);
    s.session.resume_at(Some(Seq(4)));
    s.connect();
    s.say(&s.ack(1, 3));
    s.sent();
    s.session.on_resent(s.now, &mut s.send);
    assert_eq!(s.sent(), ["Sequence 7"]);
}

#[test]
fn a_shut_gate_is_asked_often_until_a_gap_is_told() {
    let mut s = Script::live();
    s.request();
    s.sent();
    s.say(&SessionMessage::NotAccepting { from_seq_no: Seq(1), cause: 2 });
    s.wait(SECOND / 4);
    assert_eq!(s.sent(), ["Sequence 2"]);
    s.wait(SECOND / 4);
    assert_eq!(s.sent(), ["Sequence 2"]);
    assert!(s.not_applied(1, 1).is_some());
    s.wait(SECOND / 4);
    assert!(s.sent().is_empty());
}

#[test]
fn a_session_stands_where_another_program_left_it() {
    let mut s = Script::live();
    s.request();
    s.report(1);
    let standing = s.session.standing();
    let expected =
        Standing { is_negotiated: true, next_out: Seq(2), next_in: Seq(2), stamp: s.session.stamp };
    assert_eq!(standing, expected);
    let key = Key::try_new("firm-a", &[0xa1; 32]).unwrap();
    let identity = ClientIdentity { session_id: ID, key };
    s.session = ClientSession::resumed(identity, SessionOptions::default(), standing);
    s.connect();
    assert!(s.session.stamp > standing.stamp, "no timestamp is used twice (ruling F05)");
    assert_eq!(s.sent(), ["Establish next=2"]);
    // The other program died before it wrote down its last request: its number is not used again.
    s.say(&s.ack(2, 4));
    assert_eq!(s.request(), Some(Seq(5)));
}

const fn finished(last: u64) -> SessionMessage<'static> {
    SessionMessage::FinishedSending { session_id: ID, last_seq_no: Seq(last) }
}

const READ: SessionMessage<'static> = SessionMessage::FinishedReceiving { session_id: ID };
const GOODBYE: SessionMessage<'static> =
    SessionMessage::Terminate { session_id: ID, code: 0, reason: b"" };

#[test]
fn a_session_is_brought_to_its_end() {
    let mut s = Script::live();
    s.request();
    s.report(1);
    s.sent();
    s.session.on_finalize(s.now, &mut s.send);
    assert_eq!(s.sent(), ["FinishedSending 1"]);
    assert_eq!(s.request(), None, "nothing is sent after it");
    assert_eq!(s.say(&READ), None);
    assert_eq!(s.report(2), seen(2));
    // The server's last number shows that two reports are missing: they are read first.
    assert_eq!(s.say(&finished(4)), None);
    assert_eq!(s.sent(), ["RetransmitRequest 3+2"]);
    s.say(&s.batch(3, 2));
    s.report(3);
    s.report(4);
    assert_eq!(s.say(&sequence(5)), Some(ClientEvent::Live));
    assert_eq!(s.sent(), ["FinishedReceiving", "Terminate 0"]);
    let event = s.say(&GOODBYE);
    assert!(matches!(event, Some(ClientEvent::Terminated { by: Party::Client, code: 0, .. })));
    assert!(s.session.is_finalized());
    s.session.on_disconnected(s.now);
    s.connect();
    assert!(s.sent().is_empty(), "the id is used up");
}

#[test]
fn a_finalization_survives_lost_lines() {
    let mut s = Script::live();
    s.session.on_finalize(s.now, &mut s.send);
    assert_eq!(s.sent(), ["FinishedSending 0"]);
    s.come_back(1, 0);
    assert_eq!(s.sent(), ["FinishedSending 0"], "it begins anew on a new line");
    s.say(&READ);
    s.say(&finished(0));
    assert_eq!(s.sent(), ["FinishedReceiving", "Terminate 0"]);
    // The answer is lost: the session is there and is finished again, or it is gone, as hoped.
    s.come_back(1, 0);
    assert_eq!(s.sent(), ["FinishedSending 0"]);
    s.say(&READ);
    s.say(&finished(0));
    let event = s.refused(Code::Unnegotiated);
    assert!(matches!(event, Some(ClientEvent::Terminated { code: 0, .. })));
    assert!(s.session.is_finalized());

    // A server that owes the end and only keeps the line alive is left.
    let mut s = Script::live();
    s.session.on_finalize(s.now, &mut s.send);
    for second in 1..=10 {
        s.say(&sequence(1));
        let event = s.wait(SECOND);
        assert_eq!(event.is_some(), second == 10, "{second}: {event:?}");
    }
    let mut s = Script::live();
    let event = s.say(&finished(0));
    is_breach(&mut s, event);
    let mut s = Script::live();
    let event = s.say(&READ);
    is_breach(&mut s, event);
}
