//! What is wrong with a configuration, one entry a fault.
//!
//! An operator repairs a file in an editor, not in a dialogue: so every entry carries the line to
//! go to and the sentence to read there, and all faults that can be told apart are told at once.
//! The text shown as "came" is escaped and cut, since a file may hold anything; values of secrets
//! are never shown.

use std::fmt;
use std::path::{Path, PathBuf};

/// Characters of a refused value that are shown.
const CAME_CHARS_MAX: usize = 64;

/// One thing wrong.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct ConfigError {
    /// The file.
    pub file: PathBuf,
    /// The line, from 1; 0 means the file as a whole.
    pub line: u32,
    /// The key with its table, for example `local.listen` or `instrument[2].tick`.
    pub key: String,
    /// What would have been accepted, with range and unit.
    pub expected: String,
    /// What stands there.
    pub came: String,
}

/// All that is wrong; never empty; in the order of the file.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub struct ConfigErrors(Vec<ConfigError>);

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if !self.key.is_empty() {
            write!(f, ": {}", self.key)?;
        }
        write!(f, ": expected {}; came {}", self.expected, self.came)
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, error) in self.0.iter().enumerate() {
            if i > 0 {
                writeln!(f)?;
            }
            write!(f, "{error}")?;
        }
        Ok(())
    }
}

impl ConfigErrors {
    /// The faults, in the order of the file.
    #[must_use]
    pub fn as_slice(&self) -> &[ConfigError] {
        &self.0
    }
}

/// Collects the faults of one file while it is read.
pub(super) struct Faults {
    file: PathBuf,
    found: Vec<ConfigError>,
}

impl Faults {
    pub(super) fn new(file: &Path) -> Self {
        Self {
            file: file.to_path_buf(),
            found: Vec::new(),
        }
    }

    pub(super) fn add(
        &mut self,
        line: u32,
        key: impl Into<String>,
        expected: impl Into<String>,
        came: impl Into<String>,
    ) {
        self.found.push(ConfigError {
            file: self.file.clone(),
            line,
            key: key.into(),
            expected: expected.into(),
            came: came.into(),
        });
    }

    /// Takes over what was found in another file; it stays behind what was found here.
    pub(super) fn absorb(&mut self, other: Self) {
        self.found.extend(other.found);
    }

    pub(super) fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// `value` when nothing was found, else the faults: those of the file itself first, by line.
    pub(super) fn into_result<T>(mut self, value: T) -> Result<T, ConfigErrors> {
        if self.is_empty() {
            return Ok(value);
        }
        self.found
            .sort_by_key(|error| (error.file != self.file, error.line));
        Err(ConfigErrors(self.found))
    }
}

/// A piece of a file as it may be printed: in quotes, escaped, cut.
pub(super) fn quoted(text: &str) -> String {
    let mut shown: String = text.chars().take(CAME_CHARS_MAX).collect();
    if shown.len() < text.len() {
        shown.push_str("..");
    }
    format!("\"{}\"", shown.escape_debug())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_came_is_escaped_and_cut() {
        assert_eq!(quoted("a\u{1b}[2J\n"), "\"a\\u{1b}[2J\\n\"");
        assert_eq!(quoted(&"x".repeat(65)).len(), 64 + 4);
    }

    #[test]
    fn a_fault_names_its_place_and_faults_come_in_the_order_of_the_file() {
        let mut other = Faults::new(Path::new("k.toml"));
        other.add(1, "firm-a", "64 digits", "nothing");
        let mut faults = Faults::new(Path::new("t.toml"));
        faults.add(9, "local.node", "an integer", "\"x\"");
        faults.absorb(other);
        faults.add(0, "", "a file", "nothing");
        let errors = faults.into_result(()).unwrap_err();
        let expected = "t.toml: expected a file; came nothing\n\
                        t.toml:9: local.node: expected an integer; came \"x\"\n\
                        k.toml:1: firm-a: expected 64 digits; came nothing";
        assert_eq!(errors.to_string(), expected);
    }
}
