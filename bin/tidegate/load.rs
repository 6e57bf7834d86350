//! `tidegate load`: orders into a running engine over TCP, measured and written down.

mod connection;
mod driver;
mod figures;
mod line;
mod plan;
mod requests;

use self::connection::{Connection, Setup};
use self::driver::{Idle, Settings, drive, failures};
use self::figures::{Figures, Run};
use self::line::Line;
use self::plan::{CONNECTIONS_MAX, Firm, ORDERS_A_CONNECTION_MAX, Plan, RUN_ID_MAX};
use crate::EXIT_USAGE;
use crate::output::{error, print};
use std::fs::{self, File};
use std::io::BufWriter;
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use tidegate::client::event::{ClientIdentity, SessionOptions};
use tidegate::client::history::{Header, HistoryWriter};
use tidegate::client::session::ClientSession;
use tidegate::client::transport::Clock;
use tidegate::session::credentials::Key;
use tidegate::vocabulary::units::{Nanos, SessionId};

/// Where a secret is looked for when no file is named.
const SECRET_VARIABLE: &str = "TIDEGATE_SECRET";
/// The demo firms: key id, octet of the secret, accounts. Public, for one machine alone.
const DEMO_FIRMS: [(&str, u8, [u32; 2]); 2] =
    [("firm-a", 0xa1, [1001, 1002]), ("firm-b", 0xb2, [2001, 2002])];

/// Send orders to a running engine and measure its answers
///
/// Every order is sent once under its own ClOrdID, and with --duplicates a share of them again:
/// half under the old number (dropped in silence), half under a new one (answered with the order's
/// state). After a lost line the sessions come back, recover missed reports by number and send
/// again what is unanswered, so that every order ends with exactly one outcome.
///
///   tidegate load --orders 200000 --connections 4 --duplicates 20 --history /tmp/histories
///   tidegate load --rate 50000 --orders 500000 --hgrm open-loop.hgrm
///
/// Without --rate each connection keeps its window full (a closed loop: its latencies say how long
/// the queue is, not how fast the engine). With --rate orders are due on a fixed grid, and latency
/// is measured from the instant due; what leaves later than 100 us after it is counted as late.
///
/// Exit codes: 0 every order has an outcome, 1 some have none, 2 the arguments were refused.
#[derive(clap::Args)]
#[command(verbatim_doc_comment)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of the command line")]
pub(crate) struct Args {
    /// Where the engine listens
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9700")]
    address: String,
    /// Log on with this key; without it, the demo firms take turns over the connections
    #[arg(long, value_name = "ID", requires = "accounts")]
    key_id: Option<String>,
    /// File with the key's secret in hex; without it, the variable TIDEGATE_SECRET
    #[arg(long, value_name = "FILE", requires = "key_id")]
    secret_file: Option<PathBuf>,
    /// Accounts that the key may trade on
    #[arg(long, value_name = "LIST", value_delimiter = ',', requires = "key_id")]
    accounts: Vec<u32>,
    /// Different orders over all connections
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    orders: u64,
    /// Connections, each a session of its own
    #[arg(long, default_value_t = 4,
          value_parser = clap::value_parser!(u32).range(1..=i64::from(CONNECTIONS_MAX)))]
    connections: u32,
    /// Requests in flight a connection
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=8192))]
    window: u32,
    /// Orders a second over all connections, due on a fixed grid; without it, flat out
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=100_000_000))]
    rate: Option<u64>,
    /// Resends in a hundred orders
    #[arg(long, default_value_t = 0, value_name = "PERCENT",
          value_parser = clap::value_parser!(u32).range(0..=100))]
    duplicates: u32,
    /// Cancels in a hundred orders
    #[arg(long, default_value_t = 0, value_name = "PERCENT",
          value_parser = clap::value_parser!(u32).range(0..=100))]
    cancels: u32,
    /// Instruments, SecurityID from 0
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=1024))]
    instruments: u32,
    /// Draws orders, duplicates and cancels
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Top of every ClOrdID; drawn at random, unless a run is to be sent a second time
    #[arg(long, value_name = "ID",
          value_parser = clap::value_parser!(u32).range(1..=i64::from(RUN_ID_MAX)))]
    run_id: Option<u32>,
    /// Say PossResend = Y from the start: an earlier run with this run id sent the same
    #[arg(long, requires = "run_id")]
    poss_resend: bool,
    /// Write each connection's frames to a file in this directory, for verify-history
    #[arg(long, value_name = "DIR")]
    history: Option<PathBuf>,
    /// What a turn without work does
    #[arg(long, value_enum, default_value_t = Idle::Yield)]
    idle: Idle,
    /// Seconds to try a lost line again; 0 ends the run with it
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    reconnect: u32,
    /// Reports already seen that are asked for again after a reconnect, to be compared
    #[arg(long, value_name = "COUNT", default_value_t = 0)]
    overlap: u32,
    /// Seconds without any outcome after which the run gives up
    #[arg(long, value_name = "SECONDS", default_value_t = 30,
          value_parser = clap::value_parser!(u32).range(1..))]
    stall: u32,
    /// One JSON object on standard output
    #[arg(long)]
    json: bool,
    /// Write the percentile distribution (from the instant due, if there is a rate) to this file
    #[arg(long, value_name = "FILE")]
    hgrm: Option<PathBuf>,
    /// Write the service times to this file in the V2 encoding, so that runs can be added up
    #[arg(long, value_name = "FILE")]
    hdr: Option<PathBuf>,
    /// Log on, then wait for a line on standard input, or its end, before the first order
    #[arg(long)]
    hold: bool,
    /// One JSON object a line on standard error for each half percent of the orders, for programs
    #[arg(long)]
    progress: bool,
}

/// Runs the command.
pub(crate) fn run(args: &Args) -> ExitCode {
    let (plan, address) = match plan_of(args).and_then(|plan| Ok((plan, resolve(&args.address)?))) {
        Ok(checked) => checked,
        Err(what) => {
            error(&what);
            return ExitCode::from(EXIT_USAGE);
        }
    };
    match measure(args, &plan, address) {
        Ok(code) => code,
        Err(what) => {
            error(&what);
            ExitCode::FAILURE
        }
    }
}

fn measure(args: &Args, plan: &Plan, address: SocketAddr) -> Result<ExitCode, String> {
    let clock = Clock::start();
    let mut poll = mio::Poll::new().map_err(|e| format!("cannot poll: {e}"))?;
    let mut connections = Vec::with_capacity(usize::try_from(plan.connections).unwrap_or(0));
    for number in 0..plan.connections {
        let setup = setup_of(args, plan, number, address, clock)?;
        connections.push(Connection::new(plan, setup, clock.now()));
    }
    let settings = Settings {
        idle: args.idle,
        // A line that may still come back is no stall.
        stall: seconds(args.stall.saturating_add(args.reconnect)),
        orders: plan.orders,
        has_progress_lines: args.progress,
        is_held: Arc::new(AtomicBool::new(args.hold)),
    };
    if args.hold {
        release_on_input(Arc::clone(&settings.is_held));
    }
    let mut figures = Figures::try_new()?;
    let elapsed = drive(&mut poll, &mut connections, &settings, clock, &mut figures)
        .map_err(|e| format!("the run broke off: {e}"))?;
    let run = Run {
        id: plan.run_id,
        seed: plan.seed,
        orders: plan.orders,
        has_rate: plan.rate.is_some(),
        elapsed,
    };
    if let Some(path) = &args.hgrm {
        write_hgrm(path, &figures, &run)?;
    }
    if let Some(path) = &args.hdr {
        figures.write_hdr(path).map_err(|e| format!("--hdr {}: {e}", path.display()))?;
    }
    let mut code = ExitCode::SUCCESS;
    for (why, count) in failures(&connections) {
        error(&format!("{count} connections ended early: {why}"));
        code = ExitCode::FAILURE;
    }
    let unresolved = figures.unresolved(&run);
    if unresolved > 0 {
        error(&format!("{unresolved} orders have no outcome"));
        code = ExitCode::FAILURE;
    }
    Ok(if args.json {
        print(&format!("{}\n", figures.as_json(&run)), code)
    } else {
        print(&figures.as_text(&run), code)
    })
}

/// Lets the orders go when a line comes, or nothing can come any more. The thread ends with it.
fn release_on_input(is_held: Arc<AtomicBool>) {
    std::thread::spawn(move || {
        let _ = std::io::stdin().read_line(&mut String::new());
        is_held.store(false, Ordering::Relaxed);
    });
}

fn plan_of(args: &Args) -> Result<Plan, String> {
    let orders_max = u64::from(ORDERS_A_CONNECTION_MAX) * u64::from(args.connections);
    if args.orders > orders_max {
        let (orders, connections) = (args.orders, args.connections);
        return Err(format!(
            "--orders {orders}: at most {orders_max} over {connections} connections"
        ));
    }
    let run_id = match args.run_id {
        Some(run_id) => run_id,
        None => u32::from_le_bytes(random()?) % RUN_ID_MAX + 1,
    };
    Ok(Plan {
        firms: firms_of(args)?,
        connections: args.connections,
        orders: args.orders,
        instruments: args.instruments,
        duplicates: args.duplicates,
        cancels: args.cancels,
        seed: args.seed,
        run_id,
        poss_resend: args.poss_resend,
        rate: args.rate,
    })
}

fn firms_of(args: &Args) -> Result<Vec<Firm>, String> {
    let Some(id) = &args.key_id else {
        return DEMO_FIRMS
            .iter()
            .map(|(id, octet, accounts)| {
                let key = Key::try_new(id, &[*octet; 32]).map_err(|e| e.to_string())?;
                let accounts = accounts.to_vec();
                Ok(Firm { key, accounts })
            })
            .collect();
    };
    let secret = match &args.secret_file {
        Some(path) => fs::read_to_string(path)
            .map_err(|e| format!("--secret-file {}: {e}", path.display()))?,
        None => std::env::var(SECRET_VARIABLE)
            .map_err(|e| format!("no --secret-file, and {SECRET_VARIABLE}: {e}"))?,
    };
    let key = Key::from_hex(id, &secret).map_err(|e| format!("--key-id {id}: {e}"))?;
    let accounts = args.accounts.clone();
    Ok(vec![Firm { key, accounts }])
}

fn resolve(address: &str) -> Result<SocketAddr, String> {
    let refused = |e: &dyn std::fmt::Display| format!("--address {address}: {e}");
    let mut found = address.to_socket_addrs().map_err(|e| refused(&e))?;
    found.next().ok_or_else(|| refused(&"no such address"))
}

fn setup_of(
    args: &Args,
    plan: &Plan,
    number: u32,
    address: SocketAddr,
    clock: Clock,
) -> Result<Setup, String> {
    let key = plan.firm_of(number).key.clone();
    let session_id = SessionId(random()?);
    let history = match &args.history {
        Some(dir) => Some(create_history(dir, args.seed, number, session_id, &key, clock)?),
        None => None,
    };
    let options = SessionOptions { overlap: args.overlap, ..SessionOptions::default() };
    let token = mio::Token(usize::try_from(number).unwrap_or(usize::MAX));
    Ok(Setup {
        number,
        session: ClientSession::new(ClientIdentity { session_id, key }, options),
        history,
        window: usize::try_from(args.window).unwrap_or(1),
        reconnect: seconds(args.reconnect),
        line: Line::new(address, token),
    })
}

/// A file named for its session, so that a second run adds to the evidence and replaces none.
fn create_history(
    dir: &Path,
    seed: u64,
    number: u32,
    session_id: SessionId,
    key: &Key,
    clock: Clock,
) -> Result<HistoryWriter, String> {
    let path = dir.join(format!("{number:04}-{session_id}.history"));
    let header = Header { session_id, key_id: *key.id(), seed, started: clock.now() };
    fs::create_dir_all(dir).map_err(|e| format!("--history {}: {e}", dir.display()))?;
    HistoryWriter::create(&path, &header).map_err(|e| format!("{}: {e}", path.display()))
}

fn write_hgrm(path: &Path, figures: &Figures, run: &Run) -> Result<(), String> {
    let write = || {
        let mut out = BufWriter::new(File::create(path)?);
        figures.write_hgrm(run, &mut out)?;
        std::io::Write::flush(&mut out)
    };
    write().map_err(|e: std::io::Error| format!("--hgrm {}: {e}", path.display()))
}

fn random<const N: usize>() -> Result<[u8; N], String> {
    let mut octets = [0; N];
    getrandom::fill(&mut octets).map_err(|e| format!("no random numbers: {e}"))?;
    Ok(octets)
}

fn seconds(count: u32) -> Nanos {
    Nanos(u64::from(count) * Nanos::SECOND.0)
}
