//! Configured against journaled logical settings.
//!
//! A journal is replayed with the settings in it, so a file cannot overrule it: a difference is either
//! appended as a Config record, which takes effect from there on, or refused. What may change is what
//! every later record still means the same under: something is added at the end, or an instrument's
//! price limits move. Capacities size the tables of the first record; places are numbers in the
//! engine; nothing can be taken away, since orders, keys and sessions may refer to it.

use super::logical::Logical;
use super::value::{show_price, show_span};
use crate::vocabulary::settings::{AccountOwner, Capacities, Instrument, Owner, Setting};
use std::fmt;

/// One setting that differs.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Difference {
    /// The key, such as `capacities.key_count_max` or `instrument AAA.high_limit`.
    pub key: String,
    /// What the file says.
    pub configured: String,
    /// What the journal says.
    pub journaled: String,
    /// The record that brings a running journal to what the file says; none when nothing can.
    pub applies: Option<Setting>,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, configured, journaled, applies } = self;
        let verdict = match applies {
            Some(_) => "can be applied",
            None => "fixed for the life of a journal",
        };
        write!(f, "{key}: configured {configured}, journaled {journaled} ({verdict})")
    }
}

/// Every difference, in the order in which the settings are journaled. The seed of the hash is drawn
/// and not configured, so it is not compared.
#[must_use]
pub fn compare(configured: &Logical, journaled: &Logical) -> Vec<Difference> {
    let mut comparison = Comparison(Vec::new());
    comparison.capacities(&configured.capacities, &journaled.capacities);
    comparison.instruments(&configured.instruments, &journaled.instruments);
    comparison.owners(&configured.owners, &journaled.owners);
    comparison.accounts(configured, journaled);
    comparison.0
}

/// The records to append, in order; none when a difference cannot be applied.
#[must_use]
pub fn settings_to_append(differences: &[Difference]) -> Option<Vec<Setting>> {
    let mut settings = differences.iter().map(|d| d.applies).collect::<Option<Vec<_>>>()?;
    // Two keys of one instrument are one record.
    settings.dedup();
    Some(settings)
}

/// Collects what differs.
struct Comparison(Vec<Difference>);

impl Comparison {
    /// Records a difference unless both are written the same.
    fn check(
        &mut self,
        key: String,
        configured: impl ToString,
        journaled: impl ToString,
        applies: Option<Setting>,
    ) {
        let (configured, journaled) = (configured.to_string(), journaled.to_string());
        if configured != journaled {
            self.0.push(Difference { key, configured, journaled, applies });
        }
    }

    fn capacities(&mut self, ours: &Capacities, theirs: &Capacities) {
        let mut fixed = |name: &str, ours: u64, theirs: u64| {
            self.check(format!("capacities.{name}"), ours, theirs, None);
        };
        let both = (ours.session_count_max, theirs.session_count_max);
        fixed("session_count_max", both.0.into(), both.1.into());
        fixed("resend_window", ours.resend_window.into(), theirs.resend_window.into());
        fixed("key_count_max", ours.key_count_max.into(), theirs.key_count_max.into());
        fixed("order_count_max", ours.order_count_max.into(), theirs.order_count_max.into());
        let spans = (show_span(ours.key_retention), show_span(theirs.key_retention));
        self.check("capacities.key_retention".to_owned(), spans.0, spans.1, None);
    }

    fn instruments(&mut self, ours: &[Instrument], theirs: &[Instrument]) {
        for old in theirs {
            let key = |name: &str| format!("instrument {}.{name}", old.symbol);
            let Some(new) = ours.iter().find(|new| new.symbol == old.symbol) else {
                self.check(format!("instrument {}", old.symbol), "absent", "present", None);
                continue;
            };
            self.check(key("place"), new.security_id, old.security_id, None);
            self.check(key("tick"), show_price(new.tick), show_price(old.tick), None);
            self.check(key("lot"), new.lot, old.lot, None);
            // Limits can move, unless the same record would change something that cannot.
            let limits_only =
                Instrument { low_limit: new.low_limit, high_limit: new.high_limit, ..*old };
            let applies = (limits_only == *new).then_some(Setting::Instrument(*new));
            let (low, high) = (show_price(new.low_limit), show_price(new.high_limit));
            self.check(key("low_limit"), low, show_price(old.low_limit), applies);
            self.check(key("high_limit"), high, show_price(old.high_limit), applies);
        }
        for new in ours.iter().filter(|new| theirs.iter().all(|old| old.symbol != new.symbol)) {
            let is_free = theirs.iter().all(|old| old.security_id != new.security_id);
            let applies = is_free.then_some(Setting::Instrument(*new));
            self.check(format!("instrument {}", new.symbol), "present", "absent", applies);
        }
    }

    fn owners(&mut self, ours: &[Owner], theirs: &[Owner]) {
        for old in theirs {
            let key = |name: &str| format!("owner {}.{name}", old.id);
            let Some(new) = ours.iter().find(|new| new.id == old.id) else {
                self.check(format!("owner {}", old.id), "absent", "present", None);
                continue;
            };
            self.check(key("place"), new.owner, old.owner, None);
            self.check(key("name"), new.name, old.name, None);
            self.check(key("orders_max"), new.orders_max, old.orders_max, None);
        }
        for new in ours.iter().filter(|new| theirs.iter().all(|old| old.id != new.id)) {
            let is_free = theirs.iter().all(|old| old.owner != new.owner);
            let applies = is_free.then_some(Setting::Owner(*new));
            self.check(format!("owner {}", new.id), "present", "absent", applies);
        }
    }

    fn accounts(&mut self, ours: &Logical, theirs: &Logical) {
        let owner_of = |logical: &Logical, account: &AccountOwner| {
            let owner = logical.owners.iter().find(|owner| owner.owner == account.owner);
            owner.map_or_else(|| "of no owner".to_owned(), |owner| format!("of owner {}", owner.id))
        };
        let find = |among: &[AccountOwner], account: &AccountOwner| {
            among.iter().find(|other| other.account == account.account).copied()
        };
        for old in &theirs.accounts {
            let new = find(&ours.accounts, old);
            let new = new.map_or_else(|| "absent".to_owned(), |new| owner_of(ours, &new));
            self.check(format!("account {}", old.account), new, owner_of(theirs, old), None);
        }
        for new in ours.accounts.iter().filter(|new| find(&theirs.accounts, new).is_none()) {
            let applies = Some(Setting::Account(*new));
            let key = format!("account {}", new.account);
            self.check(key, owner_of(ours, new), "absent", applies);
        }
    }
}
