//! The format, byte for byte: a small journal as a hex dump under `tests/golden/`.
//!
//! A change of this file is a change of the format and needs a new format version.
//! `UPDATE_GOLDEN=1` writes the file anew. Lines of zeros are left out; the inode of the metadata
//! and the checksum over it, which differ from run to run, are shown as `..`.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod common;

use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

use common::{files_on, kill, open_on, options, settle_on};
use journal::{Journal, META_FILE, MemoryStorage, RING_FILE, segment_file, sums_file};

fn dump(title: &str, bytes: &[u8], hidden: &[Range<usize>]) -> String {
    let mut text = format!("{title}, {} bytes\n", bytes.len());
    for (line, chunk) in bytes.chunks(16).enumerate() {
        if chunk.iter().all(|byte| *byte == 0) {
            continue;
        }
        let _ = write!(text, "{:08x} ", line * 16);
        for (at, byte) in chunk.iter().enumerate() {
            let _ = if hidden.iter().any(|range| range.contains(&(line * 16 + at))) {
                text.write_str(" ..")
            } else {
                write!(text, " {byte:02x}")
            };
        }
        text.push('\n');
    }
    text
}

/// Checksum and inode of a label.
fn varying(slot: usize) -> [Range<usize>; 2] {
    [slot + 12..slot + 16, slot + 80..slot + 88]
}

fn append(journal: &mut Journal, at: u64, kind: u8, source: u32, payload: &[u8]) {
    let time = 1_700_000_000_000_000_000 + at;
    let flags = if kind == 254 { 0xff } else { 0x80 };
    journal.ring.append(time, 1 + u32::from(at > 1), kind, flags, source, payload).unwrap();
}

#[test]
fn the_format_has_not_changed() {
    let mut disk = MemoryStorage::numbered(1);
    let mut journal = open_on(&mut disk, None, &options()).unwrap();
    append(&mut journal, 0, 1, 0, b"");
    append(&mut journal, 1, 2, 0xa1b2_c3d4, b"12345678");
    append(&mut journal, 2, 254, 5, b"odd");
    settle_on(&mut journal, &mut disk);
    // Most of the segment, then one that no longer fits: a pad comes before it, and the segment
    // rolls. Two groups, so that both slots are in use.
    append(&mut journal, 3, 3, 5, &[0; 4056]);
    settle_on(&mut journal, &mut disk);
    append(&mut journal, 4, 3, 5, &[0; 3800]);
    append(&mut journal, 5, 4, 6, &[b'p'; 90]);
    settle_on(&mut journal, &mut disk);
    let ring = kill(journal);

    let files = files_on(&disk);
    let labels = [varying(0), varying(4096)].concat();
    let mut text =
        dump(RING_FILE, &ring, &varying(0)) + &dump(META_FILE, &files[META_FILE], &labels);
    for segment in 0..2 {
        for name in [segment_file(segment), sums_file(segment)] {
            text += &dump(&name, &files[&name], &[]);
        }
    }
    // And the mark of a clean stop.
    let journal = open_on(&mut disk, Some(&ring), &options()).unwrap();
    journal.close_on(&mut disk, Path::new("")).unwrap();
    let title = format!("{META_FILE} after a start and a clean stop");
    text += &dump(&title, &files_on(&disk)[META_FILE], &labels);

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/journal.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, expected, "UPDATE_GOLDEN=1 writes it anew");

    let dir = common::as_directory(&disk, None);
    let mut reader = journal::Reader::open(dir.path()).unwrap();
    let mut read = Vec::new();
    while let Some((position, record)) = reader.next().unwrap() {
        read.push((position.get(), record.index, record.kind, record.payload.len()));
    }
    let expected = [
        (0, 1, 1, 0),
        (40, 2, 2, 8),
        (88, 3, 254, 3),
        (136, 4, 3, 4056),
        (4232, 5, 3, 3800),
        (8072, 6, 255, 80),
        (8192, 7, 4, 90),
    ];
    assert_eq!(read, expected);
}
