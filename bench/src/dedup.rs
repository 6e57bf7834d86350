//! Dedup: one key through its table, in the table's steady state.
//!
//! The table is full to 7/8 and as many keys expire as arrive. A step is what each new order costs:
//! expire (two entries at the old end at most), hash, find, insert as open, and the close of some
//! older order. One step in ten repeats a key instead: usually a recent one, else any live one.
//! 1,024 orders are never closed, so their keys move to the young end once a retention.
//!
//! Keys are as firms make them: many owners, each with a counter. The keyed hash scatters them, so
//! every look-up is a random line of the table, and that is the floor: reads of random lines of as
//! much memory, each address known only from the line before, so that none overlaps another.

use std::hint::black_box;

use tidegate::engine::dedup::{Dedup, KeyEntry, KeyIdx, KeyState, Outcome};
use tidegate::vocabulary::fix::OrdStatus;
use tidegate::vocabulary::random::SplitMix;
use tidegate::vocabulary::units::{ClOrdId, Nanos, OrderId, OrderSlot, OwnerIdx, Qty};

use crate::measure::{Laps, Meter, count};
use crate::plan::{Fold, Plan};
use crate::row::Row;

const BATCH: usize = 64;
const OWNER_COUNT: u64 = 64;
const STEP: Nanos = Nanos(1000);
/// Octets of the table for each key.
const KEY_BYTES: usize = 112;
const LINE_BYTES: usize = 64;
/// Slots whose orders are never closed.
const FOREVER_COUNT: u64 = 1024;
const REPEAT_RECENT: u64 = 1024;

/// One step, drawn before the clock starts.
#[derive(Clone, Copy)]
enum Step {
    /// A new key, and the slot whose order closes to make room for it.
    Insert { owner: OwnerIdx, id: ClOrdId, slot: u32 },
    /// A key that is live.
    Repeat { owner: OwnerIdx, id: ClOrdId },
}

/// Draws steps and knows which keys are live.
struct Keys {
    random: SplitMix,
    /// Keys ever made: the k-th belongs to owner `k mod OWNER_COUNT`.
    made_count: u64,
    live_count: u64,
    slot_count: u32,
}

/// The table, and where each open order's key is.
struct Table {
    dedup: Dedup,
    now: Nanos,
    open: Box<[Option<KeyIdx>]>,
    removed_count: u64,
    moved_count: u64,
}

/// Runs it.
pub(crate) fn run(plan: &Plan) -> Vec<Row> {
    let mut rows = of_size(plan, plan.pick(1 << 12, 1 << 17, 1 << 20));
    if plan.is_large {
        rows.extend(of_size(plan, 1 << 24));
    }
    rows
}

fn of_size(plan: &Plan, key_count: u32) -> Vec<Row> {
    let live_count = u64::from(key_count / 8 * 7);
    let slot_count = key_count / 16;
    // Nine steps in ten bring a key; the retention holds as many as are to be live.
    let retention = Nanos(live_count * 10 / 9 * STEP.0);
    let mut table = Table {
        dedup: Dedup::new(key_count, retention, plan.seed),
        now: Nanos(0),
        open: vec![None; slot_count as usize].into(),
        removed_count: 0,
        moved_count: 0,
    };
    let mut keys = Keys { random: SplitMix(plan.seed), made_count: 0, live_count, slot_count };
    let mut fold = Fold::EMPTY;
    // Twice the live keys: the table has turned once and expiry is at work.
    let mut left = live_count * 2;
    while left > 0 {
        let steps = keys.draw(left.min(1 << 16));
        left -= count(steps.len());
        for step in &steps {
            table.step(step, &mut fold);
        }
    }
    let step_count = plan.pick(1_000, 50_000, 200_000);
    let batch_count = usize::try_from(step_count).unwrap_or(0).div_ceil(BATCH);
    let mut random_lines = RandomLines::new(key_count as usize * KEY_BYTES);
    let (mut step, mut find) = (Meter::new(batch_count), Meter::new(batch_count));
    let mut floor = Meter::new(batch_count);
    (table.removed_count, table.moved_count) = (0, 0);
    for _ in 0..plan.round_count {
        let steps = keys.draw(step_count);
        floor.round(|laps| random_lines.walk(step_count, laps));
        step.round(|laps| {
            for batch in steps.chunks(BATCH) {
                for step in batch {
                    table.step(step, &mut fold);
                }
                laps.end_batch(batch.len());
            }
        });
        let live: Vec<_> = (0..step_count).map(|_| keys.any_live()).collect();
        find.round(|laps| table.find_all(&live, laps, &mut fold));
        table.dedup.assert_invariants();
    }
    black_box(random_lines.at);
    let state = format!(
        "{} live keys of {key_count} ({} MiB), {slot_count} open orders; {} keys expired and {} \
         moved in the rounds",
        table.dedup.len(),
        (key_count as usize * KEY_BYTES) >> 20,
        table.removed_count,
        table.moved_count
    );
    let what = "a dependent read of a random line of as much memory";
    let name = |case: &str| format!("{case}, 2^{}", key_count.ilog2());
    let row = |case: &str, operation, meter| {
        Row::new("dedup", name(case), operation, meter, state.clone(), fold.0)
            .over(what, meter, &floor)
            .with_batches(BATCH, meter)
    };
    vec![
        row("step", "new key", &step)
            .noting("expire, hash, find, insert, close of another; one in ten a repetition"),
        row("find", "repetition", &find).noting("hash, find of any live key, its whole entry"),
    ]
}

impl Keys {
    fn draw(&mut self, step_count: u64) -> Vec<Step> {
        let one = |_| {
            if self.made_count > 0 && self.random.below(10) == 0 {
                let (owner, id) = self.repeated();
                return Step::Repeat { owner, id };
            }
            let (owner, id) = key(self.made_count);
            self.made_count += 1;
            let slot = self.random.below(u64::from(self.slot_count));
            Step::Insert { owner, id, slot: u32::try_from(slot).unwrap_or(0) }
        };
        (0..step_count).map(one).collect()
    }

    /// A key that may be repeated: usually a recent one.
    fn repeated(&mut self) -> (OwnerIdx, ClOrdId) {
        if self.random.below(10) < 7 {
            let back = 1 + self.random.below(REPEAT_RECENT.min(self.made_count));
            key(self.made_count - back)
        } else {
            self.any_live()
        }
    }

    /// Any key that is surely live: the youngest nine tenths.
    fn any_live(&mut self) -> (OwnerIdx, ClOrdId) {
        let back = 1 + self.random.below((self.live_count / 10 * 9).min(self.made_count));
        key(self.made_count - back)
    }
}

/// The `number`-th key.
fn key(number: u64) -> (OwnerIdx, ClOrdId) {
    let owner = OwnerIdx(u16::try_from(number % OWNER_COUNT).unwrap_or(0));
    (owner, ClOrdId((u64::from(owner.0) + 1) << 40 | (number / OWNER_COUNT + 1)))
}

impl Table {
    #[inline]
    fn step(&mut self, step: &Step, fold: &mut Fold) {
        self.now = self.now.saturating_add(STEP);
        let expired = self.dedup.expire(self.now);
        self.removed_count += u64::from(expired.removed);
        for moved in expired.moves() {
            self.moved_count += 1;
            self.open[moved.slot.0 as usize] = Some(moved.to);
        }
        match *step {
            Step::Insert { owner, id, slot } => self.insert(owner, id, slot),
            Step::Repeat { owner, id } => {
                let hash = self.dedup.hash(owner, id);
                let Some(idx) = self.dedup.find(hash, owner, id) else {
                    unreachable!("only live keys are repeated")
                };
                let entry = self.dedup.get(idx);
                fold.add(entry.fingerprint ^ entry.order_id.0);
            }
        }
    }

    #[inline]
    fn insert(&mut self, owner: OwnerIdx, id: ClOrdId, slot: u32) {
        let is_forever = u64::from(slot) < FOREVER_COUNT.min(count(self.open.len()) / 2);
        let place = self.open[slot as usize];
        let hash = self.dedup.hash(owner, id);
        assert!(self.dedup.find(hash, owner, id).is_none(), "a new key is not there");
        let mut entry = KeyEntry::refused(owner, id, 0);
        entry.arrival = self.now;
        entry.fingerprint = id.0.rotate_left(17);
        entry.order_id = OrderId(id.0);
        entry.order_qty = Qty::MAX;
        match place {
            Some(_) if is_forever => {}
            previous => {
                entry.state = KeyState::Open(OrderSlot(slot)).packed();
                if let Some(open) = previous {
                    let outcome = Outcome {
                        ord_status: OrdStatus::Filled,
                        cum_qty: Qty::MAX,
                        transact_time: self.now,
                        closing_cl_ord_id: ClOrdId(0),
                    };
                    self.dedup.close(open, outcome);
                }
            }
        }
        let is_open = matches!(entry.state(), KeyState::Open(_));
        let inserted = self.dedup.try_insert(hash, entry);
        let Ok(idx) = inserted else { unreachable!("the retention keeps an eighth free") };
        if is_open {
            self.open[slot as usize] = Some(idx);
        }
    }

    fn find_all(&self, keys: &[(OwnerIdx, ClOrdId)], laps: &mut Laps<'_>, fold: &mut Fold) {
        for batch in keys.chunks(BATCH) {
            for &(owner, id) in batch {
                let hash = self.dedup.hash(owner, id);
                let Some(idx) = self.dedup.find(hash, owner, id) else {
                    unreachable!("only live keys are repeated")
                };
                let entry = self.dedup.get(idx);
                // From all three lines that an entry may stand on.
                fold.add(entry.fingerprint ^ entry.order_id.0 ^ u64::from(entry.refusal));
            }
            laps.end_batch(batch.len());
        }
    }
}

/// The floor: lines that each hold the place of another, in one cycle through all of them.
struct RandomLines {
    lines: Vec<Line>,
    at: u32,
}

#[derive(Clone)]
#[repr(align(64))]
struct Line(u32);

impl RandomLines {
    /// Sattolo's shuffle: one cycle, so that no walk falls into a short one.
    fn new(bytes: usize) -> Self {
        let mut lines: Vec<Line> =
            (0..bytes / LINE_BYTES).map(|at| Line(u32::try_from(at).unwrap_or(0))).collect();
        let mut random = SplitMix(1);
        for last in (1..lines.len()).rev() {
            let other = usize::try_from(random.below(count(last))).unwrap_or(0);
            let (a, b) = (lines[last].0, lines[other].0);
            (lines[last].0, lines[other].0) = (b, a);
        }
        Self { lines, at: 0 }
    }

    fn walk(&mut self, read_count: u64, laps: &mut Laps<'_>) {
        let mut left = usize::try_from(read_count).unwrap_or(0);
        while left > 0 {
            let batch = left.min(BATCH);
            for _ in 0..batch {
                self.at = self.lines[self.at as usize].0;
            }
            laps.end_batch(batch);
            left -= batch;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_walk_passes_every_line_once() {
        let mut lines = RandomLines::new(64 * 100);
        let mut is_seen = [false; 100];
        for _ in 0..100 {
            lines.at = lines.lines[lines.at as usize].0;
            let seen = &mut is_seen[lines.at as usize];
            assert!(!*seen);
            *seen = true;
        }
    }
}
