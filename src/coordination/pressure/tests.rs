//! Scripts of turns, and random turns against a twin that reads the whole past anew each time.

use super::*;
use proptest::prelude::*;

use Change::{
    End, LagBegins, LagEnds, ReadingResumes, ReadingStops, Shut, SpaceEnough, SpaceShort,
};
use Hold::{Journal, Space as NoSpace};
use RingKind::Reports;

/// Rings of 100 bytes, so that bytes are percent. Nothing waits.
const CALM: Facts = Facts {
    journal: RingFacts { ring_bytes: 100, unpersisted_bytes: 0, persisted_to: 0 },
    reports: RingFacts { ring_bytes: 100, unpersisted_bytes: 0, persisted_to: 0 },
    held_back_bytes: 0,
    acks_wait: false,
    space: Space::Enough,
    is_poisoned: false,
};

/// A turn at a millisecond: what changes in the facts, and what comes of it.
type Row<'a> = (u32, fn(&mut Facts), &'a [Change]);

#[track_caller]
fn check(script: &[Row<'_>]) {
    let mut pressure = Pressure::new(Nanos(0));
    let mut facts = CALM;
    for (row, (at, change, expected)) in script.iter().enumerate() {
        change(&mut facts);
        let was_reading = pressure.is_reading();
        let changes: Vec<Change> =
            pressure.on_turn(Nanos::from_millis(*at), &facts).into_iter().collect();
        assert_eq!(changes, *expected, "row {row}");
        let said = match (was_reading, pressure.is_reading()) {
            (true, false) => Some(ReadingStops),
            (false, true) => Some(ReadingResumes),
            _ => None,
        };
        let told = changes.iter().copied().find(|c| matches!(c, ReadingStops | ReadingResumes));
        assert_eq!(told, said, "row {row}");
    }
}

fn lag(facts: &mut Facts, percent: u64) {
    facts.journal.unpersisted_bytes = percent;
}

fn persist(facts: &mut Facts, percent: u64) {
    facts.journal.unpersisted_bytes -= percent;
    facts.journal.persisted_to += percent;
}

const ALARM: Change = LagBegins(RingKind::Journal);
const NO_ALARM: Change = LagEnds(RingKind::Journal);

#[test]
fn every_mark_has_its_way_back() {
    check(&[
        (1, |f| lag(f, 25), &[]), // not more than a quarter
        (2, |f| lag(f, 26), &[ALARM]),
        (3, |f| lag(f, 50), &[]),
        (4, |f| lag(f, 51), &[ReadingStops]),
        (5, |f| persist(f, 11), &[]), // 40: not below
        (6, |f| persist(f, 1), &[ReadingResumes]),
        (7, |f| lag(f, 50), &[]),
        (8, |f| lag(f, 20), &[]), // not below
        (9, |f| lag(f, 19), &[NO_ALARM]),
        (10, |f| lag(f, 100), &[ALARM, ReadingStops]),
        (11, |f| persist(f, 100), &[NO_ALARM, ReadingResumes]),
    ]);
}

#[test]
fn a_disk_that_makes_no_progress_shuts_the_gate_and_progress_opens_it() {
    check(&[
        (1, |f| lag(f, 30), &[ALARM]),
        (900, |f| lag(f, 60), &[ReadingStops]),
        (1_000, |_| (), &[]), // something waits since 1
        (1_000, |f| persist(f, 1), &[]),
        (1_999, |_| (), &[]),
        // Sockets are read again behind it.
        (2_000, |_| (), &[Shut(Journal), ReadingResumes]),
        (9_000, |_| (), &[]),
        (9_001, |f| persist(f, 19), &[]), // 40 %: not below
        (9_002, |f| persist(f, 1), &[End(Journal)]),
        (9_003, |f| persist(f, 39), &[NO_ALARM]),
    ]);
}

#[test]
fn a_stop_with_a_disk_that_stands_already_shuts_at_once() {
    check(&[
        (1, |f| lag(f, 30), &[ALARM]),
        (5_000, |f| lag(f, 50), &[]), // read as long as there is room
        (6_000, |f| lag(f, 51), &[Shut(Journal)]),
        // Below the mark without progress: what waited was never persisted.
        (7_000, |f| lag(f, 39), &[]),
        (7_001, |f| persist(f, 1), &[End(Journal)]),
    ]);
}

#[test]
fn where_acknowledgements_wait_anything_unpersisted_counts() {
    check(&[
        (0, |f| f.acks_wait = true, &[]),
        (1, |f| lag(f, 1), &[]),
        (1_000, |_| (), &[]),
        (1_001, |_| (), &[Shut(Journal)]),
        (1_002, |f| persist(f, 1), &[End(Journal)]),
        (5_000, |_| (), &[]), // an idle node waits for nothing, and a long turn is no wait
        (9_000, |f| lag(f, 1), &[]),
        (9_999, |_| (), &[]),
        (10_000, |_| (), &[Shut(Journal)]),
        (10_001, |f| lag(f, 0), &[End(Journal)]),
    ]);
}

#[test]
fn short_space_shuts_at_once_and_names_itself() {
    check(&[
        (1, |f| f.space = Space::Short, &[SpaceShort, Shut(NoSpace)]),
        (2, |f| lag(f, 60), &[ALARM]), // read behind the gate
        (2_000, |_| (), &[]),          // SPACE is the cause, not the journal
        (2_001, |f| f.space = Space::Enough, &[SpaceEnough, Shut(Journal)]),
        (2_002, |f| persist(f, 10), &[]),
        (2_003, |f| persist(f, 11), &[End(NoSpace), End(Journal)]),
        (2_004, |f| f.space = Space::Short, &[SpaceShort, Shut(NoSpace)]),
        (2_005, |f| f.space = Space::Enough, &[SpaceEnough, End(NoSpace)]),
    ]);
}

#[test]
fn poison_is_for_ever() {
    check(&[
        (1, |f| f.is_poisoned = true, &[Shut(Journal)]),
        (2, |f| f.is_poisoned = false, &[]),
        (9_000, |f| f.space = Space::Short, &[SpaceShort, Shut(NoSpace)]),
        (9_001, |f| f.space = Space::Enough, &[SpaceEnough, End(NoSpace)]),
        (99_000, |_| (), &[]),
    ]);
}

#[test]
fn the_report_ring_stops_reading_like_the_journal() {
    check(&[
        (1, |f| f.reports.unpersisted_bytes = 26, &[LagBegins(Reports)]),
        (2, |f| f.reports.unpersisted_bytes = 51, &[ReadingStops]),
        (1_000, |_| (), &[]),
        (1_001, |_| (), &[Shut(Journal), ReadingResumes]),
        (1_002, |f| f.reports.unpersisted_bytes = 0, &[LagEnds(Reports), End(Journal)]),
        // What waits for its commit has no disk to be stuck.
        (1_003, |f| f.held_back_bytes = 50, &[]),
        (1_004, |f| f.held_back_bytes = 51, &[ReadingStops]),
        (9_000, |_| (), &[]),
        (9_001, |f| f.held_back_bytes = 40, &[]),
        (9_002, |f| f.held_back_bytes = 39, &[ReadingResumes]),
        // But the journal's has: reading is stopped, and what is to be committed does not move.
        (9_003, |f| (f.held_back_bytes, f.journal.unpersisted_bytes) = (60, 1), &[ReadingStops]),
        (10_003, |_| (), &[Shut(Journal), ReadingResumes]),
        (10_004, |f| persist(f, 1), &[]), // still held back
        (10_005, |f| f.held_back_bytes = 0, &[End(Journal)]),
    ]);
}

#[test]
fn what_the_shell_shut_is_ended_by_the_same_rule() {
    let mut pressure = Pressure::new(Nanos(0));
    let mut facts = CALM;
    lag(&mut facts, 45);
    assert!(pressure.on_full(NoSpace));
    assert!(!pressure.on_full(NoSpace), "it is held once");
    let changes = |pressure: &mut Pressure, now, facts: &Facts| {
        pressure.on_turn(Nanos::from_millis(now), facts).into_iter().collect::<Vec<_>>()
    };
    assert_eq!(changes(&mut pressure, 1, &facts), [ALARM]);
    assert!(pressure.holds(NoSpace) && !pressure.holds(Journal));
    persist(&mut facts, 40);
    assert_eq!(changes(&mut pressure, 2, &facts), [NO_ALARM, End(NoSpace)]);
}

/// The twin keeps every turn and judges by looking back over all of them.
#[derive(Default)]
struct Twin(Vec<(u64, Facts)>);

impl Twin {
    /// Of the turns so far, whether the last one of either kind was one that begins.
    fn is_last(
        &self,
        begins: impl Fn(usize, &Facts) -> bool,
        ends: impl Fn(usize, &Facts) -> bool,
    ) -> bool {
        let judged = self.0.iter().enumerate().rev().find_map(|(turn, (_, facts))| {
            let begins = begins(turn, facts);
            (begins || ends(turn, facts)).then_some(begins)
        });
        judged.unwrap_or(false)
    }

    fn is_alarmed(&self, of: fn(&Facts) -> RingFacts) -> bool {
        self.is_last(|_, f| of(f).unpersisted_bytes > 25, |_, f| of(f).unpersisted_bytes < 20)
    }

    /// Whether reading is stopped by this after the first `turns` turns.
    fn is_stopped(&self, turns: usize, bytes: fn(&Facts) -> u64) -> bool {
        let until = Self(self.0[..turns].to_vec());
        until.is_last(|_, f| bytes(f) > 50, |_, f| bytes(f) < 40)
    }

    fn is_any_stopped(&self, turns: usize) -> bool {
        self.is_stopped(turns, |f| f.journal.unpersisted_bytes)
            || self.is_stopped(turns, |f| f.reports.unpersisted_bytes)
            || self.is_stopped(turns, |f| f.held_back_bytes)
    }

    /// Whether something waits at a turn, and none of the last second's showed progress or began
    /// the wait.
    fn is_stuck(&self, turn: usize, of: fn(&Facts) -> RingFacts) -> bool {
        let now = self.0[turn].0;
        let has_moved = |turn: usize| {
            let ring = of(&self.0[turn].1);
            // A node begins with nothing behind.
            let before = turn.checked_sub(1).map(|turn| of(&self.0[turn].1));
            before.is_none_or(|b| b.unpersisted_bytes == 0 || ring.persisted_to > b.persisted_to)
        };
        of(&self.0[turn].1).unpersisted_bytes > 0
            && !(0..=turn).any(|t| now - self.0[t].0 < 1_000 && has_moved(t))
    }

    fn is_any_stuck(&self, turn: usize) -> bool {
        self.is_stuck(turn, |f| f.journal) || self.is_stuck(turn, |f| f.reports)
    }

    fn is_calm(&self, turn: usize, f: &Facts) -> bool {
        let most = f.journal.unpersisted_bytes.max(f.reports.unpersisted_bytes);
        most.max(f.held_back_bytes) < 40 && !self.is_any_stuck(turn)
    }

    fn holds_space(&self) -> bool {
        let is_short = |f: &Facts| f.space == Space::Short;
        self.is_last(|_, f| is_short(f), |turn, f| self.is_calm(turn, f))
    }

    fn holds_journal(&self) -> bool {
        let is_stalled = |turn: usize, f: &Facts| {
            let waits = f.acks_wait && self.is_stuck(turn, |f| f.journal);
            f.space == Space::Enough
                && (waits || self.is_any_stopped(turn + 1) && self.is_any_stuck(turn))
        };
        self.0.iter().any(|(_, f)| f.is_poisoned)
            || self.is_last(is_stalled, |turn, f| self.is_calm(turn, f))
    }

    /// Both alarms, space, the two holds, and whether clients are read.
    fn state(&self) -> [bool; 6] {
        let is_short = self.0.last().is_some_and(|(_, f)| f.space == Space::Short);
        let (space, journal) = (self.holds_space(), self.holds_journal());
        let is_reading = space || journal || !self.is_any_stopped(self.0.len());
        [
            self.is_alarmed(|f| f.journal),
            self.is_alarmed(|f| f.reports),
            is_short,
            space,
            journal,
            is_reading,
        ]
    }
}

/// The same six, from what was told.
fn take(state: &mut [bool; 6], change: Change) {
    let (at, to) = match change {
        LagBegins(RingKind::Journal) => (0, true),
        LagEnds(RingKind::Journal) => (0, false),
        LagBegins(Reports) => (1, true),
        LagEnds(Reports) => (1, false),
        SpaceShort => (2, true),
        SpaceEnough => (2, false),
        Shut(NoSpace) => (3, true),
        End(NoSpace) => (3, false),
        Shut(Journal) => (4, true),
        End(Journal) => (4, false),
        ReadingResumes => (5, true),
        ReadingStops => (5, false),
    };
    assert_ne!(state[at], to, "{change:?} is told once");
    state[at] = to;
}

/// One turn: milliseconds later, what is appended to and persisted of each ring, and the rest.
type Step = (u64, [u64; 2], [u64; 2], u64, u8);

fn step() -> impl Strategy<Value = Step> {
    let span = prop_oneof![4 => 0_u64..50, 2 => 50_u64..600, 1 => 900_u64..2_500];
    let grown = prop_oneof![2 => Just(0_u64), 2 => 1_u64..15, 1 => 15_u64..80];
    let done = prop_oneof![3 => Just(0_u64), 2 => 1_u64..30, 1 => 30_u64..100];
    let held_back = prop_oneof![3 => Just(0_u64), 1 => 30_u64..70];
    (span, [grown.clone(), grown], [done.clone(), done], held_back, 0_u8..100)
}

proptest! {
    #[test]
    fn random_turns_agree_with_a_twin_that_looks_back(
        acks_wait: bool,
        can_fail in 0_u8..8,
        steps in prop::collection::vec(step(), 1..60),
    ) {
        let mut pressure = Pressure::new(Nanos(0));
        let mut twin = Twin::default();
        let mut facts = Facts { acks_wait, ..CALM };
        let mut state = [false, false, false, false, false, true];
        let mut now = 0;
        for (span, grown, done, held_back, dice) in steps {
            now += span;
            for (ring, grown, done) in [
                (&mut facts.journal, grown[0], done[0]),
                (&mut facts.reports, grown[1], done[1]),
            ] {
                let all = (ring.unpersisted_bytes + grown).min(ring.ring_bytes);
                let done = done.min(all);
                ring.unpersisted_bytes = all - done;
                ring.persisted_to += done;
            }
            facts.held_back_bytes = held_back;
            match dice {
                0..=9 => facts.space = Space::Short,
                10..=39 => facts.space = Space::Enough,
                40 => facts.is_poisoned = can_fail == 0,
                _ => {}
            }
            twin.0.push((now, facts));
            for change in pressure.on_turn(Nanos(now * Nanos::MILLI.0), &facts) {
                take(&mut state, change);
            }
            prop_assert_eq!(state, twin.state(), "after {:?}", twin.0);
            prop_assert_eq!(state[5], pressure.is_reading());
            prop_assert_eq!([state[3], state[4]], [NoSpace, Journal].map(|h| pressure.holds(h)));
        }
    }
}
