//! The journal: bytes in, bytes out.
