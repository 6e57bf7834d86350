//! The price levels of a book: an array over a sliding band of ticks, and a tree for the rest.
//!
//! Most orders rest close to the market, so a level there should cost one array access. But prices
//! have no bound that an array could cover, and a market moves. So the levels of `band_ticks`
//! ticks, `[base, base + band_ticks)`, are in an array used as a ring (a tick's record is at the
//! tick modulo `band_ticks`), with bitmaps to find the next one; every other level is in the book's
//! tree of `FarLevels`. A level is in exactly one of the two, and which one follows from its tick
//! and `base` alone.
//!
//! When the market leaves the middle half of the band, the band follows, but never by an unbounded
//! step: passing over empty ticks costs nothing, and after at most `SLIDE_STEPS_MAX` occupied ones
//! it stops and goes on with the next improving order. An empty band jumps at once; the band
//! catches up because an order brings one level and takes several along. Moving a level copies its
//! 16 bytes, its orders are not touched. Where the band lies is never visible, only how fast an
//! answer is.
//!
//! A band fixed where the first order came would be simpler, but one order that rests for months,
//! or a first order far off, would leave the whole market to the tree. Price of following: when the
//! bests of both sides improve in turn, further apart than the band is wide, it goes back and
//! forth, each time by the bounded step above (about 200 ns an order, measured).
//!
//! Both sides share the band: a book is never crossed, so no price has orders of both. (An auction,
//! which collects crossing orders, would need a band a side.) Memory: 16 bytes a tick of the band
//! and 1/8 byte of bitmap (4.03 MiB for 2^18).

use super::far_levels::{FarLevels, Tree};
use super::level_index::{LEVEL_COUNT_MAX, LevelIndex};
use super::queues::Level;

/// Occupied ticks passed by the band in one step at most; each moves up to two levels. At least 2,
/// or the band would not catch up with a market that makes one new level a step.
const SLIDE_STEPS_MAX: u32 = 4;
const _: () = assert!(SLIDE_STEPS_MAX >= 2);

/// The least and the most ticks of a band; a power of two.
pub(super) const BAND_TICKS_MIN: u32 = 64;
/// See [`BAND_TICKS_MIN`].
pub(super) const BAND_TICKS_MAX: u32 = LEVEL_COUNT_MAX;

/// The levels of one book, by tick index.
///
/// Invariants: a bit of `index` is set exactly if its record is not empty; the tree holds no tick
/// of the band and no empty level.
#[derive(Debug)]
pub(super) struct PriceLevels {
    band: Box<[Level]>,
    index: LevelIndex,
    /// The lowest tick of the band. Ticks are in `[-2^60, 2^60]`, so nothing here can overflow.
    base: i64,
    /// Ticks of the band; a power of two.
    band_ticks: i64,
    far: Tree,
}

impl PriceLevels {
    /// No level. `band_ticks` is a power of two in `[64, 2^18]`.
    pub(super) fn new(band_ticks: u32) -> Self {
        assert!(band_ticks.is_power_of_two());
        assert!((BAND_TICKS_MIN..=BAND_TICKS_MAX).contains(&band_ticks));
        Self {
            band: vec![Level::EMPTY; band_ticks as usize].into_boxed_slice(),
            index: LevelIndex::new(band_ticks),
            base: 0,
            band_ticks: i64::from(band_ticks),
            far: Tree::EMPTY,
        }
    }

    /// What `new` takes, in bytes.
    pub(super) fn bytes(band_ticks: u32) -> u64 {
        u64::from(band_ticks) * size_of::<Level>() as u64 + LevelIndex::bytes(band_ticks)
    }

    /// The level at `tick`, born if it is not there. The caller puts an order into it.
    pub(super) fn get_or_insert<'a>(
        &'a mut self,
        far: &'a mut FarLevels,
        tick: i64,
    ) -> &'a mut Level {
        if !self.is_in_band(tick) {
            return far.get_or_insert(&mut self.far, tick);
        }
        let place = self.place(tick);
        let level = &mut self.band[place as usize];
        if level.is_empty() {
            self.index.set(place);
        }
        level
    }

    /// The level at `tick`; it must be there if it is far.
    pub(super) fn get_mut<'a>(&'a mut self, far: &'a mut FarLevels, tick: i64) -> &'a mut Level {
        if self.is_in_band(tick) {
            return &mut self.band[self.place(tick) as usize];
        }
        let Some(level) = far.get_mut(self.far, tick) else {
            panic!("no level at tick {tick}");
        };
        level
    }

    /// Takes out the level at `tick`, whose last order has just left.
    pub(super) fn remove(&mut self, far: &mut FarLevels, tick: i64) {
        let level = if self.is_in_band(tick) {
            let place = self.place(tick);
            self.index.clear(place);
            self.band[place as usize]
        } else {
            far.remove(&mut self.far, tick)
        };
        assert!(level.is_empty());
    }

    /// Lets the band follow the market towards `tick`, a bounded step at most.
    pub(super) fn follow(&mut self, far: &mut FarLevels, tick: i64) {
        let quarter = self.band_ticks / 4;
        let middle = self.base + quarter..self.base + 3 * quarter;
        if !middle.contains(&tick) {
            self.slide(far, tick - self.band_ticks / 2);
        }
    }

    /// The level at `tick`.
    pub(super) fn get(&self, far: &FarLevels, tick: i64) -> Option<Level> {
        if self.is_in_band(tick) {
            let level = self.band[self.place(tick) as usize];
            return (!level.is_empty()).then_some(level);
        }
        far.get(self.far, tick)
    }

    /// The lowest occupied tick above `tick`.
    pub(super) fn next_above(&self, far: &FarLevels, tick: i64) -> Option<i64> {
        let top = self.base + self.band_ticks;
        if tick + 1 >= top {
            return far.next_above(self.far, tick);
        }
        if tick + 1 < self.base {
            let found = far.next_above(self.far, tick);
            if found.is_some_and(|found| found < self.base) {
                return found;
            }
        }
        self.band_first(self.base.max(tick + 1)).or_else(|| far.next_above(self.far, top - 1))
    }

    /// The highest occupied tick below `tick`.
    pub(super) fn next_below(&self, far: &FarLevels, tick: i64) -> Option<i64> {
        let last = self.base + self.band_ticks - 1;
        if tick - 1 < self.base {
            return far.next_below(self.far, tick);
        }
        if tick - 1 > last {
            let found = far.next_below(self.far, tick);
            if found.is_some_and(|found| found > last) {
                return found;
            }
        }
        self.band_last(last.min(tick - 1)).or_else(|| far.next_below(self.far, self.base))
    }

    /// Checks the invariants and says how many levels there are.
    pub(super) fn assert_invariants(&self, far: &FarLevels) -> u32 {
        self.index.assert_invariants();
        for (place, level) in (0_u32..).zip(&self.band) {
            assert_eq!(self.index.is_set(place), !level.is_empty(), "bitmap = levels");
        }
        if let Some(tick) = far.next_above(self.far, self.base - 1) {
            assert!(!self.is_in_band(tick), "a level is in the band or far");
        }
        self.index.count() + far.assert_tree(self.far)
    }

    fn is_in_band(&self, tick: i64) -> bool {
        (tick - self.base).cast_unsigned() < self.band_ticks.cast_unsigned()
    }

    /// Where the record of a tick of the band is.
    #[expect(clippy::cast_possible_truncation, reason = "below the band's length, at most 2^18")]
    fn place(&self, tick: i64) -> u32 {
        (tick & (self.band_ticks - 1)).cast_unsigned() as u32
    }

    /// The tick of the band whose record is at `place`.
    fn tick_at(&self, place: u32) -> i64 {
        self.base + ((i64::from(place) - self.base) & (self.band_ticks - 1))
    }

    /// The lowest occupied tick of the band from `tick`, which is in the band.
    fn band_first(&self, tick: i64) -> Option<i64> {
        // The ring runs from the place of `base` to its end and on from 0: look up to the end
        // first, then from 0. What is found at or beyond the place of `base` again is below `tick`.
        let found = self.index.first_from(self.place(tick)).map(|place| self.tick_at(place));
        if found.is_some_and(|found| found >= tick) {
            return found;
        }
        let found = self.index.first_from(0).map(|place| self.tick_at(place));
        found.filter(|&found| found >= tick)
    }

    /// The highest occupied tick of the band until `tick`, which is in the band.
    fn band_last(&self, tick: i64) -> Option<i64> {
        let found = self.index.last_until(self.place(tick)).map(|place| self.tick_at(place));
        if found.is_some_and(|found| found <= tick) {
            return found;
        }
        let end = u32::try_from(self.band_ticks - 1).unwrap_or(u32::MAX);
        let found = self.index.last_until(end).map(|place| self.tick_at(place));
        found.filter(|&found| found <= tick)
    }

    #[cold]
    fn slide(&mut self, far: &mut FarLevels, target: i64) {
        for _ in 0..SLIDE_STEPS_MAX {
            if self.base < target {
                self.slide_up(far, target);
            } else if self.base > target {
                self.slide_down(far, target);
            }
        }
    }

    /// Moves up over empty ticks, then one tick further with the levels that this concerns.
    fn slide_up(&mut self, far: &mut FarLevels, target: i64) {
        let leaving = self.band_first(self.base);
        let entering = far.next_above(self.far, self.base + self.band_ticks - 1);
        let blocked = leaving.unwrap_or(i64::MAX);
        let blocked = blocked.min(entering.map_or(i64::MAX, |tick| tick - self.band_ticks));
        if blocked >= target {
            self.base = target;
            return;
        }
        self.base = blocked;
        self.exchange(far, leaving, blocked, entering, blocked + self.band_ticks);
        self.base = blocked + 1;
    }

    /// Moves down over empty ticks, then one tick further with the levels that this concerns.
    fn slide_down(&mut self, far: &mut FarLevels, target: i64) {
        let leaving = self.band_last(self.base + self.band_ticks - 1);
        let entering = far.next_below(self.far, self.base);
        let blocked = leaving.map_or(i64::MIN, |tick| tick - self.band_ticks + 1);
        let blocked = blocked.max(entering.map_or(i64::MIN, |tick| tick + 1));
        if blocked <= target {
            self.base = target;
            return;
        }
        self.base = blocked;
        self.exchange(far, leaving, blocked + self.band_ticks - 1, entering, blocked - 1);
        self.base = blocked - 1;
    }

    /// The tick `out` leaves the band and the tick `into` enters it, at the same place. Either may
    /// be occupied: `leaving` and `entering` are the occupied ticks nearest to them.
    fn exchange(
        &mut self,
        far: &mut FarLevels,
        leaving: Option<i64>,
        out: i64,
        entering: Option<i64>,
        into: i64,
    ) {
        let place = self.place(out);
        assert!(place == self.place(into) && self.is_in_band(out) && !self.is_in_band(into));
        if leaving == Some(out) {
            let level = std::mem::replace(&mut self.band[place as usize], Level::EMPTY);
            self.index.clear(place);
            far.insert(&mut self.far, out, level);
        }
        if entering == Some(into) {
            self.band[place as usize] = far.remove(&mut self.far, into);
            self.index.set(place);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::queues::Queues;
    use crate::vocabulary::units::{OrderSlot, Qty, SecurityId};
    use std::collections::BTreeMap;

    const BOOK: SecurityId = SecurityId(0);

    /// Levels of one order each beside a map of tick to slot.
    struct Twins {
        queues: Queues,
        far: FarLevels,
        levels: PriceLevels,
        map: BTreeMap<i64, OrderSlot>,
        free: Vec<OrderSlot>,
    }

    impl Twins {
        fn new(band_ticks: u32, order_count_max: u32) -> Self {
            Self {
                queues: Queues::new(order_count_max),
                far: FarLevels::new(order_count_max),
                levels: PriceLevels::new(band_ticks),
                map: BTreeMap::new(),
                free: (0..order_count_max).map(OrderSlot).collect(),
            }
        }

        fn is_occupied(&self, tick: i64) -> bool {
            self.map.contains_key(&tick)
        }

        fn add(&mut self, tick: i64) {
            let slot = self.free.pop().unwrap();
            let level = self.levels.get_or_insert(&mut self.far, tick);
            self.queues.append(level, BOOK, tick, slot, Qty::MAX);
            self.map.insert(tick, slot);
        }

        fn remove(&mut self, tick: i64) {
            let slot = self.map.remove(&tick).unwrap();
            let level = self.levels.get_mut(&mut self.far, tick);
            self.queues.unlink(level, slot);
            self.levels.remove(&mut self.far, tick);
            self.free.push(slot);
        }

        #[track_caller]
        fn check(&self, near: i64) {
            assert_eq!(self.levels.assert_invariants(&self.far) as usize, self.map.len());
            let edges = [self.levels.base, self.levels.base + self.levels.band_ticks];
            for tick in edges.into_iter().chain([near]).flat_map(|t| [t - 2, t - 1, t, t + 1]) {
                let above = self.map.range(tick + 1..).next().map(|(&tick, _)| tick);
                let below = self.map.range(..tick).next_back().map(|(&tick, _)| tick);
                assert_eq!(self.levels.next_above(&self.far, tick), above, "above {tick}");
                assert_eq!(self.levels.next_below(&self.far, tick), below, "below {tick}");
                let level = self.levels.get(&self.far, tick);
                let slot = level.and_then(|level| self.queues.iter(level).next());
                assert_eq!(slot.map(|(slot, _)| slot), self.map.get(&tick).copied());
            }
        }
    }

    #[test]
    fn the_band_slides_anywhere_and_no_level_is_lost() {
        let seed = 0x5eed_0000_0000_0007_u64;
        println!("seed {seed:#x}");
        let mut state = seed;
        let mut random = move |span: i64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            i64::try_from(state >> 33).unwrap() % span
        };
        for (band_ticks, span) in [(64, 100), (64, 400), (128, 1_000_000), (256, 700)] {
            let mut twins = Twins::new(band_ticks, 150);
            for _ in 0..15_000 {
                let tick = random(span) - span / 2;
                match random(10) {
                    0..5 if !twins.is_occupied(tick) && !twins.free.is_empty() => twins.add(tick),
                    0..7 => {
                        let nearest = twins.map.range(tick..).next().map(|(&tick, _)| tick);
                        if let Some(tick) = nearest {
                            twins.remove(tick);
                        }
                    }
                    _ => twins.levels.follow(&mut twins.far, tick),
                }
                twins.check(tick);
            }
        }
    }

    /// The worst market for the band: every step makes a level, far from where the band is, with
    /// all the ticks it has to cross occupied.
    #[test]
    fn the_band_catches_up_with_a_market_that_makes_a_level_a_step() {
        let mut twins = Twins::new(64, 2_000);
        (0..400).for_each(|tick| twins.add(tick));
        for step in 0..400 {
            let tick = 400 + step;
            twins.levels.follow(&mut twins.far, tick);
            twins.add(tick);
        }
        twins.check(800);
        assert!(twins.levels.is_in_band(799), "base {}", twins.levels.base);
        for step in 0..400 {
            let tick = -1 - step;
            twins.levels.follow(&mut twins.far, tick);
            twins.add(tick);
        }
        twins.check(-400);
        assert!(twins.levels.is_in_band(-400), "base {}", twins.levels.base);
    }

    #[test]
    fn an_empty_band_jumps_at_once() {
        let mut twins = Twins::new(64, 10);
        for tick in [1 << 60, -(1 << 60), 0, 1_000_000_000_000] {
            twins.levels.follow(&mut twins.far, tick);
            assert!(twins.levels.is_in_band(tick));
        }
        twins.add(5);
        twins.levels.follow(&mut twins.far, -5_000_000);
        assert!(twins.levels.is_in_band(-5_000_000), "a far level in its wake does not hold it");
        twins.check(5);
    }
}
