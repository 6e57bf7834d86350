//! A whole customer: logs on, enters an order, sees the node go and come back, cancels, leaves.
//!
//! ```text
//! tidegate run                                      in one terminal
//! cargo run --example client                        in another
//! cargo run --example client -- --wait-for-restart  and restart the node when it says so
//! ```
//!
//! It trades with the demo key `firm-a`, whose secret is public: for one machine alone.

use std::io::Write as _;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use tidegate::client::event::ClientIdentity;
use tidegate::client::outcome::{Event, Outcome, Ticket, Verdict};
use tidegate::client::request::{cancel_of, limit_order};
use tidegate::client::transport::{BlockingClient, Setup};
use tidegate::session::credentials::Key;
use tidegate::vocabulary::fix::Side;
use tidegate::vocabulary::units::{Account, ClOrdId, Px, Qty, SecurityId, SessionId};

/// The secret of the demo key: 32 octets of 0xa1.
const DEMO_SECRET: [u8; 32] = [0xa1; 32];
/// The longest wait for one event.
const WAIT_MAX: Duration = Duration::from_mins(1);

type Failed = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let mut address = "127.0.0.1:9700".to_owned();
    let mut waits = false;
    for arg in std::env::args().skip(1) {
        match arg.as_str() {
            "--wait-for-restart" => waits = true,
            _ => address = arg,
        }
    }
    let mut say = |what: &str| {
        // Nobody may be reading, and that is no fault.
        let _ = writeln!(std::io::stdout(), "{what}");
    };
    match address.parse().map_err(Failed::from).and_then(|at| trade(&[at], waits, &mut say)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failed) => {
            say(&format!("failed: {failed}"));
            ExitCode::FAILURE
        }
    }
}

/// One order's life. With several addresses the same code survives a failover.
pub(crate) fn trade(
    addresses: &[SocketAddr],
    waits_for_restart: bool,
    say: &mut dyn FnMut(&str),
) -> Result<(), Failed> {
    // A session id is sixteen random octets that were never used before. The top half of every
    // ClOrdID is random too, so that this firm never uses one twice.
    let (mut session_id, mut run) = ([0; 16], [0; 4]);
    getrandom::fill(&mut session_id)?;
    getrandom::fill(&mut run)?;
    let id = |n: u64| ClOrdId(u64::from(u32::from_le_bytes(run)) << 32 | n);

    let key = Key::try_new("firm-a", &DEMO_SECRET)?;
    let identity = ClientIdentity { session_id: SessionId(session_id), key };
    let mut client = BlockingClient::connect(Setup::new(identity, addresses.to_vec()))?;
    say("logged on");

    // Buy one AAA at 0.01, where nobody sells.
    let quantity = Qty::try_new(1).ok_or("a quantity")?;
    let price = Px::try_new(1_000_000).ok_or("a price")?;
    let account = Account(1001);
    let order = limit_order(id(1), account, SecurityId(0), Side::Buy, quantity, price);
    let ticket = client.send(order)?;
    let verdict = outcome_of(&mut client, ticket, say)?.verdict;
    if verdict != Verdict::Accepted {
        // `Unknown` is the one that a program must not decide about; see src/client/README.md.
        return Err(format!("the order was not accepted: {verdict:?}").into());
    }
    say("the order rests in the book");

    if waits_for_restart {
        say("now restart the node");
        while !matches!(next(&mut client, say)?, Event::Up { is_again: true }) {}
        say("logged on again: same session, same numbers, the order is still there");
    }

    let ticket = client.send(cancel_of(&order, id(2)))?;
    let verdict = outcome_of(&mut client, ticket, say)?.verdict;
    if verdict != Verdict::Canceled {
        return Err(format!("the order was not cancelled: {verdict:?}").into());
    }
    say("the order is cancelled");

    // A program that goes on another day keeps `standing` and the session id.
    let (standing, _) = client.close();
    say(&format!("logged out; the next request would be number {}", standing.next_out));
    Ok(())
}

/// Reads events until this request has its outcome.
fn outcome_of(
    client: &mut BlockingClient,
    ticket: Ticket,
    say: &mut dyn FnMut(&str),
) -> Result<Outcome, Failed> {
    loop {
        if let Event::Outcome(outcome) = next(client, say)?
            && outcome.ticket == ticket
        {
            return Ok(outcome);
        }
    }
}

fn next(client: &mut BlockingClient, say: &mut dyn FnMut(&str)) -> Result<Event, Failed> {
    let event = client.poll(WAIT_MAX).ok_or("nothing happened for a minute")?;
    match event {
        Event::Down { why } => say(&format!("the line is lost ({why}); the client makes another")),
        Event::Ended(end) => return Err(end.to_string().into()),
        Event::Up { .. }
        | Event::Outcome(_)
        | Event::Update(_)
        | Event::NotAccepting { .. }
        | Event::Accepting => {}
    }
    Ok(event)
}
