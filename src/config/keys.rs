//! Who may log on: key ids with their owners, and where their secrets come from.
//!
//! The main file says which keys exist and is meant to be read by many, so a secret in it is
//! refused. Secrets come from a file apart that only its owner can read, or from the environment,
//! which wins. Two keys an owner allow a change of keys without a moment in which none is valid.

use super::error::{Faults, quoted};
use super::load::Environment;
use super::local::LocalRead;
use super::logical::Logical;
use super::read::{At, Lines, Section, nearest, parse};
use super::value;
use crate::vocabulary::settings::Owner;
use crate::vocabulary::units::{Nanos, OwnerIdx};
use std::fmt;
use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use subtle::ConstantTimeEq as _;
use toml::de::DeValue;

/// Characters of a key id at most; a record holds as many.
const ID_CHARS_MAX: usize = 32;
/// Octets of a secret, no fewer than the digest it keys.
const SECRET_OCTETS_MIN: usize = 32;
const SECRET_OCTETS_MAX: usize = 256;
const SECRET_EXPECTED: &str = "a string of 64 to 512 hexadecimal digits (32 to 256 octets)";
const KEYS_AN_OWNER_MAX: usize = 2;
/// A file of configuration or keys is read whole; one above this is not one.
pub(super) const FILE_BYTES_MAX: usize = 1 << 20;
/// Key ids of the demo firms and the octet that fills their secrets. Public, for loopback alone.
const DEMO_KEYS: [(&str, u8); 2] = [("firm-a", 0xa1), ("firm-b", 0xb2)];

/// A key of an owner.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Key {
    /// 1 to 32 of `A-Za-z0-9._-`.
    pub id: String,
    /// Whose it is.
    pub owner: OwnerIdx,
    /// What signs.
    pub secret: Secret,
    /// The wall clock time from which it is refused.
    pub not_after: Option<Nanos>,
}

/// 32 to 256 secret octets. Never shown, compared in constant time, wiped when dropped.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// The secret, if `octets` are 32 to 256.
    #[must_use]
    pub fn try_new(octets: Vec<u8>) -> Option<Self> {
        // Made first, so that refused octets are wiped too.
        let secret = Self(octets);
        (SECRET_OCTETS_MIN..=SECRET_OCTETS_MAX)
            .contains(&secret.0.len())
            .then_some(secret)
    }

    /// The octets, for the one who signs.
    #[must_use]
    pub fn octets(&self) -> &[u8] {
        &self.0
    }

    /// Whether this is a secret that everybody knows.
    #[must_use]
    pub fn is_demo(&self) -> bool {
        DEMO_KEYS
            .iter()
            .any(|&(_, octet)| *self == Self::demo(octet))
    }

    fn demo(octet: u8) -> Self {
        Self(vec![octet; SECRET_OCTETS_MIN])
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl PartialEq for Secret {
    fn eq(&self, other: &Self) -> bool {
        self.0.ct_eq(&other.0).into()
    }
}

impl Eq for Secret {}

impl Drop for Secret {
    fn drop(&mut self) {
        wipe(&mut self.0);
    }
}

/// The keys of the demo market.
pub(super) fn demo_keys() -> Vec<Key> {
    let key = |(owner, (id, octet)): (u16, (&str, u8))| Key {
        id: id.to_owned(),
        owner: OwnerIdx(owner),
        secret: Secret::demo(octet),
        not_after: None,
    };
    (0..).zip(DEMO_KEYS).map(key).collect()
}

/// Name of the environment variable that may hold the secret of a key.
fn variable(id: &str) -> String {
    let upper = id.to_ascii_uppercase().replace(['-', '.'], "_");
    format!("TIDEGATE_KEY_{upper}")
}

/// A key as the main file has it.
struct Declared {
    line: u32,
    path: String,
    id: String,
    owner: OwnerIdx,
    not_after: Option<Nanos>,
}

/// Reads `[[key]]` and finds the secret of each.
pub(super) fn read(
    tables: Vec<Section<'_>>,
    local: &LocalRead,
    logical: &Logical,
    environment: Environment<'_>,
    faults: &mut Faults,
) -> Vec<Key> {
    let declared = read_declared(tables, &logical.owners, faults);
    let stored = match &local.keys_file {
        Some(path) => read_file(path, &declared, faults),
        None => Vec::new(),
    };
    let mut keys = Vec::with_capacity(declared.len());
    for key in declared {
        let name = variable(&key.id);
        let secret = if let Some(digits) = environment(&name) {
            let secret = secret_from(digits);
            if secret.is_none() {
                let expected = format!("{SECRET_EXPECTED} in the environment variable {name}");
                faults.add(key.line, key.path, expected, "another value, not shown");
            }
            secret
        } else if let Some((_, secret)) = stored.iter().find(|(id, _)| *id == key.id) {
            secret.clone()
        } else if let Some(octet) = demo_octet(&key.id).filter(|_| local.demo_keys) {
            Some(Secret::demo(octet))
        } else {
            let expected = format!("a secret for {} in keys_file or in {name}", quoted(&key.id));
            faults.add(key.line, key.path, expected, "nothing");
            None
        };
        keys.extend(secret.map(|secret| Key {
            id: key.id,
            owner: key.owner,
            secret,
            not_after: key.not_after,
        }));
    }
    keys
}

fn demo_octet(id: &str) -> Option<u8> {
    DEMO_KEYS
        .iter()
        .find(|(demo, _)| *demo == id)
        .map(|&(_, octet)| octet)
}

fn read_declared(tables: Vec<Section<'_>>, owners: &[Owner], faults: &mut Faults) -> Vec<Declared> {
    let mut declared: Vec<Declared> = Vec::new();
    for mut section in tables {
        let s = &mut section;
        let expected = "1 to 32 of A-Z a-z 0-9 . _ -, used once";
        let id = s.require("id", expected, faults, |v| {
            v.as_str().filter(|id| is_id(id)).map(str::to_owned)
        });
        let expected = "the id of an [[owner]]";
        let owner = s.require("owner", expected, faults, |v| {
            let id = value::integer_u32(v, &(0..=u32::MAX))?;
            owners
                .iter()
                .find(|owner| owner.id == id)
                .map(|owner| owner.owner)
        });
        let expected = "a time with an offset from 1970 on, such as 2030-01-01T00:00:00Z, unquoted";
        let not_after = s.take("not_after", expected, faults, value::time);
        refuse_secret(s, faults);
        if let (Some(id), Some(owner)) = (id, owner) {
            let key = Declared {
                line: id.line,
                path: s.path_of("id"),
                id: id.value,
                owner: owner.value,
                not_after: not_after.map(|time| time.value),
            };
            check_against_others(&key, owner.line, &declared, s, faults);
            declared.push(key);
        }
        section.finish(faults);
    }
    declared
}

fn check_against_others(
    key: &Declared,
    owner_line: u32,
    others: &[Declared],
    section: &Section<'_>,
    faults: &mut Faults,
) {
    // Ids that differ only in case, `-` and `.` would be given the same secret.
    let name = variable(&key.id);
    if let Some(other) = others.iter().find(|other| variable(&other.id) == name) {
        let expected = format!(
            "an id whose variable {name} no other key has; see line {}",
            other.line
        );
        faults.add(key.line, key.path.clone(), expected, quoted(&key.id));
    }
    if others
        .iter()
        .filter(|other| other.owner == key.owner)
        .count()
        == KEYS_AN_OWNER_MAX
    {
        let expected = format!("at most {KEYS_AN_OWNER_MAX} keys an owner");
        faults.add(owner_line, section.path_of("owner"), expected, "one more");
    }
}

/// A secret in the file that many may read has to be replaced, not only moved; it is never shown.
fn refuse_secret(section: &mut Section<'_>, faults: &mut Faults) {
    if let Some(secret) = section.take("secret", "", faults, |_| Some(())) {
        let expected = "no secret in this file: put a new one into keys_file";
        faults.add(
            secret.line,
            section.path_of("secret"),
            expected,
            "a value, not shown",
        );
    }
}

fn is_id(text: &str) -> bool {
    let is_allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'_' | b'-');
    (1..=ID_CHARS_MAX).contains(&text.len()) && text.bytes().all(is_allowed)
}

/// Ids and secrets of the keys file; an entry that is no secret stays, without one, so that its
/// fault is told once.
fn read_file(
    path: &At<std::path::PathBuf>,
    declared: &[Declared],
    main: &mut Faults,
) -> Vec<(String, Option<Secret>)> {
    let mut text = match open(&path.value) {
        Ok(text) => text,
        Err((expected, came)) => {
            main.add(path.line, "local.keys_file", expected, came);
            return declared.iter().map(|key| (key.id.clone(), None)).collect();
        }
    };
    let mut faults = Faults::new(&path.value);
    let lines = Lines::new(&text);
    let section = parse(&text, &lines, true, &mut faults);
    let is_whole = faults.is_empty();
    let mut stored = Vec::new();
    for (id, line, value) in section.into_entries() {
        let secret = value
            .as_str()
            .and_then(|digits| secret_from(digits.to_owned()));
        if !declared.iter().any(|key| key.id == id) {
            let known = declared.iter().map(|key| key.id.as_str());
            let expected = match nearest(&id, known) {
                Some(near) => format!("the id of a [[key]], perhaps {}", quoted(near)),
                None => "the id of a [[key]], in quotes if it has a dot".to_owned(),
            };
            faults.add(line, "", expected, format!("key {}", quoted(&id)));
        } else if secret.is_none() {
            faults.add(line, quoted(&id), SECRET_EXPECTED, came_instead(&value));
        }
        stored.push((id, secret));
    }
    if !is_whole {
        // What a broken file lacks is not a fault of its own.
        stored.extend(declared.iter().map(|key| (key.id.clone(), None)));
    }
    main.absorb(faults);
    let mut octets = std::mem::take(&mut text).into_bytes();
    wipe(&mut octets);
    stored
}

/// What stands in the place of a secret, without showing any of it.
fn came_instead(value: &DeValue<'_>) -> String {
    match value.as_str() {
        Some(text) => format!("{} characters, not shown", text.chars().count()),
        None => "a value that is no string, not shown".to_owned(),
    }
}

fn secret_from(digits: String) -> Option<Secret> {
    let secret = value::hex(&digits).and_then(Secret::try_new);
    wipe(&mut digits.into_bytes());
    secret
}

/// Reads the keys file, if nobody but its owner can; else what was expected and what came.
fn open(path: &Path) -> Result<String, (String, String)> {
    let readable = |e: std::io::Error| {
        (
            "a readable file".to_owned(),
            format!("{e}: {}", path.display()),
        )
    };
    let file = File::open(path).map_err(readable)?;
    // Of the opened file, so that it cannot be exchanged between the question and the reading.
    let metadata = file.metadata().map_err(readable)?;
    if !metadata.is_file() {
        return Err((
            "a regular file".to_owned(),
            format!("another kind: {}", path.display()),
        ));
    }
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        let expected = format!("mode 0600 or stricter; run: chmod 600 {}", path.display());
        return Err((expected, format!("mode {mode:04o}")));
    }
    read_text(file).map_err(|came| ("a file of UTF-8 text up to 1 MiB".to_owned(), came))
}

/// The text of a file, bounded; or what came instead.
pub(super) fn read_text(file: File) -> Result<String, String> {
    let mut octets = Vec::new();
    let bound = u64::try_from(FILE_BYTES_MAX + 1).unwrap_or(u64::MAX);
    file.take(bound)
        .read_to_end(&mut octets)
        .map_err(|e| e.to_string())?;
    if octets.len() > FILE_BYTES_MAX {
        return Err("a longer one".to_owned());
    }
    String::from_utf8(octets).map_err(|e| {
        format!(
            "octets that are no text at offset {}",
            e.utf8_error().valid_up_to()
        )
    })
}

fn wipe(octets: &mut [u8]) {
    octets.fill(0);
    // The compiler must believe that the zeros are looked at, or it would not write them.
    std::hint::black_box(octets);
}
