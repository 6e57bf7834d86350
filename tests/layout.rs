//! Holds the wire to its schema: every offset, size, block length and code of
//! `src/wire/tidegate.xml` against the constants of the code, the schema against its rules, the
//! README's tables against the schema, and one golden vector a message.
//!
//! `UPDATE_GOLDEN=1 cargo test --test layout` writes the README's tables and `golden/wire.txt`
//! anew.

#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test that cannot go on has failed")]

#[path = "wire/golden.rs"]
mod golden;
#[path = "wire/lint.rs"]
mod lint;
#[path = "wire/message.rs"]
mod message;
#[path = "wire/samples.rs"]
mod samples;
#[path = "wire/schema.rs"]
mod schema;
#[path = "wire/tables.rs"]
mod tables;

use std::fs;
use std::path::{Path, PathBuf};

use schema::{Kind, Schema};
use tidegate::vocabulary::fix;
use tidegate::vocabulary::message::{NULL_I64, NULL_U32, NULL_U64};
use tidegate::wire::layout;

const XML: &str = include_str!("../src/wire/tidegate.xml");
/// The messages of this build.
const IN_SCOPE: &[u16] = &[
    1, 2, 3, 5, 6, 7, 8, 11, 12, 13, 14, 15, 16, 18, 20, 21, 100, 102, 104, 200, 202, 203, 204,
    205, 206, 208,
];

/// Compares a file of the repository, or the part of it between two marks, with what it must hold;
/// with `UPDATE_GOLDEN` it is written instead.
#[track_caller]
fn check_file(path: &str, marks: Option<(&str, &str)>, expected: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    let there = fs::read_to_string(&path).unwrap_or_default();
    let whole = match marks {
        None => expected.to_owned(),
        Some((begin, end)) => {
            let (head, rest) = there.split_once(begin).expect("the first mark");
            let (_, tail) = rest.split_once(end).expect("the second mark");
            format!("{head}{begin}\n{expected}{end}{tail}")
        }
    };
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::write(&path, whole).expect("a writable checkout");
    } else if let Some(line) = first_difference(&there, &whole) {
        panic!("{}: {line}\nUPDATE_GOLDEN=1 writes it anew", path.display());
    }
}

fn first_difference(there: &str, expected: &str) -> Option<String> {
    let (mut left, mut right) = (there.lines(), expected.lines());
    for number in 1.. {
        match (left.next(), right.next()) {
            (None, None) => break,
            (there, expected) if there == expected => {}
            (there, expected) => {
                return Some(format!("line {number}: expected {expected:?}, came {there:?}"));
            }
        }
    }
    (there != expected).then(|| "line ends differ".to_owned())
}

#[test]
fn headers_are_those_of_the_schema() {
    let schema = Schema::parse(XML);
    assert_eq!((schema.id, schema.version), (layout::SCHEMA_ID, layout::SCHEMA_VERSION));
    assert_eq!(schema.byte_order, "littleEndian");
    assert_eq!(schema.size("messageHeader"), Some(layout::SBE_BYTES));
    assert_eq!(layout::HEADER_BYTES, 12);
    assert_eq!(layout::ENCODING_TYPE, 0xEB50);
}

#[test]
fn every_field_stands_where_the_schema_says() {
    let schema = Schema::parse(XML);
    let templates: Vec<_> = layout::MESSAGES.iter().map(|message| message.template).collect();
    assert_eq!(templates, IN_SCOPE);
    for ours in layout::MESSAGES {
        let theirs = schema.messages.iter().find(|message| message.id == ours.template);
        let theirs = theirs.expect("a template of the schema");
        assert_eq!(ours.name, theirs.name);
        assert_eq!(Some(ours.block), theirs.block_length, "{}", ours.name);
        let fields = schema.layout(theirs);
        assert_eq!(ours.fields.len(), fields.len(), "{}", ours.name);
        for (ours_field, (field, at, size)) in ours.fields.iter().zip(&fields) {
            let place = (ours_field.name, ours_field.at, ours_field.size);
            assert_eq!(place, (field.name.as_str(), *at, *size), "{}", ours.name);
            let parts = schema::parts(schema.kind(&field.kind).expect("a declared type"));
            let primitive = match parts.as_slice() {
                [(char_or_octet, 1)] if char_or_octet == "char" || char_or_octet == "uint8" => {
                    "octet".to_owned()
                }
                [(string, octets)] if string == "char" => format!("octet[{octets}]"),
                [(number, _)] => number.clone(),
                several => format!("octet[{}]", several.iter().map(|part| part.1).sum::<usize>()),
            };
            assert_eq!(ours_field.primitive, primitive, "{} {}", ours.name, field.name);
        }
        // A report is read with its whole block; every other message as short as it ever was.
        let first_version = fields.iter().filter(|(field, ..)| field.since == 0);
        let shortest = first_version.map(|(_, _, size)| size).sum();
        let is_report = (200..300).contains(&ours.template);
        let expected = if is_report { ours.block } else { shortest };
        assert_eq!(ours.block_min, expected, "{}", ours.name);
    }
}

/// Names and wire values of a code set, by value. The schema writes `GTC`, Rust `Gtc`.
macro_rules! code_set {
    ($name:literal $set:ident) => {
        ($name, {
            let codes = fix::$set::ALL.iter().map(|code| (code.wire(), code.name().to_lowercase()));
            let mut codes: Vec<(u8, String)> = codes.collect();
            codes.sort();
            codes
        })
    };
}

#[test]
fn every_code_is_that_of_the_schema() {
    let schema = Schema::parse(XML);
    let ours = [
        code_set!("FlowType" FlowType),
        code_set!("NegotiationRejectCode" NegotiationRejectCode),
        code_set!("EstablishmentRejectCode" EstablishmentRejectCode),
        code_set!("RetransmitRejectCode" RetransmitRejectCode),
        code_set!("TerminationCode" TerminationCode),
        code_set!("CODType" CodType),
        code_set!("ReportLevel" ReportLevel),
        code_set!("GateCause" GateCause),
        code_set!("AckLevel" AckLevel),
        code_set!("Side" Side),
        code_set!("OrdType" OrdType),
        code_set!("TimeInForce" TimeInForce),
        code_set!("SelfMatchInst" SelfMatchInst),
        code_set!("OrdStatus" OrdStatus),
        code_set!("ExecType" ExecType),
        code_set!("CxlRejResponseTo" CxlRejResponseTo),
        code_set!("RestatementReason" RestatementReason),
        ("Bool", vec![(0, "n".to_owned()), (1, "y".to_owned())]),
    ];
    let mut seen = 0;
    for message in schema.messages.iter().filter(|message| IN_SCOPE.contains(&message.id)) {
        for field in &message.fields {
            let Some(Kind::Enum { encoding, values }) = schema.kind(&field.kind) else {
                continue;
            };
            let octet = |value: &String| match encoding.as_str() {
                "char" => value.as_bytes()[0],
                _ => value.parse().expect("an octet"),
            };
            let named = values.iter().map(|(name, value)| (octet(value), name.to_lowercase()));
            let mut theirs: Vec<_> = named.collect();
            theirs.sort();
            let found = ours.iter().find(|(name, _)| *name == field.kind);
            assert_eq!(found.map(|(_, codes)| codes), Some(&theirs), "{}", field.kind);
            seen += 1;
        }
    }
    assert!(seen >= ours.len(), "only {seen} fields with codes were found");
}

#[test]
fn every_null_is_that_of_the_schema() {
    let schema = Schema::parse(XML);
    let null = |name: &str| match schema.kind(name) {
        Some(Kind::Simple(simple)) => simple.null.clone(),
        Some(Kind::Composite(parts)) => parts[0].null.clone(),
        Some(Kind::Enum { .. } | Kind::Set) | None => None,
    };
    for name in ["SeqNumOpt", "NanotimeOpt", "ClOrdIDOpt", "OrderIDOpt"] {
        assert_eq!(null(name), Some(NULL_U64.to_string()), "{name}");
    }
    for name in ["DeltaMillisOpt", "SecurityIDOpt", "AccountOpt"] {
        assert_eq!(null(name), Some(NULL_U32.to_string()), "{name}");
    }
    for name in ["Price8Opt", "QtyOpt"] {
        assert_eq!(null(name), Some(NULL_I64.to_string()), "{name}");
    }
    // The nulls of code sets are SBE's own and are stated nowhere (ruling F20).
    assert_eq!(lint::default_null("uint8"), fix::NULL_U8.to_string());
    assert_eq!(lint::default_null("char"), fix::NULL_CHAR.to_string());
}

#[test]
fn the_schema_keeps_its_rules() {
    assert_eq!(lint::lint(&Schema::parse(XML)), Vec::<String>::new());
}

/// Breaks the schema by one replacement and expects the lint to say so.
#[track_caller]
fn check_lint(from: &str, to: &str, expected: &str) {
    assert!(XML.contains(from), "{from} is not in the schema");
    let found = lint::lint(&Schema::parse(&XML.replacen(from, to, 1)));
    assert!(found.iter().any(|line| line == expected), "expected {expected}, found {found:#?}");
}

#[test]
fn the_lint_finds_what_breaks_a_rule() {
    let clients_sub_id = r#"<field name="SenderSubID" id="50" type="TraderID"/>"#;
    check_lint(
        r#"id="34" type="SeqNum""#,
        r#"id="34" type="uint64""#,
        "1 NewOrderSingle: MsgSeqNum has no declared type",
    );
    check_lint(
        r#"presence="optional" nullValue="4294967295""#,
        r#"presence="optional""#,
        "2 DeltaMillisOpt: null None",
    );
    check_lint(r#"nullValue="65535""#, r#"nullValue="0""#, r#"2 Reason16Opt: null Some("0")"#);
    check_lint("</types>", r#"<set name="Flags" encodingType="uint8"/></types>"#, "3 Flags: a set");
    check_lint(
        "</types>",
        r#"<type name="Uuid" primitiveType="uint8" length="16"/></types>"#,
        "4 Uuid: an array of uint8",
    );
    check_lint(
        r#"blockLength="72""#,
        r#"blockLength="73""#,
        "5 NewOrderSingle: blockLength Some(73), fields 72",
    );
    check_lint(
        r#"id="100" blockLength="72""#,
        r#"id="100""#,
        "5 NewOrderSingle: blockLength None, fields 72",
    );
    check_lint(
        r#"type="UUID"/>"#,
        r#"type="UUID" offset="0"/>"#,
        "5 Negotiate: SessionId states an offset",
    );
    check_lint(
        clients_sub_id,
        &format!(r#"{clients_sub_id}<data name="Note" id="58" type="VarAscii"/>"#),
        "6 NewOrderSingle: var data in an application message",
    );
    check_lint(
        r#"<field name="SessionId" id="20001" type="UUID"/>"#,
        r#"<data name="C" id="1" type="VarAscii"/><field name="SessionId" id="2" type="UUID"/>"#,
        "6 Negotiate: a field behind var data",
    );
    check_lint(
        r#"length="0" characterEncoding="ASCII""#,
        r#"length="0" characterEncoding="UTF-8""#,
        "6 Negotiate: var data that is not char and ASCII",
    );
    check_lint(
        "</types>",
        r#"<type name="u8" primitiveType="uint8"/></types>"#,
        "7 u8: a word of Rust",
    );
    check_lint(
        r#"length="32" characterEncoding="ASCII""#,
        r#"length="32""#,
        "8 Text32: a string that is not ASCII",
    );
    check_lint(
        clients_sub_id,
        &format!(r#"{clients_sub_id}<group name="Legs" id="1"/>"#),
        "8 NewOrderSingle: a group",
    );
    check_lint(
        r#"type="Side"/>"#,
        r#"type="Side" sinceVersion="1"/>"#,
        "9 NewOrderSingle: an older field behind a newer one",
    );
    check_lint(
        r#"name="StopPx" id="99" type="Price8Opt" sinceVersion="2""#,
        r#"name="StopPx" id="99" type="Price8Opt" sinceVersion="3""#,
        "9 NewOrderSingle: StopPx is of a version to come",
    );
    check_lint(
        r#"id="20007" type="NegotiationRejectCode"/>"#,
        r#"id="20007" type="NegotiationRejectCode" sinceVersion="2"/>"#,
        "9 NegotiationReject: a frozen message has grown",
    );
    check_lint(r#"id="100""#, r#"id="102""#, "9 a template id stands twice");
}

#[test]
fn the_schema_is_the_shared_one() {
    let shared: PathBuf =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/protocol-schema.xml");
    match fs::read_to_string(&shared) {
        Ok(there) => {
            assert_eq!(first_difference(XML, &there), None, "{}", shared.display());
            eprintln!("tidegate.xml was compared with {}", shared.display());
        }
        Err(why) => eprintln!("tidegate.xml was not compared with {}: {why}", shared.display()),
    }
}

#[test]
fn the_readme_shows_the_schema() {
    let marks = ("<!-- tables: begin -->", "<!-- tables: end -->");
    let tables = tables::tables(&Schema::parse(XML), IN_SCOPE);
    check_file("src/wire/README.md", Some(marks), &tables);
}

#[test]
fn golden_vectors() {
    check_file("tests/golden/wire.txt", None, &golden::text(&Schema::parse(XML), IN_SCOPE));
}

#[test]
fn what_a_mac_covers_is_what_the_ruling_gives() {
    let [negotiate, establish] = golden::mac_inputs();
    assert_eq!(
        golden::hex(&negotiate),
        "54494445474154452d310100000102030405060708090a0b0c0d0e0f00002a36fe9c971701"
    );
    assert_eq!(
        golden::hex(&establish),
        "54494445474154452d310500000102030405060708090a0b0c0d0e0f01002a36fe9c9717e8030000\
         010000000000000001dc050000"
    );
}
