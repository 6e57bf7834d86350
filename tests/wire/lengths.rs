//! Block lengths of other versions, octets behind a block, var data: what is taken, cut and
//! refused.

use tidegate::vocabulary::fix::NULL_U8;
use tidegate::vocabulary::message::{ClientMessage, NULL_I64, NULL_U32, NULL_U64, SessionMessage};
use tidegate::vocabulary::units::{Nanos, SessionId};
use tidegate::wire::decode::{
    CANONICAL_BYTES_MAX, DecodeError, Inbound, canonical, canonical_len, decode_client_message,
    decode_inbound, decode_outbound,
};
use tidegate::wire::layout::{MESSAGES, SBE_BYTES, SCHEMA_VERSION};
use tidegate::wire::signed::signed_part;

use crate::SEED;
use crate::message::{Message, whole, with_block};
use crate::random::Random;

/// One row a block length of a new order: what is read of the two appended fields, and the length
/// that is journaled.
#[track_caller]
fn check_new_order(length: u16, version: u16, stop_px: bool, expire: bool, journaled: u16) {
    let Message::Request(ClientMessage::NewOrder(mut expected)) = Random::new(SEED).new_order()
    else {
        panic!("not a new order");
    };
    (expected.stop_px, expected.expire_time) = (7, 9);
    let sent = Message::Request(ClientMessage::NewOrder(expected)).encode();
    let octets = with_block(&sent, length, version);
    let frame = whole(&octets);
    expected.stop_px = if stop_px { 7 } else { NULL_I64 };
    expected.expire_time = if expire { 9 } else { NULL_U64 };
    let expected = ClientMessage::NewOrder(expected);
    assert_eq!(decode_inbound(&frame), Ok(Inbound::Application(expected)));

    let mut scratch = [0xAA; CANONICAL_BYTES_MAX];
    let payload = canonical(&frame, &mut scratch).to_vec();
    assert_eq!(Some(payload.len()), canonical_len(100, length));
    assert_eq!(payload[..2], journaled.to_le_bytes());
    assert_eq!(payload[6..8], version.min(SCHEMA_VERSION).to_le_bytes());
    let known = usize::from(journaled);
    assert_eq!(payload[SBE_BYTES..], octets[12..12 + known]);
    assert_eq!(decode_client_message(&payload), Ok(expected));
    let is_canonical = length == journaled && version <= SCHEMA_VERSION;
    let of_the_frame = decode_client_message(frame.sbe());
    if is_canonical {
        assert_eq!(payload, frame.sbe());
        assert_eq!(of_the_frame, Ok(expected));
    } else {
        let came = frame.sbe().len();
        assert_eq!(of_the_frame, Err(DecodeError::NotCanonical { came }));
    }
}

#[test]
fn blocks_of_other_versions_are_read_as_far_as_they_go() {
    check_new_order(56, 1, false, false, 56);
    check_new_order(57, 1, false, false, 56);
    check_new_order(63, 2, false, false, 56);
    check_new_order(64, 2, true, false, 64);
    check_new_order(71, 2, true, false, 64);
    check_new_order(72, 2, true, true, 72);
    check_new_order(72, 1, true, true, 72);
    check_new_order(72, 3, true, true, 72);
    check_new_order(73, 3, true, true, 72);
    check_new_order(2036, 9, true, true, 72);
}

/// One row a block length of Establish: which of the appended fields are there.
#[track_caller]
fn check_establish(length: u16, cod_type: u8, cod_window: u32, report_level: u8) {
    let expected = |cod_type, cod_window, report_level| SessionMessage::Establish {
        session_id: SessionId([3; 16]),
        timestamp: Nanos(5),
        keepalive_interval: 1000,
        next_seq_no: 7,
        cancel_on_disconnect_type: cod_type,
        cod_timeout_window: cod_window,
        report_level,
        credentials: b"firm-a|00",
    };
    let octets = with_block(&Message::Session(expected(2, 1500, 1)).encode(), length, 1);
    let frame = whole(&octets);
    let expected = expected(cod_type, cod_window, report_level);
    assert_eq!(decode_inbound(&frame), Ok(Inbound::Session(expected)));
    // The MAC covers the block as it was sent, what is unknown included.
    assert_eq!(
        signed_part(&frame),
        Some((5, &octets[12..12 + usize::from(length)]))
    );
}

#[test]
fn establish_is_taken_from_the_standards_block_on() {
    check_establish(36, NULL_U8, NULL_U32, NULL_U8);
    check_establish(37, 2, NULL_U32, NULL_U8);
    check_establish(40, 2, NULL_U32, NULL_U8);
    check_establish(41, 2, 1500, NULL_U8);
    check_establish(42, 2, 1500, 1);
    check_establish(60, 2, 1500, 1);
}

#[test]
fn a_block_too_short_is_refused_and_one_longer_is_cut() {
    let mut random = Random::new(SEED);
    for _ in 0..2_000 {
        let message = random.message();
        let octets = message.encode();
        let template = whole(&octets).template;
        let ours = MESSAGES
            .iter()
            .find(|ours| ours.template == template)
            .expect("in scope");
        let shorter = u16::try_from(ours.block_min - 1).expect("a block");
        let refused = DecodeError::ShortBlock {
            template,
            expected: ours.block_min,
            came: ours.block_min - 1,
        };
        assert_eq!(
            Message::decode(&whole(&with_block(&octets, shorter, 2))),
            Err(refused)
        );
        assert_eq!(
            canonical_len(template, shorter),
            None,
            "a block too short has no canonical form"
        );
        let longer = u16::try_from(ours.block + 3).expect("a block");
        assert_eq!(
            Message::decode(&whole(&with_block(&octets, longer, 3))),
            Ok(message)
        );
    }
}

/// Appends `behind` to a frame and corrects its length.
fn with_behind(octets: &[u8], behind: &[u8]) -> Vec<u8> {
    let mut out = [octets, behind].concat();
    let length = u16::try_from(out.len()).expect("a short frame");
    out[..2].copy_from_slice(&length.to_le_bytes());
    out
}

#[test]
fn an_application_message_ends_with_its_block() {
    let mut random = Random::new(SEED);
    for _ in 0..2_000 {
        let message = random.message();
        let octets = message.encode();
        let (template, block) = (whole(&octets).template, whole(&octets).block().len());
        let longer = with_behind(&octets, &[1, 2]);
        let refused = DecodeError::BodyLength {
            template,
            expected: block,
            came: block + 2,
        };
        let expected = match message {
            // A later version may have more to say behind the var data.
            Message::Session(_) => Ok(message),
            Message::Request(_) | Message::Report(_) => Err(refused),
        };
        assert_eq!(Message::decode(&whole(&longer)), expected);
    }
}

#[test]
fn var_data_is_bounded_by_its_frame() {
    let session_id = SessionId([1; 16]);
    let terminate = SessionMessage::Terminate {
        session_id,
        code: 1,
        reason: b"abc",
    };
    let octets = Message::Session(terminate).encode();
    let refused = |octets: &[u8], expected, came| {
        let error = DecodeError::VarData {
            template: 14,
            expected,
            came,
        };
        assert_eq!(decode_inbound(&whole(octets)), Err(error));
        assert_eq!(decode_outbound(&whole(octets)), Err(error));
    };
    let cut = |len: usize| with_behind(&octets[..len], &[]);
    refused(&cut(12 + 17), 2, 0);
    refused(&cut(12 + 18), 2, 1);
    refused(&cut(12 + 19), 5, 2);
    refused(&cut(12 + 21), 5, 4);
    let mut longer = octets.clone();
    longer[29..31].copy_from_slice(&[0xFF, 0xFF]);
    refused(&longer, 2 + 65_535, 5);
}
