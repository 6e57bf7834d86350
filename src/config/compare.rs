//! Configured against journaled logical settings.
//!
//! A journal is replayed with the settings in it, so a file cannot overrule it: a difference is
//! either appended as a Config record, which takes effect from there on, or refused. What may
//! change is what every later record still means the same under: something is added at the end, or
//! an instrument's price limits move. Capacities size the tables of the first record; places are
//! numbers in the engine; nothing can be taken away, since orders, keys and sessions may refer to
//! it.

use super::logical::Logical;
use super::value::{show_price, show_span};
use crate::vocabulary::settings::{Capacities, Instrument, Owner, Setting};
use crate::vocabulary::units::Account;
use std::fmt::{self, Display};

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

impl Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            key,
            configured,
            journaled,
            applies,
        } = self;
        let verdict = match applies {
            Some(_) => "can be applied",
            None => "fixed for the life of a journal",
        };
        write!(
            f,
            "{key}: configured {configured}, journaled {journaled} ({verdict})"
        )
    }
}

const ABSENT: &str = "absent";
const PRESENT: &str = "present";

/// Every difference, in the order in which the settings are journaled. The seed of the hash is
/// drawn and not configured, so it is not compared.
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
    let mut settings = differences
        .iter()
        .map(|d| d.applies)
        .collect::<Option<Vec<_>>>()?;
    // Two keys of one instrument are one record.
    settings.dedup();
    Some(settings)
}

/// Collects what differs.
struct Comparison(Vec<Difference>);

impl Comparison {
    /// Records a difference unless both are written the same.
    fn check(&mut self, key: &str, ours: &dyn Display, theirs: &dyn Display) {
        self.check_with(None, key, ours, theirs);
    }

    /// As [`Comparison::check`], with the record that would end the difference.
    fn check_with(
        &mut self,
        applies: Option<Setting>,
        key: &str,
        ours: &dyn Display,
        theirs: &dyn Display,
    ) {
        let (configured, journaled) = (ours.to_string(), theirs.to_string());
        if configured != journaled {
            self.0.push(Difference {
                key: key.to_owned(),
                configured,
                journaled,
                applies,
            });
        }
    }

    fn capacities(&mut self, ours: &Capacities, theirs: &Capacities) {
        type Count = fn(&Capacities) -> u32;
        let counts: [(&str, Count); 4] = [
            ("session_count_max", |c| c.session_count_max),
            ("resend_window", |c| c.resend_window),
            ("key_count_max", |c| c.key_count_max),
            ("order_count_max", |c| c.order_count_max),
        ];
        for (name, count) in counts {
            let key = format!("capacities.{name}");
            self.check(&key, &count(ours), &count(theirs));
        }
        let (new, old) = (ours.key_retention, theirs.key_retention);
        let key = "capacities.key_retention";
        self.check(key, &show_span(new), &show_span(old));
    }

    fn instruments(&mut self, ours: &[Instrument], theirs: &[Instrument]) {
        for old in theirs {
            let path = format!("instrument {}", old.symbol);
            match ours.iter().find(|new| new.symbol == old.symbol) {
                Some(new) => self.instrument(&path, new, old),
                None => self.check(&path, &ABSENT, &PRESENT),
            }
        }
        for new in ours {
            if theirs.iter().all(|old| old.symbol != new.symbol) {
                let is_free = theirs.iter().all(|old| old.security_id != new.security_id);
                let applies = is_free.then_some(Setting::Instrument(*new));
                let path = format!("instrument {}", new.symbol);
                self.check_with(applies, &path, &PRESENT, &ABSENT);
            }
        }
    }

    fn instrument(&mut self, path: &str, new: &Instrument, old: &Instrument) {
        let key = |name| format!("{path}.{name}");
        let show = show_price;
        self.check(&key("place"), &new.security_id, &old.security_id);
        self.check(&key("tick"), &show(new.tick), &show(old.tick));
        self.check(&key("lot"), &new.lot, &old.lot);
        // Limits can move, unless the same record would change something that cannot.
        let limits_only = Instrument {
            low_limit: new.low_limit,
            high_limit: new.high_limit,
            ..*old
        };
        let applies = (limits_only == *new).then_some(Setting::Instrument(*new));
        let (low, high) = (key("low_limit"), key("high_limit"));
        self.check_with(applies, &low, &show(new.low_limit), &show(old.low_limit));
        self.check_with(applies, &high, &show(new.high_limit), &show(old.high_limit));
    }

    fn owners(&mut self, ours: &[Owner], theirs: &[Owner]) {
        for old in theirs {
            let path = format!("owner {}", old.id);
            let key = |name| format!("{path}.{name}");
            match ours.iter().find(|new| new.id == old.id) {
                Some(new) => {
                    self.check(&key("place"), &new.owner, &old.owner);
                    self.check(&key("name"), &new.name, &old.name);
                    self.check(&key("orders_max"), &new.orders_max, &old.orders_max);
                }
                None => self.check(&path, &ABSENT, &PRESENT),
            }
        }
        for new in ours {
            if theirs.iter().all(|old| old.id != new.id) {
                let is_free = theirs.iter().all(|old| old.owner != new.owner);
                let applies = is_free.then_some(Setting::Owner(*new));
                self.check_with(applies, &format!("owner {}", new.id), &PRESENT, &ABSENT);
            }
        }
    }

    fn accounts(&mut self, ours: &Logical, theirs: &Logical) {
        for old in &theirs.accounts {
            let path = format!("account {}", old.account);
            let (new, old) = (owner_of(ours, old.account), owner_of(theirs, old.account));
            self.check(&path, &new, &old);
        }
        for new in &ours.accounts {
            if theirs.accounts.iter().all(|old| old.account != new.account) {
                let applies = Some(Setting::Account(*new));
                let path = format!("account {}", new.account);
                self.check_with(applies, &path, &owner_of(ours, new.account), &ABSENT);
            }
        }
    }
}

/// Whose an account is, in words.
fn owner_of(logical: &Logical, account: Account) -> String {
    let Some(found) = logical.accounts.iter().find(|a| a.account == account) else {
        return ABSENT.to_owned();
    };
    match logical.owners.iter().find(|o| o.owner == found.owner) {
        Some(owner) => format!("of owner {}", owner.id),
        None => format!("of owner index {}", found.owner),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::vocabulary::settings::AccountOwner;
    use crate::vocabulary::units::{Nanos, OwnerIdx, Px, Qty, SecurityId, Text};

    /// What `change` makes of the demo market, compared with it: key, both values, and whether it
    /// can be applied.
    #[track_caller]
    fn check(change: fn(&mut Logical), expected: &[(&str, &str, &str, bool)]) {
        let journaled = Config::demo().logical;
        let mut configured = journaled.clone();
        change(&mut configured);
        let found = compare(&configured, &journaled);
        let rows: Vec<_> = found
            .iter()
            .map(|d| (&*d.key, &*d.configured, &*d.journaled, d.applies.is_some()))
            .collect();
        assert_eq!(rows, expected);
        let Some(settings) = settings_to_append(&found) else {
            assert!(expected.iter().any(|row| !row.3));
            return;
        };
        // What was appended leaves nothing to apply.
        let replayed = journaled.settings(0).chain(settings);
        let replayed = Logical::from_settings(replayed).unwrap();
        assert_eq!(compare(&configured, &replayed), []);
    }

    fn add_ddd(l: &mut Logical, place: usize) {
        let mut new = l.instruments[0];
        new.symbol = Text::new("DDD");
        l.instruments.insert(place, new);
        for (id, instrument) in (0..).zip(&mut l.instruments) {
            instrument.security_id = SecurityId(id);
        }
    }

    #[test]
    fn what_can_be_applied_and_what_is_fixed() {
        check(|_| (), &[]);
        check(|l| l.capacities.hash_seed = 7, &[]);
        let key = "capacities.key_count_max";
        check(
            |l| l.capacities.key_count_max *= 2,
            &[(key, "2097152", "1048576", false)],
        );
        let key = "capacities.key_retention";
        check(
            |l| l.capacities.key_retention = Nanos::from_millis(1_500),
            &[(key, "1500 ms", "1 d", false)],
        );
        let (low, high) = ("instrument AAA.low_limit", "instrument AAA.high_limit");
        check(
            |l| (l.instruments[0].low_limit, l.instruments[0].high_limit) = (Px::ONE, Px::ONE),
            &[
                (low, "1.00", "0.01", true),
                (high, "1.00", "1000000.00", true),
            ],
        );
        // Limits that come with another tick cannot be applied without it.
        check(
            |l| (l.instruments[0].low_limit, l.instruments[0].tick) = (Px::ONE, Px::ONE),
            &[
                ("instrument AAA.tick", "1.00", "0.01", false),
                (low, "1.00", "0.01", false),
            ],
        );
        check(
            |l| l.instruments[1].lot = Qty::MAX,
            &[("instrument BBB.lot", "1099511627776", "1", false)],
        );
        check(
            |l| add_ddd(l, 3),
            &[("instrument DDD", "present", "absent", true)],
        );
        check(
            |l| add_ddd(l, 2), // where CCC was
            &[
                ("instrument CCC.place", "3", "2", false),
                ("instrument DDD", "present", "absent", false),
            ],
        );
        check(
            |l| l.instruments.truncate(2),
            &[("instrument CCC", "absent", "present", false)],
        );
        check(
            |l| l.owners[1].orders_max = 1,
            &[("owner 2.orders_max", "1", "20000", false)],
        );
        check(
            |l| l.owners[1].name = Text::new("B"),
            &[("owner 2.name", "B", "Firm B", false)],
        );
    }

    #[test]
    fn firms_and_accounts_are_added_and_never_removed() {
        check(
            |l| {
                let (owner, account) = (OwnerIdx(2), Account(3001));
                let new = Owner {
                    owner,
                    id: 3,
                    ..l.owners[0]
                };
                l.owners.push(new);
                l.accounts.push(AccountOwner { account, owner });
            },
            &[
                ("owner 3", "present", "absent", true),
                ("account 3001", "of owner 3", "absent", true),
            ],
        );
        check(
            |l| l.accounts[0].owner = OwnerIdx(1),
            &[("account 1001", "of owner 2", "of owner 1", false)],
        );
        check(
            |l| l.accounts.retain(|a| a.account != Account(1002)),
            &[("account 1002", "absent", "of owner 1", false)],
        );
    }

    #[test]
    fn a_difference_reads_as_a_sentence() {
        let mut configured = Config::demo().logical;
        configured.capacities.resend_window = 64;
        let found = compare(&configured, &Config::demo().logical);
        let expected = "capacities.resend_window: configured 64, journaled 8192 \
                        (fixed for the life of a journal)";
        assert_eq!(found[0].to_string(), expected);
    }
}
