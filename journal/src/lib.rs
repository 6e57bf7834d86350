//! The journal: bytes in, bytes out; it knows no order.
//!
//! ```text
//! append(payload) -> record -> mapped ring -> persister -> segments on the disk
//!                                   \--> process dies --> scan, recovery table --> ring
//! Reader: tools read segments and ring, without a lock
//! ```
//!
//! `README.md` of this crate draws every format byte by byte and lists what a crash can leave.

mod bytes;
mod create;
mod error;
mod files;
mod found;
mod hot;
mod identity;
mod label;
mod lock;
mod mend;
mod open;
mod persist;
mod position;
mod prefetch;
mod prepare;
mod reader;
mod record;
mod recover;
mod region;
mod reopen;
mod ring;
mod scan;
mod segment;
mod spool;
mod spool_file;
mod spool_marks;
mod spool_reader;
mod storage;
mod sums;
mod survey;
mod walk;
mod watermarks;

pub use error::{JournalError, Refusal, RefusalKind};
pub use files::{META_FILE, RING_FILE};
pub use hot::ring_file;
pub use label::{FORMAT_VERSION, Label, RING_PATH_BYTES_MAX, Uuid};
pub use lock::LOCK_FILE;
pub use open::{Journal, JournalOptions, close, first_incarnation};
pub use persist::{GROUP_BYTES_MAX, Persisted, Persister};
pub use position::{Position, RING_BYTES_MAX, RING_BYTES_MIN, SEGMENTS};
pub use prefetch::prefetch_read;
pub use prepare::{Prepared, Preparer, SEGMENTS_AHEAD};
pub use reader::{ReadEnd, ReadStop, Reader};
pub use record::{
    HEADER_BYTES, KIND_PAD, PAD_BYTES_MAX, PAYLOAD_BYTES_MAX, RECORD_BYTES_MAX, Record,
    RecordError, record_bytes,
};
pub use recover::{IncarnationChange, Lost, Recovery, Suspect, Torn};
pub use region::{Region, RegionError, RegionReader, exit_on_sigbus};
pub use ring::{Appended, Full, Records, Ring, RingBytes, RingFile};
pub use scan::ChainError;
pub use segment::{SEGMENT_HEADER_BYTES, segment_file, sums_file};
pub use spool::{
    REPORTS_DIR, SPOOL_GROUP_BYTES_MAX, Spool, SpoolFound, SpoolOptions, SpoolProgress,
};
pub use spool_file::{SPOOL_PIECE_BYTES, SpoolIdentity, SpoolUseless, report_file};
pub use spool_marks::SpoolMarks;
pub use spool_reader::{PieceRead, SpoolReader};
pub use storage::{DirStorage, MemoryStorage, PageFate, Storage, faulty};
pub use sums::SumsFound;
pub use walk::Walk;
pub use watermarks::{Poison, Watermarks};
