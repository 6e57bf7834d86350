//! Price levels outside the bands: balanced trees in one fixed arena.
//!
//! A level far from the market is rarely touched but must be as right as any other. It is an entry
//! of an AVL tree keyed by tick index; each book has a tree of its own, all of them draw on one
//! arena. A level holds at least one order, so as many entries as orders always suffice: the arena
//! is never full. AVL because its depth is bounded whatever the prices (at most 33 for 2^23 levels;
//! a hashed or random balance would have to be argued against a client who picks prices), and
//! because nothing here depends on the order in which levels came. Memory: 40 bytes an order of the
//! engine.

use super::queues::{Level, NIL};
use std::cmp::Ordering;

#[derive(Clone, Copy, Debug)]
struct Entry {
    tick: i64,
    level: Level,
    left: u32,
    /// While the entry is free: the next free one.
    right: u32,
    /// Of the tree below and with this entry; at least 1 while in a tree.
    height: u32,
}
const _: () = assert!(size_of::<Entry>() == 40);

/// The tree of one book.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Tree(u32);

impl Tree {
    /// No level.
    pub(super) const EMPTY: Self = Self(NIL);
}

/// The entries of all trees.
#[derive(Debug)]
pub(super) struct FarLevels {
    entries: Box<[Entry]>,
    free: u32,
}

impl FarLevels {
    /// Room for `level_count_max` levels over all trees.
    pub(super) fn new(level_count_max: u32) -> Self {
        let entry = |i| Entry {
            tick: 0,
            level: Level::EMPTY,
            left: NIL,
            right: if i + 1 < level_count_max { i + 1 } else { NIL },
            height: 0,
        };
        Self {
            entries: (0..level_count_max).map(entry).collect(),
            free: if level_count_max == 0 { NIL } else { 0 },
        }
    }

    /// What `new` takes, in bytes.
    pub(super) fn bytes(level_count_max: u32) -> u64 {
        u64::from(level_count_max) * size_of::<Entry>() as u64
    }

    /// The level at `tick`, born empty if it is not there.
    pub(super) fn get_or_insert(&mut self, tree: &mut Tree, tick: i64) -> &mut Level {
        let at = match self.find(*tree, tick) {
            Some(at) => at,
            None => self.insert(tree, tick, Level::EMPTY),
        };
        &mut self.entries[at as usize].level
    }

    /// Puts in a level whose tick is not in the tree, and says where.
    pub(super) fn insert(&mut self, tree: &mut Tree, tick: i64, level: Level) -> u32 {
        let new = self.free;
        assert!(new != NIL, "there are never more levels than orders");
        let entry = &mut self.entries[new as usize];
        self.free = entry.right;
        *entry = Entry { tick, level, left: NIL, right: NIL, height: 1 };
        tree.0 = self.insert_below(tree.0, new);
        new
    }

    /// The level at `tick`.
    pub(super) fn get_mut(&mut self, tree: Tree, tick: i64) -> Option<&mut Level> {
        let at = self.find(tree, tick)?;
        Some(&mut self.entries[at as usize].level)
    }

    /// The level at `tick`.
    pub(super) fn get(&self, tree: Tree, tick: i64) -> Option<Level> {
        let at = self.find(tree, tick)?;
        Some(self.entries[at as usize].level)
    }

    /// Takes out the level at `tick`, which is in the tree.
    pub(super) fn remove(&mut self, tree: &mut Tree, tick: i64) -> Level {
        let (root, old) = self.remove_below(tree.0, tick);
        tree.0 = root;
        let entry = &mut self.entries[old as usize];
        entry.right = self.free;
        entry.height = 0;
        self.free = old;
        entry.level
    }

    /// The lowest tick above `tick`.
    pub(super) fn next_above(&self, tree: Tree, tick: i64) -> Option<i64> {
        let (mut at, mut found) = (tree.0, None);
        while at != NIL {
            let entry = &self.entries[at as usize];
            if entry.tick > tick {
                found = Some(entry.tick);
                at = entry.left;
            } else {
                at = entry.right;
            }
        }
        found
    }

    /// The highest tick below `tick`.
    pub(super) fn next_below(&self, tree: Tree, tick: i64) -> Option<i64> {
        let (mut at, mut found) = (tree.0, None);
        while at != NIL {
            let entry = &self.entries[at as usize];
            if entry.tick < tick {
                found = Some(entry.tick);
                at = entry.right;
            } else {
                at = entry.left;
            }
        }
        found
    }

    /// Checks order and balance of a tree and says how many levels are in it.
    pub(super) fn assert_tree(&self, tree: Tree) -> u32 {
        self.assert_below(tree.0, i64::MIN, i64::MAX)
    }

    fn assert_below(&self, at: u32, low: i64, high: i64) -> u32 {
        if at == NIL {
            return 0;
        }
        let entry = &self.entries[at as usize];
        assert!(low < entry.tick && entry.tick < high, "ticks are in order");
        assert!(!entry.level.is_empty(), "no empty level is kept");
        let (left, right) = (self.height(entry.left), self.height(entry.right));
        assert!(left.abs_diff(right) <= 1, "the tree is balanced");
        assert_eq!(entry.height, left.max(right) + 1);
        1 + self.assert_below(entry.left, low, entry.tick)
            + self.assert_below(entry.right, entry.tick, high)
    }

    fn find(&self, tree: Tree, tick: i64) -> Option<u32> {
        let mut at = tree.0;
        while at != NIL {
            let entry = &self.entries[at as usize];
            at = match tick.cmp(&entry.tick) {
                Ordering::Less => entry.left,
                Ordering::Greater => entry.right,
                Ordering::Equal => return Some(at),
            };
        }
        None
    }

    /// Hangs `new` into the subtree `at`; the answer is its new root.
    fn insert_below(&mut self, at: u32, new: u32) -> u32 {
        if at == NIL {
            return new;
        }
        let Entry { tick, left, right, .. } = self.entries[at as usize];
        let new_tick = self.entries[new as usize].tick;
        assert!(new_tick != tick, "a tick is in a tree once");
        if new_tick < tick {
            let before = self.height(left);
            let left = self.insert_below(left, new);
            self.hang_left(at, left, before)
        } else {
            let before = self.height(right);
            let right = self.insert_below(right, new);
            self.hang_right(at, right, before)
        }
    }

    /// Takes `tick` out of the subtree `at`: its new root, and the entry that was taken out.
    fn remove_below(&mut self, at: u32, tick: i64) -> (u32, u32) {
        assert!(at != NIL, "the level is in the tree");
        let entry = self.entries[at as usize];
        match tick.cmp(&entry.tick) {
            Ordering::Less => {
                let before = self.height(entry.left);
                let (left, old) = self.remove_below(entry.left, tick);
                (self.hang_left(at, left, before), old)
            }
            Ordering::Greater => {
                let before = self.height(entry.right);
                let (right, old) = self.remove_below(entry.right, tick);
                (self.hang_right(at, right, before), old)
            }
            Ordering::Equal if entry.left == NIL => (entry.right, at),
            Ordering::Equal if entry.right == NIL => (entry.left, at),
            Ordering::Equal => {
                let before = self.height(entry.right);
                let (right, heir) = self.remove_lowest(entry.right);
                self.entries[heir as usize].left = entry.left;
                self.entries[heir as usize].height = entry.height;
                (self.hang_right(heir, right, before), at)
            }
        }
    }

    /// Takes the lowest entry out of the subtree `at`: its new root, and that entry.
    fn remove_lowest(&mut self, at: u32) -> (u32, u32) {
        let Entry { left, right, .. } = self.entries[at as usize];
        if left == NIL {
            return (right, at);
        }
        let before = self.height(left);
        let (left, lowest) = self.remove_lowest(left);
        (self.hang_left(at, left, before), lowest)
    }

    /// Gives `at` a left child in place of one of height `before`; the answer is the root of the
    /// subtree. While the height stays the balance does too, and the sibling, which is most likely
    /// not in the cache, is not looked at.
    fn hang_left(&mut self, at: u32, left: u32, before: u32) -> u32 {
        self.entries[at as usize].left = left;
        if self.height(left) == before {
            return at;
        }
        self.balance(at)
    }

    /// See [`Self::hang_left`].
    fn hang_right(&mut self, at: u32, right: u32, before: u32) -> u32 {
        self.entries[at as usize].right = right;
        if self.height(right) == before {
            return at;
        }
        self.balance(at)
    }

    /// Restores the balance of `at`, whose subtrees are balanced and differ by at most 2.
    fn balance(&mut self, at: u32) -> u32 {
        let Entry { left, right, .. } = self.entries[at as usize];
        let (left_height, right_height) = (self.height(left), self.height(right));
        if left_height > right_height + 1 {
            let Entry { left: outer, right: inner, .. } = self.entries[left as usize];
            if self.height(inner) > self.height(outer) {
                self.entries[at as usize].left = self.rotate_left(left);
            }
            return self.rotate_right(at);
        }
        if right_height > left_height + 1 {
            let Entry { left: inner, right: outer, .. } = self.entries[right as usize];
            if self.height(inner) > self.height(outer) {
                self.entries[at as usize].right = self.rotate_right(right);
            }
            return self.rotate_left(at);
        }
        self.entries[at as usize].height = left_height.max(right_height) + 1;
        at
    }

    /// The right child becomes the root.
    fn rotate_left(&mut self, at: u32) -> u32 {
        let root = self.entries[at as usize].right;
        self.entries[at as usize].right = self.entries[root as usize].left;
        self.entries[root as usize].left = at;
        self.measure(at);
        self.measure(root);
        root
    }

    /// The left child becomes the root.
    fn rotate_right(&mut self, at: u32) -> u32 {
        let root = self.entries[at as usize].left;
        self.entries[at as usize].left = self.entries[root as usize].right;
        self.entries[root as usize].right = at;
        self.measure(at);
        self.measure(root);
        root
    }

    fn measure(&mut self, at: u32) {
        let Entry { left, right, .. } = self.entries[at as usize];
        self.entries[at as usize].height = self.height(left).max(self.height(right)) + 1;
    }

    fn height(&self, at: u32) -> u32 {
        self.entries.get(at as usize).map_or(0, |entry| entry.height)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::queues::Queues;
    use crate::vocabulary::units::{OrderSlot, Qty, SecurityId};
    use std::collections::BTreeSet;

    /// Two trees on one arena, each beside a sorted set; a level is told by its order's quantity.
    #[test]
    fn random_levels_agree_with_a_sorted_set() {
        const LEVELS: u32 = 120;
        let seed = 0x5eed_0000_0000_0011_u64;
        println!("seed {seed:#x}");
        let mut state = seed;
        let mut random = move |span: i64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            i64::try_from(state >> 33).unwrap() % span
        };
        let mut queues = Queues::new(1);
        let mut level_of = |tick: i64| {
            let mut level = Level::EMPTY;
            let qty = Qty::try_new(tick.abs() + 1).unwrap();
            queues.append(&mut level, SecurityId(0), tick, OrderSlot(0), qty);
            let copy = level;
            queues.unlink(&mut level, OrderSlot(0));
            copy
        };
        let mut far = FarLevels::new(LEVELS);
        let mut trees = [(Tree::EMPTY, BTreeSet::new()), (Tree::EMPTY, BTreeSet::new())];
        for _ in 0..40_000 {
            let used: usize = trees.iter().map(|(_, twin)| twin.len()).sum();
            let (tree, twin) = &mut trees[usize::try_from(random(2)).unwrap()];
            let tick = random(300) - 150;
            assert_eq!(far.get(*tree, tick).is_some(), twin.contains(&tick));
            if twin.contains(&tick) {
                assert_eq!(far.remove(tree, tick), level_of(tick));
                twin.remove(&tick);
            } else if used < LEVELS as usize {
                *far.get_or_insert(tree, tick) = level_of(tick);
                assert_eq!(far.get_mut(*tree, tick), Some(&mut level_of(tick)));
                twin.insert(tick);
            }
            assert_eq!(far.assert_tree(*tree) as usize, twin.len());
            assert_eq!(far.next_above(*tree, tick), twin.range(tick + 1..).next().copied());
            assert_eq!(far.next_below(*tree, tick), twin.range(..tick).next_back().copied());
        }
    }

    #[test]
    fn levels_that_come_in_order_stay_balanced() {
        let mut far = FarLevels::new(1 << 12);
        let mut tree = Tree::EMPTY;
        for tick in 0..1 << 12 {
            far.insert(&mut tree, tick, Level::EMPTY);
        }
        assert!(far.height(tree.0) <= 13, "height {}", far.height(tree.0));
        for tick in 0..1 << 12 {
            far.remove(&mut tree, tick);
        }
        assert_eq!(tree, Tree::EMPTY);
    }
}
