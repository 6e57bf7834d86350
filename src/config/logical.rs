//! Logical settings: what changes outcomes and is therefore journaled; and the demo market.
//!
//! The place of an instrument or an owner in the file is its number in the engine (SecurityID,
//! owner index), so entries are added at the end and never moved.

use super::error::Faults;
use super::local::{count, networks, set};
use super::read::{At, Section};
use super::value;
use crate::engine::orders::ORDER_COUNT_MAX;
use crate::limits;
use crate::vocabulary::network::Network;
use crate::vocabulary::settings::{AccountOwner, Capacities, Instrument, Owner, Setting};
use crate::vocabulary::units::{Account, Nanos, OwnerIdx, Px, Qty, SecurityId, Text};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::RangeInclusive;
use toml::de::DeValue;

const SESSION_COUNT: RangeInclusive<u32> = 1..=limits::SESSION_COUNT_MAX;
const RESEND_WINDOW: RangeInclusive<u32> = 64..=65_536;
const KEY_COUNT: RangeInclusive<u32> = 1 << 10..=1 << 26;
const ORDER_COUNT: RangeInclusive<u32> = 64..=ORDER_COUNT_MAX;
const KEY_RETENTION: RangeInclusive<Nanos> = Nanos::SECOND..=Nanos(30 * DAY.0);
const DAY: Nanos = Nanos(86_400 * Nanos::SECOND.0);
/// 0 and the null of a `u32` are no number of an owner and no account.
const NUMBERS: RangeInclusive<u32> = 1..=u32::MAX - 1;
/// Open orders of an owner, unless its table or the order table says less.
const OWNER_ORDERS_DEFAULT: u32 = 20_000;

/// Settings that are journaled.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Logical {
    /// Sizes whose overflow has an answer; `hash_seed` is 0 until it is drawn at `init`.
    pub capacities: Capacities,
    /// Instruments; the place is the SecurityID.
    pub instruments: Vec<Instrument>,
    /// Owners; the place is the owner index.
    pub owners: Vec<Owner>,
    /// Accounts, ascending by number within each owner's list.
    pub accounts: Vec<AccountOwner>,
}

impl Logical {
    /// Default capacities and no market.
    pub(super) const fn empty() -> Self {
        Self {
            capacities: Capacities {
                session_count_max: 1_024,
                resend_window: 8_192,
                key_count_max: 1 << 20,
                key_retention: DAY,
                order_count_max: 1 << 18,
                hash_seed: 0,
            },
            instruments: Vec::new(),
            owners: Vec::new(),
            accounts: Vec::new(),
        }
    }

    /// Puts three instruments and two firms into an empty market.
    pub(super) fn add_demo_market(&mut self) {
        for (place, symbol) in (0..).zip(["AAA", "BBB", "CCC"]) {
            self.instruments.push(Instrument {
                security_id: SecurityId(place),
                symbol: Text::new(symbol),
                tick: cents(1),
                lot: whole(1),
                low_limit: cents(1),
                high_limit: cents(100_000_000),
            });
        }
        for (place, id, name) in [(0, 1, "Firm A"), (1, 2, "Firm B")] {
            self.owners.push(Owner {
                owner: OwnerIdx(place),
                id,
                name: Text::new(name),
                orders_max: OWNER_ORDERS_DEFAULT.min(self.capacities.order_count_max),
            });
            for account in [1_000 * id + 1, 1_000 * id + 2] {
                self.accounts
                    .push(AccountOwner { account: Account(account), owner: OwnerIdx(place) });
            }
        }
    }

    /// Everything as journaled at `init`, in the order in which it is journaled: capacities with
    /// the drawn seed, instruments, owners, accounts.
    pub fn settings(&self, hash_seed: u64) -> impl Iterator<Item = Setting> + '_ {
        let capacities = Capacities { hash_seed, ..self.capacities };
        std::iter::once(Setting::Capacities(capacities))
            .chain(self.instruments.iter().copied().map(Setting::Instrument))
            .chain(self.owners.iter().copied().map(Setting::Owner))
            .chain(self.accounts.iter().copied().map(Setting::Account))
    }

    /// What the Config records of a journal add up to; none when there is no Capacities among them.
    /// The seed comes back as it was journaled.
    #[must_use]
    pub fn from_settings(settings: impl IntoIterator<Item = Setting>) -> Option<Self> {
        let mut capacities = None;
        let mut logical = Self::empty();
        for setting in settings {
            match setting {
                Setting::Capacities(journaled) => capacities = Some(journaled),
                Setting::Instrument(new) => {
                    put(&mut logical.instruments, new, |i| i.security_id == new.security_id);
                }
                Setting::Owner(new) => put(&mut logical.owners, new, |o| o.owner == new.owner),
                Setting::Account(new) => {
                    put(&mut logical.accounts, new, |a| a.account == new.account);
                }
            }
        }
        logical.capacities = capacities?;
        Some(logical)
    }
}

/// Replaces the entry that `is_same` finds, or appends.
fn put<T>(entries: &mut Vec<T>, new: T, is_same: impl Fn(&T) -> bool) {
    match entries.iter_mut().find(|entry| is_same(entry)) {
        Some(old) => *old = new,
        None => entries.push(new),
    }
}

const fn cents(count: i64) -> Px {
    match Px::try_new(count * (Px::ONE.raw() / 100)) {
        Some(price) => price,
        None => panic!("a built-in price is outside the range of prices"),
    }
}

const fn whole(count: i64) -> Qty {
    match Qty::try_new(count) {
        Some(quantity) => quantity,
        None => panic!("a built-in quantity is outside the range of quantities"),
    }
}

/// Reads `[capacities]`.
pub(super) fn read_capacities(
    mut section: Section<'_>,
    logical: &mut Logical,
    faults: &mut Faults,
) {
    let (s, c) = (&mut section, &mut logical.capacities);
    set(&mut c.session_count_max, count(s, "session_count_max", &SESSION_COUNT, faults));
    // The machine remembers so many numbers over all sessions; a default gives way.
    let most = limits::REMEMBERED_COUNT_MAX / u64::from(c.session_count_max);
    let most = u32::try_from(most).unwrap_or(u32::MAX).min(*RESEND_WINDOW.end());
    let windows = *RESEND_WINDOW.start()..=1 << most.ilog2();
    c.resend_window = c.resend_window.min(*windows.end());
    set(&mut c.resend_window, power(s, "resend_window", &windows, faults));
    set(&mut c.key_count_max, power(s, "key_count_max", &KEY_COUNT, faults));
    let expected = "a span in [1 s, 30 d] as a string, such as \"24 h\" (units ms, s, min, h, d)";
    let retention = s.take("key_retention", expected, faults, |v| {
        value::span(v).filter(|span| KEY_RETENTION.contains(span))
    });
    set(&mut c.key_retention, retention);
    // An open order holds its key, so more orders than keys could never be open.
    let orders = *ORDER_COUNT.start()..=(*ORDER_COUNT.end()).min(c.key_count_max);
    c.order_count_max = c.order_count_max.min(*orders.end());
    set(&mut c.order_count_max, count(s, "order_count_max", &orders, faults));
    section.finish(faults);
}

/// Reads `[[instrument]]`.
pub(super) fn read_instruments(
    mut tables: Vec<Section<'_>>,
    logical: &mut Logical,
    faults: &mut Faults,
) {
    cut(&mut tables, limits::INSTRUMENT_COUNT_MAX, "instrument", faults);
    let mut symbols = BTreeMap::new();
    for (place, mut section) in (0..).zip(tables) {
        let s = &mut section;
        let expected = "1 to 16 printable ASCII characters without blanks, used once";
        let symbol = s.require("symbol", expected, faults, text_without_blanks);
        if let Some(At { line, value }) = symbol {
            unique(&mut symbols, value, line, &s.path_of("symbol"), faults);
        }
        if let (Some(symbol), Some(terms)) = (symbol, read_terms(s, faults)) {
            logical.instruments.push(Instrument {
                security_id: SecurityId(place),
                symbol: symbol.value,
                ..terms
            });
        }
        section.finish(faults);
    }
}

/// Tick, lot and limits of an instrument whose place and symbol the caller fills in.
fn read_terms(s: &mut Section<'_>, faults: &mut Faults) -> Option<Instrument> {
    let positive = format!("{}, above 0", value::PRICE);
    let tick = s.require("tick", &positive, faults, |v| {
        value::price(v).filter(|tick| *tick > Px::default())
    });
    let lots = format!("an integer in [1, {}]", Qty::MAX);
    let lot = s.require("lot", &lots, faults, |v| {
        let lot = value::integer(v, &(1..=Qty::MAX.raw().unsigned_abs()))?;
        Qty::try_new(i64::try_from(lot).ok()?)
    });
    let low = s.require("low_limit", value::PRICE, faults, value::price);
    let high = s.require("high_limit", value::PRICE, faults, value::price);
    let (tick, lot, low, high) = (tick?.value, lot?.value, low?, high?);
    for (key, limit) in [("low_limit", low), ("high_limit", high)] {
        if !limit.value.is_multiple_of(tick) {
            let expected = format!("a multiple of the tick {}", value::show_price(tick));
            faults.add(limit.line, s.path_of(key), expected, value::show_price(limit.value));
        }
    }
    if high.value < low.value {
        let expected = format!("at least low_limit, {}", value::show_price(low.value));
        faults.add(high.line, s.path_of("high_limit"), expected, value::show_price(high.value));
    }
    Some(Instrument {
        security_id: SecurityId::default(),
        symbol: Text::default(),
        tick,
        lot,
        low_limit: low.value,
        high_limit: high.value,
    })
}

/// Reads `[[owner]]` with the accounts of each, and gives from where each may log on, which is the
/// node's own matter.
pub(super) fn read_owners(
    mut tables: Vec<Section<'_>>,
    logical: &mut Logical,
    faults: &mut Faults,
) -> Vec<(OwnerIdx, Vec<Network>)> {
    let mut addresses = Vec::new();
    cut(&mut tables, limits::OWNER_COUNT_MAX, "owner", faults);
    let mut ids = BTreeMap::new();
    let mut accounts = BTreeMap::new();
    let numbers = format!("an integer in [1, {}], used once", NUMBERS.end());
    let orders = 1..=logical.capacities.order_count_max;
    for (place, mut section) in (0..).zip(tables) {
        let s = &mut section;
        let owner = OwnerIdx(place);
        let id = s.require("id", &numbers, faults, |v| value::integer_u32(v, &NUMBERS));
        if let Some(At { line, value }) = id {
            unique(&mut ids, value, line, &s.path_of("id"), faults);
        }
        let expected = "1 to 32 printable ASCII characters";
        let name = s.require("name", expected, faults, |v| text(v));
        let mut orders_max = OWNER_ORDERS_DEFAULT.min(*orders.end());
        set(&mut orders_max, count(s, "orders_max", &orders, faults));
        let expected = format!("an array of integers in [1, {}]", NUMBERS.end());
        let listed = s.require("accounts", &expected, faults, |v| {
            let numbers = v.as_array()?.iter();
            numbers.map(|n| value::integer_u32(n.get_ref(), &NUMBERS)).collect::<Option<Vec<_>>>()
        });
        if let Some(At { line, value }) = listed {
            let count = logical.accounts.len() + value.len();
            if count > limits::ACCOUNT_COUNT_MAX {
                let expected = format!("at most {} accounts in all", limits::ACCOUNT_COUNT_MAX);
                faults.add(line, s.path_of("accounts"), expected, count.to_string());
            }
            for account in value {
                unique(&mut accounts, account, line, &s.path_of("accounts"), faults);
                let account = Account(account);
                logical.accounts.push(AccountOwner { account, owner });
            }
        }
        if let Some(listed) = networks(s, "addresses", faults) {
            addresses.push((owner, listed.value));
        }
        if let (Some(id), Some(name)) = (id, name) {
            logical.owners.push(Owner { owner, id: id.value, name: name.value, orders_max });
        }
        section.finish(faults);
    }
    addresses
}

/// Keeps at most `count_max` tables; more of them is one fault, not one for each.
fn cut(tables: &mut Vec<Section<'_>>, count_max: usize, key: &str, faults: &mut Faults) {
    if let Some(first) = tables.get(count_max) {
        let expected = format!("at most {count_max} tables [[{key}]]");
        faults.add(first.line(), key, expected, tables.len().to_string());
        tables.truncate(count_max);
    }
}

/// A fault unless `value` is met for the first time.
fn unique<T: Ord + Copy + Display>(
    met: &mut BTreeMap<T, u32>,
    value: T,
    line: u32,
    key: &str,
    faults: &mut Faults,
) {
    if let Some(first) = met.get(&value) {
        let expected = format!("a value used once; line {first} has it already");
        faults.add(line, key, expected, value.to_string());
    } else {
        met.insert(value, line);
    }
}

/// 1 to `N` printable ASCII characters.
fn text<const N: usize>(value: &DeValue<'_>) -> Option<Text<N>> {
    let text = value.as_str()?;
    let fits = (1..=N).contains(&text.len()) && text.bytes().all(|b| (b' '..=b'~').contains(&b));
    fits.then(|| Text::new(text))
}

/// As [`text`], and no blank.
fn text_without_blanks<const N: usize>(value: &DeValue<'_>) -> Option<Text<N>> {
    text(value).filter(|text: &Text<N>| !text.as_str().contains(' '))
}

/// Takes a power of two in `range`.
fn power(
    section: &mut Section<'_>,
    key: &'static str,
    range: &RangeInclusive<u32>,
    faults: &mut Faults,
) -> Option<At<u32>> {
    let expected = format!("a power of two in [{}, {}]", range.start(), range.end());
    section.take(key, &expected, faults, |v| {
        value::integer_u32(v, range).filter(|n| n.is_power_of_two())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_journaled_adds_up_to_what_was_configured() {
        let mut logical = Logical::empty();
        logical.add_demo_market();
        let journaled: Vec<_> = logical.settings(7).collect();
        assert!(matches!(journaled[0], Setting::Capacities(c) if c.hash_seed == 7));
        assert_eq!(journaled.len(), 1 + 3 + 2 + 4);
        logical.capacities.hash_seed = 7;
        assert_eq!(Logical::from_settings(journaled.clone()), Some(logical.clone()));

        // Without its first record a journal says nothing; a later record replaces an earlier one.
        assert_eq!(Logical::from_settings(journaled.iter().skip(1).copied()), None);
        let mut moved = logical.instruments[1];
        moved.high_limit = cents(500);
        logical.instruments[1] = moved;
        let again = journaled.into_iter().chain([Setting::Instrument(moved)]);
        assert_eq!(Logical::from_settings(again), Some(logical));
    }
}
