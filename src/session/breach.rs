//! Why a transport is terminated, and the text that says so.

use std::fmt;

use crate::vocabulary::fix::TerminationCode;

/// Why a transport is terminated.
pub(super) struct Breach {
    pub(super) code: TerminationCode,
    pub(super) reason: Reason,
}

/// Text for a human, cut to its room.
pub(super) struct Reason {
    octets: [u8; REASON_BYTES_MAX],
    len: usize,
}

/// Octets of the longest reason; the last message of a connection has room for it.
const REASON_BYTES_MAX: usize = 96;
const _: () = assert!(12 + 25 + 2 + REASON_BYTES_MAX <= super::outgoing::LAST_BYTES);

impl Breach {
    pub(super) fn of(code: TerminationCode, reason: &dyn fmt::Display) -> Self {
        Self { code, reason: Reason::of(reason) }
    }

    pub(super) fn unspecified(reason: &str) -> Self {
        Self::of(TerminationCode::UnspecifiedError, &reason)
    }
}

impl Reason {
    pub(super) fn of(text: &dyn fmt::Display) -> Self {
        let mut reason = Self { octets: [0; REASON_BYTES_MAX], len: 0 };
        // What does not fit is cut, which is all that can go wrong.
        let _ = fmt::write(&mut reason, format_args!("{text}"));
        reason
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        self.octets.get(..self.len).unwrap_or(&[])
    }
}

impl fmt::Write for Reason {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for octet in text.bytes() {
            let place = self.octets.get_mut(self.len).ok_or(fmt::Error)?;
            *place = octet;
            self.len += 1;
        }
        Ok(())
    }
}
