//! `tidegate journal dump`: each record in the words of the protocol, one a line.
//!
//! A record that this build cannot read is shown as octets and does not end the dump: the tool is
//! for the day on which something is wrong.

use std::fmt::Write as _;
use std::io::{BufWriter, ErrorKind, Write as _};
use std::path::Path;

use journal::Reader;
use serde_json::{Map, Value, json};
use tidegate::replay;
use tidegate::vocabulary::message::{ClientMessage, NULL_I64};
use tidegate::vocabulary::record::RecordBody;
use tidegate::vocabulary::settings::Setting;
use tidegate::vocabulary::units::Px;
use tidegate::wire::decode::decode_client_message;

use super::kind_name;

/// Which records, and how.
pub(super) struct Dump {
    /// From this index.
    pub(super) from: u64,
    /// Up to this one.
    pub(super) to: u64,
    /// One JSON object a line.
    pub(super) is_json: bool,
}

/// Writes the records to standard output. A reader that goes away ends it early and is no failure.
pub(super) fn dump(dir: &Path, asked: &Dump) -> Result<(), String> {
    let mut reader = Reader::open(dir).map_err(|e| e.to_string())?;
    let mut out = BufWriter::new(std::io::stdout().lock());
    while let Some((position, stored)) = reader.next().map_err(|e| e.to_string())? {
        if stored.index > asked.to {
            break;
        }
        if stored.index < asked.from {
            continue;
        }
        let line = line(position.get(), &stored, asked.is_json);
        match writeln!(out, "{line}") {
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            other => other.map_err(|e| format!("standard output: {e}"))?,
        }
    }
    match out.flush() {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => {
            Err(format!("standard output: {error}"))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// One record as a line.
pub(super) fn line(position: u64, stored: &journal::Record<'_>, is_json: bool) -> String {
    let kind = kind_name(stored.kind);
    let words = words(stored);
    if is_json {
        let mut object = Map::new();
        object.insert("index".to_owned(), stored.index.into());
        object.insert("position".to_owned(), position.into());
        object.insert("time_ns".to_owned(), stored.time.into());
        object.insert("epoch".to_owned(), stored.epoch.into());
        object.insert("kind".to_owned(), kind.into());
        object.insert("crc".to_owned(), format!("{:08x}", stored.crc).into());
        object.extend(words);
        return Value::from(object).to_string();
    }
    let mut text =
        format!("{:>9} {} e{} {:08x} {kind}", stored.index, stored.time, stored.epoch, stored.crc);
    for (key, value) in &words {
        text.push(' ');
        text.push_str(key);
        text.push('=');
        text.push_str(&value.as_str().map_or_else(|| value.to_string(), str::to_owned));
    }
    text
}

/// What a record says, as names and values.
fn words(stored: &journal::Record<'_>) -> Map<String, Value> {
    let said = match replay::read(stored) {
        Err(error) => json!({ "unreadable": error.to_string(), "payload": hex(stored.payload) }),
        Ok(record) => match record.body {
            RecordBody::ClientMessage { session, message } => {
                let mut said = request(message);
                said.insert("session".to_owned(), session.0.into());
                return said;
            }
            RecordBody::SessionOpen { session, id, owner, key_id, timestamp } => json!({
                "session": session.0, "id": id.to_string(), "owner": owner.0,
                "key": key_id.as_str(), "timestamp": timestamp.0,
            }),
            RecordBody::SessionBind {
                session,
                key_id,
                timestamp,
                next_seq_no,
                keepalive_interval,
                cod_type,
                cod_window,
                ..
            } => json!({
                "session": session.0, "key": key_id.as_str(), "timestamp": timestamp.0,
                "NextSeqNo": next_seq_no.map(|s| s.0), "keepalive_ms": keepalive_interval,
                "cancel_on_disconnect": cod_type.name(), "window_ms": cod_window,
            }),
            RecordBody::SessionGap { session, next_seq_no }
            | RecordBody::SessionFinishing { session, next_seq_no } => {
                json!({ "session": session.0, "NextSeqNo": next_seq_no.0 })
            }
            RecordBody::SessionDown { session, cause } => {
                json!({ "session": session.0, "cause": format!("{cause:?}") })
            }
            RecordBody::SessionFinal { session } => json!({ "session": session.0 }),
            RecordBody::Tick | RecordBody::Pad => json!({}),
            RecordBody::Admin { who, reason, security_id, phase } => json!({
                "who": who.as_str(), "reason": reason.as_str(),
                "SecurityID": security_id.map(|s| s.0), "phase": phase.name(),
            }),
            RecordBody::Config(setting) => setting_words(&setting),
            RecordBody::EpochStart { node, incarnation, prev_epoch } => json!({
                "node": node, "incarnation": incarnation, "prev_epoch": prev_epoch.0,
            }),
            RecordBody::StateHash { output_digest } => {
                json!({ "output_digest": format!("{output_digest:016x}") })
            }
        },
    };
    said.as_object().cloned().unwrap_or_default()
}

fn request(message: &[u8]) -> Map<String, Value> {
    let said = match decode_client_message(message) {
        Err(error) => json!({ "unreadable": error.to_string(), "payload": hex(message) }),
        Ok(ClientMessage::NewOrder(m)) => json!({
            "message": "NewOrderSingle", "MsgSeqNum": m.msg_seq_num.0, "ClOrdID": m.cl_ord_id.0,
            "Side": letter(m.side), "OrderQty": m.order_qty, "Price": price(m.price),
            "SecurityID": m.security_id, "Account": m.account, "OrdType": letter(m.ord_type),
            "TimeInForce": letter(m.time_in_force), "PossResend": m.poss_resend,
        }),
        Ok(ClientMessage::Cancel(m)) => json!({
            "message": "OrderCancelRequest", "MsgSeqNum": m.msg_seq_num.0,
            "ClOrdID": m.cl_ord_id.0, "OrigClOrdID": m.orig_cl_ord_id.0,
            "SecurityID": m.security_id, "Side": letter(m.side), "PossResend": m.poss_resend,
        }),
        Ok(ClientMessage::Status(m)) => json!({
            "message": "OrderStatusRequest", "MsgSeqNum": m.msg_seq_num.0,
            "OrdStatusReqID": m.ord_status_req_id, "ClOrdID": m.cl_ord_id.0,
        }),
    };
    said.as_object().cloned().unwrap_or_default()
}

/// The seed of the hash is left out: whoever knows it can aim at one bucket.
fn setting_words(setting: &Setting) -> Value {
    match setting {
        Setting::Capacities(c) => json!({
            "setting": "capacities", "session_count_max": c.session_count_max,
            "resend_window": c.resend_window, "key_count_max": c.key_count_max,
            "key_retention_ns": c.key_retention.0, "order_count_max": c.order_count_max,
        }),
        Setting::Instrument(i) => json!({
            "setting": "instrument", "SecurityID": i.security_id.0, "Symbol": i.symbol.as_str(),
            "tick": i.tick.to_string(), "lot": i.lot.raw(),
            "low_limit": i.low_limit.to_string(), "high_limit": i.high_limit.to_string(),
        }),
        Setting::Owner(o) => json!({
            "setting": "owner", "owner": o.owner.0, "id": o.id, "name": o.name.as_str(),
            "orders_max": o.orders_max,
        }),
        Setting::Account(a) => json!({
            "setting": "account", "Account": a.account.0, "owner": a.owner.0,
        }),
    }
}

/// A price in decimals; the number itself if it is none.
fn price(raw: i64) -> Value {
    match Px::try_new(raw) {
        _ if raw == NULL_I64 => Value::Null,
        Some(px) => px.to_string().into(),
        None => raw.into(),
    }
}

/// A code of FIX as its character.
fn letter(code: u8) -> String {
    char::from(code).escape_default().to_string()
}

fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut text, octet| {
        // Writing into a String cannot fail.
        let _ = write!(text, "{octet:02x}");
        text
    })
}
