//! Bytes and words: total functions, no state beyond a buffer.

pub mod decode;
pub mod encode;
pub mod frame;
pub mod layout;
