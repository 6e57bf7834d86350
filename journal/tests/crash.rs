//! A process dies at every byte of an append; recovery keeps all that was whole before.
//!
//! Sixty-four records of mixed sizes, over several segments and their pads. The file is cut at each
//! byte (zeros from there on, as in a ring that was never written further), and once for each
//! record with everything but its checksum in place, as stores really arrive. Whether a record
//! survives is computed from the bytes alone: a cut in trailing zeros takes nothing away.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod common;

use common::{Image, OTHER_BOOT, PAGE, build, fill, options, side_files, temp_dir, used};
use journal::{IncarnationChange, ReadStop, Reader, Ring, RingOptions};
use std::path::Path;

const RECORDS: usize = 64;

/// Opens the journal with the file's content replaced and compares with what the bytes say.
fn check(dir: &Path, image: &Image, bytes: &[u8], options: &RingOptions) {
    image.write(bytes);
    let whole = |place: &&common::Place| {
        bytes[place.start..place.end] == image.bytes[place.start..place.end]
    };
    let kept = image.places.iter().take_while(whole).count();
    let head = if kept == 0 { PAGE } else { image.places[kept - 1].end };
    let torn = used(&bytes[head..]);

    let mut reader = Reader::open(dir).unwrap();
    let mut read = 0;
    while reader.next().unwrap().is_some() {
        read += 1;
    }
    let end = reader.end().unwrap();
    assert_eq!((read, end.offset), (kept, u64::try_from(head).unwrap()));
    match end.stop {
        ReadStop::Zeros => assert_eq!(torn, 0),
        ReadStop::Torn { bytes, .. } => assert_eq!(bytes, u64::try_from(torn).unwrap()),
        ReadStop::Full | ReadStop::Corrupt { .. } | ReadStop::LostTail { .. } => {
            panic!("{end:?}, cut at {head}")
        }
    }

    let (mut ring, recovery) = Ring::open(dir, options).unwrap();
    let same_boot = options.boot_id == common::options().boot_id;
    let case = match (torn != 0, same_boot) {
        (false, true) => "killed",
        (true, true) => "killed while appending",
        (false, false) => "power cut",
        (true, false) => "power cut, torn tail",
    };
    assert_eq!(recovery.case, case);
    assert_eq!(recovery.records, u64::try_from(kept).unwrap());
    let change = (!same_boot).then_some(IncarnationChange::PowerCut);
    assert_eq!(recovery.incarnation_changed, change);
    assert_eq!(recovery.torn.is_some(), torn != 0);
    let side_files = side_files(dir);
    if let Some(torn_tail) = recovery.torn {
        assert_eq!(side_files, std::slice::from_ref(&torn_tail.side_file));
        assert_eq!(std::fs::read(&torn_tail.side_file).unwrap(), bytes[head..head + torn]);
        assert_eq!(torn_tail.index, recovery.last_index + 1);
        std::fs::remove_file(torn_tail.side_file).unwrap();
    } else {
        assert!(side_files.is_empty());
    }
    // What comes next continues the chain over the place of the torn tail. Reading the whole chain
    // again is dear, so not after each cut.
    ring.append(9, 3, 1, 0, 0, b"next").unwrap();
    assert_eq!(ring.last_index(), recovery.last_index + 1);
    if torn.is_multiple_of(16) {
        ring.assert_chain();
    }
}

/// Records that end well before the ring does, so that one more always fits.
fn small(dir: &Path) -> Image {
    let image = build(dir, RECORDS);
    assert!(image.places.len() > RECORDS, "there are pads among them");
    assert!(image.end() < image.bytes.len() - 4096);
    image
}

#[test]
fn a_cut_at_every_byte_loses_nothing_before_it() {
    let dir = temp_dir();
    let image = small(dir.path());
    for cut in PAGE..=image.end() {
        let mut bytes = image.bytes.clone();
        bytes[cut..].fill(0);
        check(dir.path(), &image, &bytes, &options());
    }
}

#[test]
fn a_record_without_its_checksum_is_torn() {
    let dir = temp_dir();
    let image = small(dir.path());
    for place in &image.places {
        let mut bytes = image.bytes.clone();
        bytes[place.end..].fill(0);
        bytes[place.start..place.start + 4].fill(0);
        check(dir.path(), &image, &bytes, &options());
        // Only the payload has arrived: the header's place is still zeros.
        bytes[place.start..place.start + 40].fill(0);
        check(dir.path(), &image, &bytes, &options());
    }
}

#[test]
fn a_power_cut_keeps_the_prefix_under_a_new_incarnation() {
    let dir = temp_dir();
    let image = small(dir.path());
    // Each open writes its boot id, so the machine restarts anew for each cut.
    let options = RingOptions { boot_id: Some(OTHER_BOOT), ..options() };
    for cut in (PAGE..=image.end()).step_by(97) {
        let mut bytes = image.bytes.clone();
        bytes[cut..].fill(0);
        check(dir.path(), &image, &bytes, &options);
    }
}

#[test]
fn a_kill_while_the_torn_tail_is_zeroed_leaves_a_torn_tail() {
    let dir = temp_dir();
    let image = small(dir.path());
    let last = image.places[image.places.len() - 1];
    let mut bytes = image.bytes.clone();
    bytes[last.start..last.start + 4].fill(0);
    image.write(&bytes);
    let (_, first) = Ring::open(dir.path(), &options()).unwrap();
    // The side file was written, the zeros only half.
    bytes[last.start..last.start + 24].fill(0);
    image.write(&bytes);
    let (_, second) = Ring::open(dir.path(), &options()).unwrap();
    let (first, second) = (first.torn.unwrap(), second.torn.unwrap());
    assert_ne!(first.side_file, second.side_file);
    assert_eq!(first.position, second.position);
    assert_eq!(side_files(dir.path()).len(), 2);
}

#[test]
fn a_clean_stop_is_told_from_a_kill() {
    let dir = temp_dir();
    let (mut ring, created) = Ring::create(dir.path(), &options()).unwrap();
    assert_eq!((created.case, created.records), ("created", 0));
    fill(&mut ring, 0, 10);
    let index = ring.last_index();
    ring.close().unwrap();
    // Another boot after a clean stop has lost nothing.
    let options = RingOptions { boot_id: Some(OTHER_BOOT), ..options() };
    let (ring, recovery) = Ring::open(dir.path(), &options).unwrap();
    assert!(recovery.clean && recovery.incarnation_changed.is_none());
    assert_eq!((recovery.case, recovery.last_index), ("clean stop", index));
    assert_eq!((recovery.last_time, recovery.last_epoch), (1009, 3));
    assert_eq!(recovery.incarnation, created.incarnation);
    drop(ring);
    let (_, recovery) = Ring::open(dir.path(), &options).unwrap();
    assert_eq!((recovery.case, recovery.clean), ("killed", false));
}

#[test]
fn a_full_ring_reopens_full() {
    let dir = temp_dir();
    let (mut ring, _) = Ring::create(dir.path(), &options()).unwrap();
    while ring.append(1, 1, 1, 0, 0, &[5; 4056]).is_ok() {}
    assert_eq!(ring.head().get(), ring.ring_bytes());
    drop(ring);
    let (mut ring, recovery) = Ring::open(dir.path(), &options()).unwrap();
    assert_eq!((recovery.case, recovery.records), ("killed", 8));
    assert!(ring.append(1, 1, 1, 0, 0, &[]).is_err());
    drop(ring);
    let mut reader = Reader::open(dir.path()).unwrap();
    while reader.next().unwrap().is_some() {}
    assert_eq!(reader.end().unwrap().stop, ReadStop::Full);
}
