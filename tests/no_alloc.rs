//! From the receive buffer to the send buffer: no allocation, no free, no page fault.
//!
//! A whole node, as the program builds it, serves two firms over loopback TCP on this very thread:
//! new orders that rest and that trade, resends under the old number and under a new one, cancels,
//! status requests. Its turns alone are counted; what the clients do in between is not. The journal
//! crosses its segments and writes its StateHash records on the way.
//!
//! ```text
//! TIDEGATE_NO_ALLOC_ORDERS   orders in all; 100,000 without it
//! ```
//!
//! **Page faults** are counted by the kernel for this thread, and claimed only with the journal on
//! tmpfs (`/dev/shm`): the kernel writes the pages of a disk file back when it likes and protects
//! them meanwhile, so the next store into each faults again. Elsewhere they are printed.

#![allow(clippy::unwrap_used, reason = "a bench that cannot be built ends the test")]

#[path = "common/node.rs"]
mod node;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::path::{Path, PathBuf};

use nix::sys::resource::{UsageWho, getrusage};
use node::{Peer, Rig, octets_of, small};
use tidegate::limits::STATE_HASH_INTERVAL;
use tidegate::telemetry::counters::Counter;
use tidegate::vocabulary::event::ReportBody;
use tidegate::vocabulary::message::{ClientMessage, NewOrderSingle};
use tidegate::vocabulary::units::Seq;

thread_local! {
    static IS_ARMED: Cell<bool> = const { Cell::new(false) };
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
    static FREES: Cell<u64> = const { Cell::new(0) };
}

struct Counting;

impl Counting {
    /// Counts while this thread is armed. A thread that ends has no cells any more, and no count.
    fn count(cell: &'static std::thread::LocalKey<Cell<u64>>) {
        let is_armed = IS_ARMED.try_with(Cell::get).unwrap_or(false);
        if is_armed {
            let _ = cell.try_with(|count| count.set(count.get() + 1));
        }
    }
}

// SAFETY: every call is passed on unchanged to the system's allocator, which keeps the contract;
// counting touches thread-local cells without a destructor and allocates nothing.
// JUSTIFICATION: only a global allocator sees every allocation of code that is not ours, too.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        Self::count(&ALLOCATIONS);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        Self::count(&FREES);
        // SAFETY: `place` came from `System` with this layout.
        unsafe { System.dealloc(place, layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        Self::count(&ALLOCATIONS);
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn realloc(&self, place: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        Self::count(&ALLOCATIONS);
        Self::count(&FREES);
        // SAFETY: `place` came from `System` with this layout, `size` is the caller's.
        unsafe { System.realloc(place, layout, size) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What the turns of a stretch cost.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Cost {
    allocations: u64,
    frees: u64,
    faults: i64,
}

impl Cost {
    /// Runs `turns` and adds what they cost this thread.
    fn measure(&mut self, turns: impl FnOnce()) {
        let before = minor_faults();
        IS_ARMED.set(true);
        turns();
        IS_ARMED.set(false);
        self.faults += minor_faults() - before;
        self.allocations = ALLOCATIONS.get();
        self.frees = FREES.get();
    }
}

fn minor_faults() -> i64 {
    getrusage(UsageWho::RUSAGE_THREAD).unwrap().minor_page_faults()
}

/// A directory for the journal that goes away with the test.
struct Scratch {
    dir: tempfile::TempDir,
    is_memory: bool,
}

impl Scratch {
    fn new() -> Self {
        let memory = PathBuf::from("/dev/shm");
        match tempfile::tempdir_in(&memory) {
            Ok(dir) => Self { dir, is_memory: true },
            Err(_) => Self { dir: tempfile::tempdir().unwrap(), is_memory: false },
        }
    }

    fn path(&self) -> &Path {
        self.dir.path()
    }
}

fn order_count() -> u64 {
    let asked = std::env::var("TIDEGATE_NO_ALLOC_ORDERS");
    asked.map_or(100_000, |text| text.parse().unwrap())
}

/// Buys of a round; one in five is cancelled, the others meet a sell each.
const ROUND: u64 = 20;
const SELLS: u64 = ROUND - ROUND / 5;
/// Turns in which a round must be done, even if the other core delivers the octets late.
const TURNS_A_ROUND_MAX: u32 = 20_000;
/// Orders before anything is claimed: the first of everything may fault.
const WARM_UP: u64 = 4_000;

/// One round of both firms: `ROUND + SELLS` new orders, and all the rest.
fn queue_round(buyer: &mut Peer, seller: &mut Peer, first_id: u64) {
    let mut repeats = Vec::new();
    for id in first_id..first_id + ROUND {
        // A penny a round apart, so that levels come and go.
        let price = (1_000 + i64::try_from(first_id / ROUND % 64).unwrap()) * node::CENT;
        let buy = NewOrderSingle { price, ..buyer.order(id) };
        let seq = buyer.queue(ClientMessage::NewOrder(buy));
        if id % 4 == 0 {
            // The same message under the same number: dropped in silence.
            let same = NewOrderSingle { msg_seq_num: seq, ..buy };
            repeats.extend_from_slice(&octets_of(&ClientMessage::NewOrder(same)));
        }
        if id % 5 == 0 {
            // The same key under a new number: answered with the order's state.
            let again = NewOrderSingle { msg_seq_num: Seq(0), poss_resend: 1, ..buy };
            buyer.queue(ClientMessage::NewOrder(again));
            buyer.queue(Peer::cancel(id | 1 << 40, id));
        }
        if id % 7 == 0 {
            buyer.queue(Peer::status(id, id));
        }
        if id % 5 != 0 {
            let sell = NewOrderSingle { side: b'2', price, ..seller.order(id) };
            seller.queue(ClientMessage::NewOrder(sell));
        }
    }
    buyer.raw(&repeats);
    buyer.flush();
    seller.flush();
}

/// Rounds until both have sent `orders` new ones together; every turn of the node is measured.
fn trade(rig: &mut Rig, buyer: &mut Peer, seller: &mut Peer, ids: &mut u64, orders: u64) -> Cost {
    let mut cost = Cost::default();
    ALLOCATIONS.set(0);
    FREES.set(0);
    for _ in 0..orders.div_ceil(ROUND + SELLS) {
        queue_round(buyer, seller, *ids);
        *ids += ROUND;
        let mut turns = 0;
        while !is_round_done(buyer, seller) {
            cost.measure(|| {
                rig.turn();
            });
            rig.persist();
            buyer.pump();
            seller.pump();
            turns += 1;
            assert!(turns < TURNS_A_ROUND_MAX, "{:?} {:?}", buyer.templates(), seller.templates());
        }
        check_reports(buyer, seller);
    }
    cost
}

/// Each side has its last report: of the status or cancel at the end, of the last trade.
fn is_round_done(buyer: &Peer, seller: &Peer) -> bool {
    let trades = usize::try_from(SELLS).unwrap();
    let is_trade = |body: &ReportBody| matches!(body, ReportBody::Trade(_));
    buyer.count(is_trade) == trades && seller.count(is_trade) == trades
}

/// Both sides were told what happened; keeps nothing of it.
fn check_reports(buyer: &mut Peer, seller: &mut Peer) {
    let is = |template: u16| move |body: &ReportBody| body.template() == template;
    let found =
        [200, 202, 204].map(|template| (buyer.count(is(template)), seller.count(is(template))));
    assert_eq!(found, [(20, 16), (4, 0), (0, 0)], "{:?}", buyer.templates());
    assert!(buyer.count(is(205)) >= 6, "{:?}", buyer.templates());
    for peer in [buyer, seller] {
        peer.events.clear();
        peer.frames.clear();
    }
}

#[test]
fn an_order_costs_no_allocation_no_free_and_no_page_fault() {
    let scratch = Scratch::new();
    let orders = order_count();
    let mut config = small(scratch.path());
    // Both rings go round, the journal's over its segments.
    config.local.journal_ring_bytes = 4 << 20;
    config.local.report_ring_bytes = 8 << 20;
    config.logical.capacities.key_count_max = 1 << 21;
    config.logical.capacities.order_count_max = 1 << 12;
    for owner in &mut config.logical.owners {
        owner.orders_max = 1 << 11;
    }
    let mut rig = Rig::start(&config);
    let mut buyer = Peer::live(&mut rig, 0);
    let mut seller = Peer::live(&mut rig, 1);
    for peer in [&mut buyer, &mut seller] {
        peer.events.clear();
        peer.frames.clear();
    }
    let mut ids = 20;
    trade(&mut rig, &mut buyer, &mut seller, &mut ids, WARM_UP);
    let (records, reports) = (rig.get(Counter::Records), rig.get(Counter::Reports));
    let cost = trade(&mut rig, &mut buyer, &mut seller, &mut ids, orders);
    println!(
        "{orders} orders, {} records, {} reports: {cost:?}, journal in {}",
        rig.get(Counter::Records) - records,
        rig.get(Counter::Reports) - reports,
        scratch.path().display()
    );
    assert_eq!((cost.allocations, cost.frees), (0, 0), "in the turns of the node");
    assert!(rig.get(Counter::Repeats) >= orders / 10, "repeats were sent");
    let round = scratch.path().join(journal::segment_file(journal::SEGMENTS));
    assert!(round.is_file(), "the ring went round, and a segment was crossed");
    assert!(rig.get(Counter::Records) > STATE_HASH_INTERVAL, "a StateHash was journaled");
    if scratch.is_memory {
        assert_eq!(cost.faults, 0, "minor faults of the hot thread after warm-up");
    }
}

#[test]
fn the_counting_allocator_counts() {
    let mut cost = Cost::default();
    ALLOCATIONS.set(0);
    FREES.set(0);
    let unarmed = std::hint::black_box(vec![1_u8; 100]);
    let mut kept = Vec::new();
    cost.measure(|| {
        kept = std::hint::black_box(vec![1_u8; 100]);
        drop(unarmed);
    });
    assert_eq!((cost.allocations, cost.frees), (1, 1));
    assert_eq!(kept.len(), 100);
}

#[test]
fn the_fault_counter_counts() {
    let mut cost = Cost::default();
    let len = 64 << 20;
    cost.measure(|| {
        let mut fresh = vec![0_u8; len];
        fresh.iter_mut().step_by(4096).for_each(|octet| *octet = 1);
        std::hint::black_box(fresh);
    });
    // One a page, or one a huge page of 2 MiB.
    assert!(cost.faults >= 32, "{} faults for {len} octets of fresh memory", cost.faults);
}
