//! What a session's end means to the load: how long to wait, and what to tell.

use tidegate::client::event::{RejectCode, StopCause};
use tidegate::vocabulary::fix::{EstablishmentRejectCode, NegotiationRejectCode};
use tidegate::vocabulary::units::Nanos;

/// Pause before a line is tried again.
pub(super) const RETRY_PAUSE: Nanos = Nanos(20_000_000);
/// Pause after AlreadyEstablished: a quarter of the keep-alive interval (ruling F33).
const RETRY_PAUSE_BOUND: Nanos = Nanos(250_000_000);

pub(super) fn retry_pause(code: RejectCode) -> Nanos {
    match code {
        RejectCode::Establishment(code)
            if EstablishmentRejectCode::from_wire(code)
                == Some(EstablishmentRejectCode::AlreadyEstablished) =>
        {
            RETRY_PAUSE_BOUND
        }
        RejectCode::Establishment(_) | RejectCode::Negotiation(_) => RETRY_PAUSE,
    }
}

pub(super) fn reject_name(code: RejectCode) -> &'static str {
    match code {
        RejectCode::Negotiation(code) => {
            NegotiationRejectCode::from_wire(code).map_or("?", NegotiationRejectCode::name)
        }
        RejectCode::Establishment(code) => {
            EstablishmentRejectCode::from_wire(code).map_or("?", EstablishmentRejectCode::name)
        }
    }
}

pub(super) fn stop_words(cause: StopCause) -> String {
    match cause {
        StopCause::DataLoss { expected, offered } => {
            format!("DATA LOSS: the server's next number is {offered}, {expected} was expected")
        }
        StopCause::HistoryLost => "the server lost history".to_owned(),
        StopCause::Forgotten => "the server does not know the session any more".to_owned(),
        StopCause::ReportsGone { from } => format!("reports from {from} on cannot be had"),
    }
}
