//! What is journaled: the machine's only input.
//!
//! Only inputs are journaled, as received; every answer is a function of them. The journal stores a
//! record as (time, epoch, kind, source, payload) and knows nothing of what stands here. Payloads
//! are little-endian at fixed offsets; a payload of the wrong length or with an unknown code is
//! refused whole, so a build never half-understands a newer one's record.

use super::bytes::Reader;
use super::fix::{CodType, MarketPhase, ReportLevel};
use super::settings::{AccountOwner, Capacities, Instrument, Owner, Setting};
use super::units::{
    Account, Epoch, Index, Nanos, OwnerIdx, Px, Qty, SecurityId, Seq, SessionId, SessionIdx, Text,
};

/// Kinds of records, as stored. Numbers are never used again.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum RecordKind {
    /// An application message of a client.
    ClientMessage = 1,
    /// A Negotiate that was accepted.
    SessionOpen = 2,
    /// An Establish that was accepted.
    SessionBind = 3,
    /// A Sequence that showed a gap.
    SessionGap = 4,
    /// A transport ended.
    SessionDown = 5,
    /// Both sides of a session are done.
    SessionFinal = 6,
    /// A timer is due.
    Tick = 7,
    /// An act of an administrator.
    Admin = 8,
    /// A logical setting.
    Config = 12,
    /// A leader was activated.
    EpochStart = 13,
    /// The output digest so far.
    StateHash = 14,
    /// A client will send nothing more; 16 is kept for the DayRoll.
    SessionFinishing = 17,
    /// Fills a segment's end; written by the journal itself.
    Pad = 255,
}

/// Largest payload that [`RecordBody::encode`] writes.
pub const PAYLOAD_BYTES_MAX: usize = 256;

/// One journal record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Record<'a> {
    /// Its index.
    pub index: Index,
    /// Journaled time; never goes back along a journal.
    pub time: Nanos,
    /// The leader's epoch.
    pub epoch: Epoch,
    /// What happened.
    pub body: RecordBody<'a>,
}

/// How a transport ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DownCause {
    /// The client sent Terminate.
    Terminate = 0,
    /// Anything else.
    Disconnect = 1,
}

/// What happened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum RecordBody<'a> {
    /// SBE header and block as received, cut to what this build knows (ruling F22).
    ClientMessage {
        /// The session it came through.
        session: SessionIdx,
        /// SBE header and block.
        message: &'a [u8],
    },
    /// A Negotiate that was accepted.
    SessionOpen {
        /// Its slot.
        session: SessionIdx,
        /// The id the client chose.
        id: SessionId,
        /// Whose it is.
        owner: OwnerIdx,
        /// The key that signed it; never a secret.
        key_id: Text<32>,
        /// Timestamp of the Negotiate.
        timestamp: Nanos,
    },
    /// An Establish that was accepted.
    SessionBind {
        /// The session.
        session: SessionIdx,
        /// The key that signed it.
        key_id: Text<32>,
        /// Timestamp of the Establish.
        timestamp: Nanos,
        /// The client's next number; none means "what you expect".
        next_seq_no: Option<Seq>,
        /// The client's interval in milliseconds.
        keepalive_interval: u32,
        /// Cancel on disconnect in force.
        cod_type: CodType,
        /// Its window in milliseconds.
        cod_window: u32,
        /// Status messages asked for.
        report_level: ReportLevel,
    },
    /// A Sequence that showed a gap.
    SessionGap {
        /// The session.
        session: SessionIdx,
        /// The client's next number.
        next_seq_no: Seq,
    },
    /// A transport ended.
    SessionDown {
        /// The session.
        session: SessionIdx,
        /// How.
        cause: DownCause,
    },
    /// A FinishedSending: the client sends nothing more (ruling F13).
    SessionFinishing {
        /// The session.
        session: SessionIdx,
        /// The number after the client's last.
        next_seq_no: Seq,
    },
    /// A FinishedReceiving: the client has everything, the session is over.
    SessionFinal {
        /// The session.
        session: SessionIdx,
    },
    /// A timer is due.
    Tick,
    /// An administrator set a market phase.
    Admin {
        /// Who.
        who: Text<32>,
        /// Why.
        reason: Text<64>,
        /// The instrument; none for the whole market.
        security_id: Option<SecurityId>,
        /// The new phase.
        phase: MarketPhase,
    },
    /// A logical setting.
    Config(Setting),
    /// A leader was activated: every bound session is down.
    EpochStart {
        /// The node.
        node: u32,
        /// Its incarnation.
        incarnation: u64,
        /// The epoch before.
        prev_epoch: Epoch,
    },
    /// The output digest after the record before this one.
    StateHash {
        /// The digest.
        output_digest: u64,
    },
    /// Fills a segment's end and takes an index, nothing else.
    Pad,
}

/// Why stored bytes are not a record of this build.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum RecordError {
    /// No such kind.
    #[error("record kind {0} is not known to this build")]
    UnknownKind(u8),
    /// The payload does not fit its kind.
    #[error("payload of record kind {kind} is damaged or of a newer build ({len} bytes)")]
    BadPayload {
        /// The kind.
        kind: u8,
        /// Length of the payload.
        len: usize,
    },
}

impl RecordKind {
    /// The kind that `stored` stands for.
    #[must_use]
    pub const fn from_stored(stored: u8) -> Option<Self> {
        Some(match stored {
            1 => Self::ClientMessage,
            2 => Self::SessionOpen,
            3 => Self::SessionBind,
            4 => Self::SessionGap,
            5 => Self::SessionDown,
            6 => Self::SessionFinal,
            7 => Self::Tick,
            8 => Self::Admin,
            12 => Self::Config,
            13 => Self::EpochStart,
            14 => Self::StateHash,
            17 => Self::SessionFinishing,
            255 => Self::Pad,
            _ => return None,
        })
    }

    /// The kind as stored.
    #[must_use]
    pub const fn stored(self) -> u8 {
        self as u8
    }
}

impl<'a> Record<'a> {
    /// The record that the journal stored under these fields.
    pub fn decode(
        index: Index,
        time: Nanos,
        epoch: Epoch,
        kind: u8,
        source: u32,
        payload: &'a [u8],
    ) -> Result<Self, RecordError> {
        let known = RecordKind::from_stored(kind).ok_or(RecordError::UnknownKind(kind))?;
        let body = RecordBody::decode(known, source, payload)
            .ok_or(RecordError::BadPayload { kind, len: payload.len() })?;
        Ok(Self { index, time, epoch, body })
    }
}

impl<'a> RecordBody<'a> {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> RecordKind {
        match self {
            Self::ClientMessage { .. } => RecordKind::ClientMessage,
            Self::SessionOpen { .. } => RecordKind::SessionOpen,
            Self::SessionBind { .. } => RecordKind::SessionBind,
            Self::SessionGap { .. } => RecordKind::SessionGap,
            Self::SessionDown { .. } => RecordKind::SessionDown,
            Self::SessionFinishing { .. } => RecordKind::SessionFinishing,
            Self::SessionFinal { .. } => RecordKind::SessionFinal,
            Self::Tick => RecordKind::Tick,
            Self::Admin { .. } => RecordKind::Admin,
            Self::Config(_) => RecordKind::Config,
            Self::EpochStart { .. } => RecordKind::EpochStart,
            Self::StateHash { .. } => RecordKind::StateHash,
            Self::Pad => RecordKind::Pad,
        }
    }

    /// The journal's `source` field: the session of a session's record, else 0.
    #[must_use]
    pub const fn source(&self) -> u32 {
        match self {
            Self::ClientMessage { session, .. }
            | Self::SessionOpen { session, .. }
            | Self::SessionBind { session, .. }
            | Self::SessionGap { session, .. }
            | Self::SessionDown { session, .. }
            | Self::SessionFinishing { session, .. }
            | Self::SessionFinal { session } => session.0,
            Self::Tick
            | Self::Admin { .. }
            | Self::Config(_)
            | Self::EpochStart { .. }
            | Self::StateHash { .. }
            | Self::Pad => 0,
        }
    }

    /// Writes the payload and returns its length, at most [`PAYLOAD_BYTES_MAX`]. A client message
    /// is its own payload and is stored without passing through here.
    pub fn encode<'b>(&'b self, scratch: &'b mut [u8; PAYLOAD_BYTES_MAX]) -> &'b [u8] {
        let mut out = PayloadWriter { bytes: scratch, len: 0 };
        match self {
            Self::ClientMessage { message, .. } => return message,
            Self::SessionOpen { id, owner, key_id, timestamp, .. } => {
                out.put(&id.0);
                out.put(&timestamp.0.to_le_bytes());
                out.put(&owner.0.to_le_bytes());
                out.put(key_id.octets());
            }
            Self::SessionBind {
                key_id,
                timestamp,
                next_seq_no,
                keepalive_interval,
                cod_type,
                cod_window,
                report_level,
                ..
            } => {
                out.put(&timestamp.0.to_le_bytes());
                out.put(&next_seq_no.map_or(u64::MAX, |s| s.0).to_le_bytes());
                out.put(&keepalive_interval.to_le_bytes());
                out.put(&cod_window.to_le_bytes());
                out.put(&[cod_type.wire(), report_level.wire()]);
                out.put(key_id.octets());
            }
            Self::SessionGap { next_seq_no, .. } | Self::SessionFinishing { next_seq_no, .. } => {
                out.put(&next_seq_no.0.to_le_bytes());
            }
            Self::SessionDown { cause, .. } => out.put(&[*cause as u8]),
            Self::SessionFinal { .. } | Self::Tick | Self::Pad => {}
            Self::Admin { who, reason, security_id, phase } => {
                out.put(&security_id.map_or(u32::MAX, |s| s.0).to_le_bytes());
                out.put(&[phase.wire()]);
                out.put(who.octets());
                out.put(reason.octets());
            }
            Self::Config(setting) => encode_setting(setting, &mut out),
            Self::EpochStart { node, incarnation, prev_epoch } => {
                out.put(&node.to_le_bytes());
                out.put(&prev_epoch.0.to_le_bytes());
                out.put(&incarnation.to_le_bytes());
            }
            Self::StateHash { output_digest } => out.put(&output_digest.to_le_bytes()),
        }
        let PayloadWriter { bytes, len } = out;
        bytes.split_at(len).0
    }

    fn decode(kind: RecordKind, source: u32, payload: &'a [u8]) -> Option<Self> {
        let session = SessionIdx(source);
        if kind == RecordKind::ClientMessage {
            return Some(Self::ClientMessage { session, message: payload });
        }
        if kind == RecordKind::Pad {
            return Some(Self::Pad);
        }
        let mut r = Reader(payload);
        let body = match kind {
            RecordKind::ClientMessage | RecordKind::Pad => return None,
            RecordKind::SessionOpen => Self::SessionOpen {
                session,
                id: SessionId(r.take()?),
                timestamp: Nanos(r.u64()?),
                owner: OwnerIdx(r.u16()?),
                key_id: Text::from_octets(r.take()?),
            },
            RecordKind::SessionBind => Self::SessionBind {
                session,
                timestamp: Nanos(r.u64()?),
                next_seq_no: Some(r.u64()?).filter(|&n| n != u64::MAX).map(Seq),
                keepalive_interval: r.u32()?,
                cod_window: r.u32()?,
                cod_type: CodType::from_wire(r.u8()?)?,
                report_level: ReportLevel::from_wire(r.u8()?)?,
                key_id: Text::from_octets(r.take()?),
            },
            RecordKind::SessionGap => Self::SessionGap { session, next_seq_no: Seq(r.u64()?) },
            RecordKind::SessionDown => Self::SessionDown {
                session,
                cause: match r.u8()? {
                    0 => DownCause::Terminate,
                    1 => DownCause::Disconnect,
                    _ => return None,
                },
            },
            RecordKind::SessionFinishing => {
                Self::SessionFinishing { session, next_seq_no: Seq(r.u64()?) }
            }
            RecordKind::SessionFinal => Self::SessionFinal { session },
            RecordKind::Tick => Self::Tick,
            RecordKind::Admin => Self::Admin {
                security_id: Some(r.u32()?).filter(|&s| s != u32::MAX).map(SecurityId),
                phase: MarketPhase::from_wire(r.u8()?)?,
                who: Text::from_octets(r.take()?),
                reason: Text::from_octets(r.take()?),
            },
            RecordKind::Config => Self::Config(decode_setting(&mut r)?),
            RecordKind::EpochStart => Self::EpochStart {
                node: r.u32()?,
                prev_epoch: Epoch(r.u32()?),
                incarnation: r.u64()?,
            },
            RecordKind::StateHash => Self::StateHash { output_digest: r.u64()? },
        };
        r.is_empty().then_some(body)
    }
}

fn encode_setting(setting: &Setting, out: &mut PayloadWriter<'_>) {
    match setting {
        Setting::Capacities(c) => {
            out.put(&[0]);
            out.put(&c.session_count_max.to_le_bytes());
            out.put(&c.resend_window.to_le_bytes());
            out.put(&c.key_count_max.to_le_bytes());
            out.put(&c.key_retention.0.to_le_bytes());
            out.put(&c.order_count_max.to_le_bytes());
            out.put(&c.hash_seed.to_le_bytes());
        }
        Setting::Instrument(i) => {
            out.put(&[1]);
            out.put(&i.security_id.0.to_le_bytes());
            out.put(i.symbol.octets());
            out.put(&i.tick.raw().to_le_bytes());
            out.put(&i.lot.raw().to_le_bytes());
            out.put(&i.low_limit.raw().to_le_bytes());
            out.put(&i.high_limit.raw().to_le_bytes());
        }
        Setting::Owner(o) => {
            out.put(&[2]);
            out.put(&o.owner.0.to_le_bytes());
            out.put(&o.id.to_le_bytes());
            out.put(o.name.octets());
            out.put(&o.orders_max.to_le_bytes());
        }
        Setting::Account(a) => {
            out.put(&[3]);
            out.put(&a.account.0.to_le_bytes());
            out.put(&a.owner.0.to_le_bytes());
        }
    }
}

fn decode_setting(r: &mut Reader<'_>) -> Option<Setting> {
    Some(match r.u8()? {
        0 => Setting::Capacities(Capacities {
            session_count_max: r.u32()?,
            resend_window: r.u32()?,
            key_count_max: r.u32()?,
            key_retention: Nanos(r.u64()?),
            order_count_max: r.u32()?,
            hash_seed: r.u64()?,
        }),
        1 => Setting::Instrument(Instrument {
            security_id: SecurityId(r.u32()?),
            symbol: Text::from_octets(r.take()?),
            tick: Px::try_new(r.i64()?)?,
            lot: Qty::try_new(r.i64()?)?,
            low_limit: Px::try_new(r.i64()?)?,
            high_limit: Px::try_new(r.i64()?)?,
        }),
        2 => Setting::Owner(Owner {
            owner: OwnerIdx(r.u16()?),
            id: r.u32()?,
            name: Text::from_octets(r.take()?),
            orders_max: r.u32()?,
        }),
        3 => {
            Setting::Account(AccountOwner { account: Account(r.u32()?), owner: OwnerIdx(r.u16()?) })
        }
        _ => return None,
    })
}

/// Appends to a scratch that holds the largest payload.
struct PayloadWriter<'b> {
    bytes: &'b mut [u8; PAYLOAD_BYTES_MAX],
    len: usize,
}

impl PayloadWriter<'_> {
    fn put(&mut self, octets: &[u8]) {
        let end = self.len + octets.len();
        assert!(end <= PAYLOAD_BYTES_MAX, "a payload is larger than its scratch");
        self.bytes[self.len..end].copy_from_slice(octets);
        self.len = end;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(body: RecordBody<'_>) {
        let mut scratch = [0; PAYLOAD_BYTES_MAX];
        let (kind, source) = (body.kind().stored(), body.source());
        let payload = body.encode(&mut scratch);
        let again = Record::decode(Index(7), Nanos(9), Epoch(2), kind, source, payload);
        assert_eq!(again, Ok(Record { index: Index(7), time: Nanos(9), epoch: Epoch(2), body }));
        if kind != RecordKind::ClientMessage.stored() && !payload.is_empty() {
            let cut = &payload[..payload.len() - 1];
            let refused = Record::decode(Index(7), Nanos(9), Epoch(2), kind, source, cut);
            assert_eq!(refused, Err(RecordError::BadPayload { kind, len: cut.len() }));
        }
    }

    #[test]
    fn every_record_is_what_it_was() {
        let session = SessionIdx(5);
        let key_id = Text::new("firm-a");
        check(RecordBody::ClientMessage { session, message: &[1, 2, 3] });
        check(RecordBody::SessionOpen {
            session,
            id: SessionId([3; 16]),
            owner: OwnerIdx(1),
            key_id,
            timestamp: Nanos(4),
        });
        for next_seq_no in [None, Some(Seq(17))] {
            check(RecordBody::SessionBind {
                session,
                key_id,
                timestamp: Nanos(5),
                next_seq_no,
                keepalive_interval: 1000,
                cod_type: CodType::DoNotCancel,
                cod_window: 0,
                report_level: ReportLevel::Status,
            });
        }
        check(RecordBody::SessionGap { session, next_seq_no: Seq(9) });
        check(RecordBody::SessionDown { session, cause: DownCause::Terminate });
        check(RecordBody::SessionDown { session, cause: DownCause::Disconnect });
        check(RecordBody::SessionFinishing { session, next_seq_no: Seq(9) });
        check(RecordBody::SessionFinal { session });
        check(RecordBody::Tick);
        for security_id in [None, Some(SecurityId(2))] {
            check(RecordBody::Admin {
                who: Text::new("operator"),
                reason: Text::new("opening"),
                security_id,
                phase: MarketPhase::Trading,
            });
        }
        check(RecordBody::EpochStart { node: 1, incarnation: 3, prev_epoch: Epoch(1) });
        check(RecordBody::StateHash { output_digest: u64::MAX });
    }

    #[test]
    fn every_setting_is_what_it_was() {
        check(RecordBody::Config(Setting::Capacities(Capacities {
            session_count_max: 1,
            resend_window: 2,
            key_count_max: 4,
            key_retention: Nanos(8),
            order_count_max: 16,
            hash_seed: 32,
        })));
        check(RecordBody::Config(Setting::Instrument(Instrument {
            security_id: SecurityId(1),
            symbol: Text::new("ABC"),
            tick: Px::ONE,
            lot: Qty::MAX,
            low_limit: Px::default(),
            high_limit: Px::ONE,
        })));
        check(RecordBody::Config(Setting::Owner(Owner {
            owner: OwnerIdx(1),
            id: 7,
            name: Text::new("Firm"),
            orders_max: 9,
        })));
        check(RecordBody::Config(Setting::Account(AccountOwner {
            account: Account(1001),
            owner: OwnerIdx(1),
        })));
    }

    #[test]
    fn unknown_kinds_are_refused() {
        let refused = Record::decode(Index(1), Nanos(1), Epoch(1), 99, 0, &[]);
        assert_eq!(refused, Err(RecordError::UnknownKind(99)));
    }
}
