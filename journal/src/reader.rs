//! Reader: a journal for tools, without a lock and without a write.
//!
//! It reads the segments of a node that lives or of one that died, and what only the ring has
//! behind them, all by plain reads: the bytes of a mapping that another process stores to would
//! change under a slice. A read beside a running append may see half of it, and a slow reader may
//! be overtaken by the ring's next round, when the segments have what it wants. So where the chain
//! breaks, both are read again, and only a break that stays is judged; a hole counts only if its
//! bytes are still bad after the valid record behind it was seen, because the writer writes in
//! order.

use std::fs::File;
use std::io::ErrorKind;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use crate::bytes::{to_u64, to_usize};
use crate::error::{JournalError, Refusal, RefusalKind};
use crate::files::{META_FILE, META_SLOTS, read_labels};
use crate::hot::RingPlace;
use crate::label::{FORMAT_VERSION, Label, Labelled, META_MAGIC};
use crate::open::read_boot_id;
use crate::position::{Geometry, Position};
use crate::record::{PAD_BYTES_MAX, Record};
use crate::ring::HEADER_PAGE_BYTES;
use crate::scan::{Behind, ChainError, Step, Stored, Tip, next_record};
use crate::segment::{SEGMENT_HEADER_BYTES, segment_file};
use crate::storage::{DirStorage, Storage as _};
use crate::sums::{self, SumsFound};
use crate::survey::{Floor, newest_durable, torn_in_ring};

/// Bytes of the ring read at once.
const WINDOW_BYTES: u64 = 1 << 18;
/// Times a break is read again before it is judged.
const READS_AGAIN: u32 = 4;
const _: () = assert!(WINDOW_BYTES > PAD_BYTES_MAX);

/// Reads the records of a journal in order.
#[derive(Debug)]
pub struct Reader {
    dir: PathBuf,
    storage: DirStorage,
    meta: Label,
    geometry: Geometry,
    stored: Stored,
    /// Up to here the segments had it; what is behind came from the ring.
    stored_end: Position,
    tap: Option<RingTap>,
    floors: [Floor; 2],
    end: Option<ReadEnd>,
}

/// The ring of a node that lives, or died on this machine.
#[derive(Debug)]
struct RingTap {
    path: PathBuf,
    file: File,
    base: Position,
    /// All stores of its writer are in it.
    is_whole: bool,
    window: Vec<u8>,
    window_start: Position,
}

/// Where and why reading ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadEnd {
    /// Position behind the last good record.
    pub position: Position,
    /// The file of that position.
    pub file: PathBuf,
    /// Its byte there.
    pub offset: u64,
    /// Index of the last good record; 0 when there is none.
    pub last_index: u64,
    /// Why.
    pub stop: ReadStop,
}

/// Why reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadStop {
    /// Nothing newer was written: the end of the journal.
    End,
    /// An unfinished record follows: a crash cut it short, or its writer is at it now.
    Torn {
        /// What is wrong with it.
        error: ChainError,
        /// Bytes up to the last that was written.
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
    /// A record that was on the disk is missing or has another checksum.
    LostTail {
        /// Index of that record.
        floor_index: u64,
    },
}

/// Where the next record was found.
enum Place {
    Segments(Position),
    Ring(Position),
}

impl Reader {
    /// Opens the journal in `dir`, in use or not.
    pub fn open(dir: &Path) -> Result<Self, JournalError> {
        let storage = DirStorage::new(dir);
        let path = dir.join(META_FILE);
        if !dir.is_dir() {
            return Err(JournalError::NoJournal { dir: dir.to_owned() });
        }
        let meta = match read_labels(&storage, META_FILE, META_SLOTS, META_MAGIC)
            .map_err(JournalError::io(&path, "read it"))?
        {
            None => return Err(JournalError::NoJournal { dir: dir.to_owned() }),
            Some(Labelled::Good(label, _)) => label,
            Some(Labelled::Damaged) => {
                let (expected, found) = ("a slot with a matching checksum", "none".to_owned());
                let kind = RefusalKind::MetadataDamaged;
                return Err(refuse(kind, path, expected.to_owned(), found));
            }
            Some(Labelled::OtherVersion(version)) => {
                let expected = format!("version {FORMAT_VERSION}");
                let found = format!("version {version}");
                return Err(refuse(RefusalKind::MetadataVersion, path, expected, found));
            }
        };
        let geometry = Geometry::new(meta.ring_bytes)
            .ok_or(JournalError::RingBytes { found: meta.ring_bytes })?;
        let tap = RingTap::find(dir, &meta)?;
        let mut reader = Self {
            dir: dir.to_owned(),
            storage,
            geometry,
            stored: Stored::new(geometry, 0),
            stored_end: Position::ZERO,
            tap,
            floors: Floor::of(&meta, &crate::segment::Durable::default()),
            meta,
            end: None,
        };
        reader.count_segments()?;
        let durable = newest_durable(&reader.storage, reader.stored.segment_count())
            .map_err(JournalError::io(dir, "read the slots of its segments"))?;
        reader.floors = Floor::of(&reader.meta, &durable);
        Ok(reader)
    }

    /// The next record with its position, pads included; `None` at the end, which
    /// [`Reader::end`] then describes. Called again after the end of a journal in use, it goes on
    /// with what has been appended since.
    #[expect(clippy::should_implement_trait, reason = "the record borrows from the reader")]
    pub fn next(&mut self) -> Result<Option<(Position, Record<'_>)>, JournalError> {
        self.end = None;
        let Some(place) = self.find_next()? else { return Ok(None) };
        let tip = self.stored.tip();
        self.floors.iter_mut().for_each(|floor| floor.look(&tip));
        Ok(Some(match (place, &self.tap) {
            (Place::Ring(at), Some(tap)) => (at, tap.record(at)),
            (Place::Ring(at) | Place::Segments(at), _) => (at, self.stored.record(at)),
        }))
    }

    /// Where and why reading ended; `None` before [`Reader::next`] said so.
    #[must_use]
    pub fn end(&self) -> Option<&ReadEnd> {
        self.end.as_ref()
    }

    /// Whose journal this is, as of the open.
    #[must_use]
    pub fn label(&self) -> &Label {
        &self.meta
    }

    /// Position of the next record.
    #[must_use]
    pub fn position(&self) -> Position {
        self.stored.position()
    }

    /// The journal's directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The ring that is read along, if there is one.
    #[must_use]
    pub fn ring_path(&self) -> Option<&Path> {
        self.tap.as_ref().map(|tap| tap.path.as_path())
    }

    /// Bytes of each segment.
    #[must_use]
    pub fn segment_bytes(&self) -> u64 {
        self.geometry.segment_bytes()
    }

    /// Segments that exist.
    #[must_use]
    pub fn segment_count(&self) -> u64 {
        self.stored.segment_count()
    }

    /// Compares the sums beside a segment with its bytes.
    pub fn check_sums(&self, segment: u64) -> Result<SumsFound, JournalError> {
        let path = self.dir.join(segment_file(segment));
        sums::check(&self.storage, self.geometry, segment)
            .map_err(JournalError::io_owned(path, "compare it with its sums"))
    }

    /// Steps over the next record, in whichever place has it.
    fn find_next(&mut self) -> Result<Option<Place>, JournalError> {
        let mut reads_left = READS_AGAIN;
        loop {
            let error = match self.step()? {
                Step::Record(at) => {
                    self.stored_end = self.stored.position();
                    return Ok(Some(Place::Segments(at)));
                }
                Step::Break(error) => error,
                Step::End => ChainError::NoSegment,
            };
            if let Some(at) = self.step_in_ring(reads_left < READS_AGAIN)? {
                return Ok(Some(Place::Ring(at)));
            }
            if reads_left > 0 {
                reads_left -= 1;
                self.refill()?;
                continue;
            }
            let stop = self.judge(error)?;
            // Only what did not become a good record in the meantime is an end.
            self.refill()?;
            if let Step::Record(at) = self.step()? {
                return Ok(Some(Place::Segments(at)));
            }
            if let Some(at) = self.step_in_ring(true)? {
                return Ok(Some(Place::Ring(at)));
            }
            self.finish(stop);
            return Ok(None);
        }
    }

    fn step(&mut self) -> Result<Step, JournalError> {
        match self.stored.step(&self.storage) {
            Ok(step) => Ok(step),
            Err(error) => {
                let at = self.geometry.segment_of(self.stored.position());
                let path = self.dir.join(segment_file(at));
                Err(JournalError::io_owned(path, "read it")(error))
            }
        }
    }

    /// Steps over the next record if the ring has it.
    fn step_in_ring(&mut self, again: bool) -> Result<Option<Position>, JournalError> {
        let (position, tip) = (self.stored.position(), self.stored.tip());
        let Some(tap) = self.tap.as_mut().filter(|tap| position >= tap.base) else {
            return Ok(None);
        };
        let Some((next, tip)) = tap.step(self.geometry, position, &tip, again)? else {
            return Ok(None);
        };
        self.stored.skip(next, tip);
        Ok(Some(position))
    }

    /// Looks at the files as they are now.
    fn refill(&mut self) -> Result<(), JournalError> {
        self.count_segments()?;
        let at = self.geometry.segment_of(self.stored.position());
        if at >= self.stored.segment_count() {
            return Ok(());
        }
        self.stored
            .fill(&self.storage)
            .map_err(JournalError::io_owned(self.dir.join(segment_file(at)), "read it"))
    }

    fn count_segments(&mut self) -> Result<(), JournalError> {
        let mut count = self.stored.segment_count();
        let len = SEGMENT_HEADER_BYTES + self.geometry.segment_bytes();
        loop {
            let name = segment_file(count);
            let found = self.storage.len(&name);
            let path = self.dir.join(&name);
            match found.map_err(JournalError::io(&path, "read its length"))? {
                None => break,
                Some(found) if found != len => {
                    let (expected, found) = (format!("{len} bytes"), format!("{found} bytes"));
                    return Err(refuse(RefusalKind::SegmentLength, path, expected, found));
                }
                Some(_) => count += 1,
            }
        }
        self.stored.set_segment_count(count);
        Ok(())
    }

    fn finish(&mut self, stop: ReadStop) {
        let floor = self.floors.iter().filter(|floor| !floor.is_reached).map(|floor| floor.index);
        let stop = match (stop, floor.max()) {
            (ReadStop::Corrupt { .. }, _) | (_, None) => stop,
            (
                ReadStop::End | ReadStop::Torn { .. } | ReadStop::LostTail { .. },
                Some(floor_index),
            ) => ReadStop::LostTail { floor_index },
        };
        let position = self.stored.position();
        let file = self.dir.join(segment_file(self.geometry.segment_of(position)));
        self.end = Some(ReadEnd {
            position,
            file,
            offset: SEGMENT_HEADER_BYTES + self.geometry.segment_offset(position),
            last_index: self.stored.tip().index,
            stop,
        });
    }

    /// Reads all that is behind the break and says what it is.
    fn judge(&mut self, error: ChainError) -> Result<ReadStop, JournalError> {
        let (position, tip) = (self.stored.position(), self.stored.tip());
        let count = self.stored.segment_count();
        let fail = || JournalError::io(&self.dir, "read what is behind the chain");
        let mut behind = Behind::of_segments(&self.storage, self.geometry, count, position, &tip)
            .map_err(fail())?;
        if let Some(tap) = self.tap.as_ref().filter(|tap| tap.is_whole) {
            let ring = tap.read_all(self.geometry)?;
            let in_ring = Behind::of_ring(&ring, self.geometry, position, &tip);
            behind.valid = behind.valid.or(in_ring.valid);
            let ends = (self.stored_end, position);
            let torn = torn_in_ring(&self.storage, &ring, self.geometry, ends);
            behind.used = behind.used.max(torn.map_err(fail())?);
        }
        Ok(match behind.valid {
            Some((at, index)) => ReadStop::Corrupt { error, at, index },
            None if behind.used > 0 => ReadStop::Torn { error, bytes: behind.used },
            None => ReadStop::End,
        })
    }
}

impl RingTap {
    /// The ring beside a journal that was not stopped cleanly. One that cannot be used is as none:
    /// what it alone had is then missing, and the floor tells.
    fn find(dir: &Path, meta: &Label) -> Result<Option<Self>, JournalError> {
        if meta.is_stopped {
            return Ok(None);
        }
        let place = RingPlace::Directory { hot: None, data: dir.to_owned() };
        let Some(found) = place.look(meta)? else { return Ok(None) };
        let (Labelled::Good(label, _), Some(path)) = (found.labelled, found.path) else {
            return Ok(None);
        };
        let is_ours = label.journal_uuid == meta.journal_uuid
            && label.incarnation <= meta.incarnation
            && found.len == HEADER_PAGE_BYTES + meta.ring_bytes;
        if !is_ours {
            return Ok(None);
        }
        let file = match File::open(&path) {
            // The node stopped in this moment.
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            opened => opened.map_err(JournalError::io(&path, "open it"))?,
        };
        let is_whole = label.boot_id == read_boot_id()? || label.boot_id == meta.boot_id;
        let (window, window_start) = (Vec::new(), Position::ZERO);
        Ok(Some(Self { path, file, base: label.base, is_whole, window, window_start }))
    }

    /// The end of the next record and itself, if it stands at `position`.
    fn step(
        &mut self,
        geometry: Geometry,
        position: Position,
        tip: &Tip,
        again: bool,
    ) -> Result<Option<(Position, Tip)>, JournalError> {
        let limit = geometry.segment_left(position);
        let window_end = self.window_start.plus(to_u64(self.window.len()));
        let is_in_window =
            position >= self.window_start && position.plus(limit.min(PAD_BYTES_MAX)) <= window_end;
        if again || !is_in_window {
            self.window.resize(to_usize(limit.min(WINDOW_BYTES)), 0);
            self.window_start = position;
            let at = HEADER_PAGE_BYTES + geometry.ring_offset(position);
            self.file
                .read_exact_at(&mut self.window, at)
                .map_err(JournalError::io(&self.path, "read it"))?;
        }
        let start = to_usize(position.since(self.window_start));
        let found = next_record(self.window.get(start..).unwrap_or(&[]), limit, tip).ok();
        Ok(found.map(|record| (position.plus(record.bytes()), Tip::of(&record))))
    }

    fn record(&self, at: Position) -> Record<'_> {
        let start = to_usize(at.since(self.window_start));
        match self.window.get(start..).and_then(Record::view) {
            Some(record) => record,
            None => unreachable!("the bytes were decoded a moment ago"),
        }
    }

    fn read_all(&self, geometry: Geometry) -> Result<Vec<u8>, JournalError> {
        let mut ring = vec![0; to_usize(geometry.ring_bytes())];
        self.file
            .read_exact_at(&mut ring, HEADER_PAGE_BYTES)
            .map_err(JournalError::io(&self.path, "read it"))?;
        Ok(ring)
    }
}

fn refuse(kind: RefusalKind, path: PathBuf, expected: String, found: String) -> JournalError {
    Box::new(Refusal { kind, path, offset: None, expected, found, has_front: true }).into()
}
