//! Stored records through the machine: the same few lines live, at start, and in the tools.
//!
//! Live processing reads each record back from the ring instead of passing on what it has just
//! written. That costs a read of hot memory and buys that live and replay are one path: what cannot
//! be replayed cannot be executed either.

use thiserror::Error;

use crate::engine::apply::Progress;
use crate::engine::outbox::{Outbox, ReportSink};
use crate::machine::{ApplyError, Machine};
use crate::vocabulary::record::{Record, RecordError};
use crate::vocabulary::units::{Epoch, Index, Nanos};

/// Why a stored record cannot be replayed by this build.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum ReplayError {
    /// Its payload is not one that this build writes.
    #[error("record {index}: {error}")]
    Record {
        /// The record.
        index: Index,
        /// What is wrong.
        error: RecordError,
    },
    /// The machine refuses it.
    #[error(transparent)]
    Apply(#[from] ApplyError),
}

/// Reads a stored record in the words of the machine.
pub fn read<'a>(stored: &journal::Record<'a>) -> Result<Record<'a>, ReplayError> {
    let index = Index(stored.index);
    let (time, epoch) = (Nanos(stored.time), Epoch(stored.epoch));
    Record::decode(index, time, epoch, stored.kind, stored.source, stored.payload)
        .map_err(|error| ReplayError::Record { index, error })
}

/// Applies a stored record to its end and drains its events into `sink`.
pub fn apply(
    machine: &mut Machine,
    stored: &journal::Record<'_>,
    out: &mut Outbox,
    sink: &mut impl ReportSink,
) -> Result<(), ReplayError> {
    let record = read(stored)?;
    let mut progress = machine.apply(&record, out)?;
    machine.drain(out, sink);
    while progress == Progress::More {
        progress = machine.resume(out);
        machine.drain(out, sink);
    }
    Ok(())
}
