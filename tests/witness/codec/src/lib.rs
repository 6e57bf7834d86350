//! The codec that `sbe_gen` makes from `src/wire/tidegate.xml`. Nothing here is written by hand.

#![allow(clippy::all, clippy::pedantic, unused, missing_docs, reason = "generated")]

include!(concat!(env!("OUT_DIR"), "/sbe.rs"));
