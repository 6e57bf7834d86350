//! The market of a small node, as its configuration file says it: one instrument, the demo firms.

pub(crate) const CAPACITIES: &str = "
    [capacities]
    session_count_max = 64
    resend_window = 256
    key_count_max = 16384
    order_count_max = 4096
";

pub(crate) const MARKET: &str = r#"
    [[instrument]]
    symbol = "AAA"
    tick = "0.01"
    lot = 1
    low_limit = "0.01"
    high_limit = "1000000"

    [[owner]]
    id = 1
    name = "Firm A"
    accounts = [1001, 1002]
    orders_max = 4096

    [[owner]]
    id = 2
    name = "Firm B"
    accounts = [2001, 2002]
    orders_max = 4096

    [[key]]
    id = "firm-a"
    owner = 1

    [[key]]
    id = "firm-b"
    owner = 2
"#;
