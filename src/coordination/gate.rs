//! A node's own stop: OPEN, or SHUT for one or more causes.
//!
//! Behind a shut gate no application frame is sequenced: it gets no number, no record and no answer
//! but one NotAccepting. The gate belongs to the node and is never journaled: another node may be
//! open. Causes are independent, so one that ends must not open a gate that another still holds;
//! the one shown is the first in the order of `GateCause`.

use crate::vocabulary::fix::GateCause;

/// Open while no cause holds it shut.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Gate {
    causes: u8,
    /// Closings so far: a session is told once a closing.
    closings: u64,
}

impl Gate {
    /// Shuts the gate for a cause. True when the cause is new.
    pub fn shut(&mut self, cause: GateCause) -> bool {
        let bit = 1 << cause.wire();
        let is_new = self.causes & bit == 0;
        if self.causes == 0 {
            self.closings += 1;
        }
        self.causes |= bit;
        is_new
    }

    /// Ends a cause; the gate opens when it was the last.
    pub fn end(&mut self, cause: GateCause) {
        self.causes &= !(1 << cause.wire());
    }

    /// The cause to show, or none while open.
    #[must_use]
    pub fn cause(&self) -> Option<GateCause> {
        GateCause::ALL.iter().copied().find(|cause| self.causes & (1 << cause.wire()) != 0)
    }

    /// Closings so far.
    #[must_use]
    pub const fn closings(&self) -> u64 {
        self.closings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_cause_that_ends_does_not_open_what_another_holds() {
        let mut gate = Gate::default();
        assert_eq!(gate.cause(), None);
        assert!(gate.shut(GateCause::Operator));
        assert!(!gate.shut(GateCause::Operator));
        assert!(gate.shut(GateCause::Space));
        assert_eq!((gate.cause(), gate.closings()), (Some(GateCause::Space), 1));
        gate.end(GateCause::Space);
        assert_eq!(gate.cause(), Some(GateCause::Operator));
        gate.end(GateCause::Operator);
        assert_eq!(gate.cause(), None);
        gate.shut(GateCause::Journal);
        assert_eq!(gate.closings(), 2);
    }
}
