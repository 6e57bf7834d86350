//! Credentials of a logon (ruling F04): who signs, and a MAC over what is signed.
//!
//! ```text
//! key id | 64 lower-case hex digits of HMAC-SHA256(secret, "TIDEGATE-1" | template u16 LE | block)
//! ```
//!
//! The block is signed as transmitted, so nobody on the way can switch off cancel on disconnect or
//! turn a Negotiate into an Establish. The secret never leaves this file but as a MAC.

use hmac::digest::KeyInit as _;
use hmac::{Hmac, Mac as _};
use sha2::Sha256;

use crate::vocabulary::units::Text;

/// Longest credentials: key id, `|`, 64 digits.
pub const CREDENTIALS_BYTES_MAX: usize = 32 + 1 + 64;
/// Shortest secret that the protocol allows, decoded.
pub const SECRET_BYTES_MIN: usize = 32;

/// What stands in front of everything that is signed.
const LABEL: &[u8] = b"TIDEGATE-1";

/// A firm's key: its public name and its secret. `Debug` does not show the secret.
#[derive(Clone)]
pub struct Key {
    id: Text<32>,
    mac: Hmac<Sha256>,
}

/// Why a key cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// The key id is empty, too long, or has other characters.
    #[error("a key id is 1 to 32 characters of A-Z a-z 0-9 . _ -")]
    Id,
    /// The secret is not hex.
    #[error("a secret is written in hex digits, two an octet")]
    Hex,
    /// The secret is too short.
    #[error("a secret is at least {SECRET_BYTES_MIN} octets, {got} came")]
    Short {
        /// Octets that came.
        got: usize,
    },
}

impl Key {
    /// The key, unless its id or its secret (decoded octets) breaks the rules of the protocol.
    pub fn try_new(id: &str, secret: &[u8]) -> Result<Self, KeyError> {
        let is_allowed = |o: u8| o.is_ascii_alphanumeric() || matches!(o, b'.' | b'_' | b'-');
        if id.is_empty() || id.len() > 32 || !id.bytes().all(is_allowed) {
            return Err(KeyError::Id);
        }
        if secret.len() < SECRET_BYTES_MIN {
            return Err(KeyError::Short { got: secret.len() });
        }
        let mac =
            Hmac::new_from_slice(secret).map_err(|_| KeyError::Short { got: secret.len() })?;
        let id = Text::new(id);
        Ok(Self { id, mac })
    }

    /// The key with a secret written in hex, as files and the environment hold it.
    pub fn from_hex(id: &str, secret: &str) -> Result<Self, KeyError> {
        let digits = secret.trim().as_bytes();
        if !digits.len().is_multiple_of(2) {
            return Err(KeyError::Hex);
        }
        let octets: Option<Vec<u8>> = digits
            .chunks_exact(2)
            .map(|pair| match pair {
                [high, low] => Some(nibble(*high)? << 4 | nibble(*low)?),
                _ => None,
            })
            .collect();
        Self::try_new(id, &octets.ok_or(KeyError::Hex)?)
    }

    /// The public name.
    #[must_use]
    pub const fn id(&self) -> &Text<32> {
        &self.id
    }

    /// The credentials for a message with this template and fixed block, blockLength octets.
    #[must_use]
    pub fn sign(&self, template: u16, block: &[u8]) -> Credentials {
        let mut mac = self.mac.clone();
        mac.update(LABEL);
        mac.update(&template.to_le_bytes());
        mac.update(block);
        let mut out = Credentials { bytes: [0; CREDENTIALS_BYTES_MAX], len: 0 };
        out.put(self.id.as_str().as_bytes());
        out.put(b"|");
        for octet in mac.finalize().into_bytes() {
            out.put(&[hex(octet >> 4), hex(octet & 15)]);
        }
        out
    }
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Credentials as they stand on the wire.
#[derive(Clone, Copy, Debug)]
pub struct Credentials {
    bytes: [u8; CREDENTIALS_BYTES_MAX],
    /// In `[0, CREDENTIALS_BYTES_MAX]`.
    len: usize,
}

impl Credentials {
    /// The octets.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }

    fn put(&mut self, octets: &[u8]) {
        let end = self.len + octets.len();
        if let Some(place) = self.bytes.get_mut(self.len..end) {
            place.copy_from_slice(octets);
            self.len = end;
        }
    }
}

const fn hex(nibble: u8) -> u8 {
    if nibble < 10 { b'0' + nibble } else { b'a' + nibble - 10 }
}

const fn nibble(digit: u8) -> Option<u8> {
    Some(match digit {
        b'0'..=b'9' => digit - b'0',
        b'a'..=b'f' => digit - b'a' + 10,
        b'A'..=b'F' => digit - b'A' + 10,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(hex: &str) -> Vec<u8> {
        hex.as_bytes()
            .chunks(2)
            .map(|p| nibble(p[0]).unwrap() << 4 | nibble(p[1]).unwrap())
            .collect()
    }

    /// Both vectors of ruling F04: `input` is label, template and block together.
    fn check(template: u16, input: &str, mac: &str) {
        let key = Key::try_new("firm-a", &[0xa1; 32]).unwrap();
        let input = octets(input);
        assert_eq!(&input[..10], LABEL);
        assert_eq!(input[10..12], template.to_le_bytes());
        let signed = key.sign(template, &input[12..]);
        let expected = format!("firm-a|{mac}");
        assert_eq!(std::str::from_utf8(signed.as_bytes()), Ok(&*expected));
    }

    #[test]
    fn the_two_vectors_of_the_protocol() {
        check(
            1,
            "54494445474154452d310100000102030405060708090a0b0c0d0e0f00002a36fe9c971701",
            "9f91fbefb26b766dea473f365a5f8dbe078d053e51b869f4e4f94bfbc5f0b1a3",
        );
        check(
            5,
            "54494445474154452d310500000102030405060708090a0b0c0d0e0f01002a36fe9c9717e8030000\
             010000000000000001dc050000",
            "ccce337aa406faeca431a36ae0d092789273467bfd8f565252ca180802c761ed",
        );
    }

    #[test]
    fn keys_are_refused_by_name() {
        let rows: [(&str, &str, KeyError); 6] = [
            ("", "00", KeyError::Id),
            ("firm a", "00", KeyError::Id),
            ("a23456789012345678901234567890123", "00", KeyError::Id),
            ("firm-a", "0", KeyError::Hex),
            ("firm-a", "zz", KeyError::Hex),
            ("firm-a", "a1a1", KeyError::Short { got: 2 }),
        ];
        for (id, secret, refusal) in rows {
            assert_eq!(Key::from_hex(id, secret).map(|_| ()), Err(refusal), "{id}");
        }
        assert!(Key::from_hex("firm-a", &"a1".repeat(32)).is_ok());
    }

    #[test]
    fn a_printed_key_hides_its_secret() {
        let key = Key::try_new("firm-a", &[0xa1; 32]).unwrap();
        assert_eq!(format!("{key:?}"), "Key { id: \"firm-a\", .. }");
    }
}
