//! A session of which acknowledged records may be missing (ruling F21).

use super::*;

/// A session whose history may be lost is told so where an unknown one is told that it is unknown;
/// its id stays used. A session opened since is served.
#[test]
#[rustfmt::skip]
fn a_lost_history_is_told_behind_the_credentials_and_before_the_terms() {
    let rows: &[(&str, Logon, &str)] = &[
        ("good",              Logon { next: 6, ..Logon::later(2) },                  "HistoryLost"),
        ("bad secret",        Logon { next: 6, secret: 1, ..Logon::later(2) },       "Credentials"),
        ("replayed",          Logon { next: 6, ..Logon::later(1) },                  "Credentials"),
        ("another owner's",   Logon { next: 6, key: "firm-b", ..Logon::later(2) },   "Credentials"),
        ("unknown id",        Logon { id: ID_2, ..Logon::later(2) },                 "Unnegotiated"),
        ("bad terms",         Logon { next: 0, keepalive: 1, ..Logon::later(2) },    "HistoryLost"),
    ];
    let lost = || {
        let mut w = World::at(At::Established);
        w.line_lost();
        w.sessions.on_epoch_start();
        w.sessions.on_unclean_promotion();
        (w.transport, w.out) = (Transport::new(CONNECTION, NOW), Outgoing::default());
        w
    };
    for (label, logon, expected) in rows {
        let mut w = lost();
        assert_eq!(say(w.frame(&logon.establish())), END, "{label}");
        assert_eq!(w.sent(), format!("EstablishmentReject({expected})"), "{label}");
    }
    let mut w = lost();
    w.gate = Some(Closing { cause: GateCause::Space, count: 1 });
    w.frame(&Logon::later(2).establish());
    assert_eq!(w.sent(), "EstablishmentReject(NotAccepting)");
    (w.transport, w.out, w.gate) = (Transport::new(CONNECTION, NOW), Outgoing::default(), None);
    w.frame(&Logon::later(2).negotiate());
    assert_eq!(w.sent(), "NegotiationReject(DuplicateId)");
    let mut w = lost();
    assert_eq!(say(w.frame(&Logon { id: ID_2, ..Logon::later(2) }.negotiate())), "Open 1 of 0");
    assert!(w.sessions.on_open(SessionIdx(1), ID_2, OwnerIdx(0), Nanos(WALL.0 + 2)));
    w.transport = Transport::new(ConnectionIdx(6), NOW);
    assert_eq!(say(w.frame(&Logon { id: ID_2, ..Logon::later(3) }.establish())), "Bind 1 from 1");
}
