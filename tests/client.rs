//! The client library over TCP, against the program itself: what an application sees when lines are
//! cut, when the node is killed and comes back, and when it is not let in.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a bench that cannot be built ends the test"
)]

#[path = "common/process.rs"]
mod process;

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use process::{Home, Proxy, WAIT_MAX};
use tidegate::client::desk::Resend;
use tidegate::client::event::{ClientIdentity, RejectCode, Standing};
use tidegate::client::history::{Header, HistoryWriter};
use tidegate::client::outcome::{End, Event, Refused, Ticket, Verdict};
use tidegate::client::request::{cancel_of, limit_order, status_of};
use tidegate::client::transport::{BlockingClient, BusyClient, Clock, ConnectError, Setup};
use tidegate::session::credentials::Key;
use tidegate::vocabulary::fix::{NegotiationRejectCode, Side};
use tidegate::vocabulary::message::NewOrderSingle;
use tidegate::vocabulary::units::{Account, ClOrdId, Nanos, Px, Qty, SecurityId, SessionId};

const SECRET: [u8; 32] = [0xa1; 32];

fn identity(number: u8, secret: &[u8]) -> ClientIdentity {
    let key = Key::try_new("firm-a", secret).unwrap();
    ClientIdentity { session_id: SessionId([number; 16]), key }
}

fn setup(number: u8, addresses: &[SocketAddr]) -> Setup {
    Setup::new(identity(number, &SECRET), addresses.to_vec())
}

/// Buys one AAA at 10.00, far from any other side.
fn order(id: u64) -> NewOrderSingle {
    let (qty, px) = (Qty::try_new(1).unwrap(), Px::try_new(1_000_000_000).unwrap());
    limit_order(ClOrdId(id), Account(1001), SecurityId(0), Side::Buy, qty, px)
}

/// Polls until an outcome comes.
#[track_caller]
fn outcome(client: &mut BlockingClient) -> (Ticket, Verdict) {
    loop {
        match client.poll(WAIT_MAX).expect("an outcome") {
            Event::Outcome(outcome) => return (outcome.ticket, outcome.verdict),
            Event::Ended(end) => panic!("{end}"),
            Event::Up { .. }
            | Event::Update(_)
            | Event::NotAccepting { .. }
            | Event::Accepting
            | Event::Down { .. } => {}
        }
    }
}

#[test]
fn a_session_goes_on_from_program_to_program() {
    let home = Home::new();
    let served = home.serve();
    let mut client = BlockingClient::connect(setup(1, &[home.address])).unwrap();
    assert_eq!(client.poll(WAIT_MAX), Some(Event::Up { is_again: false }));
    let first = client.send(order(1)).unwrap();
    assert_eq!(outcome(&mut client), (first, Verdict::Accepted));
    let again = client.send(order(1)).unwrap();
    assert_eq!(outcome(&mut client), (again, Verdict::Known));
    let wrong = client.send(NewOrderSingle { account: 2001, ..order(2) }).unwrap();
    assert_eq!(outcome(&mut client), (wrong, Verdict::Refused { is_for_now: false }));
    let unknown = client.send(status_of(ClOrdId(99), 7)).unwrap();
    assert_eq!(outcome(&mut client), (unknown, Verdict::Refused { is_for_now: false }));
    assert_eq!(client.poll(Duration::ZERO), None);
    let (standing, left) = client.close();
    assert_eq!(left, [Event::Ended(End::Closed)]);
    assert_eq!((standing.next_out.0, standing.next_in.0), (5, 5));

    // Another program, and another epoch of the node: the numbers go on, the order is there.
    assert!(served.stop());
    let served = home.serve();
    let mut client =
        BlockingClient::connect(Setup { standing, ..setup(1, &[home.address]) }).unwrap();
    let cancel = client.send(cancel_of(&order(1), ClOrdId(3))).unwrap();
    assert_eq!(outcome(&mut client), (cancel, Verdict::Canceled));
    let (standing, _) = client.close();
    assert_eq!((standing.next_out.0, standing.next_in.0), (6, 6));
    assert!(served.stop());
}

#[test]
fn what_is_not_let_in_says_why() {
    let home = Home::new();
    let served = home.serve();
    let refused = |setup| match BlockingClient::connect(setup) {
        Err(ConnectError::Ended { end, .. }) => end,
        other => panic!("{other:?}"),
    };
    let end = refused(Setup::new(identity(1, &[0xa2; 32]), vec![home.address]));
    let code = RejectCode::Negotiation(NegotiationRejectCode::Credentials.wire());
    assert!(matches!(end, End::Refused { code: c, .. } if c == code), "{end}");

    // A session that the node should know and does not: a person has to look (ruling F21).
    let standing = Standing { is_negotiated: true, ..Standing::NEW };
    let end = refused(Setup { standing, ..setup(2, &[home.address]) });
    assert!(matches!(end, End::Stopped(_)), "{end}");

    let none: &[SocketAddr] = &[];
    assert!(matches!(BlockingClient::connect(setup(3, none)), Err(ConnectError::NoAddress)));
    assert!(served.stop());
    let patience = Some(Nanos(300 * Nanos::MILLI.0));
    let end = refused(Setup { patience, ..setup(4, &[home.address]) });
    assert_eq!(end, End::Unreachable);
}

#[test]
fn the_next_address_of_the_list_is_tried_and_a_used_session_is_waited_for() {
    let home = Home::new();
    let _served = home.serve();
    // Nobody listens at the first address.
    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut holder = BlockingClient::connect(setup(1, &[nobody, home.address])).unwrap();
    assert_eq!(holder.poll(WAIT_MAX), Some(Event::Up { is_again: false }));

    // The session is established: a second line of it waits, and gets it when the first leaves.
    let patience = Some(Nanos(600 * Nanos::MILLI.0));
    let again = Setup { standing: holder.standing(), ..setup(1, &[home.address]) };
    let mut second = BusyClient::connect(Setup { patience, ..again }).unwrap();
    let mut events = Vec::new();
    while !second.is_over() {
        events.extend(second.poll());
        assert_eq!(holder.poll(Duration::from_millis(5)), None);
    }
    assert!(matches!(events.first(), Some(Event::Down { .. })), "{events:?}");
    assert_eq!(events.last(), Some(&Event::Ended(End::Unreachable)));

    let again = Setup { standing: second.standing(), ..setup(1, &[home.address]) };
    let mut second = BusyClient::connect(again).unwrap();
    assert_eq!(second.send(order(1)), Err(Refused::NotUp));
    for _ in 0..5 {
        second.poll();
        holder.poll(Duration::from_millis(20));
    }
    holder.close();
    let mut events = Vec::new();
    while !second.is_up() {
        events.extend(second.poll());
    }
    second.close();
    while !second.is_over() {
        events.extend(second.poll());
    }
    assert_eq!(events.last(), Some(&Event::Ended(End::Closed)));
}

/// What became of orders that were sent while everything broke.
#[derive(Default)]
struct Tally {
    outcomes: BTreeMap<Ticket, Verdict>,
    returns: u32,
}

impl Tally {
    fn on_event(&mut self, event: Event) {
        match event {
            Event::Outcome(outcome) => {
                let before = self.outcomes.insert(outcome.ticket, outcome.verdict);
                assert_eq!(before, None, "a second outcome: {outcome:?}");
            }
            Event::Up { is_again } => self.returns += u32::from(is_again),
            Event::Ended(end) => panic!("{end}"),
            Event::Update(_)
            | Event::NotAccepting { .. }
            | Event::Accepting
            | Event::Down { .. } => {}
        }
    }
}

/// Sends `count` orders while `breaks` happens after each share of them, and checks that each was
/// accepted exactly once, as the client saw it and as the journal has it.
fn order_through_breaks(
    number: u8,
    resend: Resend,
    count: u64,
    home: &Home,
    address: SocketAddr,
    mut breaks: impl FnMut(u32),
) -> u32 {
    let mut setup = setup(number, &[address]);
    setup.desk.resend = resend;
    setup.desk.unanswered_max = 32;
    setup.desk.session.overlap = 4;
    let histories = home.path("histories");
    std::fs::create_dir_all(&histories).unwrap();
    let header = Header {
        session_id: setup.identity.session_id,
        key_id: *setup.identity.key.id(),
        seed: 0,
        started: Clock::wall(),
    };
    let path = histories.join(format!("{number}.history"));
    setup.history = Some(HistoryWriter::create(&path, &header).unwrap());
    let mut client = BusyClient::connect(setup).unwrap();
    let mut tally = Tally::default();
    let (mut next, mut broken) = (1, 0);
    let (clock, begin) = (Clock::start(), Clock::wall());
    while tally.outcomes.len() < usize::try_from(count).unwrap() {
        assert!(clock.now().since(begin) < Nanos(60 * Nanos::SECOND.0), "it takes for ever");
        while next <= count && client.send(order(u64::from(number) << 32 | next)).is_ok() {
            next += 1;
        }
        if let Some(event) = client.poll() {
            tally.on_event(event);
        }
        if next > count / 6 * (u64::from(broken) + 1) && broken < 5 {
            broken += 1;
            breaks(broken);
        }
    }
    client.close();
    while !client.is_over() {
        if let Some(event) = client.poll() {
            assert_eq!(event, Event::Ended(End::Closed));
        }
    }
    let known = tally.outcomes.values().filter(|v| **v == Verdict::Known).count();
    let accepted = tally.outcomes.values().filter(|v| **v == Verdict::Accepted).count();
    assert_eq!((accepted, known), (usize::try_from(count).unwrap(), 0), "{resend:?}");
    tally.returns
}

fn judge(home: &Home) {
    let (data, histories) = (home.path("data"), home.path("histories"));
    let verdict = Home::run(&[
        "verify-history",
        "--journal",
        data.to_str().unwrap(),
        histories.to_str().unwrap(),
    ]);
    assert!(verdict.is_ok(), "{}", verdict.unwrap_err());
}

#[test]
fn cut_lines_lose_and_repeat_nothing() {
    let home = Home::new();
    let served = home.serve();
    let proxy = Proxy::start(home.address);
    for (number, resend) in [(1, Resend::NewNumbers), (2, Resend::SameNumbers)] {
        let address = proxy.address;
        let returns = order_through_breaks(number, resend, 600, &home, address, |_| proxy.cut());
        assert!(returns >= 3, "{resend:?}: the line was cut and came back {returns} times");
    }
    assert!(served.stop());
    judge(&home);
}

#[test]
fn a_killed_node_loses_and_repeats_nothing() {
    let home = Home::new();
    let mut served = Some(home.serve());
    for (number, resend) in [(1, Resend::NewNumbers), (2, Resend::SameNumbers)] {
        let address = home.address;
        let returns = order_through_breaks(number, resend, 600, &home, address, |_| {
            served.take().unwrap().kill();
            served = Some(home.serve());
        });
        assert!(returns >= 3, "{resend:?}: the node came back {returns} times");
    }
    assert!(served.unwrap().stop());
    judge(&home);
}

/// The documented example, line by line as a reader would run it.
#[path = "../examples/client.rs"]
#[expect(dead_code, reason = "its main parses a command line")]
mod example;

#[test]
fn the_example_trades_through_a_restart() {
    let home = Home::new();
    let mut served = Some(home.serve());
    let mut said = Vec::new();
    let mut say = |what: &str| {
        if what == "now restart the node" {
            served.take().unwrap().kill();
            served = Some(home.serve());
        }
        said.push(what.to_owned());
    };
    example::trade(&[home.address], true, &mut say).unwrap();
    let expected = [
        "logged on",
        "the order rests in the book",
        "now restart the node",
        "the line is lost",
        "logged on again: same session, same numbers, the order is still there",
        "the order is cancelled",
        "logged out; the next request would be number 3",
    ];
    assert_eq!(said.len(), expected.len(), "{said:?}");
    assert!(said.iter().zip(expected).all(|(said, start)| said.starts_with(start)), "{said:?}");
    assert!(served.unwrap().stop());
}
