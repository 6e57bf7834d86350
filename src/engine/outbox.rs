//! The events of one input, between `apply` and `drain`.
//!
//! Capacity is fixed: an input that has more to say stops at a step's end and goes on with
//! `resume`. The outbox is empty when `apply` begins, so state never depends on where the cut fell.

use crate::limits::{OUTBOX_EVENTS_MAX, STEP_EVENTS_MAX};
use crate::vocabulary::event::Event;
use crate::vocabulary::units::{Index, Seq, SessionIdx};

/// Events in the order in which they happened.
pub struct Outbox {
    events: Vec<Event>,
}

/// Where drained events go: the report log, or nowhere when only the state is wanted.
pub trait ReportSink {
    /// A place for a report of `session` under `number`, caused by `index`: its first `len` octets
    /// are written, and it has at least `REPORT_BYTES_MAX`, as the encoder wants.
    fn report(&mut self, session: SessionIdx, number: Seq, index: Index, len: usize) -> &mut [u8];

    /// What became of a logon: an event that is no report.
    fn logon(&mut self, index: Index, event: &Event);
}

impl Default for Outbox {
    fn default() -> Self {
        Self::new()
    }
}

impl Outbox {
    /// Room for [`OUTBOX_EVENTS_MAX`] events.
    #[must_use]
    pub fn new() -> Self {
        // Used once, so that every page is there before the first order.
        let mut events = vec![Event::Down { session: SessionIdx(0) }; OUTBOX_EVENTS_MAX];
        std::hint::black_box(&mut events);
        events.clear();
        Self { events }
    }

    /// Appends an event. The caller asked [`Self::has_room_for_step`] before the step.
    pub fn push(&mut self, event: Event) {
        assert!(self.events.len() < OUTBOX_EVENTS_MAX, "a step emits more than its bound");
        self.events.push(event);
    }

    /// Whether one more step of the engine fits.
    #[must_use]
    pub fn has_room_for_step(&self) -> bool {
        OUTBOX_EVENTS_MAX - self.events.len() >= STEP_EVENTS_MAX
    }

    /// The events so far.
    #[must_use]
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    /// Forgets the events.
    pub fn clear(&mut self) {
        self.events.clear();
    }
}

/// Swallows reports after they were encoded: for replay that only wants the digests.
#[derive(Default)]
pub struct NoReports {
    scratch: ReportScratch,
}

struct ReportScratch([u8; crate::limits::REPORT_BYTES_MAX]);

impl Default for ReportScratch {
    fn default() -> Self {
        Self([0; crate::limits::REPORT_BYTES_MAX])
    }
}

impl ReportSink for NoReports {
    fn report(&mut self, _: SessionIdx, _: Seq, _: Index, _: usize) -> &mut [u8] {
        &mut self.scratch.0
    }

    fn logon(&mut self, _: Index, _: &Event) {}
}
