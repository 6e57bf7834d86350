//! A new order judged by itself: the checks between its key and its acceptance, in the order of
//! `refusals.rs`. What passes has become types whose ranges the rest of the engine relies on.

use super::market::Markets;
use super::owners::Owners;
use super::refusals::Refusal;
use crate::vocabulary::fix::{MarketPhase, OrdType, SelfMatchInst, Side, TimeInForce};
use crate::vocabulary::message::{NULL_I64, NULL_U64, NewOrderSingle};
use crate::vocabulary::units::{Account, OwnerIdx, Px, Qty, SecurityId};

/// A new order whose fields are in range.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Checked {
    /// Instrument.
    pub security_id: SecurityId,
    /// Account, the owner's own.
    pub account: Account,
    /// Side.
    pub side: Side,
    /// Limit: the only type offered yet.
    pub ord_type: OrdType,
    /// Day or GTC.
    pub time_in_force: TimeInForce,
    /// Price, within the band, a multiple of the tick.
    pub price: Px,
    /// Quantity, a multiple of the lot.
    pub order_qty: Qty,
}

/// Judges an order against the rules of its instrument and owner. The first fault is reported.
pub fn check(
    order: &NewOrderSingle,
    owner: OwnerIdx,
    markets: &Markets,
    owners: &Owners,
) -> Result<Checked, Refusal> {
    let codes = check_codes(order)?;
    let security_id = SecurityId(order.security_id);
    let market = markets.get(security_id).ok_or(Refusal::UnknownSecurity)?;
    let rules = &market.instrument;
    if !owners.has_account(owner, order.account) {
        return Err(Refusal::UnknownAccount);
    }
    let order_qty = Qty::try_new(order.order_qty)
        .filter(|qty| !qty.is_zero() && qty.is_multiple_of(rules.lot))
        .ok_or(Refusal::BadQuantity)?;
    let price = match order.price {
        NULL_I64 => return Err(Refusal::BadPrice),
        raw => Px::try_new(raw).ok_or(Refusal::BadPrice)?,
    };
    if !price.is_multiple_of(rules.tick) {
        return Err(Refusal::BadTick);
    }
    if price < rules.low_limit || price > rules.high_limit {
        return Err(Refusal::OutsideBand);
    }
    if !owners.may_open(owner) {
        return Err(Refusal::OpenOrders);
    }
    if markets.phase_of(security_id) != MarketPhase::Trading {
        return Err(Refusal::MarketPhase);
    }
    let account = Account(order.account);
    let (side, ord_type, time_in_force) = codes;
    Ok(Checked { security_id, account, side, ord_type, time_in_force, price, order_qty })
}

/// Codes in their sets, conditional fields where they belong, and a combination that is offered.
fn check_codes(order: &NewOrderSingle) -> Result<(Side, OrdType, TimeInForce), Refusal> {
    let side = Side::from_wire(order.side).ok_or(Refusal::BadCode)?;
    let ord_type = OrdType::from_wire(order.ord_type).ok_or(Refusal::BadCode)?;
    let time_in_force = TimeInForce::from_wire(order.time_in_force).ok_or(Refusal::BadCode)?;
    let self_match = SelfMatchInst::from_wire(order.self_match).ok_or(Refusal::BadCode)?;
    if order.post_only > 1 || order.poss_resend > 1 {
        return Err(Refusal::BadCode);
    }
    let is_stop = match ord_type {
        OrdType::Stop | OrdType::StopLimit => true,
        OrdType::Market | OrdType::Limit => false,
    };
    let has_stop = order.stop_px != NULL_I64;
    let has_expiry = order.expire_time != NULL_U64;
    if has_stop != is_stop || has_expiry != (time_in_force == TimeInForce::Gtd) {
        return Err(Refusal::BadField);
    }
    let is_offered = ord_type == OrdType::Limit
        && matches!(time_in_force, TimeInForce::Day | TimeInForce::Gtc)
        && order.post_only == 0
        && self_match == SelfMatchInst::NoPrevention;
    if is_offered { Ok((side, ord_type, time_in_force)) } else { Err(Refusal::NotOffered) }
}
