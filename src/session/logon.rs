//! Whether a Negotiate or an Establish is taken, and the one order in which that is judged.
//!
//! ```text
//! credentials: key, MAC, time, zero id; owner of the session, timestamp not newer (ruling F05)
//! node:        standby, gate
//! session:     id, flow type | id, keep-alive, cancel on disconnect, NextSeqNo, bound elsewhere
//! ```
//!
//! With two faults the first one is told (ruling F15), so that every node answers alike. Whatever
//! stands behind the credentials is told only to a peer that has them. A refusal changes nothing.

use super::auth::{BadCredentials, CredentialFault, Signer};
use super::bindings::{Bindable, ConnectionIdx};
use super::credentials::parse;
use super::logical::{CodTerms, OpenRefusal};
use super::node_view::{FailedLogon, NodeView};
use crate::limits::{COD_WINDOW_MS_MAX, KEEPALIVE_MS_MAX, KEEPALIVE_MS_MIN};
use crate::vocabulary::fix::{
    CodType, EstablishmentRejectCode, FlowType, NULL_U8, NegotiationRejectCode, ReportLevel,
};
use crate::vocabulary::message::{NULL_U32, NULL_U64};
use crate::vocabulary::units::{Nanos, Seq, SessionId, SessionIdx, Text};
use crate::wire::frame::Frame;

/// A refusal: what the peer is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Refusal<C> {
    pub(super) code: C,
    pub(super) reason: &'static str,
    /// What the audit is told, where it is more than the peer may know.
    pub(super) fault: Option<CredentialFault>,
}

/// The fields of a Negotiate.
pub(super) struct Negotiate<'a> {
    pub(super) session_id: SessionId,
    pub(super) timestamp: Nanos,
    pub(super) client_flow: u8,
    pub(super) credentials: &'a [u8],
}

/// The fields of an Establish.
pub(super) struct Establish<'a> {
    pub(super) session_id: SessionId,
    pub(super) timestamp: Nanos,
    pub(super) keepalive_interval: u32,
    pub(super) next_seq_no: u64,
    pub(super) cancel_on_disconnect_type: u8,
    pub(super) cod_timeout_window: u32,
    pub(super) report_level: u8,
    pub(super) credentials: &'a [u8],
}

/// An Establish that is taken.
pub(super) struct Bind {
    pub(super) session: SessionIdx,
    pub(super) signer: Signer,
    pub(super) next_seq_no: Option<Seq>,
    pub(super) cod: CodTerms,
    pub(super) report_level: ReportLevel,
    pub(super) displaces: Option<ConnectionIdx>,
}

const CREDENTIALS: &str = "credentials are not accepted";
const NOT_PRIMARY: &str = "this node is a standby";
const NOT_ACCEPTING: &str = "the gate is shut";

/// Judges a Negotiate and reserves its session.
pub(super) fn try_negotiate(
    wall: Nanos,
    frame: &Frame<'_>,
    asked: &Negotiate<'_>,
    node: &mut NodeView<'_>,
) -> Result<(SessionIdx, Signer), Refusal<NegotiationRejectCode>> {
    use NegotiationRejectCode as Code;
    let no = |code, reason| Err(Refusal { code, reason, fault: None });
    let bad =
        |fault| Err(Refusal { code: Code::Credentials, reason: CREDENTIALS, fault: Some(fault) });
    let verified = verify(wall, frame, asked.credentials, asked.timestamp, node);
    let signer = match verified {
        Ok(signer) if asked.session_id != SessionId::NONE => signer,
        Ok(_) => return bad(CredentialFault::NoId),
        Err(BadCredentials(fault)) => return bad(fault),
    };
    if !node.is_primary {
        return no(Code::NotPrimary, NOT_PRIMARY);
    }
    if node.gate.is_some() {
        return no(Code::NotAccepting, NOT_ACCEPTING);
    }
    if node.sessions.find_admitted(asked.session_id).is_some() {
        return no(Code::DuplicateId, "the session id was used before");
    }
    if asked.client_flow != FlowType::Idempotent.wire() {
        return no(Code::FlowTypeNotSupported, "client flow: expected Idempotent (1)");
    }
    match node.sessions.admit_open(asked.session_id, signer.owner, asked.timestamp) {
        Ok(session) => Ok((session, signer)),
        Err(OpenRefusal::DuplicateId) => no(Code::DuplicateId, "the session id was used before"),
        Err(OpenRefusal::Capacity) => no(Code::Capacity, "the session table is full"),
    }
}

/// Judges an Establish and notes it in its session.
pub(super) fn try_establish(
    now: Nanos,
    wall: Nanos,
    frame: &Frame<'_>,
    asked: &Establish<'_>,
    node: &mut NodeView<'_>,
) -> Result<Bind, Refusal<EstablishmentRejectCode>> {
    use EstablishmentRejectCode as Code;
    let no = |code, reason| Err(Refusal { code, reason, fault: None });
    let bad =
        |fault| Err(Refusal { code: Code::Credentials, reason: CREDENTIALS, fault: Some(fault) });
    let verified = verify(wall, frame, asked.credentials, asked.timestamp, node);
    let found = node.sessions.find_admitted(asked.session_id);
    let is_owners = |owner| found.is_none_or(|s| node.sessions.owner_admitted(s) == owner);
    let is_newer = found.is_none_or(|s| asked.timestamp > node.sessions.logon_time_admitted(s));
    let signer = match verified {
        Err(BadCredentials(fault)) => return bad(fault),
        Ok(_) if asked.session_id == SessionId::NONE => return bad(CredentialFault::NoId),
        Ok(signer) if !is_owners(signer.owner) => return bad(CredentialFault::Owner),
        Ok(_) if !is_newer => return bad(CredentialFault::Replayed),
        Ok(signer) => signer,
    };
    if !node.is_primary {
        return no(Code::NotPrimary, NOT_PRIMARY);
    }
    if node.gate.is_some() {
        return no(Code::NotAccepting, NOT_ACCEPTING);
    }
    let Some(session) = found.filter(|session| !node.sessions.is_over(*session, now)) else {
        return no(Code::Unnegotiated, "the session id is not negotiated, or is final");
    };
    if !(KEEPALIVE_MS_MIN..=KEEPALIVE_MS_MAX).contains(&asked.keepalive_interval) {
        return no(Code::KeepaliveInterval, "keep-alive interval: expected 100 to 60000 ms");
    }
    let (cod, report_level) = try_options(asked)?;
    let next_seq_no = (asked.next_seq_no != NULL_U64).then_some(Seq(asked.next_seq_no));
    let (lowest, highest) = node.sessions.bind_range(session);
    if next_seq_no.is_some_and(|next| next < lowest || next > highest) {
        return no(Code::InvalidNextSeqNo, "next number: outside the resend window");
    }
    let displaces = match node.bindings.bindable(session, now) {
        Bindable::Free => None,
        Bindable::Displaces(connection) => Some(connection),
        Bindable::Taken => {
            return no(Code::AlreadyEstablished, "another transport is established");
        }
    };
    node.sessions.admit_bind(session, next_seq_no, asked.timestamp);
    Ok(Bind { session, signer, next_seq_no, cod, report_level, displaces })
}

/// Cancel on disconnect and report level. A null is none.
fn try_options(
    asked: &Establish<'_>,
) -> Result<(CodTerms, ReportLevel), Refusal<EstablishmentRejectCode>> {
    let no =
        |reason| Err(Refusal { code: EstablishmentRejectCode::Unspecified, reason, fault: None });
    let given = |code| if code == NULL_U8 { 0 } else { code };
    let Some(cod_type) = CodType::from_wire(given(asked.cancel_on_disconnect_type)) else {
        return no("cancel on disconnect type: expected 0 to 3");
    };
    let window = match asked.cod_timeout_window {
        NULL_U32 => 0,
        window => window,
    };
    if window > COD_WINDOW_MS_MAX {
        return no("cancel on disconnect window: expected at most 60000 ms");
    }
    match ReportLevel::from_wire(given(asked.report_level)) {
        Some(level) => Ok((CodTerms { cod_type, window_ms: window }, level)),
        None => no("report level: expected 0 or 1"),
    }
}

fn verify(
    wall: Nanos,
    frame: &Frame<'_>,
    credentials: &[u8],
    timestamp: Nanos,
    node: &NodeView<'_>,
) -> Result<Signer, BadCredentials> {
    let (block, times) = (frame.block(), (wall, timestamp));
    node.keys.verify(frame.template, block, credentials, times, node.peer)
}

impl<C> Refusal<C> {
    /// What the audit is told of this refusal.
    pub(super) fn failed(&self, credentials: &[u8]) -> FailedLogon {
        let id = parse(credentials).and_then(|(id, _)| std::str::from_utf8(id).ok());
        let cause = self.fault.map_or(self.reason, CredentialFault::text);
        FailedLogon { key_id: id.map(Text::new), cause }
    }
}
