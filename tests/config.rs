//! Configuration from outside: the example, every refusal with its words, secrets, and the
//! commands.
#![expect(clippy::unwrap_used, clippy::expect_used, reason = "a test stops at the first surprise")]

use proptest::prelude::*;
use std::ffi::OsStr;
use std::fs::{self, Permissions};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use tidegate::config::{Config, EXAMPLE, Idle, OnConfigChange};
use tidegate::vocabulary::network::Network;
use tidegate::vocabulary::units::{Nanos, OwnerIdx};

const FILE: &str = "t.toml";

fn parse(text: &str) -> Result<Config, String> {
    Config::from_toml(Path::new(FILE), text, &|_| None).map_err(|e| e.to_string())
}

/// `text` is refused with exactly these lines; each begins with the line of the file.
#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let errors = parse(text).expect_err("refused");
    let expected: Vec<_> = expected.iter().map(|line| format!("{FILE}:{line}")).collect();
    let lines: Vec<_> = errors.lines().collect();
    assert_eq!(lines, expected, "of {text}");
}

/// One key of `[local]` or `[capacities]`, on line 2.
#[track_caller]
fn check_key(table: &str, written: &str, expected: &str) {
    check(&format!("[{table}]\n{written}\n"), &[&format!("2: {table}.{expected}")]);
}

#[test]
fn the_example_is_what_runs_without_a_file() {
    assert_eq!(parse(EXAMPLE), Ok(Config::demo()));
    assert_eq!(parse(""), Ok(Config::demo()));
    // Every line that is commented out is right too: nothing but its value changes.
    let whole = EXAMPLE.replace("# core = 1", "core = 1").replace("# audit_file", "audit_file");
    assert_eq!(parse(&whole).map(|c| c.local.core), Ok(Some(1)));
}

#[test]
fn written_values_arrive() {
    let text = r#"
        [local]
        listen = "[::1]:7"
        data_dir = "/d"
        node = 7
        journal_ring_bytes = "1 MiB"
        report_ring_bytes = 0x10_0000
        core = 0
        idle = "spin"
        lock_memory = true
        connection_count_max = 3
        config = "apply"
        open_at_start = false
        [capacities]
        key_count_max = 1024
        key_retention = "90 s"
    "#;
    let Config { local, logical } = parse(text).unwrap();
    assert_eq!(local.listen.to_string(), "[::1]:7");
    assert_eq!((local.data_dir.as_path(), local.node), (Path::new("/d"), 7));
    assert_eq!((local.journal_ring_bytes, local.report_ring_bytes), (1 << 20, 1 << 20));
    assert_eq!((local.core, local.idle), (Some(0), Idle::Spin));
    assert_eq!(local.on_config_change, OnConfigChange::Apply);
    assert_eq!((local.lock_memory, local.open_at_start), (true, false));
    // Defaults give way to a smaller neighbour.
    assert_eq!((local.reader_lag_max, local.logon_connections_max), (1 << 19, 3));
    assert_eq!(logical.capacities.order_count_max, 1024);
    assert_eq!(logical.capacities.key_retention, Nanos(90 * Nanos::SECOND.0));
    assert_eq!(logical.owners[0].orders_max, 1024);
}

#[test]
fn networks_and_bounds_of_addresses_arrive() {
    let text = r#"
        [local]
        connection_count_max = 50
        connections_per_address_rate = 0
        listen_allow = ["10.0.0.0/8", "::1"]
        audit_file = "audit.jsonl"
        demo_keys = true
        [[instrument]]
        symbol = "AAA"
        tick = "0.01"
        lot = 1
        low_limit = "1"
        high_limit = "2"
        [[owner]]
        id = 1
        name = "A"
        accounts = [1]
        [[owner]]
        id = 2
        name = "B"
        accounts = [2]
        addresses = ["192.168.1.7"]
        [[key]]
        id = "firm-a"
        owner = 1
    "#;
    let local = parse(text).unwrap().local;
    assert_eq!((local.connections_per_address_max, local.connections_per_address_rate), (50, 0));
    let network = |text| Network::parse(text).unwrap();
    assert_eq!(local.listen_allow, [network("10.0.0.0/8"), network("::1/128")]);
    assert_eq!(local.owner_addresses, [(OwnerIdx(1), vec![network("192.168.1.7/32")])]);
    assert_eq!(local.audit_file.as_deref(), Some(Path::new("audit.jsonl")));
    let expected = "expected an array of at most 64 networks such as \"10.0.0.0/8\", without bits \
                    behind the prefix; came ";
    let local = |written: &str, expected: &str| check_key("local", written, expected);
    local("listen_allow = '::1'", &format!("listen_allow: {expected}\"::1\""));
    local(
        "listen_allow = ['10.0.0.1/8']",
        &format!("listen_allow: {expected}an array of 1 values"),
    );
    local("audit_file = ''", "audit_file: expected a path; came \"\"");
    let bound = "connections_per_address_max: expected an integer in [1, 1024]; came ";
    local("connections_per_address_max = 0", &format!("{bound}0"));
    local("connections_per_address_max = 1025", &format!("{bound}1025"));
}

#[test]
fn every_key_refuses_with_its_range_and_unit() {
    let local = |written: &str, expected: &str| check_key("local", written, expected);
    let address = "expected an address and port as a string, such as \"127.0.0.1:9700\"; came ";
    local("listen = 9700", &format!("listen: {address}9700"));
    local("listen = 'localhost:1'", &format!("listen: {address}\"localhost:1\""));
    local("listen = '127.0.0.1:65536'", &format!("listen: {address}\"127.0.0.1:65536\""));
    local("data_dir = ''", "data_dir: expected a path; came \"\"");
    local("node = 0", "node: expected an integer in [1, 4294967294]; came 0");
    local("node = -1", "node: expected an integer in [1, 4294967294]; came -1");
    local("node = 1.0", "node: expected an integer in [1, 4294967294]; came the float 1.0");
    local("core = 4096", "core: expected an integer in [0, 4095]; came 4096");
    let choice = "idle: expected \"yield\", \"spin\" or \"park\"; came ";
    local("idle = 'Spin'", &format!("{choice}\"Spin\""));
    local("idle = true", &format!("{choice}true"));
    local("idle = []", &format!("{choice}an array of 0 values"));
    local("idle = {}", &format!("{choice}a table"));
    local("idle = 2030-01-01", &format!("{choice}the time 2030-01-01"));
    local("config = 'yes'", "config: expected \"refuse\" or \"apply\"; came \"yes\"");
    local("lock_memory = 1", "lock_memory: expected true or false; came 1");
    local("open_at_start = 'no'", "open_at_start: expected true or false; came \"no\"");
    let ring = "expected a power of two of bytes in [1 MiB, 64 GiB], such as \"256 MiB\"; came ";
    for (key, written, came) in [
        ("journal_ring_bytes", "'512 KiB'", "\"512 KiB\""),
        ("journal_ring_bytes", "'128 GiB'", "\"128 GiB\""),
        ("journal_ring_bytes", "'3 MiB'", "\"3 MiB\""),
        ("report_ring_bytes", "1000000", "1000000"),
        ("report_ring_bytes", "'256 MB'", "\"256 MB\""),
        ("report_ring_bytes", "-1", "-1"),
    ] {
        local(&format!("{key} = {written}"), &format!("{key}: {ring}{came}"));
    }
    let lag = "expected a size in [64 KiB, 128 MiB], the upper end being half of \
               report_ring_bytes; came ";
    local("reader_lag_max = '129 MiB'", &format!("reader_lag_max: {lag}\"129 MiB\""));
    local("reader_lag_max = 1", &format!("reader_lag_max: {lag}1"));
    let connections = "connection_count_max: expected an integer in [1, 65536]; came 0";
    local("connection_count_max = 0", connections);
    let logons = "logon_connections_max: expected an integer in [1, 256]; came 257";
    local("logon_connections_max = 257", logons);

    let capacities = |written: &str, expected: &str| check_key("capacities", written, expected);
    let sessions = "session_count_max: expected an integer in [1, 65536]; came 65537";
    capacities("session_count_max = 65537", sessions);
    let window = "resend_window: expected a power of two in [64, 65536]; came ";
    capacities("resend_window = 100", &format!("{window}100"));
    capacities("resend_window = 32", &format!("{window}32"));
    let keys = "key_count_max: expected a power of two in [1024, 67108864]; came 1000000";
    capacities("key_count_max = 1_000_000", keys);
    let retention = "key_retention: expected a span in [1 s, 30 d] as a string, such as \"24 h\" \
                     (units ms, s, min, h, d); came ";
    capacities("key_retention = 24", &format!("{retention}24"));
    capacities("key_retention = '999 ms'", &format!("{retention}\"999 ms\""));
    capacities("key_retention = '31 d'", &format!("{retention}\"31 d\""));
    let orders = "order_count_max: expected an integer in [64, 1048576]; came 1048577";
    capacities("order_count_max = 1_048_577", orders);
}

#[test]
fn a_written_value_does_not_give_way_to_its_neighbour() {
    check(
        "[local]\nconnection_count_max = 10\nlogon_connections_max = 11",
        &["3: local.logon_connections_max: expected an integer in [1, 10]; came 11"],
    );
    check(
        "[capacities]\norder_count_max = 2048\nkey_count_max = 1024",
        &["2: capacities.order_count_max: expected an integer in [64, 1024]; came 2048"],
    );
    // What the machine cannot be founded with is refused before a journal is.
    check(
        "[capacities]\norder_count_max = 8_388_609\nkey_count_max = 16_777_216",
        &["2: capacities.order_count_max: expected an integer in [64, 8388608]; came 8388609"],
    );
    check(
        "[capacities]\nresend_window = 32_768\nsession_count_max = 65_536",
        &["2: capacities.resend_window: expected a power of two in [64, 16384]; came 32768"],
    );
}

#[test]
fn unknown_keys_are_refused_with_the_nearest_known_one() {
    check(
        "[local]\nlisten = '127.0.0.1:1'\nlisten_adress = 'x'\ndatadir = 'x'",
        &[
            "3: local: expected a known key: listen, data_dir, node, core, idle, lock_memory, \
             open_at_start, config, journal_ring_bytes, report_ring_bytes, reader_lag_max, \
             connection_count_max, connections_per_address_max, connections_per_address_rate, \
             logon_connections_max, listen_allow, audit_file, keys_file, demo_keys; came key \
             \"listen_adress\"",
            "4: local: expected a known key, perhaps `data_dir`; came key \"datadir\"",
        ],
    );
    check(
        "listen = 'x'\n[capacity]\n",
        &[
            "1: expected a known key: local, capacities, instrument, owner, key; came key \
             \"listen\"",
            "2: expected a known key: local, capacities, instrument, owner, key; came key \
             \"capacity\"",
        ],
    );
    check("[[local]]", &["1: local: expected a table, [local]; came an array of 1 values"]);
    check("local = 1", &["1: local: expected a table, [local]; came 1"]);
}

/// A market of one instrument, one firm and no key, with one line exchanged for another.
fn market(from: &str, to: &str) -> String {
    const MARKET: &str = "[[instrument]]\nsymbol = 'X'\ntick = '0.05'\nlot = 10\nlow_limit = '1'\n\
                          high_limit = '2'\n[[owner]]\nid = 9\nname = 'F'\naccounts = [1]\n";
    assert!(MARKET.contains(from));
    MARKET.replacen(from, to, 1)
}

#[test]
fn instruments_are_checked() {
    assert!(parse(&market("", "")).is_ok());
    let check = |from: &str, to: &str, expected: &[&str]| check(&market(from, to), expected);
    let symbol = "2: instrument[1].symbol: expected 1 to 16 printable ASCII characters without \
                  blanks, used once; came ";
    for wrong in ["''", "'A B'", "'ABCDEFGHIJKLMNOPQ'", "'\u{e9}'"] {
        let came = wrong.replace('\'', "\"");
        check("symbol = 'X'", &format!("symbol = {wrong}"), &[&format!("{symbol}{came}")]);
    }
    let price = "a price as a string, such as \"10.05\", with at most 8 decimals";
    for (wrong, came) in [("0.05", "the float 0.05"), ("'0'", "\"0\""), ("'-1'", "\"-1\"")] {
        let expected = format!("3: instrument[1].tick: expected {price}, above 0; came {came}");
        check("tick = '0.05'", &format!("tick = {wrong}"), &[&expected]);
    }
    let lot = "4: instrument[1].lot: expected an integer in [1, 1099511627776]; came 0";
    check("lot = 10", "lot = 0", &[lot]);
    let absent = format!("1: instrument[1].high_limit: expected {price}; came nothing");
    check("high_limit = '2'\n", "", &[&absent]);
    check(
        "low_limit = '1'",
        "low_limit = '1.01'",
        &["5: instrument[1].low_limit: expected a multiple of the tick 0.05; came 1.01"],
    );
    check(
        "low_limit = '1'",
        "low_limit = '3'",
        &["6: instrument[1].high_limit: expected at least low_limit, 3.00; came 2.00"],
    );
    let twice =
        "[[instrument]]\nsymbol='X'\ntick='1'\nlot=1\nlow_limit='1'\nhigh_limit='1'\n[[owner]]";
    let used = "a value used once; line 2 has it already; came X";
    check("[[owner]]", twice, &[&format!("8: instrument[2].symbol: expected {used}")]);
    let none = "instrument: expected at least one table [[instrument]], as the file gives a \
                market; came nothing";
    let errors = parse("[[owner]]\nid = 9\nname = 'F'\naccounts = []").unwrap_err();
    assert_eq!(errors, format!("{FILE}: {none}"));
}

#[test]
fn owners_and_accounts_are_checked() {
    let check = |from: &str, to: &str, expected: &[&str]| check(&market(from, to), expected);
    let id = "8: owner[1].id: expected an integer in [1, 4294967294], used once; came 0";
    check("id = 9", "id = 0", &[id]);
    let name = "9: owner[1].name: expected 1 to 32 printable ASCII characters; came \"\\u{1b}[2J\"";
    check("name = 'F'", "name = \"\\u001b[2J\"", &[name]);
    let accounts = "10: owner[1].accounts: expected an array of integers in [1, 4294967294]; came ";
    check("accounts = [1]", "accounts = 1", &[&format!("{accounts}1")]);
    let null = "accounts = [1, 4294967295]";
    check("accounts = [1]", null, &[&format!("{accounts}an array of 2 values")]);
    check(
        "accounts = [1]",
        "accounts = [1, 1]\n[[owner]]\nid = 9\nname = 'G'\norders_max = 262_145\naccounts = [1]",
        &[
            "10: owner[1].accounts: expected a value used once; line 10 has it already; came 1",
            "12: owner[2].id: expected a value used once; line 8 has it already; came 9",
            "14: owner[2].orders_max: expected an integer in [1, 262144]; came 262145",
            "15: owner[2].accounts: expected a value used once; line 10 has it already; came 1",
        ],
    );
}

#[test]
fn tables_that_the_engine_has_no_room_for() {
    use std::fmt::Write as _;
    let mut text = market("", "");
    for i in 0..1024 {
        write!(
            text,
            "[[instrument]]\nsymbol='{i}'\ntick='1'\nlot=1\nlow_limit='1'\nhigh_limit='1'\n"
        )
        .unwrap();
        write!(text, "[[owner]]\nid={}\nname='{i}'\naccounts=[]\n", 10 + i).unwrap();
    }
    let all = "expected at most 1024 tables";
    check(
        &text,
        &[
            &format!("{}: instrument: {all} [[instrument]]; came 1025", 11 + 1023 * 10),
            &format!("{}: owner: {all} [[owner]]; came 1025", 17 + 1023 * 10),
        ],
    );
    let accounts: Vec<_> = (1..=4097).map(|a| a.to_string()).collect();
    let text = market("[1]", &format!("[{}]", accounts.join(",")));
    let errors = parse(&text).unwrap_err();
    assert_eq!(
        errors,
        format!("{FILE}:10: owner[1].accounts: expected at most 4096 accounts in all; came 4097")
    );
}

#[test]
fn syntax_comes_first_and_all_of_it() {
    let text = "[local]\nnode = \nidle = 'x'\nnode = 1\nsecret = 5ec2e7\n";
    let errors = Config::from_toml(Path::new(FILE), text, &|_| None).unwrap_err();
    let places = errors.as_slice().iter().map(|e| (e.line, e.came.as_str()));
    let expected = [(2, "\"node =\""), (4, "\"node = 1\""), (5, "a line that is not shown")];
    assert_eq!(places.collect::<Vec<_>>(), expected);
    let errors = errors.to_string();
    assert!(errors.starts_with("t.toml:2: expected TOML (string"), "{errors}");
    assert!(!errors.contains("5ec2e7"), "{errors}");
}

/// The market, one key of its firm, and a line of `[local]`.
fn with_keys(local: &str, keys: &str) -> String {
    format!("[local]\n{local}\n{}{keys}", market("", ""))
}

/// A file of 64 times `digit` for `id`, with `mode`, and its path.
fn keys_file(directory: &Path, text: &str, mode: u32) -> std::path::PathBuf {
    let path = directory.join("keys.toml");
    fs::write(&path, text).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
    path
}

const KEY: &str = "[[key]]\nid = 'k.1-x'\nowner = 9\n";

#[test]
fn secrets_come_from_a_private_file_or_the_environment() {
    let directory = tempfile::tempdir().unwrap();
    let main = directory.path().join("t.toml");
    let stored = format!("'k.1-x' = '{}'", "0c".repeat(33));
    keys_file(directory.path(), &stored, 0o600);
    let text =
        with_keys("keys_file = 'keys.toml'", &format!("{KEY}not_after = 1970-01-01T00:00:01Z"));
    let config = Config::from_toml(&main, &text, &|_| None).unwrap();
    let [key] = config.local.keys.as_slice() else {
        panic!("one key");
    };
    assert_eq!((key.id.as_str(), key.owner), ("k.1-x", OwnerIdx(0)));
    assert_eq!(key.not_after, Some(Nanos::SECOND));
    assert_eq!(key.secret.octets(), [0x0c; 33]);
    assert_eq!(config.local.data_dir, directory.path().join("./tidegate-data"));

    // The environment wins, and is asked for nothing else.
    let environment = |name: &str| (name == "TIDEGATE_KEY_K_1_X").then(|| "0D".repeat(32));
    let config = Config::from_toml(&main, &text, &environment).unwrap();
    assert_eq!(config.local.keys[0].secret.octets(), [0x0d; 32]);
    let config = Config::from_toml(&main, &with_keys("", KEY), &environment).unwrap();
    assert_eq!(config.local.keys[0].secret.octets(), [0x0d; 32]);

    let shown = format!("{config:?}");
    assert!(shown.contains("Secret(..)") && !shown.contains("13, 13"), "{shown}");
    assert!(!shown.contains("0d0d") && !shown.contains("0D0D"), "{shown}");
}

#[test]
fn keys_are_checked() {
    let check = |keys: &str, expected: &[&str]| check(&with_keys("", keys), expected);
    check(
        KEY,
        &["14: key[1].id: expected a secret for \"k.1-x\" in keys_file or in \
                  TIDEGATE_KEY_K_1_X; came nothing"],
    );
    let id = "14: key[1].id: expected 1 to 32 of A-Z a-z 0-9 . _ -, used once; came ";
    check("[[key]]\nid = 'a b'\nowner = 9", &[&format!("{id}\"a b\"")]);
    let long = "i".repeat(33);
    check(&format!("[[key]]\nid = '{long}'\nowner = 9"), &[&format!("{id}\"{long}\"")]);
    let owner = "15: key[1].owner: expected the id of an [[owner]]; came 8";
    check("[[key]]\nid = 'a'\nowner = 8", &[owner]);
    let time = "16: key[1].not_after: expected a time with an offset from 1970 on, such as \
                2030-01-01T00:00:00Z, unquoted; came the time 2030-01-01";
    let none = "14: key[1].id: expected a secret for \"a\" in keys_file or in TIDEGATE_KEY_A; came \
                nothing";
    check("[[key]]\nid = 'a'\nowner = 9\nnot_after = 2030-01-01", &[none, time]);
    let secret = "16: key[1].secret: expected no secret in this file: put a new one into \
                  keys_file; came a value, not shown";
    check("[[key]]\nid = 'a'\nowner = 9\nsecret = 'hunter2'", &[none, secret]);

    let same = "[[key]]\nid='a-1'\nowner=9\n[[key]]\nid='A.1'\nowner=9\n[[key]]\nid='c'\nowner=9";
    let errors =
        Config::from_toml(Path::new(FILE), &with_keys("", same), &|_| Some("0c".repeat(32)));
    let expected = [
        "t.toml:17: key[2].id: expected an id whose variable TIDEGATE_KEY_A_1 no other key has; \
         see line 14; came \"A.1\"",
        "t.toml:21: key[3].owner: expected at most 2 keys an owner; came one more",
    ];
    assert_eq!(errors.unwrap_err().to_string(), expected.join("\n"));

    let short = "0c".repeat(31);
    let errors = Config::from_toml(Path::new(FILE), &with_keys("", KEY), &|_| Some(short.clone()));
    let expected = "t.toml:14: key[1].id: expected a string of 64 to 512 hexadecimal digits (32 to \
                    256 octets) in the environment variable TIDEGATE_KEY_K_1_X; came another \
                    value, not shown";
    assert_eq!(errors.unwrap_err().to_string(), expected);
}

#[test]
fn the_keys_file_is_checked_and_never_shown() {
    let directory = tempfile::tempdir().unwrap();
    let text = with_keys("keys_file = 'keys.toml'", KEY);
    let main = directory.path().join(FILE);
    let path = directory.path().join("keys.toml");
    let (main_shown, shown) = (main.display(), path.display());
    let check = |expected: &[String]| {
        let errors = Config::from_toml(&main, &text, &|_| None).expect_err("refused");
        assert_eq!(errors.to_string(), expected.join("\n"));
        assert!(!errors.to_string().contains("5ec2e7"), "a secret is shown");
    };
    let refused = |expected: &str| format!("{main_shown}:2: local.keys_file: expected {expected}");
    let missing = format!("a readable file; came No such file or directory (os error 2): {shown}");
    check(&[refused(&missing)]);

    let good = format!("'k.1-x' = '{}'\n", "5ec2e7".repeat(11));
    for mode in [0o640, 0o604, 0o601, 0o777] {
        keys_file(directory.path(), &good, mode);
        let chmod = format!("mode 0600 or stricter; run: chmod 600 {shown}; came mode {mode:04o}");
        check(&[refused(&chmod)]);
    }
    let expected = "expected a string of 64 to 512 hexadecimal digits (32 to 256 octets); came";
    for (wrong, came) in [
        ("'5ec2e7'", "6 characters, not shown"),
        ("[\"5ec2e7\"]", "a value that is no string, not shown"),
    ] {
        keys_file(directory.path(), &format!("\n'k.1-x' = {wrong}"), 0o400);
        check(&[format!("{shown}:2: \"k.1-x\": {expected} {came}")]);
        fs::remove_file(&path).unwrap();
    }
    let near =
        format!("{shown}:2: expected the id of a [[key]], perhaps \"k.1-x\"; came key \"k.1_x\"");
    keys_file(directory.path(), &format!("{good}'k.1_x' = '5ec2e7'"), 0o600);
    check(&[near]);
    let dotted = "expected the id of a [[key]], in quotes if it has a dot; came key \"k\"";
    keys_file(directory.path(), &format!("{good}k.1-x = '5ec2e7'"), 0o600);
    check(&[format!("{shown}:2: {dotted}")]);
    keys_file(directory.path(), "'k.1-x' = 5ec2e7\n", 0o600);
    let errors = Config::from_toml(&main, &text, &|_| None).expect_err("refused").to_string();
    assert!(errors.starts_with(&format!("{shown}:1: ")) && !errors.contains("5ec2e7"), "{errors}");
    keys_file(directory.path(), &"#".repeat((1 << 20) + 1), 0o600);
    check(&[refused("a file of UTF-8 text up to 1 MiB; came a longer one")]);
    // Neither a directory nor a pipe, of which nobody would wait for the other end.
    fs::remove_file(&path).unwrap();
    let made = Command::new("mkfifo").arg(&path).status().unwrap();
    assert!(made.success());
    let another_kind = refused(&format!("a regular file; came another kind: {shown}"));
    check(std::slice::from_ref(&another_kind));
    fs::remove_file(&path).unwrap();
    fs::create_dir(&path).unwrap();
    check(&[another_kind]);
}

#[test]
fn public_keys_stay_on_loopback() {
    let expected = "expected a loopback address as long as a key has the public secret of a demo \
                    firm; came ";
    let check_listen = |listen: &str| {
        let expected = format!("2: local.listen: {expected}{listen}");
        check(&format!("[local]\nlisten = '{listen}'\n"), &[&expected]);
        let example = EXAMPLE.replace("127.0.0.1:9700", listen);
        let line = EXAMPLE.lines().position(|l| l.starts_with("listen")).unwrap() + 1;
        check(&example, &[&expected.replacen('2', &line.to_string(), 1)]);
    };
    check_listen("0.0.0.0:9700");
    check_listen("10.0.0.1:1");
    check_listen("[::]:9700");
    assert!(parse("[local]\nlisten = '127.9.9.9:0'").is_ok());
    // Copied into the environment they are as public as before.
    let text = with_keys("listen = '0.0.0.0:1'", KEY);
    let parse =
        |digits: String| Config::from_toml(Path::new(FILE), &text, &|_| Some(digits.clone()));
    let expected = format!("t.toml:2: local.listen: {expected}0.0.0.0:1");
    assert_eq!(parse("a1".repeat(32)).unwrap_err().to_string(), expected);
    assert!(parse("a1".repeat(33)).is_ok());
    let moved = Config::demo().with_listen("0.0.0.0:1".parse().unwrap()).unwrap_err();
    assert!(moved.to_string().starts_with("command line: --listen: expected a loopback address"));
    assert!(Config::demo().with_listen("[::1]:0".parse().unwrap()).is_ok());
}

proptest! {
    /// Any text and any damage to the example: settings or errors that name a line, never a panic.
    #[test]
    fn any_text_is_read_or_refused(
        at in 0..EXAMPLE.len(),
        cut in 0_usize..40,
        put in "\\PC{0,8}|[\\[\\]='\"\\n#{}.,0-9-]{0,8}",
    ) {
        let end = (at + cut).min(EXAMPLE.len());
        let text = format!("{}{put}{}", &EXAMPLE[..at], &EXAMPLE[end..]);
        let lines = text.lines().count();
        match Config::from_toml(Path::new(FILE), &text, &|_| None) {
            Ok(config) => prop_assert!(config.memory_bytes() > 0),
            Err(errors) => for error in errors.as_slice() {
                let line = usize::try_from(error.line).unwrap();
                prop_assert!(line <= lines + 1, "{error}");
                prop_assert!(!error.to_string().contains(char::is_control), "{error:?}");
            },
        }
        let _ = Config::from_toml(Path::new(FILE), &put, &|_| None);
    }
}

fn tidegate(arguments: &[&str]) -> (Output, String, String) {
    let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
    let output = command.args(arguments).output().unwrap();
    let text = |octets: &[u8]| String::from_utf8(octets.to_vec()).unwrap();
    let (out, err) = (text(&output.stdout), text(&output.stderr));
    (output, out, err)
}

#[test]
fn the_printed_example_is_accepted() {
    let (output, example, _) = tidegate(&["config", "example"]);
    assert_eq!((output.status.code(), example.as_str()), (Some(0), EXAMPLE));
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("t.toml");
    fs::write(&file, example).unwrap();
    let file = file.to_str().unwrap();
    let (output, out, err) = tidegate(&["config", "check", file]);
    assert_eq!((output.status.code(), err.as_str()), (Some(0), ""));
    assert!(out.starts_with(&format!("{file}: ok\n")), "{out}");
    let (_, json, _) = tidegate(&["config", "check", "--json", file]);
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json["ok"], true);
    assert_eq!(json["memory_bytes"], Config::demo().memory_bytes());
    assert_eq!(json["instruments"], serde_json::json!(["AAA", "BBB", "CCC"]));
}

#[test]
fn a_refused_configuration_or_command_line_ends_with_2() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("t.toml");
    fs::write(&file, "[local]\nnode = 0\nidle = 1\n").unwrap();
    let file = file.to_str().unwrap();
    let (output, out, err) = tidegate(&["config", "check", file]);
    assert_eq!((output.status.code(), out.as_str(), err.lines().count()), (Some(2), "", 2));
    assert!(err.starts_with(&format!("{file}:2: local.node: expected")), "{err}");
    let (output, out, err) = tidegate(&["config", "check", file, "--json"]);
    assert_eq!((output.status.code(), err.as_str()), (Some(2), ""));
    let json: serde_json::Value = serde_json::from_str(&out).unwrap();
    let expected = serde_json::json!({
        "file": file, "line": 2, "key": "local.node",
        "expected": "an integer in [1, 4294967294]", "came": "0",
    });
    assert_eq!((&json["ok"], &json["errors"][0]), (&false.into(), &expected));
    fs::write(file, b"node = 1\n\xff").unwrap();
    let (output, _, err) = tidegate(&["config", "check", file]);
    assert_eq!(output.status.code(), Some(2));
    assert!(err.contains("expected a readable file of UTF-8 text up to 1 MiB; came"), "{err}");
    for wrong in [&["config", "check", "/nonexistent"][..], &["config", "chek"], &["--port"], &[]] {
        let (output, out, err) = tidegate(wrong);
        assert_eq!((output.status.code(), out.as_str()), (Some(2), ""), "{wrong:?}");
        assert!(!err.is_empty(), "{wrong:?}");
    }
}

#[test]
fn the_environment_of_the_process_is_read() {
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("t.toml");
    fs::write(&file, EXAMPLE).unwrap();
    let run = |secret: &OsStr| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_tidegate"));
        command.args(["config", "check", "--json"]).arg(&file);
        let output = command.env("TIDEGATE_KEY_FIRM_A", secret).output();
        let json: serde_json::Value = serde_json::from_slice(&output.unwrap().stdout).unwrap();
        json
    };
    assert_eq!(run("0c".repeat(32).as_ref())["ok"], true);
    for wrong in [&b""[..], b"0c", b"\xff"] {
        let json = run(OsStr::from_bytes(wrong));
        assert_eq!((&json["ok"], &json["errors"][0]["key"]), (&false.into(), &"key[1].id".into()));
    }
}

#[test]
fn help_teaches() {
    let (output, help, _) = tidegate(&["--help"]);
    assert_eq!(output.status.code(), Some(0));
    for part in ["First steps", "tidegate config example", "Exit codes", "gate between"] {
        assert!(help.contains(part), "{part} in {help}");
    }
}

#[test]
fn a_report_ring_that_one_sweep_overruns_is_a_warning() {
    let mut config = Config::demo();
    assert_eq!(config.warnings(), Vec::<String>::new());
    config.local.report_ring_bytes = 1 << 20;
    let [warning] = &config.warnings()[..] else { panic!("one warning") };
    assert!(warning.contains("report_ring_bytes is 1048576"), "{warning}");
    assert!(warning.contains("order_count_max"), "{warning}");
}
