//! Owners, their accounts, and how many orders each has open.
//!
//! An owner is a firm. Accounts are few and change by the journal alone, so they stand sorted in
//! one array; a look-up is a binary search in memory that stays cached.

use crate::limits::{ACCOUNT_COUNT_MAX, OWNER_COUNT_MAX};
use crate::vocabulary::bytes::{Reader, Writer};
use crate::vocabulary::settings::{AccountOwner, Owner};
use crate::vocabulary::units::{Account, OwnerIdx, Text};

/// All owners and accounts.
pub struct Owners {
    owners: Vec<OwnerState>,
    /// Sorted by account.
    accounts: Vec<AccountOwner>,
}

struct OwnerState {
    setting: Owner,
    /// Derived from the order arena; not in snapshots.
    open_orders: u32,
}

impl Default for Owners {
    fn default() -> Self {
        Self::new()
    }
}

impl Owners {
    /// Room for [`OWNER_COUNT_MAX`] owners and [`ACCOUNT_COUNT_MAX`] accounts.
    #[must_use]
    pub fn new() -> Self {
        Self {
            owners: Vec::with_capacity(OWNER_COUNT_MAX),
            accounts: Vec::with_capacity(ACCOUNT_COUNT_MAX),
        }
    }

    /// Adds an owner in configuration order, or changes one. False when out of order or full.
    #[must_use]
    pub fn set_owner(&mut self, setting: Owner) -> bool {
        let index = usize::from(setting.owner.0);
        if let Some(state) = self.owners.get_mut(index) {
            state.setting = setting;
            return true;
        }
        let fits = index == self.owners.len() && index < OWNER_COUNT_MAX;
        if fits {
            self.owners.push(OwnerState { setting, open_orders: 0 });
        }
        fits
    }

    /// Gives an account to an owner. False when the owner is unknown, the account is 0, null or
    /// another's, or there is no room.
    #[must_use]
    pub fn set_account(&mut self, setting: AccountOwner) -> bool {
        let is_possible = usize::from(setting.owner.0) < self.owners.len()
            && setting.account.0 != 0
            && setting.account.0 != u32::MAX;
        match self.accounts.binary_search_by_key(&setting.account, |a| a.account) {
            Ok(at) => is_possible && self.accounts[at].owner == setting.owner,
            Err(at) => {
                let fits = is_possible && self.accounts.len() < ACCOUNT_COUNT_MAX;
                if fits {
                    self.accounts.insert(at, setting);
                }
                fits
            }
        }
    }

    /// Whether the owner may trade on the account.
    #[must_use]
    pub fn has_account(&self, owner: OwnerIdx, account: u32) -> bool {
        self.accounts
            .binary_search_by_key(&Account(account), |a| a.account)
            .is_ok_and(|at| self.accounts[at].owner == owner)
    }

    /// Whether there is such an owner.
    #[must_use]
    pub fn is_known(&self, owner: OwnerIdx) -> bool {
        usize::from(owner.0) < self.owners.len()
    }

    /// Whether one more open order is within the owner's limit.
    #[must_use]
    pub fn may_open(&self, owner: OwnerIdx) -> bool {
        let state = &self.owners[usize::from(owner.0)];
        state.open_orders < state.setting.orders_max
    }

    /// Notes an order that opened.
    pub fn on_open(&mut self, owner: OwnerIdx) {
        self.owners[usize::from(owner.0)].open_orders += 1;
    }

    /// Notes an order that ended.
    pub fn on_close(&mut self, owner: OwnerIdx) {
        let open = &mut self.owners[usize::from(owner.0)].open_orders;
        assert!(*open > 0, "an order ends once");
        *open -= 1;
    }

    /// Open orders of an owner.
    #[must_use]
    pub fn open_orders(&self, owner: OwnerIdx) -> u32 {
        self.owners[usize::from(owner.0)].open_orders
    }

    /// The owners in configuration order.
    pub fn owners(&self) -> impl Iterator<Item = &Owner> {
        self.owners.iter().map(|state| &state.setting)
    }

    /// The accounts, sorted.
    #[must_use]
    pub fn accounts(&self) -> &[AccountOwner] {
        &self.accounts
    }

    /// Canonical bytes.
    pub fn write_snapshot(&self, out: &mut Writer) {
        out.u32(u32::try_from(self.owners.len()).unwrap_or(u32::MAX));
        for state in &self.owners {
            out.u32(state.setting.id);
            out.put(state.setting.name.octets());
            out.u32(state.setting.orders_max);
        }
        out.u32(u32::try_from(self.accounts.len()).unwrap_or(u32::MAX));
        for account in &self.accounts {
            out.u32(account.account.0);
            out.u16(account.owner.0);
        }
    }

    /// Fills an empty table from [`Self::write_snapshot`].
    pub fn read_snapshot(&mut self, r: &mut Reader<'_>) -> Option<()> {
        for index in 0..r.u32()? {
            let owner = OwnerIdx(u16::try_from(index).ok()?);
            let (id, name, orders_max) = (r.u32()?, Text::from_octets(r.take()?), r.u32()?);
            self.set_owner(Owner { owner, id, name, orders_max }).then_some(())?;
        }
        for _ in 0..r.u32()? {
            let setting = AccountOwner { account: Account(r.u32()?), owner: OwnerIdx(r.u16()?) };
            self.set_account(setting).then_some(())?;
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_account_has_one_owner() {
        let mut owners = Owners::new();
        for index in 0..2 {
            let setting =
                Owner { owner: OwnerIdx(index), id: 1, name: Text::new("A"), orders_max: 1 };
            assert!(owners.set_owner(setting));
        }
        let give = |o: &mut Owners, account, owner| {
            o.set_account(AccountOwner { account: Account(account), owner: OwnerIdx(owner) })
        };
        assert!(give(&mut owners, 7, 0));
        assert!(give(&mut owners, 5, 1));
        assert!(give(&mut owners, 7, 0), "said twice");
        assert!(!give(&mut owners, 7, 1), "another's");
        assert!(!give(&mut owners, 9, 2), "unknown owner");
        assert!(!give(&mut owners, 0, 0));
        assert!(!give(&mut owners, u32::MAX, 0));
        assert!(owners.has_account(OwnerIdx(0), 7) && !owners.has_account(OwnerIdx(1), 7));
        assert!(owners.may_open(OwnerIdx(0)));
        owners.on_open(OwnerIdx(0));
        assert!(!owners.may_open(OwnerIdx(0)));
    }
}
