//! A profile: who logs on, where, and how far the session has come, for a program that runs for a
//! moment and goes on later with the same session.
//!
//! ```text
//! NAME.toml          written by a person, mode 0600: addresses, key_id, secret or secret_file,
//!                    accounts
//! NAME.toml.session  written here: session id, next numbers, last timestamp; replaced as a whole
//! NAME.toml.lock     locked while a program uses the profile, so that no number is used twice
//! ```
//!
//! The session is kept apart from what a person wrote, whose comments would not survive. A program
//! that dies before [`Profile::save`] leaves numbers that are too low, and that is safe: the server
//! tells its own at the next logon, and reports come a second time.

use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, ToSocketAddrs as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::event::{ClientIdentity, Standing};
use super::transport::Setup;
use crate::session::credentials::{Key, KeyError};
use crate::vocabulary::units::{Account, Nanos, Seq, SessionId};

/// A profile in use. The lock is held until it is dropped.
#[derive(Debug)]
pub struct Profile {
    path: PathBuf,
    key: Key,
    addresses: Vec<SocketAddr>,
    accounts: Vec<Account>,
    session_id: SessionId,
    standing: Standing,
    _lock: File,
}

/// Why a profile cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ProfileError {
    /// The system refused.
    #[error("{}: {error}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// The system's words.
        error: io::Error,
    },
    /// Others can read or write a secret.
    #[error("{}: expected mode 0600 (chmod 600), came {mode:04o}", path.display())]
    Mode {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// Another program uses it.
    #[error("{}: in use by another program", path.display())]
    InUse {
        /// The lock file.
        path: PathBuf,
    },
    /// It does not say what it must.
    #[error("{}: {what}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// What was expected.
        what: String,
    },
    /// The key cannot be used.
    #[error("{}: {error}", path.display())]
    Key {
        /// The file.
        path: PathBuf,
        /// Why.
        error: KeyError,
    },
    /// No random numbers for a session id.
    #[error("no random numbers: {0}")]
    Random(getrandom::Error),
}

impl Profile {
    /// Opens a profile, locks it and finds where its session stands; a profile that was never used
    /// begins a new session.
    pub fn open(path: &Path) -> Result<Self, ProfileError> {
        let text = read_secret(path)?;
        let lock = lock(&beside(path, ".lock"))?;
        let table =
            parse(path, &text, &["addresses", "key_id", "secret", "secret_file", "accounts"])?;
        let key_id = string(path, &table, "key_id")?;
        let secret = match (table.get("secret"), table.get("secret_file")) {
            (Some(_), None) => string(path, &table, "secret")?,
            (None, Some(_)) => {
                let file = path.with_file_name(string(path, &table, "secret_file")?);
                read_secret(&file)?.trim().to_owned()
            }
            (Some(_), Some(_)) | (None, None) => {
                return Err(content(path, "expected either secret or secret_file"));
            }
        };
        let key = Key::from_hex(&key_id, &secret)
            .map_err(|error| ProfileError::Key { path: path.to_owned(), error })?;
        let addresses = addresses(path, &table)?;
        let accounts = accounts(path, &table)?;
        let session = beside(path, ".session");
        let (session_id, standing) = match fs::read_to_string(&session) {
            Ok(text) => decode_session(&session, &text)?,
            Err(e) if e.kind() == io::ErrorKind::NotFound => (draw_id()?, Standing::NEW),
            Err(e) => return Err(failed(&session)(e)),
        };
        let path = path.to_owned();
        Ok(Self { path, key, addresses, accounts, session_id, standing, _lock: lock })
    }

    /// What a client is given: the identity, the addresses, and where the session stands.
    #[must_use]
    pub fn setup(&self) -> Setup {
        let identity = ClientIdentity { session_id: self.session_id, key: self.key.clone() };
        let standing = self.standing;
        Setup { standing, ..Setup::new(identity, self.addresses.clone()) }
    }

    /// Accounts that the key may trade on.
    #[must_use]
    pub fn accounts(&self) -> &[Account] {
        &self.accounts
    }

    /// The session that it goes on with.
    #[must_use]
    pub const fn session_id(&self) -> SessionId {
        self.session_id
    }

    /// Keeps where the session stands: whole and on the disk, or as it was before.
    pub fn save(&mut self, standing: Standing) -> Result<(), ProfileError> {
        self.standing = standing;
        let path = beside(&self.path, ".session");
        let making = beside(&self.path, ".session.new");
        let text = format!(
            "# Where the session stands; written by the client, not by hand.\n\
             session_id = \"{}\"\nis_negotiated = {}\nnext_out = {}\nnext_in = {}\nstamp = {}\n",
            self.session_id,
            standing.is_negotiated,
            standing.next_out,
            standing.next_in,
            standing.stamp,
        );
        let write = || {
            let mut options = OpenOptions::new();
            let mut file =
                options.write(true).create(true).truncate(true).mode(0o600).open(&making)?;
            file.write_all(text.as_bytes())?;
            file.sync_all()?;
            fs::rename(&making, &path)?;
            // The name is on the disk only with its directory.
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(parent.unwrap_or_else(|| Path::new(".")))?.sync_all()
        };
        write().map_err(failed(&path))
    }

    /// Begins another session: the old id is finalized, forgotten, or lost its history, and a
    /// person has decided so.
    pub fn begin_anew(&mut self) -> Result<(), ProfileError> {
        self.session_id = draw_id()?;
        self.save(Standing::NEW)
    }
}

fn failed(path: &Path) -> impl FnOnce(io::Error) -> ProfileError + use<'_> {
    move |error| ProfileError::Io { path: path.to_owned(), error }
}

fn content(path: &Path, what: impl Into<String>) -> ProfileError {
    ProfileError::Content { path: path.to_owned(), what: what.into() }
}

/// `NAME.toml` and a suffix.
fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

/// Reads a file that nobody else may read or write.
fn read_secret(path: &Path) -> Result<String, ProfileError> {
    // The mode is that of the file which is read, whatever the name points to by then.
    let mut file = File::open(path).map_err(failed(path))?;
    let mode = file.metadata().map_err(failed(path))?.mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(ProfileError::Mode { path: path.to_owned(), mode });
    }
    let mut text = String::new();
    file.read_to_string(&mut text).map_err(failed(path))?;
    Ok(text)
}

fn lock(path: &Path) -> Result<File, ProfileError> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(false).mode(0o600);
    let file = options.open(path).map_err(failed(path))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ProfileError::InUse { path: path.to_owned() }),
        Err(TryLockError::Error(error)) => Err(failed(path)(error)),
    }
}

/// A table without unknown names: a misspelt one must not be taken for an absent one.
fn parse(path: &Path, text: &str, names: &[&str]) -> Result<Table, ProfileError> {
    // The parser's own message quotes the line, which may hold the secret.
    let table: Table = text
        .parse()
        .map_err(|e: toml::de::Error| content(path, format!("not TOML: {}", e.message())))?;
    match table.keys().find(|key| !names.contains(&key.as_str())) {
        Some(unknown) => Err(content(path, format!("{unknown}: expected one of {names:?}"))),
        None => Ok(table),
    }
}

fn string(path: &Path, table: &Table, name: &str) -> Result<String, ProfileError> {
    let value = table.get(name).and_then(Value::as_str);
    value.map(ToOwned::to_owned).ok_or_else(|| content(path, format!("{name}: expected a string")))
}

fn number(path: &Path, table: &Table, name: &str) -> Result<u64, ProfileError> {
    let value = table.get(name).and_then(Value::as_integer).and_then(|n| u64::try_from(n).ok());
    value.ok_or_else(|| content(path, format!("{name}: expected a number")))
}

fn array<'t>(path: &Path, table: &'t Table, name: &str) -> Result<&'t [Value], ProfileError> {
    let value = table.get(name).and_then(Value::as_array).filter(|list| !list.is_empty());
    value
        .map(Vec::as_slice)
        .ok_or_else(|| content(path, format!("{name}: expected a list that is not empty")))
}

fn addresses(path: &Path, table: &Table) -> Result<Vec<SocketAddr>, ProfileError> {
    let resolve = |value: &Value| {
        let name = value.as_str().ok_or_else(|| "expected \"HOST:PORT\"".to_owned())?;
        let found = name.to_socket_addrs().map_err(|e| format!("{name}: {e}"))?;
        Ok(found.collect::<Vec<_>>())
    };
    let lists: Result<Vec<_>, String> =
        array(path, table, "addresses")?.iter().map(resolve).collect();
    lists.map(|lists| lists.concat()).map_err(|what| content(path, format!("addresses: {what}")))
}

fn accounts(path: &Path, table: &Table) -> Result<Vec<Account>, ProfileError> {
    let account = |value: &Value| {
        let raw = value.as_integer().and_then(|n| u32::try_from(n).ok());
        raw.filter(|raw| (1..u32::MAX).contains(raw)).map(Account)
    };
    let accounts: Option<Vec<_>> = array(path, table, "accounts")?.iter().map(account).collect();
    accounts.ok_or_else(|| content(path, "accounts: expected numbers in [1, 2^32 - 2]"))
}

fn decode_session(path: &Path, text: &str) -> Result<(SessionId, Standing), ProfileError> {
    let names = ["session_id", "is_negotiated", "next_out", "next_in", "stamp"];
    let table = parse(path, text, &names)?;
    let id = string(path, &table, "session_id")?;
    let id = parse_id(&id)
        .ok_or_else(|| content(path, "session_id: expected 32 hex digits, not all zero"))?;
    let seq = |name| {
        let number = number(path, &table, name)?;
        if number == 0 {
            return Err(content(path, format!("{name}: expected a number from 1 on")));
        }
        Ok(Seq(number))
    };
    let is_negotiated = table.get("is_negotiated").and_then(Value::as_bool);
    let standing = Standing {
        is_negotiated: is_negotiated
            .ok_or_else(|| content(path, "is_negotiated: expected true or false"))?,
        next_out: seq("next_out")?,
        next_in: seq("next_in")?,
        stamp: Nanos(number(path, &table, "stamp")?),
    };
    Ok((id, standing))
}

fn parse_id(digits: &str) -> Option<SessionId> {
    let is_hex = digits.len() == 32 && digits.bytes().all(|digit| digit.is_ascii_hexdigit());
    let number = u128::from_str_radix(digits, 16).ok().filter(|id| is_hex && *id != 0)?;
    Some(SessionId(number.to_be_bytes()))
}

fn draw_id() -> Result<SessionId, ProfileError> {
    let mut id = [0; 16];
    getrandom::fill(&mut id).map_err(ProfileError::Random)?;
    Ok(SessionId(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;
    use tempfile::{TempDir, tempdir};

    const GOOD: &str = "# mine\naddresses = [\"127.0.0.1:9700\", \"127.0.0.1:9701\"]\n\
                        key_id = \"firm-a\"\naccounts = [1001, 1002]\n";

    fn write(dir: &TempDir, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = dir.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn secret() -> String {
        "a1".repeat(32)
    }

    fn good(dir: &TempDir) -> PathBuf {
        write(dir, "p.toml", &format!("{GOOD}secret = \"{}\"\n", secret()), 0o600)
    }

    #[test]
    fn a_session_goes_on_where_it_was_saved() {
        let dir = tempdir().unwrap();
        let path = good(&dir);
        let mut profile = Profile::open(&path).unwrap();
        assert_eq!(profile.accounts(), [Account(1001), Account(1002)]);
        let first = profile.setup();
        assert_eq!(first.standing, Standing::NEW);
        assert_eq!(first.addresses.len(), 2);
        let id = profile.session_id();
        assert_ne!(id, SessionId::NONE);
        let standing = Standing {
            is_negotiated: true,
            next_out: Seq(17),
            next_in: Seq(9),
            stamp: Nanos(1_700_000_000_000_000_001),
        };
        profile.save(standing).unwrap();
        drop(profile);
        let before = fs::read_to_string(&path).unwrap();

        let mut profile = Profile::open(&path).unwrap();
        assert_eq!((profile.session_id(), profile.setup().standing), (id, standing));
        assert_eq!(fs::read_to_string(&path).unwrap(), before, "a person's file is left alone");
        profile.begin_anew().unwrap();
        assert_ne!(profile.session_id(), id);
        drop(profile);
        assert_eq!(Profile::open(&path).unwrap().setup().standing, Standing::NEW);
    }

    #[test]
    fn only_one_program_uses_a_profile() {
        let dir = tempdir().unwrap();
        let path = good(&dir);
        let profile = Profile::open(&path).unwrap();
        assert!(matches!(Profile::open(&path), Err(ProfileError::InUse { .. })));
        drop(profile);
        Profile::open(&path).unwrap();
    }

    #[test]
    fn secrets_are_for_one_reader() {
        let dir = tempdir().unwrap();
        let refused = |path: &Path| matches!(Profile::open(path), Err(ProfileError::Mode { .. }));
        for mode in [0o644, 0o640, 0o602] {
            let text = format!("{GOOD}secret = \"{}\"\n", secret());
            assert!(refused(&write(&dir, "open.toml", &text, mode)), "{mode:o}");
        }
        let path = write(&dir, "apart.toml", &format!("{GOOD}secret_file = \"a.secret\"\n"), 0o600);
        write(&dir, "a.secret", &format!("{}\n", secret()), 0o644);
        assert!(refused(&path));
        write(&dir, "a.secret", &format!("{}\n", secret()), 0o600);
        let profile = Profile::open(&path).unwrap();
        assert!(!format!("{profile:?}").contains("a1a1"), "a secret is not shown");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let good = format!("{GOOD}secret = \"{}\"\n", secret());
        let rows = [
            (
                "secret twice",
                format!("{good}secret_file = \"x\"\n"),
                "either secret or secret_file",
            ),
            ("no secret", GOOD.to_owned(), "either secret or secret_file"),
            ("misspelt", format!("{good}adresses = []\n"), "adresses: expected one of"),
            ("no key", good.replace("key_id", "# "), "key_id: expected a string"),
            ("no address", good.replace("[\"127", "[] # "), "addresses: expected a list"),
            ("bad address", good.replace("127.0.0.1:9700", "9700"), "addresses: 9700"),
            ("account 0", good.replace("1002", "0"), "accounts: expected numbers"),
            ("short secret", good.replace("a1a1", ""), "secret: expected at least 32"),
            ("no TOML", format!("{good}secret"), "not TOML"),
        ];
        for (name, text, expected) in rows {
            let dir = tempdir().unwrap();
            let error = Profile::open(&write(&dir, "p.toml", &text, 0o600)).unwrap_err();
            let said = error.to_string();
            assert!(said.contains(expected) && said.contains("p.toml"), "{name}: {said}");
            assert!(!said.contains("a1a1a1"), "{name}: a secret is not shown");
        }
        let zero = "0".repeat(32);
        let sessions = [
            (format!("session_id = \"{zero}\"\n"), "session_id"),
            (format!("session_id = \"{}\"\n", "7".repeat(32)), "is_negotiated"),
            (
                format!(
                    "session_id = \"{}\"\nis_negotiated = true\nnext_out = 0\n",
                    "7".repeat(32)
                ),
                "next_out: expected a number from 1",
            ),
        ];
        for (text, expected) in sessions {
            let dir = tempdir().unwrap();
            let path = write(&dir, "p.toml", &good, 0o600);
            write(&dir, "p.toml.session", &text, 0o600);
            let said = Profile::open(&path).unwrap_err().to_string();
            assert!(said.contains(expected) && said.contains(".session"), "{said}");
        }
    }
}
