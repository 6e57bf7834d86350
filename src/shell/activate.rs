//! From a directory to a machine that may serve: recover, replay, and journal the new epoch.
//!
//! ```text
//! open or create the journal -> recovery says what a crash left; all of it to the disk
//! replay every record -> the machine, and the report log with every report it ever made
//! clock: base = max(wall, last journaled time + 1)
//! EpochStart -> UncleanPromotion, if acknowledged records may be missing
//!            -> settings that differ -> phase of markets that never had one
//! ```
//!
//! A journal is founded by one record with the capacities; everything else follows an EpochStart.

use std::path::Path;

use thiserror::Error;

use super::clock::Clock;
use super::disk::Disk;
use crate::config::{Config, Difference, Logical, OnConfigChange, compare, settings_to_append};
use crate::engine::outbox::{Outbox, ReportSink};
use crate::machine::Machine;
use crate::replay::{self, ReplayError};
use crate::vocabulary::durability::Durability;
use crate::vocabulary::fix::MarketPhase;
use crate::vocabulary::record::{PAYLOAD_BYTES_MAX, RecordBody, RecordKind};
use crate::vocabulary::settings::Setting;
use crate::vocabulary::units::{Epoch, Index, Nanos, SecurityId, Text};
use journal::{DirStorage, Journal, JournalError, JournalOptions, Label, Recovery, Ring, Walk};

/// A journal that ends at or beyond this is not gone on with: the year 2262.
const TIME_MAX: Nanos = Nanos(1 << 63);

/// What a node needs before its first turn.
pub struct Activated {
    /// The journal.
    pub ring: Ring,
    /// What opening it found.
    pub recovery: Recovery,
    /// The machine, up to the last record.
    pub machine: Machine,
    /// The clock of this activation.
    pub clock: Clock,
    /// The epoch of this activation.
    pub epoch: Epoch,
    /// From where on acknowledged records may be missing: sessions opened before are refused
    /// (HistoryLost) from now on.
    pub lost_from: Option<Index>,
}

/// Why a node does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The journal is refused; the text names file, offset and the way out.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The journal is whole but not of this build.
    #[error("journal in {dir} cannot be replayed: {error}")]
    Replay {
        /// The directory.
        dir: String,
        /// What is wrong.
        error: ReplayError,
    },
    /// The configured logical settings are not the journaled ones.
    #[error(
        "the configuration differs from the journal in {dir}; {advice}:\n{}",
        list(.differences)
    )]
    Settings {
        /// The directory.
        dir: String,
        /// What to do.
        advice: &'static str,
        /// Each difference.
        differences: Vec<Difference>,
    },
    /// The ring has no room for the records of a start.
    #[error(
        "the journal in {dir} has no room in its ring for a start ({free} bytes free): a larger \
         journal_ring_bytes is needed, which a journal cannot change"
    )]
    Full {
        /// The directory.
        dir: String,
        /// Bytes left.
        free: u64,
    },
    /// The journaled settings add up to nothing.
    #[error("the journal in {dir} holds no settings")]
    NoSettings {
        /// The directory.
        dir: String,
    },
    /// The journal's last time or epoch leaves none to go on with: no node of ours wrote it.
    #[error("the journal in {dir} ends at time {time} ns, epoch {epoch}: nothing can follow it")]
    Exhausted {
        /// The directory.
        dir: String,
        /// Time of the last record.
        time: u64,
        /// Its epoch.
        epoch: u32,
    },
    /// The system gave no random number.
    #[error("no random seed from the system: {0}")]
    Random(String),
}

fn list(differences: &[Difference]) -> String {
    differences.iter().map(|d| format!("  {d}")).collect::<Vec<_>>().join("\n")
}

/// A journal that is open and whole on the disk, before it is replayed.
pub struct Opened {
    journal: Journal,
}

impl Opened {
    /// Whose journal it is.
    #[must_use]
    pub fn label(&self) -> &Label {
        self.journal.ring.label()
    }
}

/// Opens or creates the journal.
pub fn open(config: &Config) -> Result<Opened, StartError> {
    let local = &config.local;
    let hot_dir = std::path::absolute(&local.hot_dir).ok();
    let options = JournalOptions {
        hot_dir,
        acks_durable: local.durability == Durability::LocalFsync,
        space_low_water: local.space_low_water,
        accept_copy: local.accept_copy,
        accept_loss: local.accept_loss,
        lock_memory: local.lock_memory,
        ..JournalOptions::new(local.journal_ring_bytes, local.node)
    };
    let mut journal = Journal::open_or_create(&local.data_dir, &options)?;
    // What only the ring had is on the disk before anybody is answered by it.
    journal.drain(&local.data_dir)?;
    Ok(Opened { journal })
}

/// Brings the machine to the journal's end, then begins a new epoch. Every report ever made goes
/// through `sink` again, byte for byte as it was sent.
pub fn activate(
    config: &Config,
    opened: Opened,
    sink: &mut impl ReportSink,
) -> Result<(Activated, Disk), StartError> {
    let local = &config.local;
    let dir = local.data_dir.display().to_string();
    let Journal { ring, persister, preparer, recovery } = opened.journal;
    let disk = Disk::new(&local.data_dir, persister, preparer);
    let Some(epoch) = ring.last_epoch().checked_add(1).filter(|_| ring.last_time() < TIME_MAX.0)
    else {
        return Err(StartError::Exhausted {
            dir,
            time: ring.last_time(),
            epoch: ring.last_epoch(),
        });
    };
    let (clock, epoch) = (Clock::activate(Nanos(ring.last_time())), Epoch(epoch));
    let is_new = recovery.last_index == 0;
    let data = &local.data_dir;
    let mut start = Start { ring, data, clock, epoch, dir, out: Outbox::new(), sink };
    let (machine, lost_from) = if is_new {
        (start.found(&config.logical)?, None)
    } else {
        start.resume(config, &recovery)?
    };
    let machine = start.open_markets(machine, local.open_at_start)?;
    Ok((Activated { ring: start.ring, recovery, machine, clock, epoch, lost_from }, disk))
}

/// What the journal says of itself before it is replayed.
struct Past {
    logical: Logical,
    /// No session was ever opened.
    is_unused: bool,
    /// Index and incarnation of each EpochStart.
    epochs: Vec<(Index, u64)>,
    /// Incarnation of the last epoch that began with an UncleanPromotion.
    told: u64,
}

impl Past {
    /// From which record on acknowledged ones may be missing, if that was not journaled yet. A
    /// start that was killed between its recovery and that record leaves the debt to the next.
    fn lost_from(&self, suspect_incarnation: u64, recovery: &Recovery) -> Option<Index> {
        if self.told >= suspect_incarnation {
            return None;
        }
        let since = self.epochs.iter().find(|(_, incarnation)| *incarnation >= suspect_incarnation);
        Some(since.map_or_else(|| Index(recovery.last_index).next(), |(index, _)| *index))
    }
}

struct Start<'a, S> {
    ring: Ring,
    data: &'a Path,
    clock: Clock,
    epoch: Epoch,
    dir: String,
    out: Outbox,
    sink: &'a mut S,
}

impl<S: ReportSink> Start<'_, S> {
    /// A new journal: capacities, EpochStart, all other settings.
    fn found(&mut self, logical: &Logical) -> Result<Machine, StartError> {
        let mut seed = [0; 8];
        getrandom::fill(&mut seed).map_err(|e| StartError::Random(e.to_string()))?;
        let mut settings = logical.settings(u64::from_le_bytes(seed));
        let first = settings.next().unwrap_or(Setting::Capacities(logical.capacities));
        let position = self.ring.head();
        self.append(&RecordBody::Config(first))?;
        let mut machine = match self.ring.read(position) {
            Some(stored) => replay::read(&stored)
                .and_then(|record| Machine::found(&record).map_err(ReplayError::from))
                .map_err(|error| self.refused(error))?,
            None => return Err(StartError::NoSettings { dir: self.dir.clone() }),
        };
        self.apply_from(&mut machine, position)?;
        self.begin_epoch(&mut machine)?;
        for setting in settings {
            self.input(&mut machine, &RecordBody::Config(setting))?;
        }
        Ok(machine)
    }

    /// A journal with records: replay, EpochStart, what may be lost, and what the configuration
    /// changed.
    fn resume(
        &mut self,
        config: &Config,
        recovery: &Recovery,
    ) -> Result<(Machine, Option<Index>), StartError> {
        let past = self.past()?;
        let lost_from = past.lost_from(self.ring.label().suspect_incarnation, recovery);
        // Before the replay: the caller's sink is sized by the configured capacities.
        let append = self.settings_to_append(config, &past)?;
        let mut machine = self.replay()?;
        self.begin_epoch(&mut machine)?;
        if let Some(from_index) = lost_from {
            self.input(&mut machine, &RecordBody::UncleanPromotion { from_index })?;
        }
        for setting in append {
            self.input(&mut machine, &RecordBody::Config(setting))?;
        }
        Ok((machine, lost_from))
    }

    /// Decides about differences before anything is replayed or appended. A journal in which no
    /// session was ever opened has answered nobody: a start that was killed while it founded it is
    /// completed.
    fn settings_to_append(&self, config: &Config, past: &Past) -> Result<Vec<Setting>, StartError> {
        let differences = compare(&config.logical, &past.logical);
        let dir = self.dir.clone();
        if differences.is_empty() {
            return Ok(Vec::new());
        }
        if !past.is_unused && config.local.on_config_change == OnConfigChange::Refuse {
            let advice = "correct it, or set config = \"apply\"";
            return Err(StartError::Settings { dir, advice, differences });
        }
        let advice = "not all of it can be applied to a running journal";
        settings_to_append(&differences).ok_or(StartError::Settings { dir, advice, differences })
    }

    /// Goes once through the journal, before anything is sized by it.
    fn past(&self) -> Result<Past, StartError> {
        let (mut settings, mut is_unused) = (Vec::new(), true);
        let (mut epochs, mut told) = (Vec::new(), 0);
        let storage = DirStorage::new(self.data);
        let mut walk = Walk::new(&self.ring, &storage, self.data);
        while let Some((_, stored)) = walk.next()? {
            is_unused &= stored.kind != RecordKind::SessionOpen.stored();
            let is_of_interest = stored.index == 1
                || [RecordKind::Config, RecordKind::EpochStart, RecordKind::UncleanPromotion]
                    .iter()
                    .any(|kind| kind.stored() == stored.kind);
            if !is_of_interest {
                continue;
            }
            // A journal of another build is told by its first record, not by what it lacks.
            let record = replay::read(&stored).map_err(|error| self.refused(error))?;
            if let RecordBody::Config(setting) = record.body {
                settings.push(setting);
            } else if let RecordBody::EpochStart { incarnation, .. } = record.body {
                epochs.push((record.index, incarnation));
            } else if let RecordBody::UncleanPromotion { .. } = record.body {
                told = epochs.last().map_or(0, |(_, incarnation)| *incarnation);
            }
        }
        let logical = Logical::from_settings(settings);
        let none = || StartError::NoSettings { dir: self.dir.clone() };
        Ok(Past { logical: logical.ok_or_else(none)?, is_unused, epochs, told })
    }

    /// Every record through a machine that the first one founds.
    fn replay(&mut self) -> Result<Machine, StartError> {
        let Self { ring, data, dir, out, sink, .. } = self;
        let storage = DirStorage::new(data);
        let mut walk = Walk::new(ring, &storage, data);
        let mut machine: Option<Machine> = None;
        while let Some((_, stored)) = walk.next()? {
            let failed = |error| StartError::Replay { dir: dir.clone(), error };
            let machine = match &mut machine {
                Some(machine) => machine,
                empty => {
                    let first = replay::read(&stored).map_err(failed)?;
                    let founded = Machine::found(&first).map_err(ReplayError::from);
                    empty.insert(founded.map_err(failed)?)
                }
            };
            replay::apply(machine, &stored, out, *sink).map_err(failed)?;
        }
        machine.ok_or_else(|| StartError::NoSettings { dir: dir.clone() })
    }

    fn begin_epoch(&mut self, machine: &mut Machine) -> Result<(), StartError> {
        let label = self.ring.label();
        let body = RecordBody::EpochStart {
            node: label.node_id,
            incarnation: label.incarnation,
            prev_epoch: machine.epoch(),
        };
        self.input(machine, &body)
    }

    /// Opens each market that never had a phase, in the name of the configuration.
    fn open_markets(
        &mut self,
        mut machine: Machine,
        open_at_start: bool,
    ) -> Result<Machine, StartError> {
        let never: Vec<SecurityId> = machine
            .engine()
            .markets()
            .iter()
            .filter(|market| market.phase.is_none())
            .map(|market| market.instrument.security_id)
            .collect();
        for security_id in never.into_iter().filter(|_| open_at_start) {
            let body = RecordBody::Admin {
                who: Text::new("configuration"),
                reason: Text::new("open_at_start"),
                security_id: Some(security_id),
                phase: MarketPhase::Trading,
            };
            self.input(&mut machine, &body)?;
        }
        Ok(machine)
    }

    /// Appends one record and applies it.
    fn input(&mut self, machine: &mut Machine, body: &RecordBody<'_>) -> Result<(), StartError> {
        let position = self.ring.head();
        self.append(body)?;
        self.apply_from(machine, position)
    }

    fn append(&mut self, body: &RecordBody<'_>) -> Result<(), StartError> {
        let mut scratch = [0; PAYLOAD_BYTES_MAX];
        let time = self.clock.now().0.max(self.ring.last_time());
        let payload = body.encode(&mut scratch);
        let (kind, source) = (body.kind().stored(), body.source());
        match self.ring.append(time, self.epoch.0, kind, 0, source, payload) {
            Ok(_) => Ok(()),
            Err(_) => Err(StartError::Full { dir: self.dir.clone(), free: self.ring.free_bytes() }),
        }
    }

    fn apply_from(
        &mut self,
        machine: &mut Machine,
        position: journal::Position,
    ) -> Result<(), StartError> {
        for (_, stored) in self.ring.records_from(position) {
            let applied = replay::apply(machine, &stored, &mut self.out, self.sink);
            applied.map_err(|error| StartError::Replay { dir: self.dir.clone(), error })?;
        }
        Ok(())
    }

    fn refused(&self, error: ReplayError) -> StartError {
        StartError::Replay { dir: self.dir.clone(), error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::outbox::NoReports;
    use crate::vocabulary::event::Event;
    use crate::vocabulary::record::RecordKind;
    use crate::vocabulary::units::{OwnerIdx, Seq, SessionId, SessionIdx};
    use journal::KIND_PAD;
    use std::path::Path;

    /// A node with a journal of 1 MiB in `dir`.
    fn config(dir: &Path) -> Config {
        let mut config = Config::demo();
        config.local.data_dir = dir.to_path_buf();
        config.local.hot_dir = dir.to_path_buf();
        config.local.journal_ring_bytes = 1 << 20;
        config.logical.capacities.key_count_max = 1 << 10;
        config.logical.capacities.order_count_max = 64;
        config.logical.capacities.session_count_max = 4;
        config
    }

    /// Takes nothing.
    struct Nothing;

    impl ReportSink for Nothing {
        fn report(&mut self, _: SessionIdx, _: Seq, _: Index, _: usize) -> &mut [u8] {
            panic!("nothing is replayed")
        }

        fn logon(&mut self, _: Index, _: &Event) {
            panic!("nothing is replayed")
        }
    }

    fn start(config: &Config) -> Result<Activated, StartError> {
        activate(config, open(config)?, &mut NoReports::default()).map(|(activated, _)| activated)
    }

    /// Leaves a journal with the capacities and nothing else, as after a kill.
    fn write_capacities(config: &Config, time: u64, epoch: u32) {
        let options = JournalOptions::new(config.local.journal_ring_bytes, config.local.node);
        let journal = Journal::open_or_create(&config.local.data_dir, &options).unwrap();
        let mut ring = journal.ring;
        let body = config.logical.settings(7).next().map(RecordBody::Config).unwrap();
        let mut scratch = [0; PAYLOAD_BYTES_MAX];
        let payload = body.encode(&mut scratch);
        ring.append(time, epoch, body.kind().stored(), 0, 0, payload).unwrap();
    }

    /// A process killed while it founded its journal leaves capacities and some of the settings. No
    /// client was ever answered by them, so the next start goes on; it once asked the operator to
    /// decide about differences that nobody had made.
    #[test]
    fn a_founding_that_was_killed_is_completed() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        write_capacities(&config, 1, 1);
        let machine = start(&config).unwrap().machine;
        assert_eq!(machine.instruments().count(), config.logical.instruments.len());
        assert_eq!(machine.accounts().len(), config.logical.accounts.len());
        assert!(machine.engine().markets().iter().all(|market| market.phase.is_some()));
    }

    /// The journal's sessions may be more than the configured ones: capacities are compared before
    /// anything is sized by them. A replay into a report log for fewer once ended in a panic.
    #[test]
    fn other_capacities_are_refused_before_the_replay() {
        let dir = tempfile::tempdir().unwrap();
        let mut config = config(dir.path());
        let Activated { mut ring, epoch, .. } = start(&config).unwrap();
        let body = RecordBody::SessionOpen {
            session: SessionIdx(3),
            id: SessionId([1; 16]),
            owner: OwnerIdx(0),
            key_id: Text::new("key"),
            timestamp: Nanos(1),
        };
        let mut scratch = [0; PAYLOAD_BYTES_MAX];
        let (time, kind, payload) = (ring.last_time(), body.kind(), body.encode(&mut scratch));
        ring.append(time, epoch.0, kind.stored(), 0, body.source(), payload).unwrap();
        drop(ring);
        config.logical.capacities.session_count_max = 2;
        config.local.on_config_change = OnConfigChange::Apply;
        let Err(StartError::Settings { differences, .. }) =
            activate(&config, open(&config).unwrap(), &mut Nothing)
        else {
            panic!("it started");
        };
        assert_eq!(differences[0].key, "capacities.session_count_max");
    }

    /// Whole records with the last time or epoch there is: refused, where counting on was a panic.
    #[test]
    fn a_journal_at_the_end_of_time_is_refused() {
        for (time, epoch) in [(u64::MAX, 1), (TIME_MAX.0, 1), (1, u32::MAX)] {
            let dir = tempfile::tempdir().unwrap();
            let config = config(dir.path());
            write_capacities(&config, time, epoch);
            assert!(matches!(start(&config), Err(StartError::Exhausted { .. })), "{time} {epoch}");
        }
    }

    /// A start whose EpochStart does not fit the segment. The pad before it already carries the new
    /// epoch, and the machine once took that for a damaged journal: no later start came past it.
    #[test]
    fn an_epoch_may_begin_behind_a_pad() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let Activated { mut ring, epoch, .. } = start(&config).unwrap();
        let segment_bytes = ring.ring_bytes() / 4;
        let left = |ring: &Ring| segment_bytes - ring.head().get() % segment_bytes;
        while left(&ring) > 80 {
            let (time, kind) = (ring.last_time(), RecordKind::Tick.stored());
            ring.append(time, epoch.0, kind, 0, 0, &[]).unwrap();
        }
        assert!(left(&ring) != 56, "an EpochStart would fit exactly");
        drop(ring);
        for number in 1..=2 {
            let again = start(&config).unwrap();
            assert_eq!(again.epoch, Epoch(epoch.0 + number));
            assert!(again.ring.iter().any(|(_, stored)| stored.kind == KIND_PAD));
        }
    }

    /// The journal as another boot of the machine finds it after a power cut.
    fn cut_power(config: &Config) {
        let options = JournalOptions {
            boot_id: Some(journal::Uuid([0xb0; 16])),
            ..JournalOptions::new(config.local.journal_ring_bytes, config.local.node)
        };
        let journal = Journal::open_or_create(&config.local.data_dir, &options).unwrap();
        assert!(journal.recovery.incarnation_changed.is_some());
    }

    /// The bodies of the records from `from` on.
    fn bodies(activated: &Activated, from: u64) -> Vec<String> {
        let said = activated.ring.iter().filter(|(_, stored)| stored.index >= from);
        said.map(|(_, stored)| format!("{:?}", replay::read(&stored).unwrap().body)).collect()
    }

    fn open_session(activated: &mut Activated, number: u32) {
        let body = RecordBody::SessionOpen {
            session: SessionIdx(number),
            id: SessionId([u8::try_from(number).unwrap() + 1; 16]),
            owner: OwnerIdx(0),
            key_id: Text::new("key"),
            timestamp: Nanos(1),
        };
        let mut scratch = [0; PAYLOAD_BYTES_MAX];
        let (ring, kind) = (&mut activated.ring, body.kind().stored());
        let (time, payload) = (ring.last_time(), body.encode(&mut scratch));
        ring.append(time, activated.epoch.0, kind, 0, body.source(), payload).unwrap();
    }

    #[test]
    fn after_a_power_cut_older_sessions_are_marked_and_newer_ones_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let mut first = start(&config).unwrap();
        assert_eq!(first.lost_from, None, "a new journal has lost nothing");
        open_session(&mut first, 0);
        let last = first.ring.last_index();
        drop(first);
        cut_power(&config);
        let mut second = start(&config).unwrap();
        assert_eq!(second.lost_from, Some(Index(last + 1)));
        let said = bodies(&second, last + 1);
        assert!(said[0].starts_with("EpochStart") && said.len() == 2, "{said:?}");
        assert_eq!(said[1], format!("UncleanPromotion {{ from_index: Index({}) }}", last + 1));
        open_session(&mut second, 1);
        drop(second);
        let third = start(&config).unwrap();
        assert_eq!(third.lost_from, None, "told once");
        let session = |number| third.machine.sessions().get(SessionIdx(number)).unwrap();
        assert!(session(0).is_history_lost && !session(1).is_history_lost);
    }

    /// The directory tells of a new incarnation to one start only. One that was killed behind its
    /// EpochStart leaves the rest to the next.
    #[test]
    fn an_unclean_promotion_that_was_not_journaled_is_made_up_for() {
        let dir = tempfile::tempdir().unwrap();
        let config = config(dir.path());
        let mut first = start(&config).unwrap();
        open_session(&mut first, 0);
        let prev_epoch = first.epoch;
        drop(first);
        cut_power(&config);
        let options = JournalOptions::new(config.local.journal_ring_bytes, config.local.node);
        let journal = Journal::open_or_create(dir.path(), &options).unwrap();
        assert!(journal.recovery.incarnation_changed.is_some(), "back in this boot");
        let Journal { mut ring, persister, .. } = journal;
        let (node, incarnation) = (config.local.node, ring.label().incarnation);
        let body = RecordBody::EpochStart { node, incarnation, prev_epoch };
        let mut scratch = [0; PAYLOAD_BYTES_MAX];
        let (time, kind) = (ring.last_time(), body.kind().stored());
        let payload = body.encode(&mut scratch);
        let begun = ring.append(time, prev_epoch.0 + 1, kind, 0, 0, payload).unwrap().index;
        drop((ring, persister));
        let next = start(&config).unwrap();
        assert_eq!(next.recovery.incarnation_changed, None);
        assert_eq!(next.lost_from, Some(Index(begun)));
        assert!(next.machine.sessions().get(SessionIdx(0)).unwrap().is_history_lost);
        drop(next);
        assert_eq!(start(&config).unwrap().lost_from, None);
    }
}
