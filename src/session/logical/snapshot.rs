//! The replicated half of all sessions as canonical bytes, and back.

use super::{CodTerms, Provisional, Session, Sessions, Slot, Stage, index_of};
use crate::limits::COD_WINDOW_MS_MAX;
use crate::vocabulary::bytes::{Reader, Writer};
use crate::vocabulary::fix::{CodType, NULL_U8, RestatementReason};
use crate::vocabulary::units::{Nanos, OwnerIdx, Seq, SessionId, SessionIdx};

impl Sessions {
    /// Canonical bytes of the replicated half.
    pub fn write_snapshot(&self, out: &mut Writer) {
        out.u32(self.capacity());
        for (index, slot) in self.slots.iter().enumerate() {
            out.u8(u8::from(slot.is_used));
            if !slot.is_used {
                continue;
            }
            let s = &slot.session;
            out.put(&s.id.0);
            out.u16(s.owner.0);
            out.u64(s.expected_in.0);
            out.u64(s.next_out.0);
            out.u8(u8::from(s.is_bound));
            out.u64(s.logon_time.0);
            out.u8(s.cod.cod_type.wire());
            out.u32(s.cod.window_ms);
            out.u8(s.stage as u8);
            let session = index_of(index);
            out.u8(s.cancel.map_or(NULL_U8, RestatementReason::wire));
            out.u64(self.windows.of(session).map_or(0, |due| due.0));
            out.u64(self.forgets.of(session).map_or(0, |due| due.0));
            self.remembered.write_snapshot(session, s.expected_in, out);
        }
    }

    /// Fills an empty table from [`Self::write_snapshot`]; `None` when the bytes are not of a table
    /// of this size. The machine's `time` and the `active` part of it are known before.
    pub fn read_snapshot(
        &mut self,
        r: &mut Reader<'_>,
        (time, active): (Nanos, Nanos),
    ) -> Option<()> {
        self.on_time(time, active);
        if r.u32()? != self.capacity() {
            return None;
        }
        for session in (0..self.capacity()).map(SessionIdx) {
            if r.flag()? {
                self.read_session(session, r)?;
            }
        }
        Some(())
    }

    fn read_session(&mut self, index: SessionIdx, r: &mut Reader<'_>) -> Option<()> {
        let mut session = Session {
            id: SessionId(r.take()?),
            owner: OwnerIdx(r.u16()?),
            expected_in: Seq(r.u64()?),
            next_out: Seq(r.u64()?),
            is_bound: r.flag()?,
            logon_time: Nanos(r.u64()?),
            cod: CodTerms { cod_type: CodType::from_wire(r.u8()?)?, window_ms: r.u32()? },
            stage: Stage::from_stored(r.u8()?)?,
            cancel: None,
        };
        let (cancel, window, forget) = (r.u8()?, Nanos(r.u64()?), Nanos(r.u64()?));
        if cancel != NULL_U8 {
            session.cancel = Some(RestatementReason::from_wire(cancel)?);
            self.windows.set(index, window);
        }
        if !session.is_bound {
            self.forgets.set(index, forget);
        }
        let is_count = |number: Seq| (1..1 << 63).contains(&number.0);
        let is_sane = is_count(session.expected_in)
            && is_count(session.next_out)
            && session.cod.window_ms <= COD_WINDOW_MS_MAX
            && !(session.is_bound && (session.cancel.is_some() || session.stage == Stage::Final))
            && self.find_admitted(session.id).is_none();
        if !is_sane {
            return None;
        }
        self.remembered.read_snapshot(index, session.expected_in, r)?;
        let provisional = Provisional {
            is_used: true,
            is_final: session.stage == Stage::Final,
            id: session.id,
            owner: session.owner,
            expected_in: session.expected_in,
            logon_time: session.logon_time,
        };
        self.slots[index.0 as usize] = Slot { session, is_used: true, provisional };
        self.ids.insert(session.id, index);
        Some(())
    }
}
