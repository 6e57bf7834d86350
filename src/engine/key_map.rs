//! KeyMap: from the hash of a key to its position in the ring of keys.
//!
//! A find that misses, which is every honest order, should cost one cache line. So a slot is 8
//! octets, a 32-bit tag and a 32-bit position, and nothing of the key itself: the ring is read only
//! when the tag agrees. The tag is the upper half of a keyed 64-bit hash, its own upper bits being
//! the home slot. A slot therefore tells by itself where its probing began, and a removal can close
//! the gap behind it (backward shift) without reading one entry of the ring. No tombstones: a map
//! that has run for a year probes like a fresh one.
//!
//! ```text
//! slot   | tag u32, 0 = empty | position u32 |      home = tag >> (32 - log2(slots))
//! ```
//!
//! The price: with 2^25 slots only 7 bits of the tag are left to tell keys of one home apart, so
//! about one miss in 250 reads the ring for nothing. Exactness does not depend on it: the caller
//! compares the whole key.
//!
//! Load is at most 1/2 by construction (two slots a key), so a probe always ends at an empty slot.
//! The map never refuses: the ring is full first, and the ring's owner refuses by name.

use crate::vocabulary::units::{ClOrdId, OwnerIdx};

/// Slots a key of the ring. Two keep linear probing short: 1.5 slots for a hit, 2.5 for a miss.
const SLOTS_A_KEY: u32 = 2;

/// What the map knows of a key: 32 bits of its keyed hash, never 0.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct KeyHash(u32);

/// The keyed hash of a dedup table.
///
/// XXH3 over (owner, ClOrdID) with a seed that is drawn once and never shown. It is not a
/// cryptographic function; it need only keep someone who sees neither seed nor hash from filling
/// one neighbourhood of the map.
pub(super) struct KeyHasher {
    seed: u64,
    /// Bits kept and bits set in every hash, so that a test can make keys collide.
    #[cfg(test)]
    weakness: (u32, u32),
}

impl KeyHasher {
    pub(super) const fn new(seed: u64) -> Self {
        Self {
            seed,
            #[cfg(test)]
            weakness: (u32::MAX, 0),
        }
    }

    /// A hasher whose hashes keep only the bits of `keep` and have all of `set`.
    #[cfg(test)]
    pub(super) const fn weak(seed: u64, keep: u32, set: u32) -> Self {
        let weakness = (keep, set);
        Self { seed, weakness }
    }

    pub(super) fn hash(&self, owner: OwnerIdx, cl_ord_id: ClOrdId) -> KeyHash {
        let mut key = [0; 16];
        key[..8].copy_from_slice(&cl_ord_id.0.to_le_bytes());
        key[8..10].copy_from_slice(&owner.0.to_le_bytes());
        let tag = (xxhash_rust::xxh3::xxh3_64_with_seed(&key, self.seed) >> 32) as u32;
        #[cfg(test)]
        let tag = tag & self.weakness.0 | self.weakness.1;
        // 0 stands for an empty slot. 1 has the same home: the shift is at least 1.
        KeyHash(tag.max(1))
    }
}

/// One slot: a tag and a position in the ring.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(C, align(8))]
struct Slot {
    /// The key's [`KeyHash`]; 0 when the slot is empty.
    tag: u32,
    /// The key's position in the ring.
    position: u32,
}

const _: () = assert!(size_of::<Slot>() == 8);

impl Slot {
    /// No key. The position is not 0, so that filling the table writes to every page at start-up
    /// where zeros could be left for the kernel to supply at the first order.
    const EMPTY: Self = Self { tag: 0, position: u32::MAX };
}

/// The map. Invariants: at most half of the slots are taken; between the home of a taken slot and
/// the slot itself none is empty; no position stands in two slots.
pub(super) struct KeyMap {
    slots: Box<[Slot]>,
    /// `log2` of the slot count, taken from 32: what is left of a tag after it is its home.
    shift: u32,
    /// Slot count - 1.
    mask: u32,
    /// Slots taken, in `[0, slot count / 2]`.
    count: u32,
}

impl KeyMap {
    /// What `new` takes, in bytes.
    pub(super) fn bytes(key_count_max: u32) -> u64 {
        u64::from(key_count_max) * u64::from(SLOTS_A_KEY) * size_of::<Slot>() as u64
    }

    /// A map for at most `key_count_max` keys, a power of two in `[1, 2^30]`. All memory is
    /// allocated and written here: 16 octets a key.
    pub(super) fn new(key_count_max: u32) -> Self {
        assert!(
            key_count_max.is_power_of_two() && key_count_max <= 1 << 30,
            "the key count is a power of two up to 2^30, got {key_count_max}"
        );
        let slot_count = key_count_max * SLOTS_A_KEY;
        Self {
            slots: vec![Slot::EMPTY; slot_count as usize].into_boxed_slice(),
            shift: 32 - slot_count.trailing_zeros(),
            mask: slot_count - 1,
            count: 0,
        }
    }

    /// Adds a key that is not there: `is_key` holds for no position whose tag agrees.
    pub(super) fn insert(&mut self, hash: KeyHash, position: u32, is_key: impl Fn(u32) -> bool) {
        assert!(
            self.count < self.slot_count() / SLOTS_A_KEY,
            "a key more than the map was built for"
        );
        let mut at = self.home(hash.0);
        loop {
            let slot = self.slots[at as usize];
            if slot.tag == 0 {
                break;
            }
            let is_twice = slot.tag == hash.0 && is_key(slot.position);
            assert!(!is_twice, "a key is inserted twice");
            at = self.after(at);
        }
        self.slots[at as usize] = Slot { tag: hash.0, position };
        self.count += 1;
    }

    /// Removes the key at `position`, and moves those behind it that now have a way home.
    pub(super) fn remove(&mut self, hash: KeyHash, position: u32) {
        let mut gap = self.slot_of(hash, position);
        let mut at = self.after(gap);
        loop {
            let slot = self.slots[at as usize];
            if slot.tag == 0 {
                break;
            }
            // The slot may move into the gap if the gap lies on its way, from its home to here.
            let way = at.wrapping_sub(self.home(slot.tag)) & self.mask;
            if way >= at.wrapping_sub(gap) & self.mask {
                self.slots[gap as usize] = slot;
                gap = at;
            }
            at = self.after(at);
        }
        self.slots[gap as usize] = Slot::EMPTY;
        self.count -= 1;
    }

    /// Notes that the key at position `from` is now at `to`.
    pub(super) fn reposition(&mut self, hash: KeyHash, from: u32, to: u32) {
        let at = self.slot_of(hash, from);
        self.slots[at as usize].position = to;
    }

    /// Asks memory for the slot that a find of `hash` reads first.
    #[inline]
    pub(super) fn prefetch(&self, hash: KeyHash) {
        journal::prefetch_read(&self.slots, self.home(hash.0) as usize);
    }

    /// The position for which `is_key` holds, among those whose tag agrees.
    #[inline]
    pub(super) fn find(&self, hash: KeyHash, is_key: impl Fn(u32) -> bool) -> Option<u32> {
        let mut at = self.home(hash.0);
        loop {
            let slot = self.slots[at as usize];
            if slot.tag == hash.0 && is_key(slot.position) {
                return Some(slot.position);
            }
            if slot.tag == 0 {
                return None;
            }
            at = self.after(at);
        }
    }

    /// Keys in the map.
    pub(super) const fn count(&self) -> u32 {
        self.count
    }

    /// Every taken slot, in no order that means anything. Reads the whole map.
    pub(super) fn iter(&self) -> impl Iterator<Item = (KeyHash, u32)> {
        let taken = self.slots.iter().filter(|slot| slot.tag != 0);
        taken.map(|slot| (KeyHash(slot.tag), slot.position))
    }

    /// The cheap half of the invariants.
    pub(super) fn assert_invariants(&self) {
        assert!(self.slot_count().is_power_of_two());
        assert!(self.count <= self.slot_count() / SLOTS_A_KEY);
    }

    /// The dear half: reads the whole map.
    pub(super) fn assert_invariants_all(&self) {
        self.assert_invariants();
        let mut count = 0;
        for (at, slot) in (0..).zip(&self.slots) {
            if slot.tag == 0 {
                assert_eq!(*slot, Slot::EMPTY, "an empty slot keeps a position");
                continue;
            }
            count += 1;
            let mut on_the_way = self.home(slot.tag);
            while on_the_way != at {
                let taken = self.slots[on_the_way as usize].tag != 0;
                assert!(taken, "a gap between a slot and its home");
                on_the_way = self.after(on_the_way);
            }
        }
        assert_eq!(count, self.count, "the count of taken slots");
    }

    /// The slot that holds the key at `position`; the caller knows that there is one.
    fn slot_of(&self, hash: KeyHash, position: u32) -> u32 {
        let mut at = self.home(hash.0);
        loop {
            let slot = self.slots[at as usize];
            assert!(slot.tag != 0, "a key of the ring is not in the map");
            if slot.position == position {
                assert_eq!(slot.tag, hash.0, "a position stands under another tag");
                return at;
            }
            at = self.after(at);
        }
    }

    const fn home(&self, tag: u32) -> u32 {
        tag >> self.shift
    }

    const fn after(&self, at: u32) -> u32 {
        at.wrapping_add(1) & self.mask
    }

    const fn slot_count(&self) -> u32 {
        self.mask + 1
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Keys of the map under test.
    const KEYS: u32 = 32;

    /// Random operations on a map and on a `BTreeMap` from position to tag. `keep` and `set` weaken
    /// the tags; a home is the upper 6 bits.
    fn check(seed: u64, keep: u32, set: u32) {
        println!("seed {seed}, keep {keep:#x}, set {set:#x}");
        let hasher = KeyHasher::weak(seed, keep, set);
        let mut random = random_from(seed);
        let mut map = KeyMap::new(KEYS);
        let mut twin = BTreeMap::new();
        for position in 0..20_000_u32 {
            let context = format!("seed {seed}, keep {keep:#x}, set {set:#x}, step {position}");
            let hash = hasher.hash(OwnerIdx(0), ClOrdId(random()));
            let any =
                twin.keys().nth(usize::try_from(random() % u64::from(KEYS)).unwrap()).copied();
            match (random() % 8, any) {
                (0..4, _) if twin.len() < KEYS as usize => {
                    map.insert(hash, position, |_| false);
                    twin.insert(position, hash);
                }
                (4, Some(from)) => {
                    let hash = twin.remove(&from).unwrap();
                    map.reposition(hash, from, position);
                    twin.insert(position, hash);
                }
                (_, Some(from)) => map.remove(twin.remove(&from).unwrap(), from),
                (_, None) => {}
            }
            map.assert_invariants_all();
            let all: BTreeMap<u32, KeyHash> = map.iter().map(|(h, p)| (p, h)).collect();
            assert_eq!(
                all.iter().map(|(p, h)| (*p, h.0)).collect::<Vec<_>>(),
                twin.iter().map(|(p, h)| (*p, h.0)).collect::<Vec<_>>(),
                "{context}"
            );
            for (&at, &hash) in &twin {
                assert_eq!(map.find(hash, |p| p == at), Some(at), "{context}");
                assert_eq!(map.find(hash, |_| false), None, "{context}");
            }
        }
    }

    #[test]
    fn agrees_with_a_plain_map_however_keys_collide() {
        //    keep         set
        check(1, u32::MAX, 0); // as in the program
        check(2, 0, u32::MAX); // one tag for all, its home the last slot: the probe wraps
        check(3, 0xff, 0xffff_ff00); // one home, many tags
        check(4, 0x07ff_ffff, 0xf800_0000); // two homes, the last two
        check(5, 0x1fff_ffff, 0xe000_0000); // eight homes up to the last: clusters of mixed homes
        check(6, 0x1fff_ffff, 0); // eight homes from the first
        check(7, 0xe000_0000, 0); // eight homes far apart
    }

    #[test]
    fn a_hash_depends_on_owner_id_and_seed_and_is_never_the_empty_tag() {
        let hash = |seed, owner, id| KeyHasher::new(seed).hash(OwnerIdx(owner), ClOrdId(id));
        let base = hash(1, 1, 1);
        assert_eq!(base, hash(1, 1, 1));
        for other in [hash(2, 1, 1), hash(1, 2, 1), hash(1, 1, 2), hash(1, 256, 1)] {
            assert_ne!(base, other);
        }
        assert_eq!(KeyHasher::weak(1, 0, 0).hash(OwnerIdx(1), ClOrdId(1)), KeyHash(1));
    }

    #[test]
    fn equal_steps_of_an_id_spread_over_the_homes() {
        // A client counts up, or counts in its own 48 bits; neither may fill one neighbourhood.
        for stride in [1, 1 << 8, 1 << 16, 1 << 32, 1 << 48] {
            let hasher = KeyHasher::new(7);
            let mut homes = [0_u32; 64];
            for i in 1..=6_400_u64 {
                let id = ClOrdId(i * stride);
                homes[(hasher.hash(OwnerIdx(3), id).0 >> 26) as usize] += 1;
            }
            for count in homes {
                // 100 is fair, 10 its deviation.
                assert!((50..150).contains(&count), "stride {stride}: {homes:?}");
            }
        }
    }

    #[test]
    #[should_panic(expected = "a key more than the map was built for")]
    fn is_never_more_than_half_full() {
        let mut map = KeyMap::new(2);
        for position in 0..3 {
            map.insert(KeyHash(position + 1), position, |_| false);
        }
    }

    #[test]
    #[should_panic(expected = "a key of the ring is not in the map")]
    fn removing_what_is_not_there_is_a_fault_of_the_program() {
        let mut map = KeyMap::new(2);
        map.insert(KeyHash(5), 1, |_| false);
        map.remove(KeyHash(5), 2);
    }

    /// SplitMix64 from a seed.
    pub(in crate::engine) fn random_from(mut state: u64) -> impl FnMut() -> u64 {
        move || {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ (z >> 31)
        }
    }
}
