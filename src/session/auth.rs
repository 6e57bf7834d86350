//! Who may log on: the keys of all owners, and the check of a logon's credentials (ruling F04).
//!
//! A timestamp more than 5 s from the node's wall clock is refused, so that a recorded logon is
//! soon worthless; that it is also newer than the session's last one is checked by `logon.rs`,
//! which knows the session.
//!
//! A stranger learns nothing from the answer or from its time: every cause is the same error, an
//! unknown key id costs the same MAC as a known one, and MACs are compared in constant time.

use subtle::{Choice, ConstantTimeEq};

use super::credentials::{self, KEY_ID_BYTES_MAX, KeyError, MAC_BYTES, SECRET_BYTES_MIN, parse};
use crate::limits::LOGON_CLOCK_SKEW_MAX;
use crate::vocabulary::network::{Address, Network, is_allowed};
use crate::vocabulary::units::{Nanos, OwnerIdx, Text};

/// The keys of all owners, fixed at start-up.
#[derive(Debug)]
pub struct Keys {
    all: Box<[Key]>,
    /// From where each owner may log on; empty for anywhere.
    networks: Box<[Box<[Network]>]>,
    /// Stands in for an unknown key, so that it costs the same.
    decoy: credentials::Key,
}

/// One key of an owner. An owner has two while it changes from one to the next.
#[derive(Debug)]
pub struct Key {
    signs: credentials::Key,
    owner: OwnerIdx,
    not_after: Option<Nanos>,
}

/// Who signed a logon.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Signer {
    /// The key's owner.
    pub owner: OwnerIdx,
    /// The key, for the journal.
    pub key_id: Text<KEY_ID_BYTES_MAX>,
}

/// Credentials are wrong. The peer is not told why; the audit is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadCredentials(pub CredentialFault);

/// What is wrong with credentials: the first that applies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CredentialFault {
    /// They are not of the form key id, bar, 64 hex digits.
    Malformed,
    /// No such key.
    UnknownKey,
    /// The MAC is another.
    Mac,
    /// The key is no longer live.
    KeyEnded,
    /// The timestamp is too far from this node's clock.
    Clock,
    /// The owner does not log on from there.
    Address,
    /// The session id is zero.
    NoId,
    /// The session is another owner's.
    Owner,
    /// The timestamp is not newer than the session's last.
    Replayed,
}

impl CredentialFault {
    /// For the audit.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Self::Malformed => "credentials are malformed",
            Self::UnknownKey => "the key is unknown",
            Self::Mac => "the MAC is wrong",
            Self::KeyEnded => "the key is no longer live",
            Self::Clock => "the timestamp is too far from the clock",
            Self::Address => "the owner may not come from this address",
            Self::NoId => "the session id is zero",
            Self::Owner => "the session is another owner's",
            Self::Replayed => "the timestamp is not newer than the last one",
        }
    }
}

impl Key {
    /// A key of `owner`; `secret` is decoded, `not_after` is wall-clock time.
    pub fn new(
        id: &str,
        owner: OwnerIdx,
        secret: &[u8],
        not_after: Option<Nanos>,
    ) -> Result<Self, KeyError> {
        Ok(Self { signs: credentials::Key::try_new(id, secret)?, owner, not_after })
    }
}

impl Keys {
    /// All keys of the configuration.
    pub fn new(keys: Vec<Key>) -> Result<Self, KeyError> {
        let is_twice = |(at, key): (usize, &Key)| {
            keys[..at].iter().any(|other| other.signs.id() == key.signs.id())
        };
        if keys.iter().enumerate().any(is_twice) {
            return Err(KeyError::Twice);
        }
        let decoy = credentials::Key::try_new("decoy", &[0; SECRET_BYTES_MIN])?;
        Ok(Self { all: keys.into(), networks: Box::default(), decoy })
    }

    /// Lets owners log on from these networks alone; those without any, from everywhere.
    #[must_use]
    pub fn with_networks(mut self, lists: &[(OwnerIdx, Vec<Network>)]) -> Self {
        let count = lists.iter().map(|(owner, _)| usize::from(owner.0) + 1).max().unwrap_or(0);
        let mut networks = vec![Box::default(); count];
        for (owner, list) in lists {
            networks[usize::from(owner.0)] = list.clone().into_boxed_slice();
        }
        self.networks = networks.into();
        self
    }

    /// Who signed `block` of a frame of `template`, if its key is live at `now_wall` and its
    /// `timestamp` is within 5 s of it.
    pub fn verify(
        &self,
        template: u16,
        block: &[u8],
        credentials: &[u8],
        (now_wall, timestamp): (Nanos, Nanos),
        peer: Address,
    ) -> Result<Signer, BadCredentials> {
        let parsed = parse(credentials);
        let (id, claimed) = parsed.unwrap_or((&[], [0; MAC_BYTES]));
        let id = padded(id).unwrap_or_default();
        let mut found = None;
        for key in &self.all {
            if *key.signs.id().octets() == id {
                found = Some(key);
            }
        }
        let key = found.map_or(&self.decoy, |found| &found.signs);
        let is_signed = key.mac(template, block).ct_eq(&claimed);
        let skew = now_wall.since(timestamp).max(timestamp.since(now_wall));
        let is_live = found.is_some_and(|key| key.not_after.is_none_or(|end| now_wall <= end));
        let is_from = found.is_some_and(|key| self.is_allowed(key.owner, peer));
        let is_fresh = skew <= LOGON_CLOCK_SKEW_MAX;
        let is_good = is_signed & Choice::from(u8::from(is_live && is_from && is_fresh));
        match found {
            Some(key) if bool::from(is_good) => {
                Ok(Signer { owner: key.owner, key_id: *key.signs.id() })
            }
            // The answer waits for its grid, so what is found out here tells nobody anything.
            Some(_) | None => Err(BadCredentials(match (parsed, found) {
                (None, _) => CredentialFault::Malformed,
                (Some(_), None) => CredentialFault::UnknownKey,
                _ if !bool::from(is_signed) => CredentialFault::Mac,
                _ if !is_live => CredentialFault::KeyEnded,
                _ if !is_fresh => CredentialFault::Clock,
                _ => CredentialFault::Address,
            })),
        }
    }

    fn is_allowed(&self, owner: OwnerIdx, peer: Address) -> bool {
        let list = self.networks.get(usize::from(owner.0));
        is_allowed(list.map_or(&[], |list| list), peer)
    }
}

fn padded(id: &[u8]) -> Option<[u8; KEY_ID_BYTES_MAX]> {
    let mut octets = [0; KEY_ID_BYTES_MAX];
    octets.get_mut(..id.len())?.copy_from_slice(id);
    Some(octets)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Nanos = Nanos(1_700_000_000_000_000_000);
    const SECRET: [u8; 32] = [0xa1; 32];
    const HERE: Address = Address(1);
    const NEGOTIATE_MAC: &str = "9f91fbefb26b766dea473f365a5f8dbe078d053e51b869f4e4f94bfbc5f0b1a3";
    const ESTABLISH_MAC: &str = "ccce337aa406faeca431a36ae0d092789273467bfd8f565252ca180802c761ed";

    fn octets(hex: &str) -> Vec<u8> {
        let value = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
        (0..hex.len()).step_by(2).map(value).collect()
    }

    fn negotiate_block() -> Vec<u8> {
        octets("000102030405060708090a0b0c0d0e0f00002a36fe9c971701")
    }

    fn establish_block() -> Vec<u8> {
        octets("000102030405060708090a0b0c0d0e0f01002a36fe9c9717e8030000010000000000000001dc050000")
    }

    fn keys() -> Keys {
        let key = |id, owner, octet, not_after| {
            Key::new(id, OwnerIdx(owner), &[octet; 32], not_after).unwrap()
        };
        Keys::new(vec![
            key("firm-b", 1, 0xb2, None),
            key("firm-a", 0, 0xa1, None),
            key("old", 0, 0xa1, Some(Nanos(NOW.0 - 1))),
            key("ends-now", 0, 0xa1, Some(NOW)),
        ])
        .unwrap()
    }

    #[test]
    fn both_vectors_of_the_ruling_hold() {
        for (template, block, mac) in
            [(1, negotiate_block(), NEGOTIATE_MAC), (5, establish_block(), ESTABLISH_MAC)]
        {
            let text = format!("firm-a|{mac}");
            let made = credentials::Key::try_new("firm-a", &SECRET).unwrap().sign(template, &block);
            assert_eq!(std::str::from_utf8(made.as_bytes()), Ok(text.as_str()));
            let signer = Signer { owner: OwnerIdx(0), key_id: Text::new("firm-a") };
            assert_eq!(
                keys().verify(template, &block, text.as_bytes(), (NOW, NOW), HERE),
                Ok(signer)
            );
        }
    }

    type Row = (&'static str, String, u16, Option<usize>, u64, bool);

    /// One row a cause: credentials, template, octet of the block to flip, timestamp.
    #[test]
    fn every_cause_is_the_same_refusal() {
        let good = format!("firm-a|{NEGOTIATE_MAC}");
        let with_id = |id: &str| format!("{id}|{NEGOTIATE_MAC}");
        let second = Nanos::SECOND.0;
        #[rustfmt::skip]
        let rows: &[Row] = &[
            ("good",              good.clone(),            1, None,     NOW.0,              true),
            ("5 s early",         good.clone(),            1, None,     NOW.0 + 5 * second, true),
            ("5 s late",          good.clone(),            1, None,     NOW.0 - 5 * second, true),
            ("too early",         good.clone(),            1, None,     NOW.0 + 5 * second + 1, false),
            ("too late",          good.clone(),            1, None,     NOW.0 - 5 * second - 1, false),
            ("time 0",            good.clone(),            1, None,     0,                  false),
            ("time null",         good.clone(),            1, None,     u64::MAX,           false),
            ("other template",    good.clone(),            5, None,     NOW.0,              false),
            ("other block",       good.clone(),            1, Some(24), NOW.0,              false),
            ("unknown key",       with_id("firm-c"),       1, None,     NOW.0,              false),
            ("another's key",     with_id("firm-b"),       1, None,     NOW.0,              false),
            ("key ended",         with_id("old"),          1, None,     NOW.0,              false),
            ("key ends now",      with_id("ends-now"),     1, None,     NOW.0,              true),
            ("no key id",         with_id(""),             1, None,     NOW.0,              false),
            ("NUL padded key id", with_id("firm-a\0"),     1, None,     NOW.0,              false),
            ("long key id",       with_id(&"a".repeat(33)), 1, None,    NOW.0,              false),
            ("upper-case hex",    good.to_uppercase(),     1, None,     NOW.0,              false),
            ("one digit short",   good[..good.len() - 1].into(), 1, None, NOW.0,            false),
            ("one digit more",    format!("{good}0"),      1, None,     NOW.0,              false),
            ("empty",             String::new(),           1, None,     NOW.0,              false),
            ("MAC alone",         NEGOTIATE_MAC.into(),    1, None,     NOW.0,              false),
        ];
        for (label, credentials, template, flip, timestamp, is_good) in rows {
            let mut block = negotiate_block();
            if let Some(at) = *flip {
                block[at] ^= 1;
            }
            let came = keys().verify(
                *template,
                &block,
                credentials.as_bytes(),
                (NOW, Nanos(*timestamp)),
                HERE,
            );
            assert_eq!(came.is_ok(), *is_good, "{label}");
        }
    }

    /// The peer is told one thing, the audit what it was; an owner may be bound to its networks.
    #[test]
    fn the_audit_learns_the_cause_and_owners_have_their_networks() {
        let near = Network::parse("10.0.0.0/8").unwrap();
        let lists = [(OwnerIdx(0), vec![near]), (OwnerIdx(2), vec![])];
        let keys = keys().with_networks(&lists);
        let at = |text: &str| Address::of(text.parse().unwrap());
        let good = format!("firm-a|{NEGOTIATE_MAC}");
        let wrong = good.replace("9f91", "9f92");
        let ended = format!("old|{NEGOTIATE_MAC}");
        let late = Nanos(NOW.0 + 6 * Nanos::SECOND.0);
        #[rustfmt::skip]
        let rows = [
            (good.as_str(),     NOW,  "10.1.1.1",         None),
            (good.as_str(),     NOW,  "::ffff:10.1.1.1",  None),
            (good.as_str(),     NOW,  "11.1.1.1",         Some(CredentialFault::Address)),
            (good.as_str(),     NOW,  "::1",              Some(CredentialFault::Address)),
            ("firm-a",          NOW,  "10.1.1.1",         Some(CredentialFault::Malformed)),
            (wrong.as_str(),    NOW,  "11.1.1.1",         Some(CredentialFault::Mac)),
            (ended.as_str(),    late, "10.1.1.1",         Some(CredentialFault::KeyEnded)),
            (good.as_str(),     late, "10.1.1.1",         Some(CredentialFault::Clock)),
        ];
        for (text, wall, peer, fault) in rows {
            let block = negotiate_block();
            let came = keys.verify(1, &block, text.as_bytes(), (wall, NOW), at(peer));
            assert_eq!(came.err(), fault.map(BadCredentials), "{text} from {peer}");
        }
        let unknown = format!("firm-c|{NEGOTIATE_MAC}");
        let came = keys.verify(1, &negotiate_block(), unknown.as_bytes(), (NOW, NOW), at("::1"));
        assert_eq!(came.err(), Some(BadCredentials(CredentialFault::UnknownKey)));
    }

    #[test]
    fn keys_are_checked_when_they_are_made() {
        let make = |id: &str, len: usize| Key::new(id, OwnerIdx(0), &vec![1; len], None).err();
        assert_eq!(make("a", 32), None);
        assert_eq!(make("a", 200), None);
        assert_eq!(make("a", 31), Some(KeyError::SecretTooShort { came: 31 }));
        assert_eq!(make("", 32), Some(KeyError::Id));
        assert_eq!(make("a|b", 32), Some(KeyError::Id));
        assert_eq!(make(&"a".repeat(33), 32), Some(KeyError::Id));
        let key = || Key::new("a", OwnerIdx(0), &SECRET, None).unwrap();
        assert_eq!(Keys::new(vec![key(), key()]).err(), Some(KeyError::Twice));
        assert!(!format!("{:?}", key()).contains("161"), "a secret is never printed");
    }
}
