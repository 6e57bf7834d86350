//! The words every other folder shares. Depends on nothing.
//!
//! ```text
//! bytes    little-endian fields of payloads and snapshots
//! units    numbers with a unit and a range
//! fix      FIX and FIXP code sets; the values are the wire values
//! message  what a client sends, as decoded and not yet judged
//! network  addresses of peers, and lists of them
//! random   seeded numbers for tests, benches and load
//! settings what changes outcomes: instruments, owners, capacities
//! record   what is journaled: the machine's only input
//! event    what the machine answers
//! ```

pub mod bytes;
pub mod event;
pub mod fix;
pub mod message;
pub mod network;
pub mod random;
pub mod record;
pub mod settings;
pub mod units;
