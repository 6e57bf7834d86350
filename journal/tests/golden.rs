//! The format, byte for byte: a small journal as a hex dump under `tests/golden/`.
//!
//! A change of this file is a change of the format and needs a new format version.
//! `UPDATE_GOLDEN=1` writes the file anew. Lines of zeros are left out; the inode and the checksum
//! over it, which differ from run to run, are shown as `..`.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod common;

use common::{options, temp_dir};
use journal::{META_FILE, RING_FILE, Reader, Ring};
use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

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

#[test]
fn the_format_has_not_changed() {
    let dir = temp_dir();
    let (mut ring, _) = Ring::create(dir.path(), &options()).unwrap();
    ring.append(0x0102_0304_0506_0708, 1, 1, 0, 0, b"").unwrap();
    ring.append(
        1_700_000_000_000_000_000,
        1,
        2,
        0x80,
        0xa1b2_c3d4,
        b"12345678",
    )
    .unwrap();
    ring.append(1_700_000_000_000_000_001, 2, 254, 0xff, 5, b"odd")
        .unwrap();
    // Most of the segment, then one that no longer fits: a pad comes before it.
    ring.append(1_700_000_000_000_000_002, 2, 3, 0, 5, &[0; 4056])
        .unwrap();
    ring.append(1_700_000_000_000_000_003, 2, 3, 0, 5, &[0; 3800])
        .unwrap();
    ring.append(1_700_000_000_000_000_004, 2, 4, 0, 6, &[b'p'; 90])
        .unwrap();
    ring.close().unwrap();

    let ring_bytes = std::fs::read(dir.path().join(RING_FILE)).unwrap();
    let meta_bytes = std::fs::read(dir.path().join(META_FILE)).unwrap();
    let text = dump(RING_FILE, &ring_bytes, &varying(0))
        + &dump(
            META_FILE,
            &meta_bytes,
            &[varying(0), varying(4096)].concat(),
        );

    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden/journal.txt");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &text).unwrap();
    }
    let expected = std::fs::read_to_string(&path).unwrap();
    assert_eq!(text, expected, "UPDATE_GOLDEN=1 writes it anew");

    let mut reader = Reader::open(dir.path()).unwrap();
    let mut read = Vec::new();
    while let Some((position, record)) = reader.next().unwrap() {
        read.push((
            position.get(),
            record.index,
            record.kind,
            record.payload.len(),
        ));
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
