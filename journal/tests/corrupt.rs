//! One bit is wrong somewhere: recovery notices, says where, and never takes a wrong record.
//!
//! In the last record a flipped bit cannot be told from a torn append; its bytes are kept aside.
//! Anywhere else valid records follow, and the journal is refused unchanged. After a clean stop
//! even the last record is vouched for.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod common;

use common::{Image, PAGE, Place, build, fill, options, side_files, temp_dir};
use journal::{JournalError, ReadStop, Reader, Record, Refusal, RefusalKind, Ring};
use std::path::Path;

fn refusal(dir: &Path) -> Refusal {
    match Ring::open(dir, &options()) {
        Err(JournalError::Refused(refusal)) => *refusal,
        other => panic!("a refusal expected: {other:?}"),
    }
}

/// Records a reader accepts, and why it ends.
fn read(dir: &Path) -> (usize, u64, ReadStop) {
    let mut reader = Reader::open(dir).unwrap();
    let mut count = 0;
    while reader.next().unwrap().is_some() {
        count += 1;
    }
    let end = reader.end().unwrap();
    (count, end.offset, end.stop)
}

/// Record `n` of the image has a wrong byte: refused with its offset, nothing changed.
fn check_corrupt(dir: &Path, image: &Image, n: usize, bytes: &[u8]) {
    image.write(bytes);
    let refusal = refusal(dir);
    let offset = u64::try_from(image.places[n].start).unwrap();
    assert_eq!((refusal.kind, refusal.offset), (RefusalKind::Corrupt, Some(offset)));
    assert_eq!(refusal.path, image.path);
    assert_eq!(std::fs::read(&image.path).unwrap(), bytes, "a refusal changes nothing");
    assert!(side_files(dir).is_empty());
    let (count, end, stop) = read(dir);
    assert_eq!((count, end), (n, offset));
    assert!(matches!(stop, ReadStop::Corrupt { .. }), "{stop:?}");
}

/// The last record has a wrong byte: it is dropped and kept aside.
fn check_torn(dir: &Path, image: &Image, bytes: &[u8]) {
    let n = image.places.len() - 1;
    let Place { start, .. } = image.places[n];
    image.write(bytes);
    let (count, end, stop) = read(dir);
    assert_eq!((count, end), (n, u64::try_from(start).unwrap()));
    assert!(matches!(stop, ReadStop::Torn { .. }), "{stop:?}");
    let (ring, recovery) = Ring::open(dir, &options()).unwrap();
    assert_eq!(recovery.records, u64::try_from(n).unwrap());
    ring.assert_chain();
    let torn = recovery.torn.unwrap();
    let kept = std::fs::read(&torn.side_file).unwrap();
    assert_eq!(kept, bytes[start..start + kept.len()]);
    assert!(bytes[start + kept.len()..].iter().all(|byte| *byte == 0), "all of it is kept");
    std::fs::remove_file(torn.side_file).unwrap();
}

/// A whole record was not cut short by a crash: what it follows has changed or is gone.
#[test]
fn a_whole_last_record_of_another_chain_is_not_torn() {
    let dir = temp_dir();
    let image = build(dir.path(), 12);
    let n = image.places.len() - 1;
    let Place { start, end } = image.places[n];
    let record = Record::decode(&image.bytes[start..], u64::MAX / 2).unwrap();
    for changed in [
        Record { prev_crc: record.prev_crc ^ 1, ..record },
        Record { index: record.index + 1, ..record },
    ] {
        let mut bytes = image.bytes.clone();
        changed.encode(&mut bytes[start..end]);
        check_corrupt(dir.path(), &image, n, &bytes);
    }
}

#[test]
fn every_flipped_bit_is_noticed() {
    let dir = temp_dir();
    let image = build(dir.path(), 40);
    let last = image.places.len() - 1;
    let is_pad = |place: &Place| image.bytes[place.start + 30] == journal::KIND_PAD;
    let pad = image.places.iter().position(is_pad).expect("a pad is among them");
    for n in [0, 1, 7, pad - 1, pad, pad + 1, last - 1, last] {
        let Place { start, end } = image.places[n];
        let header = start * 8..(start + 40) * 8;
        let payload = ((start + 40) * 8..end * 8).step_by(61);
        for bit in header.chain(payload) {
            let mut bytes = image.bytes.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            if n == last {
                check_torn(dir.path(), &image, &bytes);
            } else {
                check_corrupt(dir.path(), &image, n, &bytes);
            }
        }
    }
}

#[test]
fn holes_are_refused_whatever_their_size() {
    let dir = temp_dir();
    let image = build(dir.path(), 40);
    let last = image.places.len() - 1;
    // First and last lost record: what writeback out of order leaves after a power cut.
    for (from, to) in [(0, 0), (0, last - 1), (3, 3), (3, 20), (last - 1, last - 1)] {
        let mut bytes = image.bytes.clone();
        bytes[image.places[from].start..image.places[to].end].fill(0);
        check_corrupt(dir.path(), &image, from, &bytes);
    }
}

#[test]
fn exchanged_and_repeated_records_are_refused() {
    let dir = temp_dir();
    let mut bytes;
    let (mut ring, _) = Ring::create(dir.path(), &options()).unwrap();
    for n in 0..10_u8 {
        ring.append(u64::from(n), 1, 1, 0, 0, &[n + 1; 96]).unwrap();
    }
    drop(ring);
    let path = dir.path().join(journal::RING_FILE);
    let whole = std::fs::read(&path).unwrap();
    let at = |n: usize| PAGE + n * 136..PAGE + (n + 1) * 136;
    // A record written at the place of another: valid alone, but not the next of the chain.
    for (from, to) in [(3, 5), (5, 3)] {
        bytes = whole.clone();
        bytes.copy_within(at(from), at(to).start);
        std::fs::write(&path, &bytes).unwrap();
        let refusal = refusal(dir.path());
        let offset = Some(u64::try_from(at(to).start).unwrap());
        assert_eq!((refusal.kind, refusal.offset), (RefusalKind::Corrupt, offset));
    }
    // The last one replaced by an older one: nothing newer is behind it, so it is a torn tail.
    bytes = whole.clone();
    bytes.copy_within(at(2), at(9).start);
    std::fs::write(&path, &bytes).unwrap();
    let (_, recovery) = Ring::open(dir.path(), &options()).unwrap();
    assert_eq!((recovery.records, recovery.torn.is_some()), (9, true));
}

#[test]
fn a_payload_that_looks_like_a_record_is_judged_by_its_checksum() {
    let bytes_of = |index, epoch| {
        let record = Record {
            index,
            epoch,
            payload: b"planted",
            ..Record {
                index,
                time: 1,
                epoch,
                kind: 1,
                flags: 0,
                source: 0,
                payload: b"",
                crc: 0,
                prev_crc: 0,
            }
        };
        let mut bytes = vec![0; usize::try_from(record.bytes()).unwrap()];
        record.encode(&mut bytes);
        bytes
    };
    let mut bad_crc = bytes_of(900, 3);
    bad_crc[0] ^= 1;
    // The torn record is the 11th. A planted one that could follow is refused, never accepted: see
    // the text of `scan.rs`.
    for (planted, is_refused) in [
        (bytes_of(10, 3), false),
        (bytes_of(900, 2), false),
        (bad_crc, false),
        (bytes_of(900, 3), true),
        (bytes_of(11, 3), true),
    ] {
        let dir = temp_dir();
        let (mut ring, _) = Ring::create(dir.path(), &options()).unwrap();
        fill(&mut ring, 0, 10);
        let head = PAGE + usize::try_from(ring.head().get()).unwrap();
        ring.append(1, 3, 1, 0, 0, &planted).unwrap();
        drop(ring);
        let path = dir.path().join(journal::RING_FILE);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[head..head + 4].fill(0);
        std::fs::write(&path, &bytes).unwrap();
        if is_refused {
            assert_eq!(refusal(dir.path()).kind, RefusalKind::Corrupt);
        } else {
            let (_, recovery) = Ring::open(dir.path(), &options()).unwrap();
            assert_eq!((recovery.records, recovery.torn.is_some()), (10, true));
        }
    }
}

#[test]
fn after_a_clean_stop_the_last_record_is_vouched_for() {
    let dir = temp_dir();
    let (mut ring, _) = Ring::create(dir.path(), &options()).unwrap();
    fill(&mut ring, 0, 10);
    let places: Vec<u64> = ring.iter().map(|(position, _)| position.get()).collect();
    ring.close().unwrap();
    let path = dir.path().join(journal::RING_FILE);
    let whole = std::fs::read(&path).unwrap();
    let last = PAGE + usize::try_from(places[9]).unwrap();
    let zeroed = {
        let mut bytes = whole.clone();
        bytes[last..].fill(0);
        bytes
    };
    let flipped = {
        let mut bytes = whole.clone();
        bytes[last + 41] ^= 4;
        bytes
    };
    // A valid last record, but another one than was there at the stop.
    let replaced = {
        let mut bytes = whole.clone();
        bytes[last + 41] ^= 4;
        let end = last + 40 + common::payload(9).len().next_multiple_of(8);
        let crc = crc32c::crc32c(&bytes[last + 4..end]);
        bytes[last..last + 4].copy_from_slice(&crc.to_le_bytes());
        bytes
    };
    for (label, bytes) in [("zeroed", zeroed), ("flipped", flipped), ("replaced", replaced)] {
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(refusal(dir.path()).kind, RefusalKind::LostTail, "{label}");
        let (_, _, stop) = read(dir.path());
        assert_eq!(stop, ReadStop::LostTail { stop_index: 10 }, "{label}");
    }
    // The floor stays after the journal ran on and was killed.
    std::fs::write(&path, &whole).unwrap();
    let (mut ring, recovery) = Ring::open(dir.path(), &options()).unwrap();
    assert!(recovery.clean);
    fill(&mut ring, 10, 12);
    drop(ring);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[last..].fill(0);
    std::fs::write(&path, &bytes).unwrap();
    assert_eq!(refusal(dir.path()).kind, RefusalKind::LostTail);
}
