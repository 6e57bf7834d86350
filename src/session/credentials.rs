//! Credentials of a logon (ruling F04): who signs, and a MAC over what is signed.
//!
//! ```text
//! credentials = key id | "|" | 64 lower-case hex digits of the MAC
//! MAC         = HMAC-SHA256(secret, "TIDEGATE-1" || templateId u16 LE || block as transmitted)
//! ```
//!
//! The template id keeps a Negotiate from being sent as an Establish, and the block covers whatever
//! a later version appends, so nobody on the way can switch off cancel on disconnect. A key is kept
//! as the state of an HMAC that has taken the secret in: the secret itself is not kept, and a MAC
//! needs no allocation. Both ends use this file.

use std::fmt;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

use crate::vocabulary::units::Text;
use crate::wire::signed::{MAC_HEX_BYTES, MAC_LABEL};

/// Octets of the longest key id.
pub const KEY_ID_BYTES_MAX: usize = 32;
/// Octets of the shortest secret, decoded.
pub const SECRET_BYTES_MIN: usize = 32;
/// Octets of the longest credentials.
pub const CREDENTIALS_BYTES_MAX: usize = KEY_ID_BYTES_MAX + 1 + MAC_HEX_BYTES;

/// Octets of a MAC.
pub const MAC_BYTES: usize = 32;
const _: () = assert!(MAC_HEX_BYTES == 2 * MAC_BYTES);

/// A key: its public name and its secret. `Debug` does not show the secret.
#[derive(Clone)]
pub struct Key {
    id: Text<KEY_ID_BYTES_MAX>,
    hmac: Hmac<Sha256>,
}

/// Why a key cannot be used.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum KeyError {
    /// Not 1-32 of `A-Z a-z 0-9 . _ -`.
    #[error("key id: expected 1 to 32 of A-Z a-z 0-9 . _ -")]
    Id,
    /// The secret is not hex.
    #[error("secret: expected hex digits, two an octet")]
    Hex,
    /// Too short.
    #[error("secret: expected at least {SECRET_BYTES_MIN} octets, came {came}")]
    SecretTooShort {
        /// Octets, decoded.
        came: usize,
    },
    /// Two keys have one id.
    #[error("key id: two keys have the same one")]
    Twice,
}

/// Credentials as they stand on the wire.
#[derive(Clone, Copy)]
pub struct Credentials {
    octets: [u8; CREDENTIALS_BYTES_MAX],
    len: usize,
}

impl Key {
    /// The key, unless its id or its secret (decoded octets) breaks the rules.
    pub fn try_new(id: &str, secret: &[u8]) -> Result<Self, KeyError> {
        if !is_key_id(id.as_bytes()) {
            return Err(KeyError::Id);
        }
        let too_short = KeyError::SecretTooShort { came: secret.len() };
        if secret.len() < SECRET_BYTES_MIN {
            return Err(too_short);
        }
        let hmac = Hmac::new_from_slice(secret).map_err(|_| too_short)?;
        Ok(Self { id: Text::new(id), hmac })
    }

    /// The key with a secret written in hex, as files and the environment hold it.
    pub fn from_hex(id: &str, secret: &str) -> Result<Self, KeyError> {
        let digits = secret.trim().to_ascii_lowercase();
        if !digits.len().is_multiple_of(2) {
            return Err(KeyError::Hex);
        }
        let octets: Option<Vec<u8>> = digits
            .as_bytes()
            .chunks_exact(2)
            .map(|pair| match pair {
                [high, low] => Some(hex_value(*high)? << 4 | hex_value(*low)?),
                _ => None,
            })
            .collect();
        Self::try_new(id, &octets.ok_or(KeyError::Hex)?)
    }

    /// The public name.
    #[must_use]
    pub const fn id(&self) -> &Text<KEY_ID_BYTES_MAX> {
        &self.id
    }

    /// The MAC over a message with this template and fixed block, blockLength octets.
    #[must_use]
    pub fn mac(&self, template: u16, block: &[u8]) -> [u8; MAC_BYTES] {
        let mut mac = self.hmac.clone();
        mac.update(MAC_LABEL);
        mac.update(&template.to_le_bytes());
        mac.update(block);
        mac.finalize().into_bytes().into()
    }

    /// The credentials for a message with this template and fixed block.
    #[must_use]
    pub fn sign(&self, template: u16, block: &[u8]) -> Credentials {
        let mut out = Credentials { octets: [0; CREDENTIALS_BYTES_MAX], len: 0 };
        out.put(self.id.as_str().as_bytes());
        out.put(b"|");
        for octet in self.mac(template, block) {
            out.put(&[hex_digit(octet >> 4), hex_digit(octet & 15)]);
        }
        out
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

impl Credentials {
    /// The octets to put behind the block.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or(&[])
    }

    fn put(&mut self, octets: &[u8]) {
        let end = self.len + octets.len();
        if let Some(place) = self.octets.get_mut(self.len..end) {
            place.copy_from_slice(octets);
            self.len = end;
        }
    }
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credentials(..)")
    }
}

/// Key id and MAC of well-formed credentials.
#[must_use]
pub fn parse(credentials: &[u8]) -> Option<(&[u8], [u8; MAC_BYTES])> {
    let (head, digits) = credentials.split_last_chunk::<MAC_HEX_BYTES>()?;
    let id = head.strip_suffix(b"|").filter(|id| is_key_id(id))?;
    let mut mac = [0; MAC_BYTES];
    for (octet, pair) in mac.iter_mut().zip(digits.chunks_exact(2)) {
        let [high, low] = *pair.first_chunk()?;
        *octet = hex_value(high)? << 4 | hex_value(low)?;
    }
    Some((id, mac))
}

fn is_key_id(id: &[u8]) -> bool {
    let is_allowed = |o: &u8| o.is_ascii_alphanumeric() || matches!(*o, b'.' | b'_' | b'-');
    (1..=KEY_ID_BYTES_MAX).contains(&id.len()) && id.iter().all(is_allowed)
}

const fn hex_digit(nibble: u8) -> u8 {
    match nibble {
        0..=9 => b'0' + nibble,
        _ => b'a' + (nibble & 15) - 10,
    }
}

const fn hex_value(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn octets(hex: &str) -> Vec<u8> {
        hex.as_bytes()
            .chunks(2)
            .map(|p| hex_value(p[0]).unwrap() << 4 | hex_value(p[1]).unwrap())
            .collect()
    }

    /// Both vectors of ruling F04: `input` is label, template and block together.
    fn check(template: u16, input: &str, mac: &str) {
        let key = Key::try_new("firm-a", &[0xa1; 32]).unwrap();
        let input = octets(input);
        assert_eq!(&input[..10], MAC_LABEL);
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
            ("firm-a", "a1a1", KeyError::SecretTooShort { came: 2 }),
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
