//! Reader: a journal for tools, without a lock and without a write.
//!
//! It reads the ring file of a process that lives or of one that died, in pieces, by plain reads:
//! the bytes of a mapping that another process stores to would change under a slice. A read beside
//! a running append may see half of it. So where the chain breaks, the piece is read again, and
//! only a break that stays is judged; a hole counts only if its bytes are still bad after the valid
//! record behind it was seen, because the writer writes in order.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::bytes::{to_u64, to_usize};
use crate::directory::RING_FILE;
use crate::error::{JournalError, Refusal, RefusalKind};
use crate::found::read_both;
use crate::label::{FORMAT_VERSION, Label, Labelled};
use crate::position::{Geometry, Position};
use crate::record::{PAD_BYTES_MAX, Record};
use crate::ring::HEADER_PAGE_BYTES;
use crate::scan::{Behind, ChainError, Tip, look_behind, next_record};

/// Bytes read at once.
const WINDOW_BYTES: u64 = 1 << 18;
/// Times a break is read again before it is judged.
const READS_AGAIN: u32 = 4;
const _: () = assert!(WINDOW_BYTES > PAD_BYTES_MAX);

/// Reads the records of a journal in order.
#[derive(Debug)]
pub struct Reader {
    path: PathBuf,
    file: File,
    label: Label,
    meta: Option<Label>,
    geometry: Geometry,
    window: Vec<u8>,
    window_start: Position,
    position: Position,
    tip: Tip,
    end: Option<ReadEnd>,
}

/// Where and why reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadEnd {
    /// Position behind the last good record.
    pub position: Position,
    /// Byte of the ring file there.
    pub offset: u64,
    /// Index of the last good record; 0 when there is none.
    pub last_index: u64,
    /// Why.
    pub stop: ReadStop,
}

/// Why reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadStop {
    /// Only zeros follow: the end of the journal.
    Zeros,
    /// The ring is full to its last byte.
    Full,
    /// An unfinished record follows: a crash cut it short, or its writer is at it now.
    Torn {
        /// What is wrong with it.
        error: ChainError,
        /// Bytes up to the last that is not zero.
        bytes: u64,
    },
    /// Valid records follow a bad one.
    Corrupt {
        /// What is wrong with the bad one.
        error: ChainError,
        /// Where the first valid record behind it is.
        at: Position,
        /// Its index.
        index: u64,
    },
    /// The metadata names a record at the last clean stop that is missing or has another checksum.
    LostTail {
        /// Index of that record.
        stop_index: u64,
    },
}

impl Reader {
    /// Opens the journal in `dir`, in use or not.
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        let path = dir.join(RING_FILE);
        let (ring, meta) = read_both(dir)?;
        let label = match ring {
            None => {
                return Err(JournalError::NoJournal {
                    dir: dir.to_owned(),
                });
            }
            Some(Labelled::Good(label, _)) => label,
            Some(Labelled::Damaged) => {
                let (expected, found) = ("a slot with a matching checksum", "none".to_owned());
                return Err(refuse(
                    RefusalKind::RingDamaged,
                    path,
                    expected.to_owned(),
                    found,
                ));
            }
            Some(Labelled::OtherVersion(version)) => {
                let expected = format!("version {FORMAT_VERSION}");
                let found = format!("version {version}");
                return Err(refuse(RefusalKind::RingVersion, path, expected, found));
            }
        };
        let file = File::open(&path).map_err(JournalError::io(&path, "open it"))?;
        let bytes = file
            .metadata()
            .map_err(JournalError::io(&path, "read its length"))?
            .len();
        let geometry = Geometry::new(label.ring_bytes).ok_or(JournalError::RingBytes {
            found: label.ring_bytes,
        })?;
        if bytes != HEADER_PAGE_BYTES + label.ring_bytes {
            let expected = format!("{} bytes", HEADER_PAGE_BYTES + label.ring_bytes);
            let found = format!("{bytes} bytes");
            return Err(refuse(RefusalKind::RingLength, path, expected, found));
        }
        let meta = match meta {
            Some(Labelled::Good(meta, _)) => Some(meta),
            Some(Labelled::Damaged | Labelled::OtherVersion(_)) | None => None,
        };
        Ok(Self {
            path,
            file,
            label,
            meta,
            geometry,
            window: Vec::new(),
            window_start: Position::ZERO,
            position: Position::ZERO,
            tip: Tip::default(),
            end: None,
        })
    }

    /// The next record with its position, pads included; `None` at the end, which
    /// [`Reader::end`] then describes. Called again after the end of a journal in use, it goes on
    /// with what has been appended since.
    #[expect(
        clippy::should_implement_trait,
        reason = "the record borrows from the reader"
    )]
    pub fn next(&mut self) -> Result<Option<(Position, Record<'_>)>, JournalError> {
        self.end = None;
        if self.position.get() == self.geometry.ring_bytes() {
            self.finish(ReadStop::Full);
            return Ok(None);
        }
        let limit = self.geometry.segment_left(self.position);
        if !self.window_holds(limit) {
            self.fill()?;
        }
        let mut reads_left = READS_AGAIN;
        while let Err(error) = next_record(self.rest(), limit, &self.tip) {
            if reads_left > 0 {
                reads_left -= 1;
                self.fill()?;
                continue;
            }
            let stop = self.judge(error)?;
            // Only what did not become a good record in the meantime is an end.
            self.fill()?;
            if next_record(self.rest(), limit, &self.tip).is_err() {
                self.finish(stop);
                return Ok(None);
            }
        }
        let at = self.position;
        let start = to_usize(at.get() - self.window_start.get());
        let Some(record) = self.window.get(start..).and_then(Record::view) else {
            unreachable!("the bytes were decoded a moment ago");
        };
        self.tip = Tip::of(&record);
        self.position = at.plus(record.bytes());
        Ok(Some((at, record)))
    }

    /// Where and why reading ended; `None` before [`Reader::next`] said so.
    #[must_use]
    pub fn end(&self) -> Option<&ReadEnd> {
        self.end.as_ref()
    }

    /// Whose journal this is.
    #[must_use]
    pub fn label(&self) -> &Label {
        &self.label
    }

    /// The metadata beside the ring as of the open; `None` when it is missing or unreadable.
    #[must_use]
    pub fn metadata(&self) -> Option<&Label> {
        self.meta.as_ref()
    }

    /// Position of the next record.
    #[must_use]
    pub fn position(&self) -> Position {
        self.position
    }

    /// The ring file.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    fn finish(&mut self, stop: ReadStop) {
        let lost = self.meta.filter(|meta| {
            // The record of the stop itself is checked when it is the last; one that is further
            // back is vouched for by the chain.
            meta.stop_index > self.tip.index
                || (meta.stop_index == self.tip.index && meta.stop_crc != self.tip.crc)
        });
        let stop = match (stop, lost) {
            (ReadStop::Corrupt { .. }, _) | (_, None) => stop,
            (
                ReadStop::Zeros
                | ReadStop::Full
                | ReadStop::Torn { .. }
                | ReadStop::LostTail { .. },
                Some(meta),
            ) => ReadStop::LostTail {
                stop_index: meta.stop_index,
            },
        };
        self.end = Some(ReadEnd {
            position: self.position,
            offset: HEADER_PAGE_BYTES + self.position.get(),
            last_index: self.tip.index,
            stop,
        });
    }

    /// Reads all that is behind the break and says what it is.
    fn judge(&self, error: ChainError) -> Result<ReadStop, JournalError> {
        let len = self.geometry.ring_bytes() - self.position.get();
        let mut rest = vec![0; to_usize(len)];
        self.read_at(&mut rest, self.position)?;
        Ok(
            match look_behind(&rest, self.geometry, self.position, &self.tip, error) {
                Behind::Nothing => ReadStop::Zeros,
                Behind::Torn { error, bytes } => ReadStop::Torn { error, bytes },
                Behind::Valid { error, at, index } => ReadStop::Corrupt { error, at, index },
            },
        )
    }

    /// Whether the window holds the largest record that can start at the position.
    fn window_holds(&self, limit: u64) -> bool {
        let window_end = self.window_start.get() + to_u64(self.window.len());
        self.position.get() + limit.min(PAD_BYTES_MAX) <= window_end
    }

    fn rest(&self) -> &[u8] {
        let start = to_usize(self.position.get() - self.window_start.get());
        self.window.get(start..).unwrap_or(&[])
    }

    /// Reads the window anew, from the position on.
    fn fill(&mut self) -> Result<(), JournalError> {
        let len = (self.geometry.ring_bytes() - self.position.get()).min(WINDOW_BYTES);
        let mut window = std::mem::take(&mut self.window);
        window.resize(to_usize(len), 0);
        let result = self.read_at(&mut window, self.position);
        self.window = window;
        self.window_start = self.position;
        result
    }

    fn read_at(&self, into: &mut [u8], position: Position) -> Result<(), JournalError> {
        let read: io::Result<()> = self
            .file
            .read_exact_at(into, HEADER_PAGE_BYTES + position.get());
        read.map_err(JournalError::io(&self.path, "read it"))
    }
}

fn refuse(kind: RefusalKind, path: PathBuf, expected: String, found: String) -> JournalError {
    Box::new(Refusal {
        kind,
        path,
        offset: None,
        expected,
        found,
    })
    .into()
}
