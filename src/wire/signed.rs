//! The octets of a logon that its MAC covers (ruling F04).
//!
//! ```text
//! Credentials = key id | "|" | 64 lower-case hex digits
//! MAC         = HMAC-SHA256(secret, "TIDEGATE-1" || templateId (u16 LE) || block as transmitted)
//! ```
//!
//! The block is taken as it stands on the wire, blockLength octets, and not as it was understood: a
//! field that this build does not know is covered, too. The var data, where the MAC itself stands,
//! is not. So a client can encode its logon with 64 octets of anything in the MAC's place, sign the
//! frame, and write the digits over them ([`mac_place`]).

use super::frame::{Frame, split};
use super::layout::{HEADER_BYTES, establish, negotiate};

/// What every MAC begins with, so that a key's MAC means a Tidegate logon and nothing else.
pub const MAC_LABEL: &[u8; 10] = b"TIDEGATE-1";
/// Hex digits of a MAC.
pub const MAC_HEX_BYTES: usize = 64;

/// The template and the block of a Negotiate or Establish, to be signed behind [`MAC_LABEL`];
/// `None` for any other template.
#[must_use]
pub fn signed_part<'a>(frame: &Frame<'a>) -> Option<(u16, &'a [u8])> {
    match frame.template {
        negotiate::TEMPLATE | establish::TEMPLATE => Some((frame.template, frame.block())),
        _ => None,
    }
}

/// Where the MAC stands in `logon`, one whole frame of a Negotiate or Establish that ends with its
/// credentials; `None` for anything else, or when the credentials have no room for a MAC.
#[must_use]
pub fn mac_place(logon: &mut [u8]) -> Option<&mut [u8; MAC_HEX_BYTES]> {
    let (frame, len) = split(logon, logon.len()).ok()??;
    let (_, block) = signed_part(&frame)?;
    let credentials = HEADER_BYTES + block.len() + 2;
    let whole = len == logon.len() && len >= credentials + MAC_HEX_BYTES;
    if whole { logon.last_chunk_mut() } else { None }
}
