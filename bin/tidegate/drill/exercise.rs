//! The exercise: orders into an engine, SIGKILL in the middle, restart, recovery, a clean stop.
//!
//! ```text
//! engine  --- listening ---- serving ---- SIGKILL | restart, replay, serving ------ SIGTERM
//! clients      log on, orders ...................lost line, log on, recover, orders ... log out
//! ```
//!
//! The kill comes when the clients have told of enough answered orders, so it hits an engine that
//! serves. Should one client run ahead, the kill comes before that one is done: an ended client
//! would prove nothing. Whether it really hit is decided later, from the evidence.
//!
//! The port lies below the range that the system gives to connecting sockets: a client that tries
//! again and again while nothing listens could otherwise be given that very port as its own and
//! connect to itself, and the engine could not listen there any more.

use std::os::unix::process::ExitStatusExt as _;
use std::process::ExitStatus;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use tidegate::vocabulary::units::Nanos;

use super::child::{Child, Errors, end_words};
use super::patience::{Patience, wall};
use super::site::Site;

/// Clients, each a process with one connection.
pub(crate) const CLIENTS: u32 = 4;
/// Ports tried before giving up: others may be in use.
const PORTS_TRIED: u32 = 16;
/// The lowest port drawn.
const PORT_MIN: u16 = 10_240;
/// Where the system's own range begins when it does not tell.
const PORT_END_DEFAULT: u16 = 32_768;
/// Reports asked for again after the reconnect although they were seen, to be compared.
const OVERLAP: u32 = 1024;
/// A client with no more orders than this left, or 1.5 % of them if that is more, is about to end:
/// the kill comes before it does.
const ORDERS_LEFT_MIN: u64 = 2000;
/// Bounds of the steps that do not depend on the number of orders.
const START_BOUND: Duration = Duration::from_mins(1);
const END_BOUND: Duration = Duration::from_secs(30);
/// Seconds that a client tries to get its line back.
const RECONNECT_SECONDS: u32 = 120;
/// The slowest rate at which a run is waited for: orders a second.
const RATE_MIN: u64 = 4000;

/// What to do.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// Different orders over all clients.
    pub(crate) orders: u64,
    /// Resends in a hundred orders.
    pub(crate) duplicates: u32,
    /// Cancels in a hundred orders.
    pub(crate) cancels: u32,
    /// Requests in flight a client.
    pub(crate) window: u32,
    /// Draws the orders.
    pub(crate) seed: u64,
    /// The share of orders answered at which the engine is killed, in [1, 999].
    pub(crate) kill_per_mille: u64,
}

/// What was seen of a run; judged later together with what it left behind.
pub(crate) struct Ran {
    /// When SIGKILL was sent.
    pub(crate) killed: Nanos,
    /// When the second engine said that it listens.
    pub(crate) listening: Nanos,
    /// Each client's figures, as `load --json` prints them.
    pub(crate) clients: Vec<Value>,
    /// The engine's last line.
    pub(crate) stopped: Value,
}

/// A run in progress.
struct Exercise<'a> {
    site: &'a Site,
    plan: Plan,
    patience: &'a Patience,
    tell: &'a mut dyn FnMut(&str),
}

/// A client and how far it is known to be.
struct Client {
    child: Child,
    orders: u64,
    answered: u64,
    /// Its figures, once it is done.
    result: Option<Value>,
}

impl Client {
    /// Reads what it has told; a client that broke off is an error.
    fn listen(&mut self) -> Result<(), String> {
        while self.result.is_none()
            && let Some(line) = self.child.try_next()?
        {
            let resolved = line.get("resolved").and_then(Value::as_u64);
            self.answered = resolved.unwrap_or(self.answered);
            if line.get("counts").is_some() {
                self.result = Some(line);
            }
        }
        Ok(())
    }

    fn is_near_its_end(&self) -> bool {
        let left_min = ORDERS_LEFT_MIN.max(self.orders * 15 / 1000);
        self.answered + left_min >= self.orders
    }
}

/// Runs it to the end; an error says which step failed.
pub(crate) fn exercise(
    site: &Site,
    plan: Plan,
    patience: &Patience,
    tell: &mut dyn FnMut(&str),
) -> Result<Ran, String> {
    site.write_config(plan.orders)?;
    let mut exercise = Exercise { site, plan, patience, tell };
    exercise.run().map_err(|what| {
        let log = site.last_log_line();
        if log.is_empty() { what } else { format!("{what}\n  the engine's last line: {log}") }
    })
}

impl Exercise<'_> {
    fn run(&mut self) -> Result<Ran, String> {
        let Plan { orders, duplicates, cancels, .. } = self.plan;
        let (mut engine, address) = self.start_anywhere()?;
        (self.tell)(&format!(
            "engine: process of its own on {address}, every order goes into its journal before \
             its answer goes out"
        ));
        let mut clients = self.start_clients(&address)?;
        (self.tell)(&format!(
            "clients: {CLIENTS} processes send {orders} orders, {duplicates} % of them twice and \
             {cancels} % cancelled, and keep every frame as evidence"
        ));
        let answered_at_kill = self.await_kill(&mut clients)?;
        let killed = wall();
        engine.signal(Signal::SIGKILL)?;
        let status = engine.await_end(self.patience, END_BOUND)?;
        expect_signal(status)?;
        drop(engine);
        (self.tell)(&format!(
            "SIGKILL at {answered_at_kill} answered orders: no destructor ran, no file was closed"
        ));
        let mut engine = self.start(&address)?;
        engine.await_key(self.patience, "listening", self.long())?;
        let listening = wall();
        (self.tell)(&format!(
            "restart: same directory, same port; journal replayed and listening {} ms after the \
             kill",
            listening.since(killed).0 / 1_000_000
        ));
        let results = self.await_clients(clients)?;
        (self.tell)(
            "recovery: clients logged on again, asked for what they missed by number, sent again \
             what never happened, and went on",
        );
        engine.signal(Signal::SIGTERM)?;
        let stopped = engine.await_key(self.patience, "stopped", self.long())?;
        let status = engine.await_end(self.patience, END_BOUND)?;
        if !status.success() {
            return Err(format!("the engine's clean stop: expected 0, came {}", end_words(status)));
        }
        (self.tell)("stop: SIGTERM, and the engine names its index and digests");
        Ok(Ran { killed, listening, clients: results, stopped })
    }

    /// Starts the engine on a port that is free, and waits until it listens.
    fn start_anywhere(&mut self) -> Result<(Child, String), String> {
        let mut refused = String::new();
        for _ in 0..PORTS_TRIED {
            let address = format!("127.0.0.1:{}", draw_port()?);
            let mut engine = self.start(&address)?;
            match engine.await_key(self.patience, "listening", START_BOUND) {
                Ok(_) => return Ok((engine, address)),
                Err(what) if self.site.last_log_line().contains("cannot listen") => refused = what,
                Err(what) => return Err(what),
            }
        }
        Err(format!("no free port found in {PORTS_TRIED} tries: {refused}"))
    }

    fn start(&mut self, address: &str) -> Result<Child, String> {
        let config = self.site.config().display().to_string();
        let arguments = words(&["run", "--json", "--listen", address, "--config", &config]);
        Child::start("the engine", &arguments, Errors::Log(self.site.log()?))
    }

    fn start_clients(&mut self, address: &str) -> Result<Vec<Client>, String> {
        let mut clients = Vec::new();
        for client in 0..CLIENTS {
            let arguments = self.client_arguments(client, address)?;
            let name = format!("client {}", client + 1);
            let child = Child::start(&name, &arguments, Errors::Lines)?;
            let orders = orders_of(self.plan.orders, client);
            clients.push(Client { child, orders, answered: 0, result: None });
        }
        // All are up before the first order: none may be done before another begins.
        for client in &mut clients {
            client.child.await_key(self.patience, "settled", START_BOUND)?;
        }
        for client in &mut clients {
            client.child.close_input();
        }
        Ok(clients)
    }

    fn client_arguments(&self, client: u32, address: &str) -> Result<Vec<String>, String> {
        let plan = &self.plan;
        // Firms take turns; each client's run id keeps its ClOrdIDs apart.
        let number = u64::from(client);
        let (firm, octet, accounts) = if client.is_multiple_of(2) {
            ("firm-a", "a1", "1001,1002")
        } else {
            ("firm-b", "b2", "2001,2002")
        };
        let secret = self.site.dir().join(format!("{firm}.secret"));
        std::fs::write(&secret, octet.repeat(32))
            .map_err(|e| format!("{}: {e}", secret.display()))?;
        let flags = words(&[
            "load",
            "--json",
            "--progress",
            "--hold",
            "--connections",
            "1",
            "--idle",
            "park",
        ]);
        let options = [
            ("--address", address.to_owned()),
            ("--key-id", firm.to_owned()),
            ("--secret-file", secret.display().to_string()),
            ("--accounts", accounts.to_owned()),
            ("--orders", orders_of(plan.orders, client).to_string()),
            ("--duplicates", plan.duplicates.to_string()),
            ("--cancels", plan.cancels.to_string()),
            ("--window", plan.window.to_string()),
            ("--seed", plan.seed.wrapping_add(number << 32).to_string()),
            ("--run-id", (client + 1).to_string()),
            ("--reconnect", RECONNECT_SECONDS.to_string()),
            ("--overlap", OVERLAP.to_string()),
            ("--history", self.site.histories().display().to_string()),
            ("--hdr", self.site.hdr(client).display().to_string()),
        ];
        let options = options.into_iter().flat_map(|(name, value)| [name.to_owned(), value]);
        Ok(flags.into_iter().chain(options).collect())
    }

    /// Waits for the moment of the kill; how many orders were answered by then.
    fn await_kill(&mut self, clients: &mut [Client]) -> Result<u64, String> {
        let Plan { orders, kill_per_mille, .. } = self.plan;
        let target = orders * kill_per_mille / 1000;
        let step = format!("{target} of {orders} orders to be answered");
        self.patience.wait(&step, self.long(), || {
            for client in &mut *clients {
                client.listen()?;
            }
            let all: u64 = clients.iter().map(|client| client.answered).sum();
            // A client that is done already makes this a miss, which the evidence will show.
            let is_done = clients.iter().any(|client| client.result.is_some());
            let is_due = all >= target || clients.iter().any(Client::is_near_its_end);
            let has_all_begun = clients.iter().all(|client| client.answered > 0);
            Ok((is_done || (is_due && has_all_begun)).then_some(all))
        })
    }

    fn await_clients(&mut self, clients: Vec<Client>) -> Result<Vec<Value>, String> {
        let bound = self.long();
        let mut results = Vec::new();
        for Client { mut child, result, .. } in clients {
            results.push(match result {
                Some(result) => result,
                None => child.await_key(self.patience, "counts", bound)?,
            });
            let status = child.await_end(self.patience, END_BOUND)?;
            // Exit code 1 is an order without an outcome: the evidence says which, and is judged.
            if status.code().is_none_or(|code| code > 1) {
                return Err(format!("a client ended by {}", end_words(status)));
            }
        }
        Ok(results)
    }

    fn long(&self) -> Duration {
        long(self.plan.orders)
    }
}

/// Bound of a step that takes the longer the more orders there are.
pub(super) fn long(orders: u64) -> Duration {
    START_BOUND + Duration::from_secs(orders / RATE_MIN)
}

fn orders_of(orders: u64, client: u32) -> u64 {
    let clients = u64::from(CLIENTS);
    orders / clients + u64::from(u64::from(client) < orders % clients)
}

fn words(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

/// A process that ended otherwise was not killed by this run.
fn expect_signal(status: ExitStatus) -> Result<(), String> {
    if status.signal() == Some(9) {
        Ok(())
    } else {
        Err(format!("the engine's death: expected SIGKILL, came {}", end_words(status)))
    }
}

/// A port below the system's own range; whether it is free, listening tells.
fn draw_port() -> Result<u16, String> {
    let range = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range");
    let end = range.ok().and_then(|range| range.split_whitespace().next()?.parse().ok());
    let end = end.filter(|&end| end > PORT_MIN).unwrap_or(PORT_END_DEFAULT);
    let mut octets = [0; 4];
    getrandom::fill(&mut octets).map_err(|e| format!("no random numbers: {e}"))?;
    let place = u32::from_le_bytes(octets) % u32::from(end - PORT_MIN);
    Ok(PORT_MIN + u16::try_from(place).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_are_shared_out_and_ports_stay_in_range() {
        for orders in [4, 5, 6, 7, 200_000] {
            assert_eq!((0..CLIENTS).map(|c| orders_of(orders, c)).sum::<u64>(), orders);
        }
        for _ in 0..100 {
            assert!(draw_port().unwrap() >= PORT_MIN);
        }
    }
}
