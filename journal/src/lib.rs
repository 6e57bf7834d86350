//! The journal: bytes in, bytes out; it knows no order.
//!
//! ```text
//! append(payload) -> record -> mapped ring -> (process dies) -> scan -> recovery table -> ring
//!                                   ^ Reader: tools read the same file, without a lock
//! ```
//!
//! `README.md` of this crate draws every format byte by byte and lists what a crash can leave.

mod bytes;
mod directory;
mod error;
mod found;
mod identity;
mod label;
mod lock;
mod position;
mod prefetch;
mod reader;
mod record;
mod recover;
mod region;
mod ring;
mod scan;
mod storage;

pub use directory::{META_FILE, RING_FILE, RingOptions, first_incarnation};
pub use error::{JournalError, Refusal, RefusalKind};
pub use label::{FORMAT_VERSION, Label, Uuid};
pub use lock::LOCK_FILE;
pub use position::{Position, RING_BYTES_MAX, RING_BYTES_MIN, SEGMENTS};
pub use prefetch::prefetch_read;
pub use reader::{ReadEnd, ReadStop, Reader};
pub use record::{
    HEADER_BYTES, KIND_PAD, PAD_BYTES_MAX, PAYLOAD_BYTES_MAX, RECORD_BYTES_MAX, Record,
    RecordError, record_bytes,
};
pub use recover::{IncarnationChange, Recovery, Torn};
pub use region::{Region, RegionError};
pub use ring::{Appended, Full, Records, Ring};
pub use scan::ChainError;
pub use storage::{DirStorage, MemoryStorage, PageFate, Storage, faulty};
