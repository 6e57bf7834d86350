//! Which slot a session id has: a fixed index, so that a logon costs one look-up and not a walk
//! over 65,536 slots that are larger than a cache line each.
//!
//! Open addressing with linear probing over slot numbers; the ids themselves stand in the slots and
//! are compared there. Ids are chosen by clients, so the hash is keyed. A removal closes the gap
//! behind it (backward shift): no graves. There are at least two places a session, so a probe ends;
//! the table of sessions is full first. Memory: at most 16 bytes a session.

use crate::vocabulary::units::{SessionId, SessionIdx};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The index.
///
/// Invariant: between the home of an id and its place no place is free.
#[derive(Debug)]
pub(super) struct IdMap {
    places: Box<[u32]>,
    seed: u64,
}

const FREE: u32 = u32::MAX;

impl IdMap {
    /// An empty index for `session_count_max` sessions.
    pub(super) fn new(session_count_max: u32, seed: u64) -> Self {
        Self { places: vec![FREE; place_count(session_count_max)].into(), seed }
    }

    /// What `new` takes, in bytes.
    pub(super) fn bytes(session_count_max: u32) -> u64 {
        place_count(session_count_max) as u64 * size_of::<u32>() as u64
    }

    /// The slot of `id`; `id_of` tells the id of a slot that is in the index.
    pub(super) fn find(
        &self,
        id: SessionId,
        id_of: impl Fn(SessionIdx) -> SessionId,
    ) -> Option<SessionIdx> {
        self.place_of(id, id_of).map(|place| SessionIdx(self.places[place]))
    }

    /// Adds an id that is not there.
    pub(super) fn insert(&mut self, id: SessionId, session: SessionIdx) {
        let mut place = self.home(id);
        while self.places[place] != FREE {
            place = self.after(place);
        }
        self.places[place] = session.0;
    }

    /// Removes an id, if it is there.
    pub(super) fn remove(&mut self, id: SessionId, id_of: impl Fn(SessionIdx) -> SessionId) {
        let Some(mut hole) = self.place_of(id, &id_of) else { return };
        let around = self.places.len() - 1;
        let mut place = hole;
        loop {
            place = self.after(place);
            let moved = self.places[place];
            if moved == FREE {
                break;
            }
            // It may move into the hole unless its own home lies behind the hole.
            let wanted = self.home(id_of(SessionIdx(moved)));
            if place.wrapping_sub(wanted) & around >= place.wrapping_sub(hole) & around {
                self.places[hole] = moved;
                hole = place;
            }
        }
        self.places[hole] = FREE;
    }

    fn place_of(&self, id: SessionId, id_of: impl Fn(SessionIdx) -> SessionId) -> Option<usize> {
        let mut place = self.home(id);
        loop {
            match self.places[place] {
                FREE => return None,
                slot if id_of(SessionIdx(slot)) == id => return Some(place),
                _ => place = self.after(place),
            }
        }
    }

    fn home(&self, id: SessionId) -> usize {
        let hash = xxh3_64_with_seed(&id.0, self.seed);
        usize::try_from(hash & (self.places.len() as u64 - 1)).unwrap_or(0)
    }

    fn after(&self, place: usize) -> usize {
        (place + 1) & (self.places.len() - 1)
    }
}

fn place_count(session_count_max: u32) -> usize {
    (2 * session_count_max as usize).next_power_of_two()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::random::SplitMix;
    use std::collections::BTreeMap;

    #[test]
    fn random_ids_agree_with_a_map() {
        for seed in 0..60 {
            let mut random = SplitMix(seed);
            let mut map = IdMap::new(20, seed);
            let mut ids = [SessionId::NONE; 20];
            let mut twin = BTreeMap::<SessionId, u32>::new();
            for step in 0..1_500 {
                let id = SessionId([u8::try_from(random.below(30)).unwrap(); 16]);
                let free = (0..20).find(|slot| !twin.values().any(|taken| taken == slot));
                if twin.remove(&id).is_some() {
                    map.remove(id, |s| ids[s.0 as usize]);
                } else if let Some(slot) = free {
                    ids[slot as usize] = id;
                    map.insert(id, SessionIdx(slot));
                    twin.insert(id, slot);
                }
                for octet in 0..30 {
                    let id = SessionId([octet; 16]);
                    let found = map.find(id, |s| ids[s.0 as usize]).map(|s| s.0);
                    assert_eq!(found, twin.get(&id).copied(), "seed {seed} step {step}");
                }
            }
        }
    }
}
