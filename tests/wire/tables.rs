//! The tables of `src/wire/README.md`, from the schema.

use std::fmt::Write as _;

use crate::schema::{Kind, Message, Schema};

/// One table a message, then one row a code set.
pub(crate) fn tables(schema: &Schema, in_scope: &[u16]) -> String {
    let mut out = String::new();
    let messages = || schema.messages.iter().filter(|message| in_scope.contains(&message.id));
    for message in messages() {
        table(schema, message, &mut out);
    }
    out.push_str("\n### Codes\n\n| set | encoding | values |\n|---|---|---|\n");
    for kind in &schema.types {
        let used = messages().flat_map(|message| &message.fields).any(|f| f.kind == kind.name);
        if let (true, Kind::Enum { encoding, values }) = (used, &kind.kind) {
            let values: Vec<_> =
                values.iter().map(|(name, value)| format!("{value} {name}")).collect();
            writeln!(out, "| {} | {encoding} | {} |", kind.name, values.join(", ")).unwrap();
        }
    }
    out.push('\n');
    out
}

fn table(schema: &Schema, message: &Message, out: &mut String) {
    let block = message.block_length.expect("the lint demands it");
    let direction = match message.id {
        8 | 14..=16 => "both ways",
        1 | 5 | 11 | 100..200 => "client to server",
        _ => "server to client",
    };
    writeln!(out, "\n### {} {}\n\n{direction}; block {block}\n", message.id, message.name).unwrap();
    out.push_str("| offset | size | field | tag | type | since |\n|---|---|---|---|---|---|\n");
    for (field, at, size) in schema.layout(message) {
        let since = if field.since == 0 { String::new() } else { field.since.to_string() };
        let (name, id, kind) = (&field.name, &field.id, &field.kind);
        writeln!(out, "| {at} | {size} | {name} | {id} | {kind} | {since} |").unwrap();
    }
    for data in &message.data {
        writeln!(out, "| {block} | 2 + n | {} | | {} | |", data.name, data.kind).unwrap();
    }
}
