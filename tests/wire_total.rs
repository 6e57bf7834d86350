//! Any octets have an answer: decoding is total, and it is the inverse of encoding.
//!
//! Three kinds of input: octets at random, which mostly die in the header; headers that are right
//! with bodies at random, which reach every decoder; and valid frames with a few octets changed,
//! which reach the checks behind. What is watched: no panic, an answer that depends on the frame's
//! own octets alone, the same answer however the octets arrived.

#![expect(clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "wire/lengths.rs"]
mod lengths;
#[path = "wire/message.rs"]
mod message;
#[path = "wire/random.rs"]
mod random;

use message::{Message, whole};
use proptest::collection::vec;
use proptest::prelude::*;
use random::Random;
use tidegate::limits::FRAME_BYTES_MAX;
use tidegate::vocabulary::message::{NULL_I64, SessionMessage};
use tidegate::vocabulary::units::SessionId;
use tidegate::wire::decode::{
    CANONICAL_BYTES_MAX, DecodeError, Inbound, Outbound, canonical, decode_client_message,
    decode_inbound, decode_outbound,
};
use tidegate::wire::encode::{encode_client, encode_report, encode_session, report_len};
use tidegate::wire::frame::{Frame, FrameError, split};
use tidegate::wire::layout::{MESSAGES, SCHEMA_ID};
use tidegate::wire::signed::signed_part;

const SEED: u64 = 0x7469_6465_6761_7465;
const ROUNDS: u32 = 100_000;
/// Templates that a server takes, and those that a client takes.
const INBOUND: &[u16] = &[1, 5, 8, 11, 14, 15, 16, 100, 102, 104];
const OUTBOUND: &[u16] =
    &[2, 3, 6, 7, 8, 12, 13, 14, 15, 16, 18, 20, 21, 200, 202, 203, 204, 205, 206, 208];

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
        (len, inbound, outbound, payload, signed_part(&frame).map(|part| part.1.len()))
    });
    (found.map(|found| found.map(|found| found.1)), journaled, decoded)
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
            assert_eq!(again, Ok(Some((frame, len))), "seed {SEED:#x} round {round}");
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
        assert_eq!(Message::decode(&frame), Ok(message), "seed {SEED:#x} round {round}");
        assert_eq!(octets, message.encode_over(0xFF), "an octet of the buffer was left");
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
        let unknown = DecodeError::UnknownTemplate { template: frame.template };
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
    for template in [0, 4, 9, 10, 17, 19, 22, 101, 103, 105, 201, 207, 209, 300, u16::MAX] {
        let mut octets = order.clone();
        octets[6..8].copy_from_slice(&template.to_le_bytes());
        let unknown = DecodeError::UnknownTemplate { template };
        assert_eq!(decode_inbound(&whole(&octets)), Err(unknown));
        assert_eq!(decode_outbound(&whole(&octets)), Err(unknown));
    }
    for came in [0, 2748, 4000, u16::MAX] {
        let mut octets = order.clone();
        octets[8..10].copy_from_slice(&came.to_le_bytes());
        let unknown = DecodeError::UnknownSchema { expected: 4001, came };
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
            assert_eq!(split(&octets[..len], FRAME_BYTES_MAX), Ok(None), "{len} octets");
        }
        let too_long = FrameError::TooLong { expected: octets.len() - 1, came: octets.len() };
        assert_eq!(split(&octets[..2], octets.len() - 1), Err(too_long));
    }
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
    let session_id = SessionId([1; 16]);
    let reason = vec![b'x'; 70_000];
    let terminate =
        |len: usize| SessionMessage::Terminate { session_id, code: 1, reason: &reason[..len] };
    let headers = 12 + 17 + 2;
    let mut out = [0; 4096];
    let most = FRAME_BYTES_MAX - headers;
    assert_eq!(encode_session(&terminate(most), &mut out), Some(FRAME_BYTES_MAX));
    let mut out = [0; 4096];
    assert_eq!(encode_session(&terminate(most + 1), &mut out), None);
    assert_eq!(encode_session(&terminate(70_000), &mut out), None);
    assert_eq!(encode_session(&terminate(4), &mut out[..headers + 3]), None);
    assert_eq!(encode_session(&terminate(0), &mut []), None);
    assert_eq!(out, [0; 4096], "a refused message left octets");
    assert_eq!(encode_session(&terminate(4), &mut out[..headers + 4]), Some(headers + 4));
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
    assert_eq!((report.msg_seq_num.0, report.sending_time.0, report.appl_seq_num.0), (0, 0, 0));
    let none: Option<Frame<'_>> = Frame::from_sbe(&octets[4..octets.len() - 1]);
    assert_eq!(none, None, "a block that is not wholly there is no frame");
}
