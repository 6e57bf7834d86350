//! One golden vector a message: its fields, read from the octets by the schema alone, and the
//! octets.

use std::fmt::Write as _;

use tidegate::vocabulary::units::Px;
use tidegate::wire::signed::{MAC_LABEL, mac_place, signed_part};

use crate::message::{Message, whole};
use crate::samples::{logons, vectors};
use crate::schema::{Kind, Schema, Simple};

const HEADER: &str = "\
# Golden vectors: one message each as fields and as octets of the whole frame (SOFH, SBE header,
# block, var data). The fields are read from the octets by the schema alone; null is the null of the
# type, absent is a field that the block ends before.
# Written anew by UPDATE_GOLDEN=1 cargo test --test layout.
";

/// The whole file. Every vector decodes to its message, and every message in scope has one.
pub(crate) fn text(schema: &Schema, in_scope: &[u16]) -> String {
    let mut out = HEADER.to_owned();
    let mut covered = Vec::new();
    for (title, octets, message) in vectors() {
        let frame = whole(&octets);
        assert_eq!(Message::decode(&frame), Ok(message), "{title}");
        covered.push(frame.template);
        write!(out, "\n# {title}\n").unwrap();
        fields(schema, &octets, &mut out);
        writeln!(out, "----\n{}", hex(&octets)).unwrap();
    }
    covered.sort_unstable();
    covered.dedup();
    assert_eq!(covered, in_scope);
    let inputs = mac_inputs();
    for (name, input) in ["Negotiate", "Establish with a block of 41"]
        .iter()
        .zip(inputs)
    {
        writeln!(
            out,
            "\n# What the MAC of the {name} above covers\n----\n{}",
            hex(&input)
        )
        .unwrap();
    }
    out
}

/// What the MACs of ruling F04's test vectors cover. The MAC stands where a client would write it.
pub(crate) fn mac_inputs() -> [Vec<u8>; 2] {
    logons().map(|(mut octets, credentials)| {
        let place = mac_place(&mut octets).expect("credentials with a MAC");
        assert_eq!(&credentials[7..], place);
        let (template, block) = signed_part(&whole(&octets)).expect("a logon");
        [&MAC_LABEL[..], &template.to_le_bytes(), block].concat()
    })
}

pub(crate) fn hex(octets: &[u8]) -> String {
    octets.iter().fold(String::new(), |mut out, octet| {
        write!(out, "{octet:02x}").unwrap();
        out
    })
}

fn fields(schema: &Schema, octets: &[u8], out: &mut String) {
    let frame = whole(octets);
    let message = schema
        .messages
        .iter()
        .find(|message| message.id == frame.template);
    let message = message.expect("a template of the schema");
    let head = (frame.template, frame.block_length, frame.version);
    writeln!(
        out,
        "{} template={} blockLength={} version={}",
        message.name, head.0, head.1, head.2
    )
    .unwrap();
    for (field, at, size) in schema.layout(message) {
        let value = match frame.block().get(at..at + size) {
            Some(octets) => value(schema.kind(&field.kind).expect("a declared type"), octets),
            None => "absent".to_owned(),
        };
        writeln!(out, "  {:<31}{value}", field.name).unwrap();
    }
    for data in &message.data {
        let (length, rest) = frame.rest().split_at(2);
        assert_eq!(
            usize::from(length[0]) + 256 * usize::from(length[1]),
            rest.len()
        );
        writeln!(
            out,
            "  {:<31}{:?}",
            data.name,
            String::from_utf8_lossy(rest)
        )
        .unwrap();
    }
}

fn value(kind: &Kind, octets: &[u8]) -> String {
    match kind {
        Kind::Simple(simple) if simple.primitive == "char" => {
            format!(
                "{:?}",
                String::from_utf8_lossy(octets).trim_end_matches('\0')
            )
        }
        Kind::Simple(simple) => {
            number(simple, octets).map_or_else(|| "null".into(), |n| n.to_string())
        }
        Kind::Composite(parts) if parts.len() == 2 && parts[1].presence == "constant" => {
            let Some(mantissa) = number(&parts[0], octets) else {
                return "null".into();
            };
            let raw = i64::try_from(mantissa).expect("an int64");
            Px::try_new(raw).expect("a price").to_string()
        }
        Kind::Composite(_) => hex(octets),
        Kind::Enum { encoding, values } => {
            let code = match encoding.as_str() {
                "char" => char::from(octets[0]).to_string(),
                _ => octets[0].to_string(),
            };
            match values.iter().find(|(_, value)| *value == code) {
                Some((name, _)) => format!("{code} {name}"),
                None => "null".to_owned(),
            }
        }
        Kind::Set => unreachable!("the lint forbids sets"),
    }
}

fn number(simple: &Simple, octets: &[u8]) -> Option<i128> {
    let signed = !simple.primitive.starts_with('u');
    let fill = if signed && octets.last().is_some_and(|&o| o >= 0x80) {
        0xFF
    } else {
        0
    };
    let mut wide = [fill; 16];
    wide[..octets.len()].copy_from_slice(octets);
    let number = i128::from_le_bytes(wide);
    (simple.null != Some(number.to_string())).then_some(number)
}
