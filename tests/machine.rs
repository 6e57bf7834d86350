//! The machine by script: what each record says, in which order, under which numbers.

mod common;

use common::*;

#[test]
fn an_order_is_accepted_before_it_trades() {
    let mut b = Bench::new();
    assert_eq!(b.order(0, order(1)), ["s0 new c1 buy 100@1000"]);
}
