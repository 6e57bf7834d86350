//! Any octets have an answer: decoding is total, and it is the inverse of encoding.
//!
//! Three kinds of input: octets at random, which mostly die in the header; headers that are right
//! with bodies at random, which reach every decoder; and valid frames with a few octets changed,
//! which reach the checks behind. What is watched: no panic, an answer that depends on the frame's
//! own octets alone, the same answer however the octets arrived.

#![expect(clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "wire/message.rs"]
mod message;
#[path = "wire/random.rs"]
mod random;

use message::{Message, whole, with_block};
use proptest::collection::vec;
use proptest::prelude::*;
use random::Random;
use tidegate::limits::FRAME_BYTES_MAX;
use tidegate::vocabulary::fix::NULL_U8;
use tidegate::vocabulary::message::{ClientMessage, NULL_I64, NULL_U32, NULL_U64, SessionMessage};
use tidegate::wire::decode::{
    CANONICAL_BYTES_MAX, DecodeError, Inbound, Outbound, canonical, canonical_len,
    decode_client_message, decode_inbound, decode_outbound,
};
use tidegate::wire::encode::{encode_client, encode_report, encode_session, report_len};
use tidegate::wire::frame::{Frame, FrameError, split};
use tidegate::wire::layout::{MESSAGES, SBE_BYTES, SCHEMA_ID, SCHEMA_VERSION};
use tidegate::wire::signed::signed_part;

const SEED: u64 = 0x7469_6465_6761_7465;
const ROUNDS: u32 = 40_000;
/// Templates that a server takes, and those that a client takes.
const INBOUND: &[u16] = &[1, 5, 8, 11, 14, 100, 102, 104];
const OUTBOUND: &[u16] = &[
    2, 3, 6, 7, 8, 12, 13, 14, 18, 20, 21, 200, 202, 203, 204, 205, 206, 208,
];

/// Everything that can be asked of octets. Returns what was found, for comparison.
fn probe(octets: &[u8]) -> impl PartialEq + std::fmt::Debug + use<> {
    let found = split(octets, FRAME_BYTES_MAX);
    let journaled = decode_client_message(octets);
    let decoded = found.ok().flatten().map(|(frame, len)| {
        assert!(len <= octets.len() && len <= FRAME_BYTES_MAX);
        assert!(frame.block().len() + frame.rest().len() == frame.body().len());
        let inbound = decode_inbound(&frame).map(|message| format!("{message:?}"));
        let outbound = decode_outbound(&frame).map(|message| format!("{message:?}"));
        let mut scratch = [0xAA; CANONICAL_BYTES_MAX];
        let payload = canonical(&frame, &mut scratch).to_vec();
        if let Ok(Inbound::Application(message)) = decode_inbound(&frame) {
            assert_eq!(decode_client_message(&payload), Ok(message));
        }
        (
            len,
            inbound,
            outbound,
            payload,
            signed_part(&frame).map(|part| part.1.len()),
        )
    });
    (
        found.map(|found| found.map(|found| found.1)),
        journaled,
        decoded,
    )
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4096))]

    #[test]
    fn any_octets_have_an_answer(octets in vec(any::<u8>(), 0..300)) {
        probe(&octets);
    }

    #[test]
    fn any_body_has_an_answer(
        at in 0..MESSAGES.len(),
        body in vec(any::<u8>(), 0..200),
        block_length in 0_u16..200,
        version in 0_u16..4,
    ) {
        let template = MESSAGES[at].template;
        let length = u16::try_from(12 + body.len()).expect("short");
        let mut octets = Vec::new();
        for word in [length, 0xEB50, block_length, template, SCHEMA_ID, version] {
            octets.extend(word.to_le_bytes());
        }
        octets.extend(body);
        probe(&octets);
        probe(&octets[4..]);
    }
}

#[test]
fn changed_frames_have_an_answer() {
    let mut random = Random::new(SEED);
    for round in 0..ROUNDS {
        let mut octets = random.message().encode();
        for _ in 0..=random.below(3) {
            random.change(&mut octets);
        }
        let alone = probe(&octets);
        assert_eq!(alone, probe(&octets), "seed {SEED:#x} round {round}");
        // What stands behind a frame does not change what it means.
        let Ok(Some((frame, len))) = split(&octets, FRAME_BYTES_MAX) else {
            continue;
        };
        for behind in [0, 0xFF] {
            let mut longer = octets[..len].to_vec();
            longer.resize(len + 64, behind);
            let again = split(&longer, FRAME_BYTES_MAX);
            assert_eq!(
                again,
                Ok(Some((frame, len))),
                "seed {SEED:#x} round {round}"
            );
            let (again, _) = again.expect("a frame").expect("a whole one");
            assert_eq!(decode_inbound(&again), decode_inbound(&frame));
            assert_eq!(decode_outbound(&again), decode_outbound(&frame));
        }
    }
}

#[test]
fn every_message_comes_back() {
    let mut random = Random::new(SEED);
    let mut seen = Vec::new();
    for round in 0..ROUNDS {
        let message = random.message();
        let octets = message.encode();
        let frame = whole(&octets);
        assert_eq!(
            Message::decode(&frame),
            Ok(message),
            "seed {SEED:#x} round {round}"
        );
        assert_eq!(
            octets,
            message.encode_over(0xFF),
            "an octet of the buffer was left"
        );
        if let Message::Report(report) = message {
            assert_eq!(octets.len(), report_len(&report.body));
        }
        if let Message::Request(request) = message {
            // What this build sends is canonical, and is journaled where it stands.
            let mut scratch = [0; CANONICAL_BYTES_MAX];
            assert!(std::ptr::eq(canonical(&frame, &mut scratch), frame.sbe()));
            assert_eq!(decode_client_message(frame.sbe()), Ok(request));
        }
        seen.push(frame.template);
    }
    seen.sort_unstable();
    seen.dedup();
    let all: Vec<_> = MESSAGES.iter().map(|message| message.template).collect();
    assert_eq!(seen, all, "a template was never tried");
}

#[test]
fn each_direction_takes_its_own_templates() {
    let mut random = Random::new(SEED);
    for _ in 0..2_000 {
        let octets = random.message().encode();
        let frame = whole(&octets);
        let unknown = DecodeError::UnknownTemplate {
            template: frame.template,
        };
        if INBOUND.contains(&frame.template) {
            decode_inbound(&frame).expect("a template that a server takes");
        } else {
            assert_eq!(decode_inbound(&frame), Err(unknown));
        }
        if OUTBOUND.contains(&frame.template) {
            decode_outbound(&frame).expect("a template that a client takes");
        } else {
            assert_eq!(decode_outbound(&frame), Err(unknown));
        }
    }
    let order = random.new_order().encode();
    for template in [
        0,
        4,
        9,
        10,
        15,
        16,
        17,
        19,
        22,
        101,
        103,
        105,
        201,
        207,
        209,
        300,
        u16::MAX,
    ] {
        let mut octets = order.clone();
        octets[6..8].copy_from_slice(&template.to_le_bytes());
        let unknown = DecodeError::UnknownTemplate { template };
        assert_eq!(decode_inbound(&whole(&octets)), Err(unknown));
        assert_eq!(decode_outbound(&whole(&octets)), Err(unknown));
    }
    for came in [0, 2748, 4000, u16::MAX] {
        let mut octets = order.clone();
        octets[8..10].copy_from_slice(&came.to_le_bytes());
        let unknown = DecodeError::UnknownSchema {
            expected: 4001,
            came,
        };
        assert_eq!(decode_inbound(&whole(&octets)), Err(unknown));
        assert_eq!(decode_outbound(&whole(&octets)), Err(unknown));
        assert_eq!(decode_client_message(&octets[4..]), Err(unknown));
    }
}

#[test]
fn a_stream_reads_the_same_however_it_is_cut() {
    let mut random = Random::new(SEED);
    let messages: Vec<_> = (0..60).map(|_| random.message()).collect();
    let stream: Vec<u8> = messages.iter().flat_map(Message::encode).collect();
    for cut in 0..=stream.len() {
        let mut buffer = Vec::new();
        let mut read = Vec::new();
        for piece in [&stream[..cut], &stream[cut..]] {
            buffer.extend_from_slice(piece);
            let mut done = 0;
            while let Some((frame, len)) =
                split(&buffer[done..], FRAME_BYTES_MAX).expect("a valid stream")
            {
                read.push(frame.template);
                assert!(Message::decode(&frame).is_ok());
                done += len;
            }
            buffer.drain(..done);
        }
        assert!(buffer.is_empty(), "cut at {cut}");
        assert_eq!(read.len(), messages.len(), "cut at {cut}");
    }
}

#[test]
fn a_frame_is_not_there_before_its_last_octet() {
    let mut random = Random::new(SEED);
    for _ in 0..500 {
        let octets = random.message().encode();
        for len in 0..octets.len() {
            assert_eq!(
                split(&octets[..len], FRAME_BYTES_MAX),
                Ok(None),
                "{len} octets"
            );
        }
        let too_long = FrameError::TooLong {
            expected: octets.len() - 1,
            came: octets.len(),
        };
        assert_eq!(split(&octets[..2], octets.len() - 1), Err(too_long));
    }
}

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
        session_id: tidegate::vocabulary::units::SessionId([3; 16]),
        timestamp: tidegate::vocabulary::units::Nanos(5),
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
    let session_id = tidegate::vocabulary::units::SessionId([1; 16]);
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

#[test]
fn reports_with_codes_or_numbers_of_no_meaning_are_refused() {
    // Template, offset of the octet, the octet, and the field named.
    let rows: &[(u16, usize, u8, &str)] = &[
        (200, 80, 0, "Side"),
        (200, 81, b'9', "OrdType"),
        (200, 82, 3, "TimeInForce"),
        (200, 83, b'B', "OrdStatus"),
        (200, 84, 2, "PossResend"),
        (200, 85, 255, "PostOnly"),
        (202, 82, b'Z', "ExecType"),
        (202, 83, 21, "ExecRestatementReason"),
        (203, 106, 2, "AggressorIndicator"),
        (204, 100, 2, "Retryable"),
        (205, 107, 2, "LastRptRequested"),
        (206, 66, b'3', "CxlRejResponseTo"),
        (208, 76, 9, "Retryable"),
    ];
    let mut random = Random::new(SEED);
    for &(template, at, came, field) in rows {
        let mut octets = random.of_template(template).encode();
        octets[12 + at] = came;
        let refused = DecodeError::BadCode { field, came };
        assert_eq!(decode_outbound(&whole(&octets)), Err(refused), "{template}");
    }
    let numbers: &[(u16, usize, i64, &str)] = &[
        (200, 56, (1 << 60) + 1, "Price"),
        (200, 64, -1, "OrderQty"),
        (200, 88, i64::MIN + 1, "StopPx"),
        (202, 64, (1 << 40) + 1, "CumQty"),
        // LastPx has no null.
        (203, 56, NULL_I64, "LastPx"),
        (203, 64, i64::MAX, "LastQty"),
        (205, 80, -1, "LeavesQty"),
    ];
    for &(template, at, came, field) in numbers {
        let mut octets = random.of_template(template).encode();
        octets[12 + at..20 + at].copy_from_slice(&came.to_le_bytes());
        let refused = DecodeError::OutOfRange { field, came };
        assert_eq!(decode_outbound(&whole(&octets)), Err(refused), "{template}");
    }
}

#[test]
fn a_session_message_that_does_not_fit_is_not_written() {
    let session_id = tidegate::vocabulary::units::SessionId([1; 16]);
    let reason = vec![b'x'; 70_000];
    let terminate = |len: usize| SessionMessage::Terminate {
        session_id,
        code: 1,
        reason: &reason[..len],
    };
    let headers = 12 + 17 + 2;
    let mut out = [0; 4096];
    let most = FRAME_BYTES_MAX - headers;
    assert_eq!(
        encode_session(&terminate(most), &mut out),
        Some(FRAME_BYTES_MAX)
    );
    let mut out = [0; 4096];
    assert_eq!(encode_session(&terminate(most + 1), &mut out), None);
    assert_eq!(encode_session(&terminate(70_000), &mut out), None);
    assert_eq!(encode_session(&terminate(4), &mut out[..headers + 3]), None);
    assert_eq!(encode_session(&terminate(0), &mut []), None);
    assert_eq!(out, [0; 4096], "a refused message left octets");
    assert_eq!(
        encode_session(&terminate(4), &mut out[..headers + 4]),
        Some(headers + 4)
    );
}

#[test]
#[should_panic(expected = "room for a report")]
fn a_report_needs_room_for_the_longest() {
    let Message::Report(report) = Random::new(SEED).of_template(18) else {
        panic!("not a report");
    };
    encode_report(&report, &mut [0; 143]);
}

#[test]
#[should_panic(expected = "room for a request")]
fn a_request_needs_room_for_the_longest() {
    let Message::Request(request) = Random::new(SEED).of_template(104) else {
        panic!("not a request");
    };
    encode_client(&request, &mut [0; 83]);
}

#[test]
fn a_server_report_has_no_number_for_not_applied() {
    let octets = Random::new(SEED).of_template(18).encode();
    let Ok(Outbound::Report(report)) = decode_outbound(&whole(&octets)) else {
        panic!("not a report");
    };
    assert_eq!(
        (
            report.msg_seq_num.0,
            report.sending_time.0,
            report.appl_seq_num.0
        ),
        (0, 0, 0)
    );
    let none: Option<Frame<'_>> = Frame::from_sbe(&octets[4..octets.len() - 1]);
    assert_eq!(none, None, "a block that is not wholly there is no frame");
}
