//! An instrument's rules and the phase of its market.
//!
//! The phase changes only by a journaled input. `phase_of` is the stricter of the instrument's own
//! phase and the whole market's: halting everything is one write, and resuming everything does not
//! open an instrument that was halted by itself.

use crate::limits::INSTRUMENT_COUNT_MAX;
use crate::vocabulary::bytes::{Reader, Writer};
use crate::vocabulary::fix::MarketPhase;
use crate::vocabulary::settings::Instrument;
use crate::vocabulary::units::{Px, Qty, SecurityId, Text};

/// All instruments, in configuration order.
pub struct Markets {
    markets: Vec<Market>,
    whole: Option<MarketPhase>,
}

/// One instrument.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Market {
    /// Its rules.
    pub instrument: Instrument,
    /// Its own phase; none until the first is journaled, which counts as pre-open.
    pub phase: Option<MarketPhase>,
    /// Price of its last trade.
    pub last_trade: Option<Px>,
}

/// Why an instrument cannot be set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum MarketRefusal {
    /// Instruments are added in order, without a gap.
    OutOfOrder,
    /// No room.
    Full,
    /// Tick and lot never change while orders may rest on them.
    TickOrLotChanged,
}

impl Default for Markets {
    fn default() -> Self {
        Self::new()
    }
}

impl Markets {
    /// Room for [`INSTRUMENT_COUNT_MAX`] instruments.
    #[must_use]
    pub fn new() -> Self {
        Self { markets: Vec::with_capacity(INSTRUMENT_COUNT_MAX), whole: None }
    }

    /// Adds an instrument, or changes the band of one. True when it is new.
    pub fn set(&mut self, instrument: Instrument) -> Result<bool, MarketRefusal> {
        let index = instrument.security_id.0 as usize;
        if let Some(market) = self.markets.get_mut(index) {
            let old = &market.instrument;
            if old.tick != instrument.tick || old.lot != instrument.lot {
                return Err(MarketRefusal::TickOrLotChanged);
            }
            market.instrument = instrument;
            return Ok(false);
        }
        if index != self.markets.len() {
            return Err(MarketRefusal::OutOfOrder);
        }
        if index >= INSTRUMENT_COUNT_MAX {
            return Err(MarketRefusal::Full);
        }
        self.markets.push(Market { instrument, phase: None, last_trade: None });
        Ok(true)
    }

    /// Sets the phase of one instrument or of the whole market. False for an unknown instrument.
    #[must_use]
    pub fn set_phase(&mut self, security_id: Option<SecurityId>, phase: MarketPhase) -> bool {
        let Some(id) = security_id else {
            self.whole = Some(phase);
            return true;
        };
        let Some(market) = self.markets.get_mut(id.0 as usize) else { return false };
        market.phase = Some(phase);
        true
    }

    /// Notes a trade.
    pub fn on_trade(&mut self, security_id: SecurityId, px: Px) {
        self.markets[security_id.0 as usize].last_trade = Some(px);
    }

    /// The instrument, if there is one.
    #[must_use]
    pub fn get(&self, security_id: SecurityId) -> Option<&Market> {
        self.markets.get(security_id.0 as usize)
    }

    /// The phase in force for an instrument: the stricter of its own and the whole market's.
    #[must_use]
    pub fn phase_of(&self, security_id: SecurityId) -> MarketPhase {
        let own = self.get(security_id).and_then(|m| m.phase).unwrap_or(MarketPhase::PreOpen);
        let whole = self.whole.unwrap_or(MarketPhase::Trading);
        if strictness(own) >= strictness(whole) { own } else { whole }
    }

    /// All instruments in configuration order.
    pub fn iter(&self) -> impl Iterator<Item = &Market> {
        self.markets.iter()
    }

    /// Canonical bytes.
    pub fn write_snapshot(&self, out: &mut Writer) {
        out.u8(self.whole.map_or(u8::MAX, MarketPhase::wire));
        out.u32(u32::try_from(self.markets.len()).unwrap_or(u32::MAX));
        for market in &self.markets {
            let i = &market.instrument;
            out.put(i.symbol.octets());
            out.i64(i.tick.raw());
            out.i64(i.lot.raw());
            out.i64(i.low_limit.raw());
            out.i64(i.high_limit.raw());
            out.u8(market.phase.map_or(u8::MAX, MarketPhase::wire));
            out.i64(market.last_trade.map_or(i64::MIN, Px::raw));
        }
    }

    /// Fills an empty table from [`Self::write_snapshot`].
    pub fn read_snapshot(&mut self, r: &mut Reader<'_>) -> Option<()> {
        read_phase(r, &mut self.whole)?;
        for index in 0..r.u32()? {
            let instrument = Instrument {
                security_id: SecurityId(index),
                symbol: Text::from_octets(r.take()?),
                tick: Px::try_new(r.i64()?)?,
                lot: Qty::try_new(r.i64()?)?,
                low_limit: Px::try_new(r.i64()?)?,
                high_limit: Px::try_new(r.i64()?)?,
            };
            if instrument.tick.raw() <= 0 || instrument.lot.is_zero() {
                return None;
            }
            self.set(instrument).ok()?;
            let mut phase = None;
            read_phase(r, &mut phase)?;
            let last_trade = match r.i64()? {
                i64::MIN => None,
                raw => Some(Px::try_new(raw)?),
            };
            let market = self.markets.last_mut()?;
            market.phase = phase;
            market.last_trade = last_trade;
        }
        Some(())
    }
}

/// Reads a phase or its absence into `phase`.
fn read_phase(r: &mut Reader<'_>, phase: &mut Option<MarketPhase>) -> Option<()> {
    *phase = match r.u8()? {
        u8::MAX => None,
        code => Some(MarketPhase::from_wire(code)?),
    };
    Some(())
}

const fn strictness(phase: MarketPhase) -> u8 {
    match phase {
        MarketPhase::Trading => 0,
        MarketPhase::PreOpen => 1,
        MarketPhase::Suspended => 2,
        MarketPhase::Closed => 3,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use MarketPhase::{Closed, PreOpen, Suspended, Trading};

    fn instrument(id: u32, tick: i64) -> Instrument {
        Instrument {
            security_id: SecurityId(id),
            symbol: Text::new("ABC"),
            tick: Px::try_new(tick).unwrap(),
            lot: Qty::try_new(1).unwrap(),
            low_limit: Px::default(),
            high_limit: Px::ONE,
        }
    }

    #[test]
    fn the_stricter_phase_is_in_force() {
        #[rustfmt::skip]
        let rows = [
            // own,          whole,           in force
            (None,           None,            PreOpen),
            (Some(Trading),  None,            Trading),
            (Some(Trading),  Some(Suspended), Suspended),
            (Some(Suspended), Some(Trading),  Suspended),
            (Some(Closed),   Some(Suspended), Closed),
            (None,           Some(Trading),   PreOpen),
        ];
        for (own, whole, expected) in rows {
            let mut markets = Markets::new();
            assert_eq!(markets.set(instrument(0, 5)), Ok(true));
            assert!(own.is_none_or(|phase| markets.set_phase(Some(SecurityId(0)), phase)));
            assert!(whole.is_none_or(|phase| markets.set_phase(None, phase)));
            assert_eq!(markets.phase_of(SecurityId(0)), expected, "{own:?} {whole:?}");
        }
    }

    #[test]
    fn instruments_come_in_order_and_keep_their_tick() {
        let mut markets = Markets::new();
        assert_eq!(markets.set(instrument(1, 5)), Err(MarketRefusal::OutOfOrder));
        assert_eq!(markets.set(instrument(0, 5)), Ok(true));
        assert_eq!(markets.set(instrument(0, 5)), Ok(false));
        assert_eq!(markets.set(instrument(0, 6)), Err(MarketRefusal::TickOrLotChanged));
        assert!(!markets.set_phase(Some(SecurityId(1)), Trading));
    }
}
