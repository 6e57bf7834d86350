//! How many connections one address has, and how fast it opens them.
//!
//! Whoever can reach the port can open connections before it has shown who it is. A bound on all of
//! them would let one stranger take everybody's place; so each source (an address, or the /64 of an
//! IPv6 address) has a bound of its own, on connections at once and on their rate.
//!
//! The table is fixed: sets of 16 places, the set chosen by a keyed hash. A rate is kept as the
//! time at which the source would be at rest again, one number instead of a bucket of tokens; a
//! source at rest without connections is forgotten for a new one. There are at least four places a
//! connection, so that a set is full of live sources is as good as impossible; then the newcomer is
//! refused. Between sources that are only fast, the one closest to rest gives way: a flood from
//! very many addresses makes rates forgotten, never counts.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use crate::vocabulary::network::Address;
use crate::vocabulary::units::Nanos;

const WAYS: usize = 16;

/// The bounds of one source.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct AddressLimits {
    /// Connections at once.
    pub(super) count_max: u32,
    /// Connections a second; 0 for any. As many again may come at once after a rest.
    pub(super) rate: u32,
}

/// Why a source gets no connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum AddressRefusal {
    /// It has too many.
    TooMany,
    /// It opens them too fast.
    TooFast,
    /// There is no place to count it in.
    Full,
}

/// What is known of the sources of connections.
pub(super) struct Addresses {
    places: Box<[Place]>,
    limits: AddressLimits,
    seed: u64,
}

#[derive(Clone, Copy)]
struct Place {
    source: Address,
    count: u32,
    /// When its rate is forgotten; a place without connections and at rest is free.
    rests_at: Nanos,
}

impl Addresses {
    /// Places for `connection_count_max` connections.
    pub(super) fn new(connection_count_max: u32, limits: AddressLimits, seed: u64) -> Self {
        let free = Place { source: Address(0), count: 0, rests_at: Nanos(0) };
        let count = (4 * connection_count_max as usize).next_power_of_two().max(WAYS);
        Self { places: vec![free; count].into(), limits, seed }
    }

    /// A connection of `address` is accepted, unless it has too many or is too fast.
    pub(super) fn try_add(&mut self, now: Nanos, address: Address) -> Result<(), AddressRefusal> {
        let source = address.source();
        let AddressLimits { count_max, rate } = self.limits;
        let set = self.set_of(source);
        let known = set.iter().position(|p| p.source == source && !p.is_free(now));
        let at = if let Some(at) = known {
            at
        } else {
            let idle = (0..WAYS).filter(|at| set[*at].count == 0);
            let at = idle.min_by_key(|at| set[*at].rests_at).ok_or(AddressRefusal::Full)?;
            set[at] = Place { source, count: 0, rests_at: now };
            at
        };
        let place = &mut set[at];
        if place.count >= count_max {
            return Err(AddressRefusal::TooMany);
        }
        if let Some(interval) = Nanos::SECOND.0.checked_div(u64::from(rate)) {
            let rests_at = place.rests_at.max(now).saturating_add(Nanos(interval));
            if rests_at.since(now) > Nanos::SECOND {
                return Err(AddressRefusal::TooFast);
            }
            place.rests_at = rests_at;
        }
        place.count += 1;
        Ok(())
    }

    /// A connection of `address` that was accepted is closed.
    pub(super) fn remove(&mut self, address: Address) {
        let source = address.source();
        let set = self.set_of(source);
        let place = set.iter_mut().find(|p| p.source == source && p.count > 0);
        let Some(place) = place else { panic!("a connection was counted when it was accepted") };
        place.count -= 1;
    }

    fn set_of(&mut self, source: Address) -> &mut [Place] {
        let hash = xxh3_64_with_seed(&source.0.to_le_bytes(), self.seed);
        let sets = self.places.len() / WAYS;
        let set = usize::try_from(hash & (sets as u64 - 1)).unwrap_or(0);
        &mut self.places[set * WAYS..(set + 1) * WAYS]
    }
}

impl Place {
    fn is_free(&self, now: Nanos) -> bool {
        self.count == 0 && self.rests_at <= now
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::random::SplitMix;
    use std::collections::BTreeMap;
    use std::net::{IpAddr, Ipv4Addr};

    fn address(number: u32) -> Address {
        Address::of(IpAddr::V4(Ipv4Addr::from_bits(number)))
    }

    #[test]
    fn one_source_has_a_bound_on_count_and_rate() {
        let limits = AddressLimits { count_max: 3, rate: 10 };
        let mut addresses = Addresses::new(64, limits, 1);
        let (a, b) = (address(1), address(2));
        let mut now = Nanos(50 * Nanos::SECOND.0);
        assert_eq!([(); 3].map(|()| addresses.try_add(now, a)), [Ok(()); 3]);
        assert_eq!(addresses.try_add(now, a), Err(AddressRefusal::TooMany));
        assert_eq!(addresses.try_add(now, b), Ok(()), "another source is not touched");
        // Opened and closed at once: ten, then one every 100 ms.
        for _ in 0..9 {
            addresses.remove(b);
            assert_eq!(addresses.try_add(now, b), Ok(()));
        }
        addresses.remove(b);
        assert_eq!(addresses.try_add(now, b), Err(AddressRefusal::TooFast));
        now = Nanos(now.0 + 100 * Nanos::MILLI.0);
        assert_eq!(addresses.try_add(now, b), Ok(()));
        addresses.remove(b);
        assert_eq!(addresses.try_add(now, b), Err(AddressRefusal::TooFast));
        now = Nanos(now.0 + Nanos::SECOND.0);
        assert_eq!([(); 3].map(|()| addresses.try_add(now, b)), [Ok(()); 3]);
        let mut any = Addresses::new(64, AddressLimits { count_max: u32::MAX, rate: 0 }, 1);
        assert!((0..100_000).all(|_| any.try_add(now, a) == Ok(())), "0 is no bound");
    }

    /// As many live sources as there may be connections: each is counted, whatever else comes by.
    #[test]
    fn counts_are_never_forgotten() {
        let limits = AddressLimits { count_max: 2, rate: 1_000 };
        let mut addresses = Addresses::new(64, limits, 7);
        let mut random = SplitMix(3);
        let mut live = BTreeMap::<u32, u32>::new();
        let mut now = Nanos(1);
        for step in 0..200_000 {
            now = Nanos(now.0 + random.below(3_000_000));
            let number = u32::try_from(random.below(96)).unwrap();
            let count = live.get(&number).copied().unwrap_or(0);
            let sum: u32 = live.values().sum();
            if count > 0 && random.below(2) == 0 {
                addresses.remove(address(number));
                live.insert(number, count - 1);
            } else if sum < 64 {
                let came = addresses.try_add(now, address(number));
                let wanted = if count < 2 { Ok(()) } else { Err(AddressRefusal::TooMany) };
                assert_eq!(came, wanted, "step {step}");
                live.insert(number, count + u32::from(came.is_ok()));
            }
        }
    }
}
