//! The program itself, as a process: how it refuses to start, how it stops, and what a kill leaves.

#![allow(clippy::unwrap_used, reason = "a bench that cannot be built ends the test")]

use std::fs;
use std::net::TcpListener;
use std::path::Path;

use nix::sys::signal::Signal;

#[path = "common/program.rs"]
mod bench;

use bench::{CAPACITIES, Home, MARKET, digests, ended};

#[test]
fn what_the_command_line_or_the_configuration_says_wrongly_is_named() {
    let home = Home::new();
    fs::write(home.path("bad.toml"), "[local]\nnode = 0\nidle = \"sleep\"\n").unwrap();
    let (none, bad) = (home.path("none.toml"), home.path("bad.toml"));
    let rows: [(&[&str], &[&str]); 5] = [
        (&["run", "--nope"], &["--nope"]),
        (&["run", "--listen", "here"], &["--listen", "here"]),
        (&["run", "--listen", "0.0.0.0:1"], &["--listen", "loopback"]),
        (&["run", "--config", &none], &["none.toml", "a readable file"]),
        (&["run", "--config", &bad], &["bad.toml:2", "node", "bad.toml:3", "idle"]),
    ];
    for (args, named) in rows {
        let ended = ended(args);
        assert_eq!(ended.code, Some(2), "{args:?}: {}", ended.text());
        for name in named {
            assert!(ended.text().contains(name), "{args:?}: {name} in {}", ended.text());
        }
    }
}

#[test]
fn a_port_or_a_directory_that_cannot_be_had_is_named() {
    let home = Home::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut args = home.args();
    args.extend(["--listen".to_owned(), address.clone()]);
    let refused = ended(&args);
    assert_eq!(refused.code, Some(1), "{}", refused.text());
    assert!(refused.text().contains(&format!("cannot listen on {address}")), "{}", refused.text());

    fs::write(home.path("file"), "").unwrap();
    let below = home.path("file/data");
    let mut args = home.args();
    args.extend(["--data-dir".to_owned(), below.clone()]);
    let refused = ended(&args);
    assert_eq!(refused.code, Some(1), "{}", refused.text());
    assert!(refused.text().contains(&below), "{}", refused.text());
}

#[test]
fn a_second_process_on_one_directory_is_told_who_holds_it() {
    let home = Home::new();
    let served = home.serve();
    let refused = home.refused();
    assert_eq!(refused.code, Some(1), "{}", refused.text());
    let holder = format!("in use by process {}", served.process.pid());
    assert!(refused.text().contains(&holder), "{}", refused.text());
    // The first is not disturbed.
    served.load(&["--orders", "100", "--connections", "2"]);
    served.stop();
    let clean = home.serve().stop();
    assert_eq!(clean["stopped"]["epoch"], 2);
}

#[test]
fn a_stop_says_the_digests_that_a_replay_finds() {
    let home = Home::new();
    let served = home.serve();
    let load = served.load(&[
        "--orders",
        "2000",
        "--connections",
        "4",
        "--duplicates",
        "20",
        "--cancels",
        "20",
        "--instruments",
        "1",
    ]);
    assert_eq!(load["counts"]["without_an_outcome"], 0, "{load}");
    let stopped = served.stop();
    assert_eq!(digests(&stopped), digests(&home.replay()));
    assert!(stopped["counters"]["messages"].as_u64().unwrap() >= 2000, "{stopped}");
    assert_eq!(stopped["counters"]["protocol_breaches"], 0, "{stopped}");
}

#[test]
fn a_killed_node_starts_again_where_it_was() {
    let home = Home::new();
    let served = home.serve();
    served.load(&["--orders", "1000", "--connections", "2", "--instruments", "1"]);
    served.process.signal(Signal::SIGKILL);
    let killed = served.process.end();
    assert_eq!(killed.code, None, "{}", killed.text());
    let replayed = home.replay();
    let stopped = home.serve().stop();
    // A new epoch changes the state and no report.
    assert_eq!(digests(&stopped).0, digests(&replayed).0);
    assert_eq!(stopped["trades"], replayed["trades"]);
    assert_eq!(digests(&stopped), digests(&home.replay()));
    assert_eq!(stopped["stopped"]["epoch"], 2);
}

#[test]
fn a_damaged_or_foreign_journal_is_refused_by_name() {
    let home = Home::new();
    let served = home.serve();
    served.load(&["--orders", "500", "--connections", "2", "--instruments", "1"]);
    served.stop();
    let segment = Path::new(&home.data()).join(journal::segment_file(0));
    let mut bytes = fs::read(&segment).unwrap();
    bytes[20_000] ^= 1;
    fs::write(&segment, &bytes).unwrap();
    let refused = home.refused();
    assert_eq!(refused.code, Some(1), "{}", refused.text());
    for named in [&journal::segment_file(0), "at byte", "expected", "found", "--accept-loss"] {
        assert!(refused.text().contains(named), "{named}: {}", refused.text());
    }

    // Whole, and written by a build that knows a kind of record that this one does not.
    let home = Home::new();
    let options = journal::JournalOptions::new(4 << 20, 1);
    let dir = home.data();
    let mut journal = journal::Journal::open_or_create(Path::new(&dir), &options).unwrap();
    journal.ring.append(1, 1, 99, 0, 0, b"what is this").unwrap();
    journal.close(Path::new(&dir)).unwrap();
    let refused = home.refused();
    assert_eq!(refused.code, Some(1), "{}", refused.text());
    for named in ["cannot be replayed", "record 1", "99"] {
        assert!(refused.text().contains(named), "{named}: {}", refused.text());
    }
}

#[test]
fn settings_that_differ_are_refused_line_by_line_or_applied() {
    let home = Home::new();
    // A session makes it a journal that has answered somebody: before, it would be completed.
    let served = home.serve();
    served.load(&["--orders", "10", "--connections", "2", "--instruments", "1"]);
    served.stop();
    let second = r#"
    [[instrument]]
    symbol = "BBB"
    tick = "0.05"
    lot = 10
    low_limit = "0.05"
    high_limit = "1000"
    "#;
    let fewer = CAPACITIES.replace("order_count_max = 4096", "order_count_max = 8192");
    home.configure("", &fewer, &format!("{MARKET}{second}"));
    let refused = home.refused();
    assert_eq!(refused.code, Some(1), "{}", refused.text());
    for named in ["order_count_max", "fixed for the life", "BBB", "can be applied", "config ="] {
        assert!(refused.text().contains(named), "{named}: {}", refused.text());
    }
    home.configure("config = \"apply\"", &fewer, &format!("{MARKET}{second}"));
    let refused = home.refused();
    assert_eq!(refused.code, Some(1), "not all of it can be applied: {}", refused.text());

    home.configure("config = \"apply\"", CAPACITIES, &format!("{MARKET}{second}"));
    let served = home.serve();
    let load = served.load(&["--orders", "400", "--connections", "2", "--instruments", "2"]);
    assert_eq!(load["counts"]["without_an_outcome"], 0, "{load}");
    served.stop();
    // Applied once: the next start has nothing to apply.
    home.configure("", CAPACITIES, &format!("{MARKET}{second}"));
    home.serve().stop();
    assert_eq!(home.replay()["epoch"], 3);
}

#[test]
fn a_thousand_connections_trade() {
    let home = Home::new();
    let capacities = CAPACITIES.replace("session_count_max = 64", "session_count_max = 1024");
    home.configure("", &capacities, MARKET);
    let served = home.serve();
    let load = served.load(&[
        "--orders",
        "4000",
        "--connections",
        "1000",
        "--window",
        "2",
        "--instruments",
        "1",
    ]);
    assert_eq!(load["counts"]["without_an_outcome"], 0, "{load}");
    let stopped = served.stop();
    assert_eq!(stopped["counters"]["sessions_established"], 1000, "{stopped}");
    assert_eq!(stopped["counters"]["connections_refused"], 0, "{stopped}");
    assert_eq!(digests(&stopped), digests(&home.replay()));
}
