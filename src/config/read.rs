//! TOML tables that know their lines and which of their keys were asked for.
//!
//! Deserializing into structs stops at the first fault and forgets where a value stood as soon as
//! it is inside another type. A configuration is read once and is small, so it is walked by hand
//! over the parser's own tables, which keep every position: each `take` removes the key it asks
//! for, and what is left at the end is unknown. The list of known keys is thereby never written
//! twice, and it is also what an unknown key's nearest neighbour is looked for in.

use super::error::{Faults, quoted};
use toml::de::{DeTable, DeValue};

/// Positions of line starts in a text.
pub(super) struct Lines(Vec<usize>);

impl Lines {
    pub(super) fn new(text: &str) -> Self {
        let breaks = text.bytes().enumerate().filter(|&(_, b)| b == b'\n');
        Self(
            std::iter::once(0)
                .chain(breaks.map(|(i, _)| i + 1))
                .collect(),
        )
    }

    /// The line of a byte, from 1.
    pub(super) fn of(&self, byte: usize) -> u32 {
        let line = self.0.partition_point(|&start| start <= byte).max(1);
        u32::try_from(line).unwrap_or(u32::MAX)
    }
}

/// A value and the line it stands on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct At<T> {
    pub(super) line: u32,
    pub(super) value: T,
}

struct Entry<'t> {
    key: String,
    line: u32,
    value: DeValue<'t>,
}

/// One table while it is read.
pub(super) struct Section<'t> {
    /// How errors name it: empty for the file itself, else `local`, `instrument[2]`.
    path: String,
    /// Where it begins.
    line: u32,
    left: Vec<Entry<'t>>,
    asked: Vec<&'static str>,
}

/// Parses a file; faults of syntax are added to `faults`, and what could be read is returned. A
/// line that may hold a secret is not shown.
pub(super) fn parse<'t>(
    text: &'t str,
    lines: &Lines,
    is_secret: bool,
    faults: &mut Faults,
) -> Section<'t> {
    let (table, errors) = DeTable::parse_recoverable(text);
    let mut told = 0;
    for error in errors {
        let line = error.span().map_or(1, |span| lines.of(span.start));
        if line == told {
            // The parser goes on in the middle of the line it stumbled over.
            continue;
        }
        told = line;
        let place = usize::try_from(line - 1).unwrap_or(usize::MAX);
        let came = text.lines().nth(place).unwrap_or("").trim();
        let came = if is_secret || came.contains("secret") {
            "a line that is not shown".to_owned()
        } else {
            quoted(came)
        };
        faults.add(line, "", format!("TOML ({})", error.message()), came);
    }
    Section::new(String::new(), 1, table.into_inner(), lines)
}

impl<'t> Section<'t> {
    fn new(path: String, line: u32, table: DeTable<'t>, lines: &Lines) -> Self {
        let entry = |(key, value): (toml::Spanned<_>, toml::Spanned<_>)| Entry {
            line: lines.of(key.span().start),
            key: std::borrow::Cow::into_owned(key.into_inner()),
            value: value.into_inner(),
        };
        Self {
            path,
            line,
            left: table.into_iter().map(entry).collect(),
            asked: Vec::new(),
        }
    }

    /// Where it begins.
    pub(super) const fn line(&self) -> u32 {
        self.line
    }

    /// How errors name a key of this table.
    pub(super) fn path_of(&self, key: &str) -> String {
        if self.path.is_empty() {
            key.to_owned()
        } else {
            format!("{}.{key}", self.path)
        }
    }

    /// The value of `key`, if it stands there and `read` accepts it; a refused one is a fault.
    pub(super) fn take<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        faults: &mut Faults,
        read: impl FnOnce(&DeValue<'t>) -> Option<T>,
    ) -> Option<At<T>> {
        let Entry { line, value, .. } = self.take_entry(key)?;
        let read = read(&value);
        if read.is_none() {
            faults.add(line, self.path_of(key), expected, describe(&value));
        }
        read.map(|value| At { line, value })
    }

    /// As [`Section::take`], and a missing key is a fault too.
    pub(super) fn require<T>(
        &mut self,
        key: &'static str,
        expected: &str,
        faults: &mut Faults,
        read: impl FnOnce(&DeValue<'t>) -> Option<T>,
    ) -> Option<At<T>> {
        if self.has(key) {
            self.take(key, expected, faults, read)
        } else {
            self.asked.push(key);
            faults.add(self.line, self.path_of(key), expected, "nothing");
            None
        }
    }

    /// Whether `key` stands there and was not taken yet.
    pub(super) fn has(&self, key: &str) -> bool {
        self.left.iter().any(|entry| entry.key == key)
    }

    /// The table `[key]`; an empty one when there is none.
    pub(super) fn take_table(
        &mut self,
        key: &'static str,
        lines: &Lines,
        faults: &mut Faults,
    ) -> Self {
        let path = self.path_of(key);
        let (line, table) = match self.take_entry(key) {
            Some(Entry {
                line,
                value: DeValue::Table(table),
                ..
            }) => (line, table),
            Some(Entry { line, value, .. }) => {
                let expected = format!("a table, [{path}]");
                faults.add(line, path.clone(), expected, describe(&value));
                (line, DeTable::new())
            }
            None => (self.line, DeTable::new()),
        };
        Self::new(path, line, table, lines)
    }

    /// The tables `[[key]]`, in order; none when the key is absent.
    pub(super) fn take_tables(
        &mut self,
        key: &'static str,
        lines: &Lines,
        faults: &mut Faults,
    ) -> Option<Vec<Self>> {
        let Entry { line, value, .. } = self.take_entry(key)?;
        let expected = format!("tables, each headed [[{key}]]");
        let DeValue::Array(array) = value else {
            faults.add(line, key, expected, describe(&value));
            return Some(Vec::new());
        };
        let mut tables = Vec::with_capacity(array.len());
        for (i, item) in array.iter().enumerate() {
            let line = lines.of(item.span().start);
            let path = format!("{key}[{}]", i + 1);
            if let DeValue::Table(table) = item.get_ref() {
                tables.push(Self::new(path, line, table.clone(), lines));
            } else {
                faults.add(line, path, expected.clone(), describe(item.get_ref()));
            }
        }
        Some(tables)
    }

    /// Every remaining key with its line and value; used where keys are names, not words.
    pub(super) fn into_entries(self) -> impl Iterator<Item = (String, u32, DeValue<'t>)> {
        self.left.into_iter().map(|e| (e.key, e.line, e.value))
    }

    /// Ends the table: what nobody asked for is unknown.
    pub(super) fn finish(self, faults: &mut Faults) {
        for Entry { key, line, .. } in &self.left {
            let expected = match nearest(key, self.asked.iter().copied()) {
                Some(near) => format!("a known key, perhaps `{near}`"),
                None => format!("a known key: {}", self.asked.join(", ")),
            };
            faults.add(
                *line,
                self.path.clone(),
                expected,
                format!("key {}", quoted(key)),
            );
        }
    }

    fn take_entry(&mut self, key: &'static str) -> Option<Entry<'t>> {
        self.asked.push(key);
        let at = self.left.iter().position(|entry| entry.key == key)?;
        Some(self.left.swap_remove(at))
    }
}

/// What stands in the file, as it may be printed.
fn describe(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => quoted(text),
        DeValue::Integer(integer) => integer.to_string(),
        DeValue::Float(float) => format!("the float {float}"),
        DeValue::Boolean(boolean) => boolean.to_string(),
        DeValue::Datetime(datetime) => format!("the time {datetime}"),
        DeValue::Array(array) => format!("an array of {} values", array.len()),
        DeValue::Table(_) => "a table".to_owned(),
    }
}

/// The known word at most two edits, and less than half its length, away.
pub(super) fn nearest<'k>(word: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    // Nothing long is near a known word; the bound also keeps the comparison cheap.
    if word.len() > 64 {
        return None;
    }
    known
        .map(|candidate| (edits(word, candidate), candidate))
        .filter(|&(edits, candidate)| edits <= 2 && 2 * edits < candidate.len())
        .min()
        .map(|(_, candidate)| candidate)
}

/// Levenshtein's distance.
fn edits(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, from) in a.chars().enumerate() {
        let mut above_left = i;
        let mut left = i + 1;
        for (cell, to) in row.iter_mut().skip(1).zip(&b) {
            let change = above_left + usize::from(from != *to);
            above_left = *cell;
            *cell = change.min(*cell + 1).min(left + 1);
            left = *cell;
        }
        row[0] = i + 1;
    }
    row.last().copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_have_lines() {
        let lines = Lines::new("a\nbc\n\nd");
        let all: Vec<u32> = (0..=7).map(|byte| lines.of(byte)).collect();
        assert_eq!(all, [1, 1, 2, 2, 2, 3, 4, 4]);
        assert_eq!(Lines::new("").of(0), 1);
    }

    #[test]
    fn the_nearest_known_key() {
        let check = |word: &str, expected| {
            let known = ["listen", "data_dir", "node", "id"];
            assert_eq!(nearest(word, known.into_iter()), expected, "{word}");
        };
        check("lisen", Some("listen"));
        check("listne", Some("listen"));
        check("datadir", Some("data_dir"));
        check("nodes", Some("node"));
        check("it", None); // half of a short word is no likeness
        check("port", None);
        check("", None);
        check(&"n".repeat(1000), None);
    }

    #[test]
    fn edits_are_counted() {
        let check = |a, b, expected| {
            assert_eq!(edits(a, b), expected, "{a} {b}");
            assert_eq!(edits(b, a), expected, "{b} {a}");
        };
        check("", "", 0);
        check("", "abc", 3);
        check("kitten", "sitting", 3);
        check("ab", "ba", 2);
    }
}
