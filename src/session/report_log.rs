//! The reports of all sessions, encoded and numbered, in one ring.
//!
//! A connection needs what its session was told: the newest reports as they are released, old ones
//! when it asks again. A buffer a connection would hold everything twice, and its worst case would
//! be paid a thousand times. So every report is encoded once, into one ring that all sessions
//! share, and a connection is a [`Cursor`] into it. Reports of one session are linked, so a cursor
//! reads the next one in constant time however many sessions are interleaved; every 256th is marked
//! (`marks.rs`), so any number is found in at most 255 hops.
//!
//! ```text
//!   0        4      8         16       24      32
//!   | session | len | number  | index  | next  | frame ... | to a multiple of 8
//! ```
//!
//! A position counts octets ever written; its place is `position mod size`. An entry is never split
//! over the end: what is left there is a pad, `session` = `u32::MAX` and `len` its octets. `next`
//! is the position of the same session's next entry, 0 until there is one. When the ring is full
//! the oldest entries go: the tail passes over them, and with it their marks and their session's
//! first number. Whatever lies before the tail is gone and is never read, so a slow cursor learns
//! that it lost its place, not somebody else's report.
//!
//! Derived data: rebuilt by a replay, never believed against the journal.

mod marks;

use self::marks::Marks;
use crate::limits::REPORT_BYTES_MAX;
use crate::vocabulary::bytes::present;
use crate::vocabulary::units::{Index, Seq, SessionIdx};

/// Octets of an entry's header.
pub const ENTRY_HEADER_BYTES: usize = 32;
/// Octets of the smallest ring, for tests: a handful of the longest entries. A node's is far larger
/// than what one turn may write, or a reader would lose its place within the turn.
pub const LOG_BYTES_MIN: usize = 1024;
const _: () = assert!(LOG_BYTES_MIN >= 4 * (ENTRY_HEADER_BYTES + REPORT_BYTES_MAX));

/// Octets of the shortest report, a NotApplied; entries are at least this long behind the header.
const FRAME_BYTES_MIN: usize = 24;
/// Octets of the longest entry; as many are always free behind the head while one is written.
pub const ENTRY_BYTES_MAX: usize = (ENTRY_HEADER_BYTES + REPORT_BYTES_MAX).next_multiple_of(ALIGN);
/// No entry. Position 0 is a pad, so that 0 can stand for it.
const NOWHERE: u64 = 0;
const PAD: u32 = u32::MAX;
const ALIGN: usize = 8;

/// The ring.
///
/// Invariants: `tail <= head <= tail + size`; positions are multiples of 8; a session's entries
/// from its `first` to its `last` are all at or behind the tail, linked, with numbers that follow
/// each other; every live entry whose number is a multiple of 256 is marked.
pub struct ReportLog {
    bytes: Box<[u8]>,
    head: u64,
    tail: u64,
    links: Box<[Links]>,
    marks: Marks,
}

/// What is known of one session's entries.
#[derive(Clone, Copy)]
struct Links {
    /// Position of the oldest live entry, or [`NOWHERE`].
    first: u64,
    /// Position of the newest live entry, or [`NOWHERE`].
    last: u64,
    /// Number of the entry at `first`, else of the next one.
    first_number: Seq,
    /// Number of the next entry; 0 before the first.
    next_number: Seq,
    /// Octets of all frames ever appended.
    octets: u64,
    /// Entries before this position are of a session that was forgotten.
    floor: u64,
}

/// A report in the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry<'a> {
    /// Its number in the session's flow.
    pub number: Seq,
    /// The journal record that caused it; it is released when this is.
    pub index: Index,
    /// The whole frame.
    pub frame: &'a [u8],
    position: u64,
}

/// What stands at a cursor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum AtCursor<'a> {
    /// This report.
    Entry(Entry<'a>),
    /// Nothing yet.
    End,
    /// The report was overwritten, or was never in this log.
    Lost,
}

/// A place in one session's flow: the number of the next report to read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cursor {
    session: SessionIdx,
    number: Seq,
    /// Position of the report before `number`, or [`NOWHERE`].
    before: u64,
}

#[derive(Clone, Copy)]
struct Header {
    session: u32,
    len: u32,
    number: u64,
    index: u64,
    next: u64,
}

impl ReportLog {
    /// A ring of `size` octets, a power of two, for sessions in `[0, session_count_max)`. Every
    /// page is touched now, so that none is missing later.
    #[must_use]
    pub fn new(size: usize, session_count_max: u32) -> Self {
        assert!(size.is_power_of_two(), "the ring is masked, so its size is a power of two");
        assert!(size >= LOG_BYTES_MIN, "the ring holds at least {LOG_BYTES_MIN} octets");
        let session_count = session_count_max as usize;
        let none = Links {
            first: NOWHERE,
            last: NOWHERE,
            first_number: Seq(0),
            next_number: Seq(0),
            octets: 0,
            floor: 0,
        };
        let mut log = Self {
            bytes: present(size, 0, u8::MAX),
            head: 0,
            tail: 0,
            links: vec![none; session_count].into(),
            marks: Marks::new(entry_count_max(size), session_count),
        };
        log.write_pad(ALIGN);
        log
    }

    /// What `new` takes, in bytes.
    #[must_use]
    pub fn bytes(size: usize, session_count_max: u32) -> usize {
        let session_count = session_count_max as usize;
        let marks = Marks::bytes(entry_count_max(size), session_count);
        size + session_count * size_of::<Links>() + marks
    }

    /// Room for the next report of `session`: [`REPORT_BYTES_MAX`] octets, as the encoder wants, of
    /// which the caller writes the first `len`. The numbers of a session follow each other; its
    /// first may be any.
    pub fn append(
        &mut self,
        session: SessionIdx,
        number: Seq,
        index: Index,
        len: usize,
    ) -> &mut [u8] {
        assert!(
            (FRAME_BYTES_MIN..=REPORT_BYTES_MAX).contains(&len),
            "not a report's length: {len}"
        );
        let links = self.links[session.0 as usize];
        let is_next = links.next_number == Seq(0) || links.next_number == number;
        assert!(is_next, "reports of a session are numbered without a gap");
        let position = self.take(ENTRY_HEADER_BYTES + len.next_multiple_of(ALIGN));
        // Making room may have taken the last entry of this very session.
        let links = &mut self.links[session.0 as usize];
        let before = links.last;
        if before == NOWHERE {
            links.first = position;
            links.first_number = number;
        }
        links.last = position;
        links.next_number = number.next();
        links.octets += len as u64;
        if before != NOWHERE {
            self.put_next(before, position);
        }
        if Marks::is_mark(number) {
            self.marks.insert(session, number, position);
        }
        let at = self.place(position);
        let len_stored = u32::try_from(len).unwrap_or(0);
        let header = Header {
            session: session.0,
            len: len_stored,
            number: number.0,
            index: index.0,
            next: NOWHERE,
        };
        let (head, rest) = self.bytes[at..].split_at_mut(ENTRY_HEADER_BYTES);
        header.write(head);
        &mut rest[..REPORT_BYTES_MAX]
    }

    /// Forgets the reports of `session`, whose slot may be another's from now on: that one's
    /// numbers begin anew. The entries stay until they are overwritten, and are found by nobody. No
    /// cursor of the session is used any more.
    pub fn forget(&mut self, session: SessionIdx) {
        let links = &mut self.links[session.0 as usize];
        (links.first, links.last) = (NOWHERE, NOWHERE);
        (links.first_number, links.next_number) = (Seq(0), Seq(0));
        links.floor = self.head;
    }

    /// A cursor at `number` of `session`, which may not be there yet.
    #[must_use]
    pub const fn cursor(&self, session: SessionIdx, number: Seq) -> Cursor {
        Cursor { session, number, before: NOWHERE }
    }

    /// What stands at `cursor`.
    #[inline]
    #[must_use]
    pub fn at(&self, cursor: &Cursor) -> AtCursor<'_> {
        let links = &self.links[cursor.session.0 as usize];
        if cursor.number >= links.next_number {
            return AtCursor::End;
        }
        let position = if cursor.before > NOWHERE && cursor.before >= self.tail {
            Some(self.header(cursor.before).next)
        } else {
            self.position_of(cursor.session, cursor.number)
        };
        position.map_or(AtCursor::Lost, |position| AtCursor::Entry(self.entry(position)))
    }

    /// The report numbered `number` of `session`, while it is in the ring.
    #[must_use]
    pub fn find(&self, session: SessionIdx, number: Seq) -> Option<Entry<'_>> {
        self.position_of(session, number).map(|position| self.entry(position))
    }

    /// The number after the newest report of `session` in this log; `None` before the first.
    #[must_use]
    pub fn next_number(&self, session: SessionIdx) -> Option<Seq> {
        self.links.get(session.0 as usize).map(|l| l.next_number).filter(|n| n.0 != 0)
    }

    /// Octets of all frames ever appended for `session`.
    #[must_use]
    pub fn octets(&self, session: SessionIdx) -> u64 {
        self.links.get(session.0 as usize).map_or(0, |links| links.octets)
    }

    /// Octets of the frames from `cursor` to the newest, by reading each.
    #[must_use]
    pub fn octets_from(&self, mut cursor: Cursor) -> u64 {
        let mut sum = 0;
        while let AtCursor::Entry(entry) = self.at(&cursor) {
            sum += entry.frame.len() as u64;
            cursor.advance(&entry);
        }
        sum
    }

    /// Octets of the ring.
    #[must_use]
    pub const fn size(&self) -> usize {
        self.bytes.len()
    }

    /// Octets ever written, headers and pads included.
    #[must_use]
    pub const fn head(&self) -> u64 {
        self.head
    }

    fn position_of(&self, session: SessionIdx, number: Seq) -> Option<u64> {
        let links = self.links.get(session.0 as usize)?;
        if links.first == NOWHERE || number < links.first_number || number >= links.next_number {
            return None;
        }
        let mark = Marks::mark_of(number);
        // No mark at or below it is live: then the first live entry is less than a stride away.
        let marked = self.marks.find(session, mark, links.floor);
        let (mut position, mut reached) =
            marked.map_or((links.first, links.first_number), |position| (position, mark));
        debug_assert!(number.0 - reached.0 < marks::STRIDE, "a mark is missing");
        while reached < number {
            position = self.header(position).next;
            reached = reached.next();
        }
        Some(position)
    }

    fn entry(&self, position: u64) -> Entry<'_> {
        debug_assert!(position >= self.tail, "an overwritten report is never read");
        let header = self.header(position);
        let from = self.place(position) + ENTRY_HEADER_BYTES;
        let frame = &self.bytes[from..from + header.len as usize];
        Entry { number: Seq(header.number), index: Index(header.index), frame, position }
    }

    /// Takes `need` octets where the longest entry is not split over the end, and returns their
    /// position.
    fn take(&mut self, need: usize) -> u64 {
        let left = self.bytes.len() - self.place(self.head);
        if left < ENTRY_BYTES_MAX {
            self.write_pad(left);
        }
        let position = self.head;
        self.make_room(position + ENTRY_BYTES_MAX as u64);
        self.head += need as u64;
        position
    }

    fn write_pad(&mut self, len: usize) {
        let at = self.place(self.head);
        self.head += len as u64;
        self.make_room(self.head);
        let [s0, s1, s2, s3] = PAD.to_le_bytes();
        let [l0, l1, l2, l3] = u32::try_from(len).unwrap_or(u32::MAX).to_le_bytes();
        self.bytes[at..at + ALIGN].copy_from_slice(&[s0, s1, s2, s3, l0, l1, l2, l3]);
    }

    /// Moves the tail over the entries that octets up to `end` overwrite.
    #[inline]
    fn make_room(&mut self, end: u64) {
        while end.saturating_sub(self.tail) > self.bytes.len() as u64 {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let at = self.place(self.tail);
        let session = u32_at(&self.bytes, at);
        if session == PAD {
            self.tail += u64::from(u32_at(&self.bytes, at + 4));
            return;
        }
        let header = self.header(self.tail);
        let links = &mut self.links[session as usize];
        if self.tail >= links.floor {
            assert!(links.first == self.tail, "the oldest entry is the first of its session");
            links.first = header.next;
            links.first_number = Seq(header.number).next();
            if header.next == NOWHERE {
                links.last = NOWHERE;
            }
        }
        if Marks::is_mark(Seq(header.number)) {
            self.marks.remove(SessionIdx(session), Seq(header.number), self.tail);
        }
        let len = (header.len as usize).next_multiple_of(ALIGN);
        self.tail += (ENTRY_HEADER_BYTES + len) as u64;
    }

    fn place(&self, position: u64) -> usize {
        usize::try_from(position & (self.bytes.len() as u64 - 1)).unwrap_or(0)
    }

    #[inline]
    fn header(&self, position: u64) -> Header {
        let at = self.place(position);
        let stored = self.bytes.get(at..).and_then(<[u8]>::first_chunk);
        stored.map_or(Header::NONE, Header::read)
    }

    fn put_next(&mut self, position: u64, next: u64) {
        let at = self.place(position) + 24;
        self.bytes[at..at + 8].copy_from_slice(&next.to_le_bytes());
    }
}

/// Reports that a ring of `size` octets holds at most.
const fn entry_count_max(size: usize) -> usize {
    size / (ENTRY_HEADER_BYTES + FRAME_BYTES_MIN)
}

impl Cursor {
    /// Steps behind `entry`, which [`ReportLog::at`] found at this cursor.
    #[inline]
    pub fn advance(&mut self, entry: &Entry<'_>) {
        debug_assert!(entry.number == self.number, "a cursor steps over the report it stands at");
        self.before = entry.position;
        self.number = entry.number.next();
    }

    /// The number of the next report to read.
    #[must_use]
    pub const fn number(&self) -> Seq {
        self.number
    }

    /// The session.
    #[must_use]
    pub const fn session(&self) -> SessionIdx {
        self.session
    }
}

impl Header {
    const NONE: Self = Self { session: PAD, len: 0, number: 0, index: 0, next: NOWHERE };

    #[inline]
    fn read(stored: &[u8; ENTRY_HEADER_BYTES]) -> Self {
        Self {
            session: u32_at(stored, 0),
            len: u32_at(stored, 4),
            number: u64_at(stored, 8),
            index: u64_at(stored, 16),
            next: u64_at(stored, 24),
        }
    }

    #[inline]
    fn write(self, out: &mut [u8]) {
        out[..4].copy_from_slice(&self.session.to_le_bytes());
        out[4..8].copy_from_slice(&self.len.to_le_bytes());
        out[8..16].copy_from_slice(&self.number.to_le_bytes());
        out[16..24].copy_from_slice(&self.index.to_le_bytes());
        out[24..32].copy_from_slice(&self.next.to_le_bytes());
    }
}

#[inline]
fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |chunk| u32::from_le_bytes(*chunk))
}

#[inline]
fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..).and_then(<[u8]>::first_chunk).map_or(0, |chunk| u64::from_le_bytes(*chunk))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::random::SplitMix;

    /// The slow twin: every entry ever appended, and how far the ring has come.
    struct Twin {
        entries: Vec<Kept>,
        size: u64,
    }

    #[derive(Clone)]
    struct Kept {
        session: u32,
        number: u64,
        index: u64,
        position: u64,
        frame: Vec<u8>,
    }

    impl Twin {
        /// An entry is live until the room of the newest one reaches it.
        fn live(&self, session: u32, number: u64) -> Option<&Kept> {
            let is_it = |k: &&Kept| (k.session, k.number) == (session, number);
            self.entries.iter().find(is_it).filter(|k| self.is_live(k))
        }

        fn is_live(&self, kept: &Kept) -> bool {
            let end = self.entries.last().map_or(0, |k| k.position + ENTRY_BYTES_MAX as u64);
            kept.position + self.size >= end
        }
    }

    fn fill(seed: u64, out: &mut [u8]) {
        let mut random = SplitMix(seed);
        out.fill_with(|| u8::try_from(random.below(256)).unwrap());
    }

    fn append(log: &mut ReportLog, twin: &mut Twin, session: u32, number: u64, len: usize) {
        let index = twin.entries.len() as u64 + 1;
        let room = log.append(SessionIdx(session), Seq(number), Index(index), len);
        fill(index, &mut room[..len]);
        let mut frame = vec![0; len];
        fill(index, &mut frame);
        let written = (ENTRY_HEADER_BYTES + len.next_multiple_of(8)) as u64;
        let position = log.head() - written;
        twin.entries.push(Kept { session, number, index, position, frame });
    }

    #[test]
    fn random_reports_agree_with_a_list() {
        for seed in 0..60 {
            let mut random = SplitMix(seed);
            let size = 1024 << random.below(4);
            let sessions = 1 + random.below(5);
            let mut log = ReportLog::new(size, 5);
            let mut twin = Twin { entries: Vec::new(), size: size as u64 };
            let first = 250 + random.below(10);
            let mut next = [first; 5];
            let mut cursors: Vec<Cursor> =
                (0..5).map(|s| log.cursor(SessionIdx(s), Seq(first))).collect();
            for step in 0..600 {
                let session = random.below(sessions);
                let (s, at) = (u32::try_from(session).unwrap(), usize::try_from(session).unwrap());
                let len = 24 + usize::try_from(random.below(REPORT_BYTES_MAX as u64 - 23)).unwrap();
                append(&mut log, &mut twin, s, next[at], len);
                next[at] += 1;
                let context = format!("seed {seed} step {step}");
                for s in 0..5_u32 {
                    let cursor = &mut cursors[s as usize];
                    let wanted = twin.live(s, cursor.number().0);
                    match log.at(cursor) {
                        AtCursor::Entry(entry) => {
                            let kept = wanted.expect(&context);
                            assert_eq!((entry.number.0, entry.index.0), (kept.number, kept.index));
                            assert_eq!(entry.frame, kept.frame, "{context}");
                            if random.below(3) == 0 {
                                cursor.advance(&entry);
                            }
                        }
                        AtCursor::End => {
                            assert!(cursor.number().0 == next[s as usize], "{context}");
                        }
                        AtCursor::Lost => {
                            assert!(wanted.is_none() && cursor.number().0 < next[s as usize]);
                            let to = first + random.below(next[s as usize] - first + 1);
                            *cursor = log.cursor(SessionIdx(s), Seq(to));
                        }
                    }
                }
                let number = first + random.below(next[at] - first + 3);
                let found = log.find(SessionIdx(s), Seq(number));
                let wanted = twin.live(s, number);
                assert_eq!(found.map(|e| e.frame), wanted.map(|k| &k.frame[..]), "{context}");
            }
        }
    }

    /// A slot is another session's: its numbers begin anew, cross the same marks while those of the
    /// forgotten one still stand in the ring, and are overwritten in their turn.
    #[test]
    fn a_forgotten_session_leaves_nothing_behind() {
        for seed in 0..20 {
            let mut random = SplitMix(seed);
            let mut log = ReportLog::new(1 << 16, 2);
            let mut twin = Twin { entries: Vec::new(), size: 1 << 16 };
            let mut next = [1; 2];
            for step in 0..3_000 {
                let at = usize::try_from(random.below(2)).unwrap();
                let session = u32::try_from(at).unwrap();
                if next[at] > 260 && random.below(100) == 0 {
                    log.forget(SessionIdx(session));
                    let of_it = twin.entries.iter_mut().filter(|kept| kept.session == session);
                    of_it.for_each(|kept| kept.session = u32::MAX);
                    next[at] = 1;
                    assert_eq!(log.next_number(SessionIdx(session)), None);
                }
                append(&mut log, &mut twin, session, next[at], 24);
                next[at] += 1;
                for (session, next) in (0..).zip(next) {
                    let number = random.below(next + 2);
                    let found =
                        log.find(SessionIdx(session), Seq(number)).map(|e| e.frame.to_vec());
                    let wanted = twin.live(session, number).map(|kept| kept.frame.clone());
                    assert_eq!(found, wanted, "seed {seed} step {step} number {number}");
                }
            }
        }
    }

    /// Long runs of one session cross many marks; every live number is found.
    #[test]
    fn every_live_number_is_found_over_many_marks() {
        let mut log = ReportLog::new(1 << 17, 3);
        let mut twin = Twin { entries: Vec::new(), size: 1 << 17 };
        for number in 1..=4_000 {
            append(&mut log, &mut twin, 1, number, 24);
            append(&mut log, &mut twin, 2, number, 33);
        }
        let mut live = 0;
        for kept in &twin.entries {
            let found = log.find(SessionIdx(kept.session), Seq(kept.number));
            let is_live = twin.is_live(kept);
            assert_eq!(found.map(|e| e.frame), is_live.then_some(&kept.frame[..]));
            live += u64::from(is_live);
        }
        assert!(live > 4 * marks::STRIDE, "the run covers several marks of each session");
    }

    /// Bounds of numbers: session, number, and whether it is found.
    #[test]
    fn what_never_was_is_not_found() {
        let mut log = ReportLog::new(1024, 2);
        log.append(SessionIdx(0), Seq(7), Index(1), 24)[..24].fill(9);
        let found = |session, number| log.find(SessionIdx(session), Seq(number)).is_some();
        assert_eq!(
            [found(0, 7), found(0, 6), found(0, 8), found(0, 0), found(0, u64::MAX), found(1, 7)],
            [true, false, false, false, false, false]
        );
        assert!(!found(9, 7), "no such session");
        assert_eq!(log.next_number(SessionIdx(0)), Some(Seq(8)));
        assert_eq!(log.next_number(SessionIdx(1)), None);
        assert_eq!(log.next_number(SessionIdx(9)), None);
        let behind = log.cursor(SessionIdx(0), Seq(6));
        assert_eq!(log.at(&behind), AtCursor::Lost, "older than the log");
        assert_eq!(log.at(&log.cursor(SessionIdx(1), Seq(1))), AtCursor::End);
    }
}
