//! Bytes and words: total functions, no state beyond a buffer.
//!
//! ```text
//! &[u8] --frame::split--> Frame --decode--> SessionMessage | ClientMessage | Report
//! SessionMessage | ClientMessage | Report --encode--> &mut [u8]
//!
//! layout   where each field stands in its block; tidegate.xml is the authority
//! frame    SOFH and SBE header: octets become a checked Frame
//! decode   a Frame becomes a message, or a named error
//! encode   a message becomes a whole frame
//! signed   the octets of a logon that its MAC covers
//! ```

pub mod layout;

pub mod frame;

pub mod decode;
pub mod encode;
pub mod signed;
