//! One peer's conversation (FIXP), sans I/O, in two halves.
//!
//! ```text
//! frame -> transport -> logon (auth)            -> SessionOpen, SessionBind   \
//!                    -> established -> logical   -> ClientMessage, SessionGap   > act -> shell
//!                    -> liveness, breach         -> SessionDown               /
//! released reports -> report_log -> outgoing -> octets for the socket
//! ```

pub mod logical;

mod deadlines;
mod id_map;
mod remembered;

pub mod act;
pub mod auth;
pub mod bindings;
mod breach;
pub mod credentials;
mod established;
pub mod liveness;
mod logon;
pub mod node_view;
pub mod outgoing;
pub mod report_log;
pub mod transport;
