//! Scan: how far a journal's bytes are a chain of records, and what comes behind its end.
//!
//! The longest valid chain from the first record is what the journal holds. Where it breaks there
//! are three worlds. Nothing newer was ever written there. Bytes, but no newer record among them: a
//! write that a crash cut short. A newer valid record further on: something in between was lost or
//! changed, and nothing may be dropped silently.
//!
//! The third world is looked for at every eighth byte from the break. A client's payload may look
//! like a header, so the checksum decides, and a record counts only if its index is higher than the
//! last good one's and its epoch not lower: what a ring holds from its last round does not count.
//! What is left is a payload that contains, whole, a record with such an index: whoever plants one,
//! and has his own record torn by a crash in the nanoseconds before its checksum is stored, makes
//! the journal refuse to start; he cannot make it drop or accept anything.

use std::io;

use crate::bytes::{is_zero, to_u64, to_usize, used_bytes};
use crate::position::{Geometry, Position};
use crate::record::{PAD_BYTES_MAX, Record, RecordError};
use crate::segment::{SEGMENT_HEADER_BYTES, segment_file};
use crate::storage::Storage;

/// The last record of a chain. All zero before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tip {
    pub(crate) index: u64,
    pub(crate) time: u64,
    pub(crate) epoch: u32,
    pub(crate) crc: u32,
}

impl Tip {
    pub(crate) fn of(record: &Record<'_>) -> Self {
        Self { index: record.index, time: record.time, epoch: record.epoch, crc: record.crc }
    }
}

/// Why bytes are not the next record of a chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChainError {
    /// They are no record at all.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// A valid record, but not the next one.
    #[error("index {expected} expected, {found} found")]
    Index {
        /// One more than the record before.
        expected: u64,
        /// In the record.
        found: u64,
    },
    /// A valid record that follows another one than ours.
    #[error("prev_crc {expected:#010x} expected, {found:#010x} found")]
    PrevCrc {
        /// The checksum of the record before.
        expected: u32,
        /// In the record.
        found: u32,
    },
    /// The segment that would hold the record is not there.
    #[error("a record expected, no segment for it found")]
    NoSegment,
    /// The epoch goes back.
    #[error("epoch of at least {last} expected, {found} found")]
    Epoch {
        /// In the record before.
        last: u32,
        /// In the record.
        found: u32,
    },
}

/// Reads the record at the start of `bytes` if it continues the chain that ends with `tip`.
pub(crate) fn next_record<'a>(
    bytes: &'a [u8],
    limit: u64,
    tip: &Tip,
) -> Result<Record<'a>, ChainError> {
    let record = Record::decode(bytes, limit)?;
    if record.index != tip.index + 1 {
        return Err(ChainError::Index { expected: tip.index + 1, found: record.index });
    }
    if record.prev_crc != tip.crc {
        return Err(ChainError::PrevCrc { expected: tip.crc, found: record.prev_crc });
    }
    if record.epoch < tip.epoch {
        return Err(ChainError::Epoch { last: tip.epoch, found: record.epoch });
    }
    Ok(record)
}

/// Bytes read from a segment at once.
const WINDOW_BYTES: u64 = 1 << 18;
const _: () = assert!(WINDOW_BYTES > PAD_BYTES_MAX);

/// The records of a journal in the order of its segment files, each checked against the chain.
#[derive(Debug)]
pub(crate) struct Stored {
    geometry: Geometry,
    /// Segments `[0, segment_count)` exist.
    segment_count: u64,
    window: Vec<u8>,
    window_start: Position,
    position: Position,
    tip: Tip,
}

/// What stands next in the segments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The record that [`Stored::record`] shows.
    Record(Position),
    /// The bytes do not continue the chain.
    Break(ChainError),
    /// No segment holds the position.
    End,
}

impl Stored {
    /// From the first record on.
    pub(crate) fn new(geometry: Geometry, segment_count: u64) -> Self {
        Self {
            geometry,
            segment_count,
            window: Vec::new(),
            window_start: Position::ZERO,
            position: Position::ZERO,
            tip: Tip::default(),
        }
    }

    /// Steps over the next record, or says why there is none. Called again after that, it looks at
    /// the same bytes.
    pub(crate) fn step(&mut self, storage: &dyn Storage) -> io::Result<Step> {
        if self.geometry.segment_of(self.position) >= self.segment_count {
            return Ok(Step::End);
        }
        let limit = self.geometry.segment_left(self.position);
        let window_end = self.window_start.plus(to_u64(self.window.len()));
        if self.position < self.window_start
            || self.position.plus(limit.min(PAD_BYTES_MAX)) > window_end
        {
            self.fill(storage)?;
        }
        let at = self.position;
        let start = to_usize(at.since(self.window_start));
        Ok(match next_record(self.window.get(start..).unwrap_or(&[]), limit, &self.tip) {
            Ok(record) => {
                self.tip = Tip::of(&record);
                self.position = at.plus(record.bytes());
                Step::Record(at)
            }
            Err(error) => Step::Break(error),
        })
    }

    /// The record that was just stepped over.
    pub(crate) fn record(&self, at: Position) -> Record<'_> {
        let start = to_usize(at.since(self.window_start));
        match self.window.get(start..).and_then(Record::view) {
            Some(record) => record,
            None => unreachable!("the bytes were decoded a moment ago"),
        }
    }

    /// Reads the window anew, from the position on.
    pub(crate) fn fill(&mut self, storage: &dyn Storage) -> io::Result<()> {
        let len = self.geometry.segment_left(self.position).min(WINDOW_BYTES);
        self.window.resize(to_usize(len), 0);
        self.window_start = self.position;
        let read = read_segments(storage, self.geometry, self.position, &mut self.window);
        if read.is_err() {
            self.window.clear();
        }
        read
    }

    /// Position of the next record.
    pub(crate) fn position(&self) -> Position {
        self.position
    }

    /// The last record.
    pub(crate) fn tip(&self) -> Tip {
        self.tip
    }

    /// Segments that are known to exist.
    pub(crate) fn segment_count(&self) -> u64 {
        self.segment_count
    }

    /// More segments have come since.
    pub(crate) fn set_segment_count(&mut self, segment_count: u64) {
        self.segment_count = segment_count;
    }

    /// Goes on behind a record that stood elsewhere.
    pub(crate) fn skip(&mut self, position: Position, tip: Tip) {
        (self.position, self.tip) = (position, tip);
    }
}

/// Fills `into` from the segment file that holds `position`; it does not reach beyond its end.
pub(crate) fn read_segments(
    storage: &dyn Storage,
    geometry: Geometry,
    position: Position,
    into: &mut [u8],
) -> io::Result<()> {
    debug_assert!(to_u64(into.len()) <= geometry.segment_left(position), "one segment");
    let name = segment_file(geometry.segment_of(position));
    storage.read_at(&name, SEGMENT_HEADER_BYTES + geometry.segment_offset(position), into)
}

/// Indexes of records, as runs of successive ones: they come nearly in order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Indexes {
    /// First and last of each run; none touches another in order of coming.
    runs: Vec<(u64, u64)>,
}

impl Indexes {
    /// Adds an index; one that is there already is not counted again.
    fn add(&mut self, index: u64) {
        if self.runs.iter().rev().any(|(first, last)| (*first..=*last).contains(&index)) {
            return;
        }
        match self.runs.last_mut() {
            Some((_, last)) if *last + 1 == index => *last = index,
            Some(_) | None => self.runs.push((index, index)),
        }
    }

    /// How many.
    pub(crate) fn count(&self) -> u64 {
        let mut runs = self.runs.clone();
        runs.sort_unstable();
        let mut end = 0;
        runs.into_iter().fold(0, |count, (first, last)| {
            let first = first.max(end);
            end = end.max(last + 1);
            count + (last + 1).saturating_sub(first)
        })
    }

    /// The highest; 0 when there is none.
    pub(crate) fn max(&self) -> u64 {
        self.runs.iter().map(|(_, last)| *last).max().unwrap_or(0)
    }

    /// Takes those of `others` along.
    pub(crate) fn extend(&mut self, others: &Self) {
        self.runs.extend_from_slice(&others.runs);
    }
}

/// What lies behind the end of a chain.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Behind {
    /// Bytes from the end of the chain to the last that is not zero, rounded up to 8.
    pub(crate) used: u64,
    /// The first newer record, and its index.
    pub(crate) valid: Option<(Position, u64)>,
    /// Bytes from the end of the chain to that of the last newer record.
    pub(crate) reach: u64,
    /// Of all newer records.
    pub(crate) indexes: Indexes,
}

impl Behind {
    /// Looks at `bytes`, which stand at `at`, for records that start in the first `len` of them and
    /// are newer than `tip`; the chain ends at `head`.
    fn look(
        &mut self,
        (bytes, len): (&[u8], usize),
        at: Position,
        geometry: Geometry,
        (head, tip): (Position, &Tip),
    ) {
        let mut start = 0;
        while start < len {
            let rest = &bytes[start..];
            // Most of what is behind a break is zeros; a record never starts with sixteen of them.
            let chunk = rest.len().min(4096);
            if start.is_multiple_of(4096) && is_zero(&rest[..chunk]) {
                start += chunk;
                continue;
            }
            let found = at.plus(to_u64(start));
            start += 8;
            let Some(record) = newer_record(rest, geometry.segment_left(found), tip) else {
                continue;
            };
            self.valid.get_or_insert((found, record.index));
            self.reach = self.reach.max(found.plus(record.bytes()).since(head));
            self.indexes.add(record.index);
            start += to_usize(record.bytes()) - 8;
        }
    }

    /// Looks at a file that is given up, as at any bytes: it may be cut, or another segment's.
    pub(crate) fn of_file(
        storage: &dyn Storage,
        geometry: Geometry,
        name: &str,
        tip: &Tip,
    ) -> io::Result<Self> {
        let mut behind = Self::default();
        let len = storage.len(name)?.unwrap_or(0).saturating_sub(SEGMENT_HEADER_BYTES);
        let len = len.min(geometry.segment_bytes());
        let mut window = Vec::new();
        let mut at = 0;
        while at < len {
            let piece = (len - at).min(WINDOW_BYTES);
            window.resize(to_usize((piece + PAD_BYTES_MAX).min(len - at)), 0);
            storage.read_at(name, SEGMENT_HEADER_BYTES + at, &mut window)?;
            let bytes = (&window[..], to_usize(piece));
            behind.look(bytes, Position::new(at), geometry, (Position::ZERO, tip));
            at += piece;
        }
        Ok(behind)
    }

    /// Looks at all segments from the end of the chain on.
    pub(crate) fn of_segments(
        storage: &dyn Storage,
        geometry: Geometry,
        segment_count: u64,
        head: Position,
        tip: &Tip,
    ) -> io::Result<Self> {
        let mut behind = Self::default();
        let end = geometry.segment_start(segment_count);
        let mut window = Vec::new();
        let mut at = head;
        while at < end {
            let left = geometry.segment_left(at);
            let len = left.min(WINDOW_BYTES);
            // A record that starts in the window may end behind it.
            window.resize(to_usize((len + PAD_BYTES_MAX).min(left)), 0);
            read_segments(storage, geometry, at, &mut window)?;
            let used = used_bytes(&window[..to_usize(len)]);
            if used > 0 {
                behind.used = at.since(head) + to_u64(used);
            }
            behind.look((&window, to_usize(len)), at, geometry, (head, tip));
            at = at.plus(len);
        }
        Ok(behind)
    }

    /// Looks at a whole ring from the end of the chain on. What the ring holds from its last round
    /// is older and no sign of anything, so `used` stays 0.
    pub(crate) fn of_ring(ring: &[u8], geometry: Geometry, head: Position, tip: &Tip) -> Self {
        assert!(to_u64(ring.len()) == geometry.ring_bytes(), "the whole ring");
        let mut behind = Self::default();
        let end = head.plus(geometry.ring_bytes());
        let mut at = head;
        while at < end {
            let len = geometry.segment_left(at).min(end.since(at));
            let start = to_usize(geometry.ring_offset(at));
            let bytes = &ring[start..start + to_usize(len)];
            behind.look((bytes, bytes.len()), at, geometry, (head, tip));
            at = at.plus(len);
        }
        behind
    }
}

/// Bytes from the start of `bytes`, which stand behind a ring's last record, that a store left: up
/// to the last that is neither zero nor what the ring held a round before. Byte by byte, because a
/// torn record that was dropped has left zeros in front of older bytes. An append writes at most
/// one record that is not whole.
pub(crate) fn torn_bytes(bytes: &[u8], a_round_before: Option<&[u8]>) -> u64 {
    let Some(old) = a_round_before else { return to_u64(used_bytes(bytes)) };
    let last = bytes.iter().zip(old).rposition(|(now, then)| *now != 0 && now != then);
    last.map_or(0, |last| to_u64(last + 1).next_multiple_of(8))
}

/// The record at the start of `bytes`, if it is one and newer than `tip`. What cannot be is told
/// by its index and epoch, before the checksum.
fn newer_record<'a>(bytes: &'a [u8], limit: u64, tip: &Tip) -> Option<Record<'a>> {
    let index = bytes.get(8..).and_then(<[u8]>::first_chunk)?;
    let epoch = bytes.get(24..).and_then(<[u8]>::first_chunk)?;
    if u64::from_le_bytes(*index) <= tip.index || u32::from_le_bytes(*epoch) < tip.epoch {
        return None;
    }
    let bytes = &bytes[..bytes.len().min(to_usize(PAD_BYTES_MAX))];
    Record::decode(bytes, limit).ok()
}
