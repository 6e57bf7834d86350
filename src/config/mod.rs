//! Configuration: a TOML file becomes checked settings, or a list of everything wrong with it.
//!
//! Settings are of two kinds. *Local* ones (paths, ports, cores, buffers, secrets) belong to a node
//! and change nothing that a client is answered. *Logical* ones (capacities, instruments, owners,
//! accounts) change outcomes, so they are journaled, and a replay needs nothing but the journal.
//! A start compares the two and either appends the differences or refuses, naming each line.
//!
//! Nothing is built before the whole file has passed, and here is the only place with defaults.
//!
//! ```text
//! error    one thing wrong: file, line, key, what was expected, what came
//! read     TOML -> tables that know their lines and which of their keys were asked for
//! value    the written forms: prices, sizes, spans, points in time, secrets
//! local    the node's own settings
//! logical  what is journaled; the demo market
//! keys     who may log on; secrets from a file apart or the environment
//! load     file -> Config; what the parts demand of each other
//! compare  configured and journaled settings, difference by difference
//! memory   what a configuration costs, line by line
//! ```

mod compare;
mod error;
mod keys;
mod load;
mod local;
mod logical;
mod memory;
mod read;
mod value;

pub use compare::{Difference, compare, settings_to_append};
pub use error::{ConfigError, ConfigErrors};
pub use keys::{Key, Secret};
pub use load::{Config, EXAMPLE, Environment};
pub use local::{Idle, Local, OnConfigChange};
pub use logical::Logical;
pub use memory::MemoryLine;
