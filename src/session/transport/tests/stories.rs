//! What is told and when: acknowledgements, grids, status, and the ends of sessions that need a
//! story.

use super::*;

#[test]
fn the_acknowledgement_tells_what_is_in_force() {
    let mut w = World::at(At::Negotiated);
    w.frame(&Logon { keepalive: 60_000, level: 1, ..Logon::later(1) }.establish());
    w.bound();
    assert_eq!(
        w.sent(),
        "Ack(next 4, last in 0, 10000 ms); Status(epoch 3, released 3, 1 in sync)"
    );
    assert_eq!(w.transport.next_deadline(), Some(Nanos(NOW.0 + 10 * Nanos::SECOND.0)));
}

#[test]
fn the_acknowledgement_tells_the_terms_of_cancelling() {
    for (cod, window, told) in [
        (255, NULL_U32, ""),
        (0, 5, ", cancel type 0 after 5 ms"),
        (1, NULL_U32, ", cancel type 1 after 0 ms"),
        (3, 60_000, ", cancel type 3 after 60000 ms"),
    ] {
        let mut w = World::at(At::Negotiated);
        w.frame(&Logon { cod, window, ..Logon::later(1) }.establish());
        w.bound();
        assert_eq!(w.sent(), format!("Ack(next 4, last in 0, 1000 ms{told})"));
    }
}

#[test]
fn answers_leave_on_their_grids() {
    let grid = |w: &World| w.out.held_until().0 - NOW.0;
    let mut w = World::at(At::Opening);
    w.opened();
    assert_eq!(grid(&w), LOGON_ANSWER_GRID.0);
    let mut w = World::at(At::Binding);
    w.bound();
    assert_eq!(grid(&w), LOGON_ANSWER_GRID.0);
    for logon in [Logon { secret: 1, ..Logon::default() }, Logon { flow: 0, ..Logon::default() }] {
        let mut w = World::new();
        w.frame(&logon.negotiate());
        assert_eq!(grid(&w), crate::limits::LOGON_REFUSAL_GRID.0, "whatever the cause");
    }
}

#[test]
fn frames_are_short_until_established() {
    for at in [At::Fresh, At::Opening, At::Negotiated, At::Binding, At::Ending, At::Closed] {
        assert_eq!(World::at(at).transport.frame_bytes_max(), 512, "{at:?}");
    }
    assert_eq!(World::at(At::Established).transport.frame_bytes_max(), 2048);
    assert!(Logon { key: "firm-a", ..Logon::default() }.establish().len() + 32 <= 512);
}

#[test]
fn a_peer_that_asks_without_reading_is_ended() {
    let mut w = World::at(At::Established);
    let mut acts = (0..1_000).map(|_| say(w.frame(&retransmit(ID_2, 1, 1))));
    assert_eq!(acts.find(|act| act != "-").as_deref(), Some(DOWN));
    assert!(w.sent().ends_with("Terminate(UnspecifiedError, answers were not read)"));
}

#[test]
fn any_text_of_a_breach_is_cut_to_its_room() {
    let mut w = World::at(At::Established);
    let out = &mut w.out;
    w.transport.on_stop(
        NOW,
        TerminationCode::AdminAction,
        &"x".repeat(5_000),
        out,
        &mut w.bindings,
    );
    assert_eq!(w.sent(), format!("Terminate(AdminAction, {})", "x".repeat(96)));
}

/// A final id is told apart only to its owner, and is free again once it is forgotten.
#[test]
fn a_final_session_is_unnegotiated_and_its_id_taken() {
    let say_of = |w: &mut World, octets: &[u8]| {
        w.checks_left = 4;
        w.transport = Transport::new(ConnectionIdx(5), NOW);
        w.out = Outgoing::default();
        let act = say(w.frame(octets));
        if act == END { w.sent() } else { act }
    };
    let later = |w: &World, count| Logon { timestamp: w.wall.0 + count, ..Logon::default() };
    let mut w = World::at(At::Finished);
    let establish = later(&w, 9).establish();
    assert_eq!(say_of(&mut w, &establish), "EstablishmentReject(Unnegotiated)");
    let negotiate = later(&w, 9).negotiate();
    assert_eq!(say_of(&mut w, &negotiate), "NegotiationReject(DuplicateId)");
    let stranger = Logon { key: "firm-b", ..later(&w, 9) }.establish();
    assert_eq!(say_of(&mut w, &stranger), "EstablishmentReject(Credentials)");
    w.sessions.on_final(S);
    let due = w.sessions.next_deadline().unwrap();
    assert_eq!(w.sessions.take_due(due), Some(crate::session::logical::Due::Forget(S)));
    w.sessions.forget(S);
    assert_eq!(say_of(&mut w, &establish), "EstablishmentReject(Unnegotiated)");
    assert_eq!(say_of(&mut w, &negotiate), "Open 0 of 0");
}

/// Between the Tick that may forget a session and its application nothing is journaled for it.
#[test]
fn a_session_that_is_due_to_be_forgotten_is_not_established() {
    let mut w = World::at(At::Negotiated);
    let due = w.sessions.next_deadline().unwrap();
    for (now, said) in [(Nanos(due.0 - 1), "Bind 0 from 1"), (due, END)] {
        w.now = now;
        w.transport = Transport::new(CONNECTION, now);
        w.out = Outgoing::default();
        w.bindings = Bindings::new(2);
        w.wall.0 += 1;
        let logon = Logon { timestamp: w.wall.0, ..Logon::default() };
        assert_eq!(say(w.frame(&logon.establish())), said);
    }
    assert_eq!(w.sent(), "EstablishmentReject(Unnegotiated)");
}

#[test]
fn a_shut_gate_drops_the_end_of_a_session() {
    let shut = Some(Closing { cause: GateCause::Space, count: 1 });
    let mut w = World::at(At::Established);
    w.gate = shut;
    assert_eq!(say(w.frame(&finished_sending(ID, 5))), "Drop GateShut");
    assert_eq!(w.sent(), "NotAccepting(6, Space)");
    w.gate = None;
    assert_eq!(say(w.frame(&finished_sending(ID, 5))), "Finishing 0 to 6");
    assert_eq!(say(w.finishing()), "-");
    w.sent();
    w.gate = shut;
    assert_eq!(say(w.frame(&finished_receiving(ID))), "Drop GateShut");
    w.gate = None;
    assert_eq!(say(w.frame(&finished_receiving(ID))), "Final 0");
}

/// Positions at a pace, a change of level at once; a peer that does not read is not filled up.
#[test]
fn the_status_is_told_to_those_who_asked() {
    let mut w = World::at(At::Negotiated);
    w.frame(&Logon { level: 1, ..Logon::later(1) }.establish());
    w.bound();
    w.sent();
    let moved = |commit| NodeStatus { commit: Index(commit), ..STATUS };
    let tell = |w: &mut World, ms: u64, status: &NodeStatus| {
        w.now = Nanos(NOW.0 + ms * Nanos::MILLI.0);
        let is_done = w.transport.on_status(w.now, status, &mut w.out);
        (is_done, w.sent())
    };
    let told = "Status(epoch 3, released 3, 1 in sync)";
    assert_eq!(tell(&mut w, 500, &STATUS), (true, String::new()), "nothing moved");
    assert_eq!(tell(&mut w, 501, &moved(10)), (true, told.into()));
    assert_eq!(tell(&mut w, 600, &moved(11)), (false, String::new()), "too early");
    assert_eq!(tell(&mut w, 601, &moved(11)), (true, told.into()));
    let level = NodeStatus { level: AckLevel::LocalFsync, ..moved(11) };
    assert_eq!(tell(&mut w, 602, &level), (true, told.into()), "a change is told at once");
    let later = Nanos(w.now.0 + Nanos::SECOND.0);
    assert!(w.transport.on_status(later, &moved(12), &mut w.out));
    let never = Nanos(later.0 + Nanos::SECOND.0);
    assert!(!w.transport.on_status(never, &moved(13), &mut w.out), "the last one is not read");
    assert_eq!(w.sent(), told);
    // Inside a batch there is no place for it: it stands before or behind.
    for number in 1..=3 {
        let room = w.log.append(S, Seq(number), Index(number), 24);
        room[..4].copy_from_slice(&[24, 0, 0x50, 0xEB]);
    }
    w.frame(&retransmit(ID, 1, 2));
    assert!(w.transport.on_status(never, &moved(13), &mut w.out));
    let batch = "Retransmission(1, 2); report; report; Sequence(4)";
    assert_eq!(w.sent(), format!("{told}; {batch}"));
    let mut w = World::at(At::Established);
    assert_eq!(tell(&mut w, 900, &moved(10)), (true, String::new()), "who did not ask is not told");
    assert!(!w.transport.wants_status());
}

#[test]
fn a_shut_gate_says_so_once_and_moves_nothing() {
    let mut w = World::at(At::Established);
    let shut = |cause, count| Some(Closing { cause, count });
    w.gate = shut(GateCause::Space, 1);
    let step = |w: &mut World, frame: &[u8], act: &str, sent: &str| {
        assert_eq!((say(w.frame(frame)).as_str(), w.sent().as_str()), (act, sent));
    };
    let dropped = "Drop GateShut";
    step(&mut w, &status(5, 5), dropped, ""); // taken long ago; not to be covered
    step(&mut w, &status(6, 6), dropped, "NotAccepting(6, Space)");
    step(&mut w, &status(7, 7), dropped, "");
    step(&mut w, &sequence(8), "-", "");
    step(&mut w, &sequence(2), "-", ""); // a sign of life, and no more
    step(&mut w, &retransmit(ID, 3, 1), "-", "Retransmission(3, 1); report; Sequence(4)");
    w.gate = None;
    step(&mut w, &sequence(8), "Gap 0 to 8", "");
    // Closed again, unseen in between: it is told again.
    w.gate = shut(GateCause::Replication, 2);
    step(&mut w, &status(8, 8), dropped, "NotAccepting(8, Replication)");
    w.gate = shut(GateCause::Operator, 3);
    step(&mut w, &status(9, 9), dropped, "NotAccepting(9, Operator)");
    w.gate = None;
    step(&mut w, &status(10, 10), "Message 0", "");
    w.gate = shut(GateCause::Failover, 4);
    step(&mut w, &terminate(0), "End Linger, down 0 Terminate", "Terminate(Finished, )");
}

#[test]
fn a_silent_transport_gives_way_and_a_live_one_does_not() {
    let mut w = World::at(At::Established);
    let mut old = std::mem::replace(&mut w.transport, Transport::new(ConnectionIdx(5), NOW));
    let mut old_out = std::mem::take(&mut w.out);
    old.on_received(NOW, &mut w.bindings);
    w.now = Nanos(NOW.0 + Nanos::SECOND.0);
    assert_eq!(say(w.frame(&Logon { next: 6, ..Logon::later(2) }.establish())), END);
    assert_eq!(w.sent(), "EstablishmentReject(AlreadyEstablished)");

    w.transport = Transport::new(ConnectionIdx(6), NOW);
    w.out = Outgoing::default();
    w.now = Nanos(w.now.0 + 1);
    let bind = say(w.frame(&Logon { next: 6, ..Logon::later(3) }.establish()));
    assert_eq!(bind, "Bind 0 from 6, ends 4");
    assert_eq!(say(old.on_displaced(w.now, &mut old_out, &mut w.bindings)), DOWN);
    w.bound();
    assert_eq!(w.bindings.connection_of(S), Some(ConnectionIdx(6)), "the new one keeps it");
    assert_eq!(w.sent(), "Ack(next 4, last in 0, 1000 ms)");
}
