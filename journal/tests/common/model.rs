//! A journal that was killed, with a model of where each record is, and what a start makes of it.

use journal::{
    IncarnationChange, JournalError, JournalOptions, MemoryStorage, ReadStop, Reader, Refusal,
    RefusalKind, Storage, Uuid, segment_file,
};

use super::{
    BOOT, Files, OTHER_BOOT, PAGE, SEGMENT, append, as_directory, files_on, fill_on, kill, open_on,
    options, rebooted, settle_on,
};

pub const RING: usize = 4 * SEGMENT;

#[derive(Clone, Debug)]
pub struct Place {
    pub position: usize,
    pub bytes: Vec<u8>,
    pub is_pad: bool,
}

impl Place {
    pub fn segment(&self) -> usize {
        self.position / SEGMENT
    }

    pub fn offset(&self) -> usize {
        PAGE + self.position % SEGMENT
    }
}

/// A journal that was killed, and where everything is.
#[derive(Clone)]
pub struct Model {
    pub disk: MemoryStorage,
    pub ring: Vec<u8>,
    /// Record `n` has index `n + 1`.
    pub places: Vec<Place>,
    /// The first that only the ring has.
    pub in_ring_alone: usize,
}

impl Model {
    /// `stored` records on the disk and `more` in the ring alone.
    pub fn new(stored: usize, more: usize) -> Self {
        let mut disk = MemoryStorage::new();
        let mut journal = open_on(&mut disk, None, &options()).unwrap();
        fill_on(&mut journal, &mut disk, 0, stored);
        settle_on(&mut journal, &mut disk);
        let in_ring_alone = usize::try_from(journal.ring.last_index()).unwrap();
        for n in stored..stored + more {
            assert!(append(&mut journal.ring, n));
        }
        let ring = kill(journal);
        let dir = as_directory(&disk, Some(&ring));
        let mut reader = Reader::open(dir.path()).unwrap();
        let mut places = Vec::new();
        while let Some((position, record)) = reader.next().unwrap() {
            let mut bytes = vec![0; usize::try_from(record.bytes()).unwrap()];
            record.encode(&mut bytes);
            let position = usize::try_from(position.get()).unwrap();
            places.push(Place { position, bytes, is_pad: record.is_pad() });
        }
        Self { disk, ring, places, in_ring_alone }
    }

    pub fn len(&self) -> u64 {
        self.places.len() as u64
    }

    /// The first record that the ring holds too, whole.
    pub fn oldest_in_ring(&self) -> usize {
        let last = &self.places[self.places.len() - 1];
        let oldest = (last.position + last.bytes.len()).saturating_sub(RING);
        self.places.iter().position(|place| place.position >= oldest).unwrap()
    }

    pub fn pad(&self, from: usize) -> usize {
        from + self.places[from..].iter().position(|place| place.is_pad).unwrap()
    }

    /// Records without pads among the first `n`.
    pub fn count(&self, n: usize) -> usize {
        self.places[..n].iter().filter(|place| !place.is_pad).count()
    }

    pub fn start(&self, label: &'static str) -> Start {
        Start {
            label: label.to_owned(),
            disk: self.disk.clone(),
            ring: Some(self.ring.clone()),
            options: options(),
        }
    }

    /// As it is found after a power cut.
    pub fn cut(&self, label: &'static str) -> Start {
        Start { ring: None, options: rebooted(), ..self.start(label) }
    }
}

/// Flips bits, by number, of a file.
pub fn flip(disk: &mut MemoryStorage, name: &str, bits: &[usize]) {
    for bit in bits {
        let mut byte = [0];
        disk.read_at(name, (bit / 8) as u64, &mut byte).unwrap();
        disk.write_at(name, (bit / 8) as u64, &[byte[0] ^ 1 << (bit % 8)]).unwrap();
    }
    disk.sync(name).unwrap();
}

/// Puts a file in place of another, or of none.
pub fn put(disk: &mut MemoryStorage, name: &str, bytes: &[u8]) {
    if disk.len(name).unwrap().is_some() {
        disk.remove(name).unwrap();
    }
    disk.create(name, bytes.len() as u64).unwrap();
    disk.write_at(name, 0, bytes).unwrap();
    disk.sync(name).unwrap();
    disk.sync_names().unwrap();
}

pub fn get(disk: &MemoryStorage, name: &str) -> Vec<u8> {
    let mut bytes = vec![0; usize::try_from(disk.len(name).unwrap().unwrap()).unwrap()];
    disk.read_at(name, 0, &mut bytes).unwrap();
    bytes
}

pub fn seg(number: usize) -> String {
    segment_file(number as u64)
}

/// What a start finds.
#[derive(Clone)]
pub struct Start {
    pub label: String,
    pub disk: MemoryStorage,
    pub ring: Option<Vec<u8>>,
    pub options: JournalOptions,
}

/// What is lost when the operator accepts it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    pub first: u64,
    pub last_known: u64,
    pub whole: u64,
}

impl Start {
    /// It is refused, by this rule and with these words, and nothing was changed.
    pub fn refused(&self, kind: RefusalKind, words: &[&str]) -> Refusal {
        let mut disk = self.disk.clone();
        let before = files_on(&disk);
        let error = match open_on(&mut disk, self.ring.as_deref(), &self.options) {
            Err(error) => error,
            Ok(journal) => panic!("{}: {:?}", self.label, journal.recovery),
        };
        assert!(files_on(&disk) == before, "{}: a refusal changes nothing", self.label);
        let text = error.to_string();
        let JournalError::Refused(refusal) = error else { panic!("{}: {text}", self.label) };
        assert_eq!(refusal.kind, kind, "{}: {text}", self.label);
        for word in words.iter().chain(&["expected", "found"]) {
            assert!(text.contains(word), "{}: {word} in {text}", self.label);
        }
        assert!(text.contains(refusal.way_out()), "{}: {text}", self.label);
        *refusal
    }

    /// It opens with the first `kept` records, by this row of the table, and goes on.
    pub fn opens(&self, model: &Model, case: &str, kept: usize) {
        let mut disk = self.disk.clone();
        let mut journal = open_on(&mut disk, self.ring.as_deref(), &self.options)
            .unwrap_or_else(|error| panic!("{}: {error}", self.label));
        let recovery = journal.recovery.clone();
        assert_eq!((recovery.case, recovery.last_index), (case, kept as u64), "{}", self.label);
        assert_eq!(recovery.accepted, None, "{}", self.label);
        journal.ring.assert_chain();
        let count = model.count(kept);
        fill_on(&mut journal, &mut disk, count, count + 5);
        settle_on(&mut journal, &mut disk);
        self.holds(&disk, journal, count + 5);
    }

    /// The records are there, for a reader and for a start after a power cut.
    pub fn holds(&self, disk: &MemoryStorage, journal: journal::Journal, count: usize) {
        journal.ring.assert_chain();
        let ring = kill(journal);
        let dir = as_directory(disk, Some(&ring));
        assert_eq!(super::assert_records(dir.path(), count), ReadStop::End, "{}", self.label);
        super::assert_sums(dir.path());
    }

    /// With the loss accepted it opens with the first `kept` records, tells what is lost, keeps
    /// that aside, goes on, and stops and starts as if nothing had been.
    pub fn accepts(&self, model: &Model, kept: usize, cost: Loss) {
        let label = &self.label;
        let mut disk = self.disk.clone();
        let accepting = JournalOptions { accept_loss: true, ..self.options.clone() };
        let mut journal = open_on(&mut disk, self.ring.as_deref(), &accepting)
            .unwrap_or_else(|error| panic!("{label}: {error}"));
        let recovery = journal.recovery.clone();
        let lost = recovery.accepted.unwrap();
        let told = Loss {
            first: lost.first_index,
            last_known: lost.last_known_index,
            whole: lost.whole_records,
        };
        assert_eq!((recovery.case, told), ("loss accepted", cost), "{label}");
        assert_eq!(recovery.last_index, kept as u64, "{label}");
        let change = recovery.incarnation_changed;
        assert_eq!(change, Some(IncarnationChange::AcceptedLoss), "{label}");
        let suspect = recovery.suspect.unwrap();
        assert_eq!(suspect.after_index, kept as u64, "{label}");
        assert!(suspect.to_index >= cost.last_known, "{label}");
        let incarnation = recovery.incarnation;
        assert_eq!(journal.ring.label().suspect_incarnation, incarnation, "{label}");
        self.is_kept_aside(model, &files_on(&disk), &lost);

        let count = model.count(kept);
        fill_on(&mut journal, &mut disk, count, count + 40);
        settle_on(&mut journal, &mut disk);
        let ring = kill(journal);
        // Killed, cut from its power, and stopped: each opens without the flag.
        let plain = &self.options;
        for (ring, options, case) in
            [(Some(&ring[..]), plain, "killed"), (None, &rebooted_from(plain), "power cut")]
        {
            let journal = open_on(&mut disk.clone(), ring, options).unwrap();
            assert_eq!(journal.recovery.case, case, "{label}");
        }
        let journal = open_on(&mut disk, Some(&ring), plain).unwrap();
        journal.close_on(&mut disk, std::path::Path::new("")).unwrap();
        let journal = open_on(&mut disk, None, plain).unwrap();
        assert_eq!(journal.recovery.case, "clean stop", "{label}");
        assert_eq!(journal.recovery.incarnation, incarnation, "{label}");
        self.holds(&disk, journal, count + 40);
    }

    /// The bytes of every whole record that is lost are in a side file.
    pub fn is_kept_aside(&self, model: &Model, files: &Files, lost: &journal::Lost) {
        for side in &lost.side_files {
            let name = side.to_str().unwrap();
            assert!(files.contains_key(name), "{}: {name}", self.label);
        }
        let side: Vec<u8> =
            lost.side_files.iter().flat_map(|f| &files[f.to_str().unwrap()]).copied().collect();
        let first = usize::try_from(lost.first_index - 1).unwrap();
        let end = usize::try_from(lost.last_known_index).unwrap();
        let behind = &model.places[first..end];
        let is_there =
            |place: &&Place| side.windows(place.bytes.len()).any(|bytes| bytes == place.bytes);
        if behind.len() < 40 {
            let found = behind.iter().filter(is_there).count() as u64;
            assert_eq!(found, lost.whole_records, "{}: {lost:?}", self.label);
        } else if lost.whole_records > 0 {
            assert!(is_there(&&behind[behind.len() - 1]), "{}: the last is kept", self.label);
        }
    }
}

/// The machine restarts once more.
pub fn rebooted_from(options: &JournalOptions) -> JournalOptions {
    let boot = if options.boot_id == Some(BOOT) { OTHER_BOOT } else { Uuid([3; 16]) };
    JournalOptions { boot_id: Some(boot), ..options.clone() }
}
