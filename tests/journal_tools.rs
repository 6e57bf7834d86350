//! `tidegate journal dump` and `journal diff`, as a process, over small journals made here.
#![expect(clippy::unwrap_used, reason = "a test fails where something is not as it was made")]

use std::path::Path;
use std::process::{Command, Output};

use journal::{Journal, JournalOptions};
use serde_json::Value;
use tidegate::vocabulary::fix::MarketPhase;
use tidegate::vocabulary::record::{PAYLOAD_BYTES_MAX, RecordBody};
use tidegate::vocabulary::settings::{Owner, Setting};
use tidegate::vocabulary::units::{OwnerIdx, Seq, SessionIdx, Text};

fn make(dir: &Path, numbers: &[u64]) {
    let options = JournalOptions::new(64 << 10, 1);
    let mut journal = Journal::create(dir, &options).unwrap();
    let owner = Owner { owner: OwnerIdx(0), id: 7, name: Text::new("Firm = A"), orders_max: 9 };
    let mut bodies = vec![
        RecordBody::Config(Setting::Owner(owner)),
        RecordBody::Admin {
            who: Text::new("operator"),
            reason: Text::new("opening"),
            security_id: None,
            phase: MarketPhase::Trading,
        },
    ];
    let gap = |number| RecordBody::SessionGap { session: SessionIdx(3), next_seq_no: Seq(number) };
    bodies.extend(numbers.iter().copied().map(gap));
    for (body, time) in bodies.iter().zip(100..) {
        let mut scratch = [0; PAYLOAD_BYTES_MAX];
        let payload = body.encode(&mut scratch);
        journal.ring.append(time, 1, body.kind().stored(), 0, body.source(), payload).unwrap();
    }
    journal.ring.append(200, 1, 99, 0, 0, &[0xab, 0xcd]).unwrap();
    journal.close(dir).unwrap();
}

fn tool(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    command.arg("journal").args(arguments).output().unwrap()
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn dump_says_each_record_and_hides_none() {
    let home = tempfile::tempdir().unwrap();
    let dir = home.path().join("a");
    make(&dir, &[17]);
    let dir = dir.to_str().unwrap();

    let dumped = tool(&["dump", dir]);
    let lines: Vec<String> = text(&dumped).lines().map(str::to_owned).collect();
    assert!(dumped.status.success() && lines.len() == 4, "{lines:?}");
    #[rustfmt::skip]
    let rows: [&[&str]; 4] = [
        &["        1 100 e1 ", " Config ", "setting=owner", "name=Firm = A"],
        &[" Admin ", "who=operator", "phase=Trading", "SecurityID=null"],
        &[" SessionGap ", "session=3", "NextSeqNo=17"],
        &[" Unknown(99) ", "unreadable=", "payload=abcd"],
    ];
    for (line, expected) in lines.iter().zip(rows) {
        for word in expected {
            assert!(line.contains(word), "{word} in {line}");
        }
    }

    let part = tool(&["dump", dir, "--from", "2", "--to", "3", "--json"]);
    let objects: Vec<Value> =
        text(&part).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(objects.len(), 2);
    assert_eq!((&objects[0]["index"], &objects[1]["index"]), (&2.into(), &3.into()));
    assert_eq!(objects[1]["NextSeqNo"], 17);

    let missing = tool(&["dump", "/nowhere"]);
    assert_eq!(missing.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&missing.stderr).contains("/nowhere"));
}

/// One row a pair: numbers in each, last equal index, whether they part, which goes on.
#[test]
fn diff_finds_where_histories_part() {
    #[rustfmt::skip]
    let rows: &[(&[u64], &[u64], u64, bool)] = &[
        (&[5, 6],    &[5, 6],    5, false),
        (&[5, 6],    &[5, 7],    3, true),
        (&[],        &[],        3, false),
        (&[5],       &[9],       2, true),
    ];
    for (left, right, equal, parts) in rows {
        let home = tempfile::tempdir().unwrap();
        let (a, b) = (home.path().join("a"), home.path().join("b"));
        make(&a, left);
        make(&b, right);
        let compared = tool(&["diff", a.to_str().unwrap(), b.to_str().unwrap(), "--json"]);
        let said: Value = serde_json::from_str(&text(&compared)).unwrap();
        assert_eq!(said["equal_up_to_index"], *equal, "{said}");
        assert_eq!(said["differ"], *parts, "{said}");
        assert_eq!(compared.status.code(), Some(i32::from(*parts)), "{said}");
        assert_eq!(said["first"].is_string(), *parts, "{said}");
    }
}

#[test]
fn diff_of_a_shorter_journal_says_which_goes_on() {
    let home = tempfile::tempdir().unwrap();
    let (a, b) = (home.path().join("a"), home.path().join("b"));
    make(&a, &[5]);
    // The same first three records, and nothing behind them.
    let options = JournalOptions::new(64 << 10, 2);
    let mut journal = Journal::create(&b, &options).unwrap();
    let mut reader = journal::Reader::open(&a).unwrap();
    for _ in 0..3 {
        let (_, r) = reader.next().unwrap().unwrap();
        journal.ring.append(r.time, r.epoch, r.kind, r.flags, r.source, r.payload).unwrap();
    }
    journal.close(&b).unwrap();
    let compared = tool(&["diff", a.to_str().unwrap(), b.to_str().unwrap(), "--json"]);
    let said: Value = serde_json::from_str(&text(&compared)).unwrap();
    assert_eq!(compared.status.code(), Some(0), "{said}");
    assert_eq!(said["equal_up_to_index"], 3);
    assert_eq!((&said["more_in_first"], &said["more_in_second"]), (&true.into(), &false.into()));
}
