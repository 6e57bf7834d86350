//! The schema rules: each comes from a tool that misreads what it forbids.
//!
//! | rule | what it demands |
//! |---|---|
//! | 1 | every field has a named type |
//! | 2 | an optional type states its null, SBE's own |
//! | 3 | no sets |
//! | 4 | no arrays of octets |
//! | 5 | blockLength is stated and is the sum of the fields; no offsets, so no holes |
//! | 6 | var data only in session and replication messages, last, as ASCII |
//! | 7 | no type is named like a Rust primitive or keyword |
//! | 8 | strings are fixed and ASCII; no groups |
//! | 9 | fields are only appended; what a server sends with var data never grows (ruling F36) |

use crate::schema::{Kind, Message, Schema, Simple, primitive_size};

const RUST_WORDS: &[&str] = &[
    "as", "async", "await", "bool", "box", "break", "char", "const", "continue", "crate", "dyn",
    "else", "enum", "extern", "f32", "f64", "false", "fn", "for", "i128", "i16", "i32", "i64",
    "i8", "if", "impl", "in", "isize", "let", "loop", "match", "mod", "move", "mut", "pub", "ref",
    "return", "self", "Self", "static", "str", "struct", "super", "trait", "true", "type", "u128",
    "u16", "u32", "u64", "u8", "unsafe", "use", "usize", "where", "while", "yield",
];
const FROZEN: &[u16] = &[2, 3, 7, 13, 14];

/// What breaks a rule, one line each, beginning with the rule's number.
pub(crate) fn lint(schema: &Schema) -> Vec<String> {
    let mut found = Vec::new();
    for kind in &schema.types {
        lint_type(&kind.name, &kind.kind, &mut found);
    }
    let mut ids: Vec<_> = schema.messages.iter().map(|message| message.id).collect();
    ids.sort_unstable();
    if ids.windows(2).any(|pair| pair[0] == pair[1]) {
        found.push("9 a template id stands twice".into());
    }
    for message in &schema.messages {
        lint_message(schema, message, &mut found);
    }
    found
}

fn lint_type(name: &str, kind: &Kind, found: &mut Vec<String>) {
    if RUST_WORDS.contains(&name) {
        found.push(format!("7 {name}: a word of Rust"));
    }
    match kind {
        Kind::Set => found.push(format!("3 {name}: a set")),
        Kind::Simple(simple) => lint_simple(name, simple, found),
        Kind::Composite(parts) => parts.iter().for_each(|part| lint_simple(name, part, found)),
        Kind::Enum { encoding, values } => {
            if encoding == "char" && values.iter().any(|(_, value)| value.len() != 1) {
                found.push(format!("8 {name}: a char of more than one octet"));
            }
        }
    }
}

fn lint_simple(name: &str, simple: &Simple, found: &mut Vec<String>) {
    if simple.presence == "optional"
        && simple.null.as_ref() != Some(&default_null(&simple.primitive))
    {
        found.push(format!("2 {name}: null {:?}", simple.null));
    }
    let is_char = simple.primitive == "char";
    if simple.length != 1 && !is_char {
        found.push(format!("4 {name}: an array of {}", simple.primitive));
    }
    if simple.length != 1 && is_char && simple.character_encoding.as_deref() != Some("ASCII") {
        found.push(format!("8 {name}: a string that is not ASCII"));
    }
}

fn lint_message(schema: &Schema, message: &Message, found: &mut Vec<String>) {
    let name = &message.name;
    let mut say = |rule: u8, what: &str| found.push(format!("{rule} {name}: {what}"));
    for field in &message.fields {
        if schema.kind(&field.kind).is_none() {
            say(1, &format!("{} has no declared type", field.name));
        }
        if field.offset_stated {
            say(5, &format!("{} states an offset", field.name));
        }
        if field.since > schema.version {
            say(9, &format!("{} is of a version to come", field.name));
        }
    }
    let sum = message
        .fields
        .iter()
        .map(|field| schema.size(&field.kind).unwrap_or(0))
        .sum();
    if message.block_length != Some(sum) {
        say(
            5,
            &format!("blockLength {:?}, fields {sum}", message.block_length),
        );
    }
    for data in &message.data {
        if !(message.id < 100 || message.id >= 600) {
            say(6, "var data in an application message");
        }
        let Some(Kind::Composite(parts)) = schema.kind(&data.kind) else {
            say(6, "var data of no composite");
            continue;
        };
        let ascii = |part: &Simple| {
            part.primitive == "char" && part.character_encoding.as_deref() == Some("ASCII")
        };
        if !parts.last().is_some_and(ascii) {
            say(6, "var data that is not char and ASCII");
        }
    }
    let first_data = message.order.iter().position(|tag| tag == "data");
    let last_field = message.order.iter().rposition(|tag| tag == "field");
    if first_data.is_some_and(|data| last_field > Some(data)) {
        say(6, "a field behind var data");
    }
    if message.order.iter().any(|tag| tag == "group") {
        say(8, "a group");
    }
    if message
        .fields
        .windows(2)
        .any(|pair| pair[0].since > pair[1].since)
    {
        say(9, "an older field behind a newer one");
    }
    if FROZEN.contains(&message.id) && message.fields.iter().any(|field| field.since > 0) {
        say(9, "a frozen message has grown");
    }
}

/// The null that SBE gives a primitive type.
pub(crate) fn default_null(primitive: &str) -> String {
    let bits = u32::try_from(8 * primitive_size(primitive)).expect("a few bits");
    match primitive {
        "char" => "0".into(),
        unsigned if unsigned.starts_with('u') => (u64::MAX >> (64 - bits)).to_string(),
        _ => (i64::MIN >> (64 - bits)).to_string(),
    }
}
