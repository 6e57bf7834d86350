//! An exchange: the conversation the probe times.
//!
//! The probe knows time and sockets, an exchange knows bytes: how to log on, what request number
//! `n` looks like, and when its answer is complete. A floor's exchange is a fixed-size echo; any
//! other server under test brings its own and is then measured by exactly the same loop.

use crate::error::PerfError;
use crate::floor::Sizes;
use crate::link::Link;

/// One kind of request and answer.
pub(crate) trait Exchange {
    /// Logs on over a fresh connection. Not timed.
    fn open(&mut self, _link: &mut Link) -> Result<(), PerfError> {
        Ok(())
    }

    /// Brings the conversation in order before the next request. Not timed.
    fn settle(&mut self, _link: &mut Link) -> Result<(), PerfError> {
        Ok(())
    }

    /// Writes request `index` to `out`, which is empty. Indexes never repeat within a run and
    /// rise by one. Not timed.
    fn encode_request(&mut self, index: u64, out: &mut Vec<u8>);

    /// Looks at everything received and not yet consumed: `Some(count)` when its first `count`
    /// bytes end with the answer, `None` while more must come. What an earlier request left
    /// behind (a late report, a keep-alive) comes first and is the exchange's to skip. Timed.
    fn try_complete(&mut self, received: &[u8]) -> Result<Option<usize>, PerfError>;

    /// Says goodbye before the connection is closed. Not timed.
    fn close(&mut self, _link: &mut Link) -> Result<(), PerfError> {
        Ok(())
    }
}

/// The floors' exchange: the request starts with its index, and so must the reply.
pub(crate) struct Echo {
    sizes: Sizes,
    index: u64,
}

impl Echo {
    /// An echo of these sizes.
    pub(crate) fn new(sizes: Sizes) -> Self {
        Self { sizes, index: 0 }
    }
}

impl Exchange for Echo {
    fn encode_request(&mut self, index: u64, out: &mut Vec<u8>) {
        assert!(out.is_empty());
        self.index = index;
        out.extend_from_slice(&index.to_le_bytes());
        out.resize(self.sizes.request_bytes, 0x5a);
    }

    fn try_complete(&mut self, received: &[u8]) -> Result<Option<usize>, PerfError> {
        let Some(reply) = received.get(..self.sizes.reply_bytes) else {
            return Ok(None);
        };
        let expected = self.index.to_le_bytes();
        if reply.starts_with(&expected) && received.len() == reply.len() {
            return Ok(Some(reply.len()));
        }
        Err(PerfError::unexpected(
            "echo reply",
            format!("{} bytes that start with {expected:02x?}", self.sizes.reply_bytes),
            format!("{} bytes that start with {:02x?}", received.len(), &reply[..8]),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reply_is_complete_when_it_is_whole_and_ours() {
        // A row: what came, and what the exchange makes of it; the request is number 7.
        let reply = |index: u64, length: usize| {
            let mut bytes = index.to_le_bytes().to_vec();
            bytes.resize(length, 0);
            bytes
        };
        let check = |received: Vec<u8>, expected: Option<Option<usize>>| {
            let mut echo = Echo::new(Sizes { request_bytes: 12, reply_bytes: 16 });
            let mut request = Vec::new();
            echo.encode_request(7, &mut request);
            assert_eq!(request.len(), 12);
            assert_eq!(echo.try_complete(&received).ok(), expected);
        };
        check(vec![], Some(None));
        check(reply(7, 15), Some(None));
        check(reply(7, 16), Some(Some(16)));
        check(reply(6, 16), None); // the answer to an earlier request
        check(reply(7, 17), None); // more than was asked for
    }
}
