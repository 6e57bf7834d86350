//! A bit is wrong somewhere: a start notices, says where, and never takes a wrong record. Accepted,
//! the loss is told exactly.
//!
//! A model of the journal says what each verdict must be: where each record stands, which of them
//! the ring has too, what is whole behind the damage. `JOURNAL_TESTS_ALL=1` flips all bits of all
//! payloads.

#![allow(clippy::unwrap_used, reason = "a step that fails is a test that fails")]

mod common;

use common::model::{Loss, Model, Place, RING, Start, flip, get, seg};
use common::{PAGE, append, fill_on, is_exhaustive, kill, open_on, options, rebooted};
use journal::{JournalOptions, META_FILE, MemoryStorage, RefusalKind, Storage};

/// Bits to flip of a record: all of its header, some of its payload.
fn bits(place: &Place) -> Vec<usize> {
    let step = if is_exhaustive() { 1 } else { 61 };
    let (start, len) = (place.offset() * 8, place.bytes.len() * 8);
    (start..start + 320).chain((start + 320..start + len).step_by(step)).collect()
}

#[test]
fn every_flipped_bit_of_a_record_on_the_disk_is_noticed() {
    let model = Model::new(150, 0);
    let last = model.places.len() - 1;
    let pad = model.pad(20);
    for n in [0, 1, pad - 1, pad, pad + 1, last - 1, last] {
        let place = &model.places[n];
        for (turn, bit) in bits(place).into_iter().enumerate() {
            let mut start = model.cut("a bit of a record");
            flip(&mut start.disk, &seg(place.segment()), &[bit]);
            if n == last {
                // Nobody can tell it from a group that was being written when the power went.
                start.opens(&model, "power cut, torn tail", n);
                continue;
            }
            let refusal = start.refused(RefusalKind::Corrupt, &[&seg(place.segment())]);
            assert_eq!(refusal.offset, Some(place.offset() as u64));
            if turn % 40 == 0 && n > 0 {
                let (first, last) = (n as u64 + 1, model.len());
                start.accepts(&model, n, Loss { first, last_known: last, whole: last - first });
            }
        }
    }
}

#[test]
fn the_ring_heals_what_it_has_too() {
    let model = Model::new(150, 20);
    let oldest = model.oldest_in_ring();
    for n in [0, 1, oldest - 1, oldest, oldest + 1, model.in_ring_alone - 1] {
        let place = &model.places[n];
        for bit in bits(place).into_iter().step_by(7) {
            let mut start = model.start("a bit of a record on the disk");
            flip(&mut start.disk, &seg(place.segment()), &[bit]);
            if n >= oldest {
                start.opens(&model, "killed", model.places.len());
                continue;
            }
            let refusal = start.refused(RefusalKind::Corrupt, &[&seg(place.segment())]);
            assert_eq!(refusal.offset, Some(place.offset() as u64));
        }
    }
}

#[test]
fn every_flipped_bit_of_a_record_in_the_ring_is_noticed() {
    let model = Model::new(150, 30);
    let last = model.places.len() - 1;
    let oldest = model.places[last].segment() - 3;
    let oldest = model.places.iter().position(|place| place.segment() == oldest).unwrap();
    for n in [oldest, model.in_ring_alone - 1, model.in_ring_alone, last - 1, last] {
        let place = &model.places[n];
        let at = PAGE + place.position % RING;
        for (turn, bit) in bits(place).into_iter().enumerate() {
            let mut start = model.start("a bit of a record in the ring");
            let bit = bit - place.offset() * 8;
            start.ring.as_mut().unwrap()[at + bit / 8] ^= 1 << (bit % 8);
            if n < model.in_ring_alone {
                // The segments have it, and the ring gets it back.
                start.opens(&model, "killed", model.places.len());
            } else if n == last {
                start.opens(&model, "killed while appending", n);
            } else {
                let refusal = start.refused(RefusalKind::Corrupt, &["journal.ring"]);
                assert_eq!(refusal.offset, Some(at as u64));
                if turn % 40 == 0 {
                    let (first, last) = (n as u64 + 1, model.len());
                    start.accepts(&model, n, Loss { first, last_known: last, whole: last - first });
                }
            }
        }
    }
}

#[test]
fn every_flipped_bit_of_a_segments_header_is_noticed() {
    let model = Model::new(150, 20);
    let last = model.places[model.places.len() - 1].segment();
    for number in [0, 1, last - 1, last] {
        for bit in 0..128 * 8 {
            let mut start = model.cut("a bit of a segment's header");
            flip(&mut start.disk, &seg(number), &[bit]);
            start.refused(RefusalKind::SegmentDamaged, &[&seg(number)]);
        }
    }
    // The durable slots: the other one counts, or the metadata's floor.
    for slot in [1024, 2048] {
        for bit in (slot * 8..(slot + 48) * 8).step_by(3) {
            let mut start = model.cut("a bit of a durable slot");
            flip(&mut start.disk, &seg(last), &[bit]);
            start.opens(&model, "power cut", model.in_ring_alone);
        }
    }
}

#[test]
fn every_flipped_bit_of_the_metadata_is_noticed() {
    let model = Model::new(150, 20);
    let newest = newest_slot(&model.disk);
    for bit in 0..512 * 8 {
        let mut start = model.start("a bit of the newest label");
        flip(&mut start.disk, META_FILE, &[newest * 8 + bit]);
        start.opens(&model, "killed", model.places.len());
        if bit % 64 == 0 {
            let mut start = Start { label: "and of the other".to_owned(), ..start };
            flip(&mut start.disk, META_FILE, &[(4096 - newest) * 8 + bit]);
            start.refused(RefusalKind::MetadataDamaged, &[META_FILE]);
            start.options.accept_loss = true;
            start.refused(RefusalKind::MetadataDamaged, &["Nothing was changed"]);
        }
    }
}

/// Where the newest label of the metadata is.
fn newest_slot(disk: &MemoryStorage) -> usize {
    let bytes = get(disk, META_FILE);
    let generation = |at: usize| u64::from_le_bytes(bytes[at + 16..at + 24].try_into().unwrap());
    if generation(0) > generation(4096) { 0 } else { 4096 }
}

/// The label in front of the newest says that the writer stopped; the newest, which said that it
/// came back, is damaged, or is older than the ring because the file was put back.
#[test]
fn an_older_mark_of_a_stop_is_not_believed() {
    for acks_durable in [false, true] {
        let first = JournalOptions { acks_durable, ..options() };
        let mut disk = MemoryStorage::new();
        let mut journal = open_on(&mut disk, None, &first).unwrap();
        fill_on(&mut journal, &mut disk, 0, 10);
        journal.close_on(&mut disk, std::path::Path::new("")).unwrap();
        let stopped = get(&disk, META_FILE);
        let mut journal = open_on(&mut disk, None, &options()).unwrap();
        assert!(journal.recovery.clean);
        for n in 10..20 {
            assert!(append(&mut journal.ring, n));
        }
        let ring = kill(journal);
        let damaged = {
            let mut disk = disk.clone();
            let at = newest_slot(&disk);
            flip(&mut disk, META_FILE, &[at * 8 + 300]);
            disk
        };
        let put_back = {
            let mut disk = disk.clone();
            disk.write_at(META_FILE, 0, &stopped).unwrap();
            disk
        };
        for (disk, is_damaged) in [(damaged, true), (put_back, false)] {
            let journal = open_on(&mut disk.clone(), Some(&ring), &options()).unwrap();
            let recovery = &journal.recovery;
            assert_eq!((recovery.case, recovery.last_index), ("killed", 20));
            // Without the ring only the damaged slot tells that something is amiss.
            if is_damaged {
                let journal = open_on(&mut disk.clone(), None, &rebooted()).unwrap();
                let recovery = &journal.recovery;
                assert_eq!((recovery.case, recovery.last_index), ("power cut", 10));
                assert!(recovery.suspect.is_some() && !recovery.clean);
            }
        }
    }
}
