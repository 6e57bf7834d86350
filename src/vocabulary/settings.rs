//! What changes outcomes and is therefore journaled: capacities, instruments, owners, accounts.
//!
//! Local settings (paths, ports, cores, secrets) never come here. A replay needs nothing but these.

use super::units::{Account, Nanos, OwnerIdx, Px, Qty, SecurityId, Text};

/// Every size whose overflow has an answer that a client can see. Fixed for the life of a journal.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Capacities {
    /// Logical sessions.
    pub session_count_max: u32,
    /// Inbound numbers remembered a session; a power of two.
    pub resend_window: u32,
    /// Live keys; a power of two.
    pub key_count_max: u32,
    /// Active time for which a key is kept at least.
    pub key_retention: Nanos,
    /// Open orders over all owners.
    pub order_count_max: u32,
    /// Seed of the dedup hash, drawn once at `init`, so that nobody can aim at one bucket.
    pub hash_seed: u64,
}

/// An instrument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Instrument {
    /// Its place in configuration order.
    pub security_id: SecurityId,
    /// Symbol(55).
    pub symbol: Text<16>,
    /// MinPriceIncrement(969), positive.
    pub tick: Px,
    /// RoundLot(561), positive.
    pub lot: Qty,
    /// LowLimitPrice(1148): no order below it.
    pub low_limit: Px,
    /// HighLimitPrice(1149): no order above it.
    pub high_limit: Px,
}

/// A firm.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Owner {
    /// Its place in configuration order.
    pub owner: OwnerIdx,
    /// The firm's number in configuration.
    pub id: u32,
    /// Name.
    pub name: Text<32>,
    /// Open orders at once.
    pub orders_max: u32,
}

/// An account and the one owner that may trade on it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct AccountOwner {
    /// Account(1).
    pub account: Account,
    /// Its owner.
    pub owner: OwnerIdx,
}

/// One journaled setting.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Setting {
    /// First of all; builds the machine's tables.
    Capacities(Capacities),
    /// Adds or changes an instrument.
    Instrument(Instrument),
    /// Adds or changes an owner.
    Owner(Owner),
    /// Adds an account.
    Account(AccountOwner),
}
