//! The rules of the tree, held by a program: who may import whom, how long files and lines are,
//! what never stands in a source, and that documents name what is there.
//!
//! A reviewer forgets such rules on a busy day and a newcomer cannot know them. Every check reads
//! the files as text: that is coarse, and cheap enough to run with the other tests. A rule that a
//! file must break has an entry in a table here, with the reason; an entry that is no longer needed
//! fails like one that is missing.
//!
//! `UPDATE_GOLDEN=1 cargo test --test tidy` writes the tables of `src/engine/README.md` anew.

#![expect(clippy::expect_used, reason = "a test that cannot go on has failed")]

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use tidegate::engine::refusals::{CANCEL_TABLE, TABLE};
use tidegate::telemetry::counters::Counter;

/// Columns of a line of Rust.
const COLUMNS_MAX: usize = 100;
/// Columns of a row of a table that stands under `#[rustfmt::skip]`.
const TABLE_COLUMNS_MAX: usize = 200;
/// Lines of a file without its tests.
const LINES_MAX: usize = 500;
/// Lines of a file that is nothing but tests.
const TEST_LINES_MAX: usize = 900;

/// Files above `LINES_MAX`: none may grow beyond what stands here, and no other may come.
const LONG_FILES: [(&str, usize, &str); 0] = [];

/// Where `unsafe` may stand.
const UNSAFE_FILES: [&str; 3] =
    ["journal/src/region.rs", "journal/src/prefetch.rs", "tests/no_alloc.rs"];

/// What nothing that must be a function of its inputs may name: the outside, and order that a
/// random seed decides.
const OUTSIDE: [&str; 20] = [
    "std::env",
    "std::fs",
    "std::io",
    "std::net",
    "std::os",
    "std::path",
    "std::process",
    "std::thread",
    "std::time",
    "HashMap",
    "HashSet",
    "RandomState",
    "crossbeam_channel",
    "core_affinity",
    "getrandom",
    "libc",
    "memmap2",
    "mio",
    "nix",
    "tracing",
];

/// A folder of `src`, or a file beside the folders, and what it may name.
struct Part {
    /// Paths under `src` begin with one of these.
    paths: &'static [&'static str],
    /// Parts of this crate that it may import, itself apart; none: all of them.
    imports: Option<&'static [&'static str]>,
    /// Whether it may name the journal crate.
    has_journal: bool,
    /// Whether it may name what is in [`OUTSIDE`].
    has_outside: bool,
}

const fn pure(paths: &'static [&'static str], imports: &'static [&'static str]) -> Part {
    Part { paths, imports: Some(imports), has_journal: false, has_outside: false }
}

/// The table of allowed imports, in reading order: a part uses only parts to its left.
#[rustfmt::skip]
const PARTS: [Part; 14] = [
    pure(&["vocabulary/"], &[]),
    pure(&["limits.rs"], &["vocabulary"]),
    pure(&["wire/"], &["vocabulary", "limits"]),
    pure(&["session/"], &["vocabulary", "limits", "wire"]),
    pure(&["engine/"], &["vocabulary", "limits", "wire", "session"]),
    pure(&["machine.rs", "machine/"], &["vocabulary", "limits", "wire", "session", "engine"]),
    pure(&["replication/"], &["vocabulary", "limits", "wire", "session", "engine"]),
    pure(&["coordination/"], &["vocabulary", "limits", "wire", "session", "engine", "replication"]),
    // A customer's library: of the session it shares the credentials alone, of the engine nothing.
    pure(&["client/event.rs", "client/inbound.rs", "client/mod.rs", "client/session"],
         &["vocabulary", "limits", "wire", "session"]),
    // Evidence is read from files, and judged without the engine's code.
    Part { paths: &["client/history.rs", "client/judge/"],
           imports: Some(&["vocabulary", "limits", "wire"]), has_journal: true, has_outside: true },
    Part { paths: &["replay.rs"],
           imports: Some(&["vocabulary", "limits", "wire", "session", "engine", "machine"]),
           has_journal: true, has_outside: false },
    Part { paths: &["telemetry/"], imports: Some(&[]), has_journal: false, has_outside: false },
    // The tables themselves tell how many bytes a setting costs, and their own bounds.
    Part { paths: &["config/"], imports: Some(&["vocabulary", "limits", "session", "engine"]),
           has_journal: false, has_outside: true },
    Part { paths: &["shell/", "lib.rs"], imports: None, has_journal: true, has_outside: true },
];

/// A file of the repository, as text.
struct File {
    /// From the root, with `/`.
    path: String,
    text: String,
}

impl File {
    fn is_rust(&self) -> bool {
        has_extension(&self.path, "rs")
    }

    fn is_markdown(&self) -> bool {
        has_extension(&self.path, "md")
    }

    /// Lines without comments, with their numbers.
    fn code(&self) -> impl Iterator<Item = (usize, &str)> {
        (1..).zip(self.text.lines().map(|line| match line.find("//") {
            Some(at) if !line[..at].ends_with(':') => &line[..at],
            _ => line,
        }))
    }

    /// Lines in front of the unit tests, or none if the file is nothing but tests.
    fn lines_without_tests(&self) -> Option<usize> {
        let is_tests = self.path.split('/').any(|part| part == "tests" || part == "tests.rs");
        let lines = || self.text.lines();
        let end = lines().position(|line| line == "#[cfg(test)]" || line == "#![cfg(test)]");
        // A module of tests in a file of its own is declared near the top, and cuts nothing off.
        let is_declared = end.and_then(|at| lines().nth(at + 1)).is_some_and(|l| l.ends_with(';'));
        let count = lines().count();
        (!is_tests).then(|| end.filter(|_| !is_declared).unwrap_or(count))
    }
}

fn has_extension(path: &str, extension: &str) -> bool {
    Path::new(path).extension().is_some_and(|e| e == extension)
}

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All files of the repository that are text; what builds and runs leave behind is not.
fn files() -> Vec<File> {
    let mut found = Vec::new();
    let mut folders = vec![root().to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder of the repository can be read") {
            let entry = entry.expect("an entry of a folder can be read");
            let (path, name) = (entry.path(), entry.file_name());
            let name = name.to_string_lossy();
            let is_hidden = name.starts_with('.') && name != ".ci";
            let is_left_behind = ["target", "tidegate-data", "out", "corpus"].contains(&&*name);
            let kind = entry.file_type().expect("an entry has a type");
            if kind.is_dir() && !is_hidden && !is_left_behind {
                folders.push(path);
            } else if kind.is_file() && name != ".git" {
                let from_root = path.strip_prefix(root()).expect("the walk began at the root");
                let from_root = from_root.to_string_lossy().into_owned();
                if let Ok(text) = fs::read_to_string(&path) {
                    found.push(File { path: from_root, text });
                }
            }
        }
    }
    found.sort_by(|a, b| a.path.cmp(&b.path));
    assert!(found.len() > 100, "the walk found {} files", found.len());
    found
}

fn rust_files() -> Vec<File> {
    files().into_iter().filter(File::is_rust).collect()
}

/// Fails with every fault, not with the first.
fn check(rule: &str, faults: &[String]) {
    assert!(faults.is_empty(), "{rule}:\n  {}", faults.join("\n  "));
}

/// Names that stand in `code` as whole words behind `prefix`.
fn words_behind<'a>(code: &'a str, prefix: &'a str) -> impl Iterator<Item = &'a str> {
    let is_part = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(prefix)
        .filter(move |(at, _)| !code[..*at].ends_with(is_part))
        .map(move |(at, _)| code[at + prefix.len()..].split(|c| !is_part(c)).next().unwrap_or(""))
}

/// Whether `name`, a path or a word, stands in `code`, and not as part of a longer word.
fn names(code: &str, name: &str) -> bool {
    words_behind(code, name).any(str::is_empty)
}

#[test]
fn every_part_imports_only_what_stands_to_its_left() {
    let tops: Vec<&str> = PARTS
        .iter()
        .flat_map(|part| part.paths)
        .map(|path| path.split(['/', '.']).next().unwrap_or(path))
        .collect();
    let mut faults = Vec::new();
    for file in rust_files() {
        let Some(path) = file.path.strip_prefix("src/") else { continue };
        let is_there = |part: &&Part| part.paths.iter().any(|start| path.starts_with(start));
        let Some(part) = PARTS.iter().find(is_there) else {
            faults.push(format!("{}: no row of PARTS says what it may import", file.path));
            continue;
        };
        let own = path.split(['/', '.']).next().unwrap_or(path);
        let folder = root().join("src").join(own);
        for (line, code) in file.code() {
            let mut fault = |what: &str| {
                faults.push(format!("{}:{line}: may not name {what}", file.path));
            };
            for group in ["crate::{", "std::{", "super::super::{"] {
                if !part.has_outside && code.contains(group) {
                    fault("several at once, which this test cannot read");
                }
            }
            let climbed = words_behind(code, "super::super::").filter(|word| {
                // From a module of tests this leads to the folder, which may have such a name too.
                !folder.join(word).exists() && !folder.join(format!("{word}.rs")).exists()
            });
            for word in words_behind(code, "crate::").chain(climbed) {
                let is_top = tops.contains(&word) && word != own;
                if is_top && part.imports.is_some_and(|allowed| !allowed.contains(&word)) {
                    fault(word);
                }
            }
            // Prefetching is a hint to the processor, beside the other code that cannot be safe.
            if !part.has_journal
                && words_behind(code, "journal::").any(|word| word != "prefetch_read")
            {
                fault("the journal crate");
            }
            for name in OUTSIDE.iter().filter(|_| !part.has_outside) {
                if names(code, name) {
                    fault(name);
                }
            }
        }
    }
    check("imports (tests/tidy.rs has the table)", &faults);
}

#[test]
fn the_journal_knows_nothing_of_ours() {
    let mut faults = Vec::new();
    for file in files() {
        let is_ours = |name: &str| name == "tidegate" || name.starts_with("tidegate-");
        match file.path.as_str() {
            "journal/Cargo.toml" => faults.extend(
                dependencies(&file.text).filter(|name| is_ours(name)).map(ToOwned::to_owned),
            ),
            path if path.starts_with("journal/") && file.is_rust() => faults.extend(
                file.code()
                    .filter(|(_, code)| words_behind(code, "tidegate::").next().is_some())
                    .map(|(line, _)| format!("{path}:{line}")),
            ),
            _ => {}
        }
    }
    check("the journal crate names nothing of the engine", &faults);
}

#[test]
fn no_file_is_too_long() {
    let mut faults = Vec::new();
    for file in rust_files() {
        let listed = LONG_FILES.iter().find(|(path, ..)| *path == file.path);
        let Some(lines) = file.lines_without_tests() else {
            let lines = file.text.lines().count();
            if lines > TEST_LINES_MAX {
                faults.push(format!("{}: {lines} lines of tests", file.path));
            }
            continue;
        };
        match listed {
            Some((_, lines_max, reason)) if lines > *lines_max => {
                faults.push(format!("{}: {lines} lines, at most {lines_max}: {reason}", file.path));
            }
            Some(_) if lines <= LINES_MAX => {
                faults.push(format!("{}: {lines} lines: strike it from LONG_FILES", file.path));
            }
            None if lines > LINES_MAX => {
                faults.push(format!("{}: {lines} lines without tests", file.path));
            }
            Some(_) | None => {}
        }
    }
    for (path, ..) in LONG_FILES {
        if !root().join(path).is_file() {
            faults.push(format!("{path}: in LONG_FILES and not in the tree"));
        }
    }
    check("a file has at most 500 lines without its tests", &faults);
}

#[test]
fn no_line_is_too_long() {
    let mut faults = Vec::new();
    for file in rust_files() {
        let mut table: Option<usize> = None;
        for (number, line) in (1..).zip(file.text.lines()) {
            let indent = line.len() - line.trim_start().len();
            let columns = line.chars().count();
            if line.trim_start().starts_with("#[rustfmt::skip]") {
                table = Some(indent);
            } else if table == Some(indent) && line.trim_start().starts_with([']', '}', ')']) {
                table = None;
            }
            let columns_max = if table.is_some() { TABLE_COLUMNS_MAX } else { COLUMNS_MAX };
            if columns > columns_max {
                faults.push(format!("{}:{number}: {columns} columns", file.path));
            }
        }
    }
    check("a line of Rust has at most 100 columns, a row of a table 200", &faults);
}

#[test]
fn nothing_is_left_undone_or_out_of_place() {
    // Written apart, so that this file does not find itself.
    let undone = [
        concat!("TO", "DO"),
        concat!("FIX", "ME"),
        concat!("#[ig", "nore"),
        concat!("to", "do!("),
        concat!("unimple", "mented!("),
        concat!("db", "g!("),
    ];
    let machines = [concat!("/wo", "rk/"), concat!("/ro", "ot/"), concat!("/ho", "me/")];
    let mut faults = Vec::new();
    for file in files() {
        for (number, line) in (1..).zip(file.text.lines()) {
            let found = undone.iter().filter(|word| file.is_rust() && line.contains(**word));
            let found = found.chain(machines.iter().filter(|path| line.contains(**path)));
            faults.extend(found.map(|what| format!("{}:{number}: {what}", file.path)));
        }
    }
    check("nothing undone and no path of somebody's machine", &faults);
}

#[test]
fn unsafe_stands_where_it_is_argued() {
    let mut faults = Vec::new();
    for file in rust_files() {
        let is_allowed = UNSAFE_FILES.contains(&file.path.as_str());
        let keyword = concat!("uns", "afe");
        let quoted = format!("\"{keyword}\"");
        let found = file.code().filter(|(_, code)| names(&code.replace(&quoted, ""), keyword));
        faults.extend(found.filter(|_| !is_allowed).map(|(n, _)| format!("{}:{n}", file.path)));
    }
    let library = fs::read_to_string(root().join("src/lib.rs")).expect("src/lib.rs can be read");
    if !library.contains("#![forbid(unsafe_code)]") {
        faults.push("src/lib.rs: does not forbid it".to_owned());
    }
    check(concat!("uns", "afe code stands in UNSAFE_FILES alone"), &faults);
}

#[test]
fn every_counter_is_counted() {
    let shell: Vec<File> =
        rust_files().into_iter().filter(|f| f.path.starts_with("src/shell/")).collect();
    let is_named = |name: &str| {
        let mut lines = shell.iter().flat_map(File::code);
        lines.any(|(_, code)| words_behind(code, "Counter::").any(|word| word == name))
    };
    let mut faults: Vec<String> = Counter::ALL
        .iter()
        .map(|counter| format!("{counter:?}"))
        .filter(|name| !is_named(name))
        .map(|name| format!("Counter::{name} is never counted"))
        .collect();
    for file in &shell {
        let reads = file.code().filter(|(_, code)| code.contains("counters.get("));
        faults.extend(reads.map(|(line, _)| format!("{}:{line}: reads a counter", file.path)));
    }
    check("telemetry counts everything it names, and decides nothing", &faults);
}

/// Names of all dependencies that a manifest declares for its package.
fn dependencies(manifest: &str) -> impl Iterator<Item = &str> {
    let mut is_inside = false;
    manifest.lines().filter_map(move |line| {
        if line.starts_with('[') {
            is_inside = ["[dependencies]", "[dev-dependencies]"].contains(&line);
            return None;
        }
        let name = line.split([' ', '.', '=']).next()?;
        (is_inside && !name.is_empty() && !name.starts_with('#')).then_some(name)
    })
}

#[test]
fn every_dependency_is_used_and_has_its_reason() {
    let all = files();
    let reasons = all.iter().find(|f| f.path == "src/README.md").map_or("", |f| f.text.as_str());
    let mut faults = Vec::new();
    for (member, folders) in [
        ("Cargo.toml", &["src/", "bin/", "tests/"][..]),
        ("journal/Cargo.toml", &["journal/"]),
        ("bench/Cargo.toml", &["bench/"]),
        ("perf/Cargo.toml", &["perf/"]),
    ] {
        let manifest = all.iter().find(|f| f.path == member).expect("a member has a manifest");
        for name in dependencies(&manifest.text) {
            let krate = match name {
                "tidegate-journal" => "journal".to_owned(),
                other => other.replace('-', "_"),
            };
            let mut sources = all
                .iter()
                .filter(|f| f.is_rust() && folders.iter().any(|at| f.path.starts_with(at)));
            if !sources.any(|f| f.code().any(|(_, code)| names(code, &krate))) {
                faults.push(format!("{member}: {name} is used nowhere"));
            }
            if !name.starts_with("tidegate") && !reasons.contains(&format!("`{name}`")) {
                faults.push(format!("{member}: src/README.md does not say why {name} is there"));
            }
        }
    }
    check("dependencies", &faults);
}

#[test]
fn every_folder_of_the_library_has_a_map() {
    let mut faults = Vec::new();
    for folder in fs::read_dir(root().join("src")).expect("src can be read") {
        let folder: PathBuf = folder.expect("an entry of src can be read").path();
        if !folder.join("mod.rs").is_file() {
            continue;
        }
        let Ok(readme) = fs::read_to_string(folder.join("README.md")) else {
            faults.push(format!("{}: no README.md", folder.display()));
            continue;
        };
        for file in fs::read_dir(&folder).expect("a folder of src can be read") {
            let file = file.expect("an entry of a folder can be read").file_name();
            let name = file.to_string_lossy();
            let is_concept = has_extension(&name, "rs") && name != "mod.rs";
            if is_concept && !readme.contains(&format!("`{name}`")) {
                faults.push(format!("{}/README.md does not name `{name}`", folder.display()));
            }
        }
    }
    check("every folder says what is in it", &faults);
}

#[test]
fn every_link_leads_somewhere() {
    let mut faults = Vec::new();
    for file in files().iter().filter(|file| file.is_markdown()) {
        let path = root().join(&file.path);
        let folder = path.parent().unwrap_or_else(|| root());
        for piece in file.text.split("](").skip(1) {
            let target = piece.split(')').next().unwrap_or("");
            let to = target.split('#').next().unwrap_or("");
            let is_elsewhere = target.contains("://") || target.starts_with("mailto:");
            if !is_elsewhere && !to.is_empty() && !folder.join(to).exists() {
                faults.push(format!("{}: {target}", file.path));
            }
        }
    }
    check("every relative link leads to a file", &faults);
}

/// The tables of refusals as documented.
fn refusal_tables() -> String {
    let mut out = String::from("\n| # | new order | OrdRejReason(103) | key | Text(58) |\n");
    out.push_str("|---:|---|---|---|---|\n");
    for (place, row) in (1..).zip(&TABLE) {
        let key = if row.is_retryable { "free, retryable" } else { "used, final" };
        let key = if place <= 2 { "none taken" } else { key };
        let (refusal, reason, code) = (row.refusal, row.reason, row.reason.wire());
        writeln!(out, "| {place} | {refusal:?} | {code} {reason:?} | {key} | {} |", row.text)
            .expect("a string takes every text");
    }
    out.push_str(
        "\n| # | cancel | CxlRejReason(102) | again | Text(58) |\n|---:|---|---|---|---|\n",
    );
    for (place, row) in (1..).zip(&CANCEL_TABLE) {
        let again = if row.is_retryable { "retryable" } else { "final" };
        let (refusal, reason, code) = (row.refusal, row.reason, row.reason.wire());
        writeln!(out, "| {place} | {refusal:?} | {code} {reason:?} | {again} | {} |", row.text)
            .expect("a string takes every text");
    }
    out.push('\n');
    out
}

#[test]
fn the_order_of_refusals_is_documented_as_it_is() {
    let path = root().join("src/engine/README.md");
    let text = fs::read_to_string(&path).expect("the engine has a README");
    let (begin, end) = ("<!-- tables: begin -->\n", "<!-- tables: end -->");
    let (before, rest) = text.split_once(begin).expect("the README has a place for the tables");
    let (tables, after) = rest.split_once(end).expect("the place for the tables ends");
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        let anew = format!("{before}{begin}{}{end}{after}", refusal_tables());
        fs::write(&path, anew).expect("the README can be written");
    } else {
        assert!(
            tables == refusal_tables(),
            "UPDATE_GOLDEN=1 cargo test --test tidy writes it anew"
        );
    }
}
