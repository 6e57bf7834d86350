//! The words every other folder shares. Depends on nothing.
//!
//! ```text
//! bytes      little-endian fields of payloads and snapshots
//! units      numbers with a unit and a range
//! fix        FIX and FIXP code sets; the values are the wire values
//! durability what must hold of a record before its answers leave
//! message    what a client sends, as decoded and not yet judged
//! random     seeded numbers for tests, benches and load
//! settings   what changes outcomes: instruments, owners, capacities
//! record     what is journaled: the machine's only input
//! event      what the machine answers
//! ```

pub mod bytes;
pub mod durability;
pub mod event;
pub mod fix;
pub mod message;
pub mod random;
pub mod record;
pub mod settings;
pub mod units;
