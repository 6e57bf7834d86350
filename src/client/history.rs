//! A client history: everything one session sent and received, as raw bytes, in a file.
//!
//! A verdict on an exchange's conduct must not rest on what the client's program believed, so the
//! file holds frames as they crossed the wire and nothing derived from them. It is append-only; the
//! checksum of an entry covers its place in the file too, so that neither a torn tail nor a moved
//! entry is taken for evidence. Whoever judges it needs no more than the wire's codec.
//!
//! ```text
//! header  0 magic "TGHISTRY"   8 version u32   12 length u32 (88)   16 session id [16]
//!        32 key id [32]       64 seed u64      72 started u64 (ns)  80 xxh3 of 0..80, u64
//! entry   0 xxh3 of 8..end, seeded with the entry's offset, u64
//!         8 time u64 (ns)     16 length u32    20 kind u8           21 zero [3]   24 bytes
//! ```
//!
//! All numbers are little-endian. A writer that dies leaves a last entry that the end of the file
//! cuts: that is [`End::Torn`] and no fault. Anything else that does not check is
//! [`HistoryError::Damaged`], and the file is evidence of nothing.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::Path;

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::limits::FRAME_BYTES_MAX;
use crate::vocabulary::units::{Nanos, SessionId, Text};

/// Version of the format that this build writes and reads.
pub const HISTORY_VERSION: u32 = 1;
/// Largest content of an entry: a frame.
pub const ENTRY_BYTES_MAX: usize = FRAME_BYTES_MAX;
/// What a writer keeps in memory before it calls the system.
pub const WRITE_BUFFER_BYTES: usize = 64 * 1024;

const MAGIC: [u8; 8] = *b"TGHISTRY";
const HEADER_BYTES: usize = 88;
const ENTRY_HEADER_BYTES: usize = 24;

/// Who wrote a history, and how it can be made again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The session whose frames these are.
    pub session_id: SessionId,
    /// The key it logged on with.
    pub key_id: Text<32>,
    /// Seed of the orders, for the record.
    pub seed: u64,
    /// Wall clock when the file was made.
    pub started: Nanos,
}

/// What an entry is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum EntryKind {
    /// A transport was connected; the bytes are its address.
    Connected = 1,
    /// A transport ended; the bytes say why.
    Disconnected = 2,
    /// A whole frame that was handed to the transport.
    Sent = 3,
    /// A whole frame that came.
    Received = 4,
    /// A remark for a human.
    Note = 5,
}

/// One entry. Its bytes are valid until the next is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry<'a> {
    /// Where it stands in the file.
    pub offset: u64,
    /// The client's clock.
    pub time: Nanos,
    /// What it is.
    pub kind: EntryKind,
    /// At most [`ENTRY_BYTES_MAX`].
    pub bytes: &'a [u8],
}

/// How a history ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum End {
    /// After a whole entry.
    Clean,
    /// Inside an entry: the writer died there.
    Torn {
        /// Where the entry begins.
        offset: u64,
    },
}

/// Why a file is no history.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The system refused.
    #[error("cannot read or write: {0}")]
    Io(#[from] io::Error),
    /// Another file, or another version.
    #[error("not a client history of version {HISTORY_VERSION}: {what}")]
    NotAHistory {
        /// What was wrong with its header.
        what: &'static str,
    },
    /// An entry does not check.
    #[error("damaged at offset {offset}: {what}")]
    Damaged {
        /// Where the entry begins.
        offset: u64,
        /// What was wrong with it.
        what: &'static str,
    },
}

impl EntryKind {
    const fn from_stored(stored: u8) -> Option<Self> {
        Some(match stored {
            1 => Self::Connected,
            2 => Self::Disconnected,
            3 => Self::Sent,
            4 => Self::Received,
            5 => Self::Note,
            _ => return None,
        })
    }
}

/// Appends to a history. Entries are buffered; [`HistoryWriter::flush`] before each connect and at
/// the end, so that at most the run since the last connect is lost with the process.
#[derive(Debug)]
pub struct HistoryWriter<W: Write = File> {
    out: BufWriter<W>,
    /// Where the next entry goes.
    offset: u64,
}

impl HistoryWriter<File> {
    /// A new file; one that is there already is refused, because evidence is not overwritten.
    pub fn create(path: &Path, header: &Header) -> Result<Self, HistoryError> {
        let file = File::create_new(path)?;
        Self::new(file, header)
    }
}

impl<W: Write> HistoryWriter<W> {
    /// Writes the header to `out`.
    pub fn new(out: W, header: &Header) -> Result<Self, HistoryError> {
        let mut out = BufWriter::with_capacity(WRITE_BUFFER_BYTES, out);
        out.write_all(&encode_header(header))?;
        Ok(Self { out, offset: HEADER_BYTES as u64 })
    }

    /// Appends an entry of at most [`ENTRY_BYTES_MAX`] bytes; what is longer is refused.
    pub fn append(&mut self, time: Nanos, kind: EntryKind, bytes: &[u8]) -> io::Result<()> {
        let len = u32::try_from(bytes.len())
            .ok()
            .filter(|_| bytes.len() <= ENTRY_BYTES_MAX)
            .ok_or_else(|| io::Error::other("a history entry is at most one frame long"))?;
        let mut entry = [0; ENTRY_HEADER_BYTES + ENTRY_BYTES_MAX];
        let (head, tail) = entry.split_at_mut(ENTRY_HEADER_BYTES);
        put(head, 8, &time.0.to_le_bytes());
        put(head, 16, &len.to_le_bytes());
        put(head, 20, &[kind as u8]);
        put(tail, 0, bytes);
        let size = ENTRY_HEADER_BYTES + bytes.len();
        let (whole, _) = entry.split_at_mut(size);
        let checksum = xxh3_64_with_seed(whole.split_at(8).1, self.offset);
        put(whole, 0, &checksum.to_le_bytes());
        self.out.write_all(whole)?;
        self.offset += size as u64;
        Ok(())
    }

    /// Hands everything buffered to the system.
    pub fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

/// Reads a history from its beginning.
#[derive(Debug)]
pub struct HistoryReader<R: Read = BufReader<File>> {
    input: R,
    header: Header,
    /// Where the next entry begins.
    offset: u64,
    end: Option<End>,
    entry: Vec<u8>,
}

impl HistoryReader<BufReader<File>> {
    /// Opens a file and checks its header.
    pub fn open(path: &Path) -> Result<Self, HistoryError> {
        Self::new(BufReader::with_capacity(1 << 20, File::open(path)?))
    }
}

impl<R: Read> HistoryReader<R> {
    /// Reads and checks the header.
    pub fn new(mut input: R) -> Result<Self, HistoryError> {
        let mut bytes = [0; HEADER_BYTES];
        if fill(&mut input, &mut bytes)? < HEADER_BYTES {
            return Err(HistoryError::NotAHistory { what: "it is shorter than a header" });
        }
        let header = decode_header(&bytes).map_err(|what| HistoryError::NotAHistory { what })?;
        Ok(Self {
            input,
            header,
            offset: HEADER_BYTES as u64,
            end: None,
            entry: vec![0; ENTRY_HEADER_BYTES + ENTRY_BYTES_MAX],
        })
    }

    /// Who wrote it.
    #[must_use]
    pub const fn header(&self) -> &Header {
        &self.header
    }

    /// How it ends; none before the last entry was read.
    #[must_use]
    pub const fn end(&self) -> Option<End> {
        self.end
    }

    /// The next entry; none at the end, whose manner [`HistoryReader::end`] tells.
    pub fn read_next(&mut self) -> Result<Option<Entry<'_>>, HistoryError> {
        if self.end.is_some() {
            return Ok(None);
        }
        let offset = self.offset;
        let damaged = |what| HistoryError::Damaged { offset, what };
        let (head, tail) = self.entry.split_at_mut(ENTRY_HEADER_BYTES);
        let got = fill(&mut self.input, head)?;
        if got == 0 {
            self.end = Some(End::Clean);
            return Ok(None);
        }
        if got < ENTRY_HEADER_BYTES {
            self.end = Some(End::Torn { offset });
            return Ok(None);
        }
        let mut r = Fields(head);
        let (checksum, time, len) = (r.u64(), Nanos(r.u64()), r.u32());
        let (kind, zero) = (r.u8(), r.take::<3>());
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        let content =
            tail.get_mut(..len).ok_or_else(|| damaged("its length is above a frame's"))?;
        if fill(&mut self.input, content)? < len {
            self.end = Some(End::Torn { offset });
            return Ok(None);
        }
        let size = ENTRY_HEADER_BYTES + len;
        let (whole, _) = self.entry.split_at(size);
        if xxh3_64_with_seed(whole.split_at(8).1, offset) != checksum {
            return Err(damaged("its checksum is another"));
        }
        let kind = EntryKind::from_stored(kind).ok_or_else(|| damaged("its kind is unknown"))?;
        if zero != [0; 3] {
            return Err(damaged("its reserved bytes are not zero"));
        }
        self.offset += size as u64;
        let bytes = whole.split_at(ENTRY_HEADER_BYTES).1;
        Ok(Some(Entry { offset, time, kind, bytes }))
    }
}

fn encode_header(header: &Header) -> [u8; HEADER_BYTES] {
    let mut bytes = [0; HEADER_BYTES];
    put(&mut bytes, 0, &MAGIC);
    put(&mut bytes, 8, &HISTORY_VERSION.to_le_bytes());
    put(&mut bytes, 12, &88_u32.to_le_bytes());
    put(&mut bytes, 16, &header.session_id.0);
    put(&mut bytes, 32, header.key_id.octets());
    put(&mut bytes, 64, &header.seed.to_le_bytes());
    put(&mut bytes, 72, &header.started.0.to_le_bytes());
    let checksum = xxh3_64(bytes.split_at(80).0);
    put(&mut bytes, 80, &checksum.to_le_bytes());
    bytes
}

fn decode_header(bytes: &[u8; HEADER_BYTES]) -> Result<Header, &'static str> {
    let mut r = Fields(bytes);
    if r.take() != MAGIC {
        return Err("its first octets are not TGHISTRY");
    }
    if r.u32() != HISTORY_VERSION {
        return Err("its version is another");
    }
    if r.u32() != 88 {
        return Err("its header has another length");
    }
    let header = Header {
        session_id: SessionId(r.take()),
        key_id: Text::from_octets(r.take()),
        seed: r.u64(),
        started: Nanos(r.u64()),
    };
    if r.u64() != xxh3_64(bytes.split_at(80).0) {
        return Err("the checksum of its header is another");
    }
    Ok(header)
}

/// Copies `from` to `at`; every caller's ranges are constants inside `to`.
fn put(to: &mut [u8], at: usize, from: &[u8]) {
    if let Some(place) = to.get_mut(at..at + from.len()) {
        place.copy_from_slice(from);
    }
}

/// Reads until `bytes` is full or the input ends; how many came.
fn fill(input: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut got = 0;
    while let Some(rest) = bytes.get_mut(got..).filter(|rest| !rest.is_empty()) {
        match input.read(rest) {
            Ok(0) => break,
            Ok(count) => got += count,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(got)
}

/// Takes fields from the front; what is missing reads as zero, which no caller lets happen.
struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn take<const N: usize>(&mut self) -> [u8; N] {
        let Some((first, rest)) = self.0.split_first_chunk() else {
            return [0; N];
        };
        self.0 = rest;
        *first
    }

    fn u8(&mut self) -> u8 {
        let [octet] = self.take();
        octet
    }

    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take())
    }

    fn u64(&mut self) -> u64 {
        u64::from_le_bytes(self.take())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEADER: Header = Header {
        session_id: SessionId([7; 16]),
        key_id: Text::new("firm-a"),
        seed: 42,
        started: Nanos(1),
    };

    type Row = (u64, EntryKind, Vec<u8>);

    fn rows() -> Vec<Row> {
        vec![
            (10, EntryKind::Connected, b"127.0.0.1:1".to_vec()),
            (11, EntryKind::Sent, vec![3; 68]),
            (12, EntryKind::Received, vec![4; ENTRY_BYTES_MAX]),
            (13, EntryKind::Disconnected, vec![]),
            (14, EntryKind::Note, b"end".to_vec()),
        ]
    }

    fn written() -> Vec<u8> {
        let mut file = Vec::new();
        let mut writer = HistoryWriter::new(&mut file, &HEADER).unwrap();
        for (time, kind, bytes) in rows() {
            writer.append(Nanos(time), kind, &bytes).unwrap();
        }
        writer.flush().unwrap();
        drop(writer);
        file
    }

    fn read(file: &[u8]) -> Result<(Vec<Row>, End), HistoryError> {
        let mut reader = HistoryReader::new(file)?;
        assert_eq!(*reader.header(), HEADER);
        let mut entries = Vec::new();
        while let Some(entry) = reader.read_next()? {
            entries.push((entry.time.0, entry.kind, entry.bytes.to_vec()));
        }
        Ok((entries, reader.end().unwrap()))
    }

    #[test]
    fn what_is_written_is_read() {
        assert_eq!(read(&written()).unwrap(), (rows(), End::Clean));
    }

    #[test]
    fn a_cut_anywhere_keeps_the_entries_before_it() {
        let file = written();
        for len in HEADER_BYTES..file.len() {
            let (entries, end) = read(&file[..len]).unwrap();
            assert_eq!(entries[..], rows()[..entries.len()]);
            let whole: usize =
                entries.iter().map(|e| ENTRY_HEADER_BYTES + e.2.len()).sum::<usize>()
                    + HEADER_BYTES;
            let offset = whole as u64;
            let expected = if whole == len { End::Clean } else { End::Torn { offset } };
            assert_eq!(end, expected, "cut at {len}");
        }
        for len in 0..HEADER_BYTES {
            assert!(matches!(read(&file[..len]), Err(HistoryError::NotAHistory { .. })));
        }
    }

    #[test]
    fn a_changed_octet_is_never_taken_for_evidence() {
        let file = written();
        for at in 0..file.len() {
            let mut changed = file.clone();
            changed[at] ^= 0x10;
            // A length that grew past the end of the file looks torn: less evidence, none false.
            if let Ok((entries, end)) = read(&changed) {
                assert!(matches!(end, End::Torn { .. }), "octet {at}");
                assert_eq!(entries[..], rows()[..entries.len()], "octet {at}");
            }
        }
    }

    #[test]
    fn a_moved_entry_is_damage() {
        let mut file = written();
        let entry = file[HEADER_BYTES..HEADER_BYTES + 35].to_vec();
        file.truncate(HEADER_BYTES + 35);
        file.extend(entry);
        let refused = read(&file);
        assert!(matches!(refused, Err(HistoryError::Damaged { offset: 123, .. })));
    }

    #[test]
    fn an_entry_longer_than_a_frame_is_refused() {
        let mut writer = HistoryWriter::new(Vec::new(), &HEADER).unwrap();
        let long = vec![0; ENTRY_BYTES_MAX + 1];
        assert!(writer.append(Nanos(1), EntryKind::Note, &long).is_err());
    }
}
