//! What the time between two epochs may not do.

mod common;

use common::{Bench, CAPACITIES, RETENTION};
use tidegate::vocabulary::record::RecordBody;
use tidegate::vocabulary::units::{Epoch, Nanos};

/// A node that was down for a week must not forget its keys by it, even where the journal put a pad
/// of the new epoch before its EpochStart: pads carry the time and the epoch of what follows.
#[test]
fn a_pad_before_an_epoch_does_not_age_keys() {
    for has_pad in [false, true] {
        let mut bench = Bench::with(CAPACITIES, 10);
        bench.order(0, common::order(1));
        bench.cancel(0, common::cancel(2, 1));
        let keys = bench.machine.engine().key_count();
        assert_eq!(keys, 1);
        let prev_epoch = bench.epoch;
        bench.epoch = Epoch(prev_epoch.0 + 1);
        bench.time = bench.time.saturating_add(Nanos(7 * 86_400 * Nanos::SECOND.0));
        if has_pad {
            bench.put(RecordBody::Pad);
        }
        bench.put(RecordBody::EpochStart { node: 1, incarnation: 1, prev_epoch });
        bench.put(RecordBody::Tick);
        assert_eq!(bench.machine.engine().key_count(), keys, "has_pad {has_pad}");
        bench.wait(RETENTION);
        bench.tick();
        assert_eq!(bench.machine.engine().key_count(), 0, "time within an epoch counts");
    }
}
