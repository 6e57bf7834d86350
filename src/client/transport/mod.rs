//! A desk on TCP: sockets, addresses, reconnects, and two ways to wait.
//!
//! ```text
//! clock      wall time that never goes back
//! setup      what a client is given
//! addresses  which address is next, and when
//! inbox      octets that came, frame by frame
//! line       one TCP connection at a time, never blocking
//! driver     a desk on a line: one turn of everything that is due
//! blocking   a client that sleeps until something happens
//! busy       a client that its caller spins
//! ```

mod addresses;
mod blocking;
mod busy;
mod clock;
mod driver;
mod inbox;
mod line;
mod setup;

pub use blocking::BlockingClient;
pub use busy::BusyClient;
pub use clock::Clock;
pub use inbox::Inbox;
pub use setup::{ConnectError, Setup};
