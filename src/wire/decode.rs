//! A frame becomes a message, or a named error.
//!
//! Decoding is total: any octets give a value, nothing is allocated, and every length is one that
//! was compared before. It only reads. A wrong code or an impossible price of a *request* is not
//! its business: such a message has consumed its number and is refused by the engine, in the
//! engine's order. A wrong code in a *report* is an error, because a client has nothing to judge
//! by.
//!
//! Lengths (rulings F20, F22, F31):
//!
//! - a block shorter than the first version's is an error; a field that is not wholly inside the
//!   block is absent and reads as its null; octets behind the fields that are known are cut;
//! - an application message, NotApplied included, ends with its block: octets behind it are an
//!   error, since a sender that states too short a block would otherwise be silently misread;
//! - a session message may carry more behind its var data.
//!
//! What is journaled is the *canonical* form: SBE header and block cut to the last field this build
//! knows, with blockLength and version rewritten. A later build then reads the record as this one
//! did.

mod application;
mod report;
mod session;

use thiserror::Error;

pub use self::application::{
    CANONICAL_BYTES_MAX, canonical, canonical_len, decode_client_message, keys_named,
};
use super::frame::Frame;
use super::layout::{SCHEMA_ID, new_order_single, order_cancel_request, order_status_request};
use crate::vocabulary::event::Report;
use crate::vocabulary::message::{ClientMessage, SessionMessage};

/// What a server takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Inbound<'a> {
    /// Templates 1, 5, 8, 11, 14.
    Session(SessionMessage<'a>),
    /// Templates 100, 102, 104.
    Application(ClientMessage),
}

/// What a client takes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outbound<'a> {
    /// Templates 2, 3, 6, 7, 8, 12, 13, 14, 20, 21.
    Session(SessionMessage<'a>),
    /// Templates 18, 200, 202-206, 208. NotApplied has no number, time or index on the wire: they
    /// are 0 here, and the receiver counts.
    Report(Report),
}

/// Why a frame is not a message of this link and direction. A breach of the protocol by the peer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum DecodeError {
    /// Not our schema (ruling F12).
    #[error("schema id: expected {expected}, came {came}")]
    UnknownSchema {
        /// [`SCHEMA_ID`].
        expected: u16,
        /// The id in the header.
        came: u16,
    },
    /// Not a template of this link and direction.
    #[error("unknown template {template}")]
    UnknownTemplate {
        /// The id in the header.
        template: u16,
    },
    /// The block is shorter than the first version's.
    #[error("template {template}, block length: expected at least {expected}, came {came}")]
    ShortBlock {
        /// The template.
        template: u16,
        /// Octets of the shortest block.
        expected: usize,
        /// blockLength.
        came: usize,
    },
    /// Octets behind the block of an application message.
    #[error("template {template}, octets behind the SBE header: expected {expected}, came {came}")]
    BodyLength {
        /// The template.
        template: u16,
        /// blockLength.
        expected: usize,
        /// Octets of the body.
        came: usize,
    },
    /// The var data is longer than what stands behind the block.
    #[error("template {template}, octets behind the block: expected {expected}, came {came}")]
    VarData {
        /// The template.
        template: u16,
        /// Octets of length and var data.
        expected: usize,
        /// Octets there are.
        came: usize,
    },
    /// A code of a report that is not in its set.
    #[error("{field}: {came} is not a code of this field")]
    BadCode {
        /// The field.
        field: &'static str,
        /// The octet.
        came: u8,
    },
    /// A price or quantity of a report outside its range.
    #[error("{field}: {came} is out of range")]
    OutOfRange {
        /// The field.
        field: &'static str,
        /// The number.
        came: i64,
    },
    /// A journaled message that this build would not have written.
    #[error("journaled message of {came} octets is not in canonical form")]
    NotCanonical {
        /// Octets of the payload.
        came: usize,
    },
}

/// Decodes what a server accepts of a client. Templates of another direction or link, and those
/// that later versions of this link add, are unknown.
#[inline]
pub fn decode_inbound<'a>(frame: &Frame<'a>) -> Result<Inbound<'a>, DecodeError> {
    known_schema(frame)?;
    match frame.template {
        new_order_single::TEMPLATE
        | order_cancel_request::TEMPLATE
        | order_status_request::TEMPLATE => application::decode(frame).map(Inbound::Application),
        _ => session::decode_inbound(frame).map(Inbound::Session),
    }
}

/// Decodes what a client accepts of a server.
#[inline]
pub fn decode_outbound<'a>(frame: &Frame<'a>) -> Result<Outbound<'a>, DecodeError> {
    known_schema(frame)?;
    if let Some(report) = report::decode(frame)? {
        return Ok(Outbound::Report(report));
    }
    session::decode_outbound(frame).map(Outbound::Session)
}

fn known_schema(frame: &Frame<'_>) -> Result<(), DecodeError> {
    if frame.schema_id == SCHEMA_ID {
        Ok(())
    } else {
        Err(DecodeError::UnknownSchema { expected: SCHEMA_ID, came: frame.schema_id })
    }
}

/// The first `LEN` octets of the block: the fields that every version has.
fn block<'a, const LEN: usize>(frame: &Frame<'a>) -> Result<&'a [u8; LEN], DecodeError> {
    frame.block().first_chunk().ok_or_else(|| DecodeError::ShortBlock {
        template: frame.template,
        expected: LEN,
        came: frame.block().len(),
    })
}

/// As [`block`], of a message that ends with its block.
fn whole_block<'a, const LEN: usize>(frame: &Frame<'a>) -> Result<&'a [u8; LEN], DecodeError> {
    let block = block(frame)?;
    if frame.rest().is_empty() {
        Ok(block)
    } else {
        Err(DecodeError::BodyLength {
            template: frame.template,
            expected: frame.block().len(),
            came: frame.body().len(),
        })
    }
}

/// The var data behind the block, without its length; what follows it is not looked at.
fn var_data<'a>(frame: &Frame<'a>) -> Result<&'a [u8], DecodeError> {
    let rest = frame.rest();
    let short =
        |expected| DecodeError::VarData { template: frame.template, expected, came: rest.len() };
    let (length, data) = rest.split_first_chunk().ok_or_else(|| short(2))?;
    let length = usize::from(u16::from_le_bytes(*length));
    data.get(..length).ok_or_else(|| short(2 + length))
}
