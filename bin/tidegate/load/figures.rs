//! The figures of a run: counts, latencies, and how they are shown.
//!
//! Service time is from the write of an order to its first answer. With a rate there is a second
//! one, from the instant at which the order was due: a sender that is held up by a slow engine
//! sends late, and only this one shows it. Orders that a lost line interrupted count in the second
//! and not in the first.

use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Serializer as _, V2Serializer};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::path::Path;
use tidegate::vocabulary::fix::{BusinessRejectReason, CxlRejReason, OrdRejReason};
use tidegate::vocabulary::units::Nanos;

/// Longest latency that is told apart, ns; longer ones count as this.
const LATENCY_MAX: u64 = 600 * 1_000_000_000;
/// An order that leaves this much after it was due counts as late.
pub(super) const LATE_AFTER: Nanos = Nanos(100_000);
const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99_9", 0.999), ("max", 1.0)];

/// Everything that is counted.
#[derive(Debug)]
pub(super) struct Figures {
    /// Different orders sent.
    pub(super) sent: u64,
    /// Requests sent again after a lost line or a shut gate.
    pub(super) resent: u64,
    /// Duplicates under their old number: no answer.
    pub(super) duplicates_silent: u64,
    /// Duplicates under a new number.
    pub(super) duplicates_asked: u64,
    /// Duplicates answered, by status or by the refusal of the original.
    pub(super) duplicates_answered: u64,
    pub(super) cancels_sent: u64,
    pub(super) accepted: u64,
    /// Orders answered with a status: another run sent them, or this one before a loss.
    pub(super) known: u64,
    /// By (template, reason, whether for now).
    pub(super) refused: BTreeMap<(u16, u16, bool), u64>,
    /// Trades, counted at the side that came in.
    pub(super) trades: u64,
    /// ExecutionReportCanceled.
    pub(super) canceled: u64,
    /// Reports of any kind.
    pub(super) reports: u64,
    /// Numbers covered by NotApplied.
    pub(super) not_applied: u64,
    pub(super) not_accepting: u64,
    pub(super) reconnects: u64,
    /// Answers that no request was waiting for.
    pub(super) unexpected: u64,
    pub(super) late: u64,
    /// The longest time between the last report before a loss and the first after it.
    pub(super) outage_max: Nanos,
    /// Orders with an outcome.
    pub(super) resolved: u64,
    service: Histogram<u64>,
    scheduled: Histogram<u64>,
}

/// What else the table tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Run {
    pub(super) id: u32,
    pub(super) seed: u64,
    pub(super) orders: u64,
    pub(super) has_rate: bool,
    /// From the first order to the last answer.
    pub(super) elapsed: Nanos,
}

impl Figures {
    pub(super) fn try_new() -> Result<Self, String> {
        let histogram = || {
            let mut h = Histogram::new_with_bounds(1, LATENCY_MAX, 3).map_err(|e| e.to_string())?;
            h.auto(false);
            Ok::<_, String>(h)
        };
        Ok(Self {
            sent: 0,
            resent: 0,
            duplicates_silent: 0,
            duplicates_asked: 0,
            duplicates_answered: 0,
            cancels_sent: 0,
            accepted: 0,
            known: 0,
            refused: BTreeMap::new(),
            trades: 0,
            canceled: 0,
            reports: 0,
            not_applied: 0,
            not_accepting: 0,
            reconnects: 0,
            unexpected: 0,
            late: 0,
            outage_max: Nanos(0),
            resolved: 0,
            service: histogram()?,
            scheduled: histogram()?,
        })
    }

    /// An order got its first answer. `service` is none when a lost line lay between.
    pub(super) fn on_latency(&mut self, service: Option<Nanos>, scheduled: Option<Nanos>) {
        if let Some(service) = service {
            self.service.saturating_record(service.0.max(1));
        }
        if let Some(scheduled) = scheduled {
            self.scheduled.saturating_record(scheduled.0.max(1));
        }
    }

    pub(super) fn on_refused(&mut self, template: u16, reason: u16, is_for_now: bool) {
        *self.refused.entry((template, reason, is_for_now)).or_default() += 1;
    }

    /// Orders without an outcome.
    pub(super) const fn unresolved(&self, run: &Run) -> u64 {
        run.orders.saturating_sub(self.resolved)
    }

    /// The histogram that an open loop is judged by, or that of a flat-out run.
    const fn main_histogram(&self, run: &Run) -> &Histogram<u64> {
        if run.has_rate { &self.scheduled } else { &self.service }
    }

    const fn rows(&self, run: &Run) -> [(&'static str, u64); 17] {
        [
            ("orders", run.orders),
            ("sent", self.sent),
            ("accepted", self.accepted),
            ("answered by status", self.known),
            ("without an outcome", self.unresolved(run)),
            ("resent after a loss", self.resent),
            ("duplicates, old number", self.duplicates_silent),
            ("duplicates, new number", self.duplicates_asked),
            ("duplicates answered", self.duplicates_answered),
            ("cancels sent", self.cancels_sent),
            ("canceled", self.canceled),
            ("trades", self.trades),
            ("reports", self.reports),
            ("not applied", self.not_applied),
            ("not accepting", self.not_accepting),
            ("reconnects", self.reconnects),
            ("unexpected answers", self.unexpected),
        ]
    }

    // Writing into a String cannot fail.
    pub(super) fn as_text(&self, run: &Run) -> String {
        let mut text = String::new();
        for (name, count) in self.rows(run) {
            let _ = writeln!(text, "  {name:<26}{count:>14}");
        }
        for ((template, reason, is_for_now), count) in &self.refused {
            let name = format!("refused: {}", reason_name(*template, *reason));
            let class = if *is_for_now { "for now" } else { "for good" };
            let _ = writeln!(text, "  {name:<26}{count:>14}  {class}");
        }
        if run.has_rate {
            let _ = writeln!(text, "  {:<26}{:>14}", "late sends", self.late);
        }
        let outage = millis(self.outage_max);
        let _ = writeln!(text, "  {:<26}{outage:>14} ms", "longest without service");
        let _ = writeln!(text, "  {:<26}{:>14} orders/s", "rate", self.rate(run));
        let _ = write!(text, "\n  order to first answer, us");
        for (name, _) in QUANTILES {
            let _ = write!(text, "{:>12}", name.replace('_', "."));
        }
        text.push('\n');
        Self::latency_line("service time", &self.service, &mut text);
        if run.has_rate {
            Self::latency_line("from the instant due", &self.scheduled, &mut text);
        }
        let _ = writeln!(text, "\n  run id {} seed {}", run.id, run.seed);
        text
    }

    fn latency_line(name: &str, histogram: &Histogram<u64>, text: &mut String) {
        let _ = write!(text, "  {name:<25}");
        for (_, quantile) in QUANTILES {
            let nanos = histogram.value_at_quantile(quantile);
            let _ = write!(text, "{:>12}", micros(nanos));
        }
        let _ = writeln!(text, "  of {}", histogram.len());
    }

    /// Orders with an outcome a second.
    fn rate(&self, run: &Run) -> u64 {
        let orders = u128::from(self.resolved) * 1_000_000_000;
        u64::try_from(orders / u128::from(run.elapsed.0.max(1))).unwrap_or(u64::MAX)
    }

    pub(super) fn as_json(&self, run: &Run) -> Value {
        let latency = |histogram: &Histogram<u64>| {
            let mut fields: serde_json::Map<String, Value> = QUANTILES
                .iter()
                .map(|(name, q)| ((*name).to_owned(), histogram.value_at_quantile(*q).into()))
                .collect();
            fields.insert("count".to_owned(), histogram.len().into());
            Value::Object(fields)
        };
        let counts: serde_json::Map<String, Value> = self
            .rows(run)
            .into_iter()
            .map(|(name, count)| (name.replace(',', "").replace(' ', "_"), count.into()))
            .collect();
        let refused: Vec<Value> = self
            .refused
            .iter()
            .map(|((template, reason, is_for_now), count)| {
                json!({
                    "template": template,
                    "reason": reason,
                    "name": reason_name(*template, *reason),
                    "retryable": is_for_now,
                    "count": count,
                })
            })
            .collect();
        json!({
            "run_id": run.id,
            "seed": run.seed,
            "counts": counts,
            "refused": refused,
            "late": self.late,
            "longest_without_service_ns": self.outage_max.0,
            "elapsed_ns": run.elapsed.0,
            "orders_per_second": self.rate(run),
            "service_ns": latency(&self.service),
            "scheduled_ns": run.has_rate.then(|| latency(&self.scheduled)),
        })
    }

    /// The service times in HdrHistogram's V2 encoding, which can be read and added up.
    pub(super) fn write_hdr(&self, path: &Path) -> io::Result<()> {
        let mut bytes = Vec::new();
        V2Serializer::new()
            .serialize(&self.service, &mut bytes)
            .map_err(|e| io::Error::other(e.to_string()))?;
        std::fs::write(path, bytes)
    }

    /// The percentile distribution in the text form that HDR plotters read, in microseconds.
    pub(super) fn write_hgrm(&self, run: &Run, out: &mut dyn Write) -> io::Result<()> {
        let histogram = self.main_histogram(run);
        writeln!(
            out,
            "{:>12} {:>16} {:>10} {:>16}\n",
            "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
        )?;
        let mut count = 0;
        for step in histogram.iter_quantiles(5) {
            count += step.count_since_last_iteration();
            let (value, quantile) = (step.value_iterated_to(), step.quantile_iterated_to());
            write!(out, "{:>12} {quantile:>16.12} {count:>10}", micros(value))?;
            if quantile < 1.0 {
                write!(out, " {:>16.2}", 1.0 / (1.0 - quantile))?;
            }
            writeln!(out)?;
        }
        writeln!(
            out,
            "#[Mean    = {:>12.3}, StdDeviation   = {:>12.3}]",
            histogram.mean() / 1e3,
            histogram.stdev() / 1e3
        )?;
        writeln!(
            out,
            "#[Max     = {:>12}, Total count    = {:>12}]",
            micros(histogram.max()),
            histogram.len()
        )
    }
}

fn reason_name(template: u16, reason: u16) -> String {
    let name = match template {
        204 => OrdRejReason::from_wire(reason).map(OrdRejReason::name),
        206 => CxlRejReason::from_wire(reason).map(CxlRejReason::name),
        _ => BusinessRejectReason::from_wire(reason).map(BusinessRejectReason::name),
    };
    name.map_or_else(|| format!("{template}/{reason}"), str::to_owned)
}

/// Microseconds with one decimal.
fn micros(nanos: u64) -> String {
    let tenths = nanos / 100;
    format!("{}.{}", tenths / 10, tenths % 10)
}

/// Milliseconds with one decimal.
fn millis(span: Nanos) -> String {
    micros(span.0 / 1000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_shown_and_written() {
        let mut figures = Figures::try_new().unwrap();
        for micros in 1..=1000 {
            let span = Nanos(micros * 1000);
            figures.on_latency(Some(span), Some(Nanos(span.0 * 2)));
        }
        figures.resolved = 1000;
        figures.on_refused(204, 13, false);
        let run =
            Run { id: 1, seed: 2, orders: 1001, has_rate: true, elapsed: Nanos(1_000_000_000) };
        let json = figures.as_json(&run);
        assert_eq!(json["orders_per_second"], 1000);
        assert_eq!(json["counts"]["without_an_outcome"], 1);
        assert_eq!(json["refused"][0]["name"], "IncorrectQuantity");
        let p50 = json["service_ns"]["p50"].as_u64().unwrap();
        assert!((499_000..=501_000).contains(&p50), "{p50}");
        let text = figures.as_text(&run);
        assert!(text.contains("from the instant due") && text.contains("IncorrectQuantity"));
        let mut hgrm = Vec::new();
        figures.write_hgrm(&run, &mut hgrm).unwrap();
        let hgrm = String::from_utf8(hgrm).unwrap();
        assert!(
            hgrm.lines().any(|line| line.trim_start().starts_with("1000.") && line.contains("0.5"))
        );
    }
}
