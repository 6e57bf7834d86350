//! The judge: reads client histories and a journal, believes neither, and compares them.
//!
//! It shares no code with the engine: what it knows is the wire's codec, the journal's reader and
//! the words. Whatever the engine's own state says, its customers saw these frames and its journal
//! holds these records, and six sentences must be true of them ([`Claim`]).
//!
//! ```text
//! verdict   the claims, what breaks them, and the figures
//! ledger    what the journal says: whose sessions, which requests at which index
//! flow      one session's numbers: counted again, from the frames alone
//! keys      what was answered for each (owner, ClOrdID)
//! reports   what one report says, against the ledger and what was said before
//! court     reads the histories and hands out the verdict
//! ```

mod court;
mod flow;
mod keys;
mod ledger;
mod reports;
mod verdict;

pub use self::court::{JudgeError, Options, judge};
pub use self::ledger::Ledger;
pub use self::verdict::{Claim, Figures, VIOLATIONS_KEPT_MAX, Verdict, Violation};
