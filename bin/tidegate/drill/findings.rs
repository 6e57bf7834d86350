//! The findings: the figures of a run, and the claims that must hold of it.
//!
//! A claim holds only if all who can say something about it agree. That orders were accepted once
//! each is said by the clients' own counts, by the judge, and by the keys in the replayed engine;
//! that state survived, by the engine that stopped and by the journal executed again.

use serde_json::{Value, json};
use tidegate::client::judge::Claim;
use tidegate::vocabulary::units::Nanos;

use super::evidence::{Evidence, Split};
use super::exercise::{CLIENTS, Plan, Ran};

/// Quantiles of the service time that are shown.
pub(crate) const QUANTILES: [(&str, f64); 5] =
    [("p50", 0.5), ("p90", 0.9), ("p99", 0.99), ("p99.9", 0.999), ("max", 1.0)];

/// One claim and whether it holds.
pub(crate) struct Check {
    /// A word for tables and JSON.
    pub(crate) name: &'static str,
    /// The claim.
    pub(crate) sentence: String,
    pub(crate) holds: bool,
    /// The figures that it was decided by.
    pub(crate) figures: String,
}

/// What was found of one run.
pub(crate) struct Findings {
    pub(crate) plan: Plan,
    pub(crate) figures: Figures,
    /// What breaks the judge's claims, in words, a few.
    pub(crate) violations: Vec<String>,
    pub(crate) checks: Vec<Check>,
}

/// The figures of a run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    /// Orders accepted, by the clients' counts, the judge, and the replayed engine.
    pub(crate) accepted: [u64; 3],
    /// Orders accepted before the kill, by the journal indexes of their reports.
    pub(crate) accepted_before: u64,
    /// Acknowledged and not in the journal as sent, or not in the replayed engine: a loss may show
    /// in either, since the indexes of lost records are given out again.
    pub(crate) lost: u64,
    /// Accepted more than once, or as an order that the journal does not hold at that index.
    pub(crate) twice: u64,
    /// Duplicates sent under an old number, under a new one, and answered.
    pub(crate) duplicates: [u64; 3],
    /// Requests sent again because they never happened.
    pub(crate) resent: u64,
    pub(crate) recovered: u64,
    pub(crate) compared: u64,
    /// Reconnects, of each client.
    pub(crate) reconnects: Vec<u64>,
    /// From the kill until the engine listened, the first client was answered, and the last was.
    pub(crate) listening_after: Nanos,
    pub(crate) served_after: Option<Nanos>,
    pub(crate) all_served_after: Option<Nanos>,
    pub(crate) records: u64,
    pub(crate) trades: u64,
    /// Digests: (live, replayed) of the output and of the state.
    pub(crate) output: [String; 2],
    pub(crate) state: [String; 2],
    /// Service times in ns at [`QUANTILES`].
    pub(crate) service: [u64; 5],
    pub(crate) service_count: u64,
}

impl Findings {
    /// Draws the findings from what was seen and what was left behind.
    pub(crate) fn of(plan: Plan, ran: &Ran, evidence: &Evidence) -> Self {
        let figures = figures(ran, evidence);
        let mut checks =
            vec![accepted_once(&plan, &figures, ran), killed_while_serving(&figures, evidence)];
        for claim in Claim::ALL {
            let count = evidence.verdict.count(claim);
            checks.push(Check {
                name: claim.name(),
                sentence: claim.sentence().to_owned(),
                holds: count == 0,
                figures: format!("{count} violations"),
            });
        }
        checks.push(duplicates_answered(&figures, ran));
        checks.push(recovered(&figures));
        checks.push(journal_clean(evidence));
        checks.push(replay_equal(&figures, ran, evidence));
        let violations = evidence.verdict.violations.iter().take(8);
        let violations = violations.map(|v| format!("{}: {}", v.claim, v.what)).collect();
        Self { plan, figures, violations, checks }
    }

    /// Whether every claim holds.
    pub(crate) fn holds(&self) -> bool {
        self.checks.iter().all(|check| check.holds)
    }

    /// Whether the kill missed: it hit no engine that was serving every client, so that the run
    /// shows nothing about recovery, and nothing may have been there to recover. Never so when
    /// another claim is broken.
    pub(crate) fn is_missed(&self) -> bool {
        let may_break = [KILLED_WHILE_SERVING, RECOVERED_BY_NUMBER];
        let mut broken = self.checks.iter().filter(|check| !check.holds).map(|check| check.name);
        broken.clone().any(|name| name == KILLED_WHILE_SERVING)
            && broken.all(|name| may_break.contains(&name))
    }

    pub(crate) fn as_json(&self) -> Value {
        let f = &self.figures;
        let checks = self.checks.iter().map(|check| {
            json!({
                "claim": check.name,
                "sentence": check.sentence,
                "holds": check.holds,
                "figures": check.figures,
            })
        });
        let [accepted, accepted_by_judge, keys] = f.accepted;
        let service: serde_json::Map<String, Value> = QUANTILES
            .iter()
            .zip(f.service)
            .map(|((name, _), nanos)| (name.replace('.', "_"), nanos.into()))
            .collect();
        json!({
            "holds": self.holds(),
            "seed": self.plan.seed,
            "orders": self.plan.orders,
            "kill_at_asked": per_mille(self.plan.kill_per_mille),
            "accepted_before_kill": f.accepted_before,
            "accepted": accepted,
            "accepted_by_judge": accepted_by_judge,
            "keys_after_replay": keys,
            "acknowledged_and_lost": f.lost,
            "executed_twice": f.twice,
            "duplicates_old_number": f.duplicates[0],
            "duplicates_new_number": f.duplicates[1],
            "duplicates_answered": f.duplicates[2],
            "resent": f.resent,
            "recovered": f.recovered,
            "compared": f.compared,
            "reconnects": f.reconnects,
            "listening_after_ns": f.listening_after.0,
            "served_after_ns": f.served_after.map(|span| span.0),
            "all_served_after_ns": f.all_served_after.map(|span| span.0),
            "records": f.records,
            "trades": f.trades,
            "output_digest": { "live": f.output[0], "replayed": f.output[1] },
            "state_digest": { "live": f.state[0], "replayed": f.state[1] },
            "service_ns": service,
            "service_count": f.service_count,
            "claims": checks.collect::<Vec<_>>(),
            "violations": self.violations,
        })
    }
}

const KILLED_WHILE_SERVING: &str = "killed-while-serving";
const RECOVERED_BY_NUMBER: &str = "recovered-by-number";

/// A share as it is asked for and shown: 500 is "50.0 %".
pub(crate) fn per_mille(share: u64) -> String {
    format!("{}.{} %", share / 10, share % 10)
}

/// A field of every client's counts, added up.
fn sum(ran: &Ran, name: &str) -> u64 {
    ran.clients.iter().map(|client| count(client, name)).sum()
}

fn count(client: &Value, name: &str) -> u64 {
    client.get("counts").and_then(|counts| counts.get(name)).and_then(Value::as_u64).unwrap_or(0)
}

fn text(value: &Value, key: &str) -> String {
    value.get(key).and_then(Value::as_str).unwrap_or("missing").to_owned()
}

fn number(value: &Value, key: &str) -> Option<u64> {
    value.get(key).and_then(Value::as_u64)
}

fn figures(ran: &Ran, evidence: &Evidence) -> Figures {
    let Evidence { verified, replayed, verdict, lines, service, .. } = evidence;
    let after = |at: Option<Nanos>| at.map(|at| at.since(ran.killed));
    let served: Vec<Option<Nanos>> = lines.iter().map(|line| line.served_again).collect();
    let of_lines = |of: fn(&Split) -> u64| lines.iter().map(of).sum();
    Figures {
        accepted: [
            sum(ran, "accepted") + sum(ran, "answered_by_status"),
            verdict.figures.accepted_unique,
            number(replayed, "keys").unwrap_or(0),
        ],
        accepted_before: of_lines(|line| line.accepted_before),
        lost: verdict.count(Claim::NothingMissing)
            + of_lines(|line| line.accepted_before + line.accepted_after)
                .saturating_sub(number(replayed, "keys").unwrap_or(0)),
        twice: verdict.count(Claim::AcceptedOnce),
        duplicates: [
            sum(ran, "duplicates_old_number"),
            sum(ran, "duplicates_new_number"),
            sum(ran, "duplicates_answered"),
        ],
        resent: sum(ran, "resent_after_a_loss"),
        recovered: of_lines(|line| line.recovered),
        compared: verdict.figures.replays_compared,
        reconnects: ran.clients.iter().map(|client| count(client, "reconnects")).collect(),
        listening_after: ran.listening.since(ran.killed),
        served_after: after(served.iter().copied().flatten().min()),
        all_served_after: after(served.iter().copied().max().flatten())
            .filter(|_| served.iter().all(Option::is_some)),
        records: number(verified, "records").unwrap_or(0),
        trades: number(replayed, "trades").unwrap_or(0),
        output: [text(&ran.stopped, "output_digest"), text(replayed, "output_digest")],
        state: [text(&ran.stopped, "state_digest"), text(replayed, "state_digest")],
        service: QUANTILES.map(|(_, quantile)| service.value_at_quantile(quantile)),
        service_count: service.len(),
    }
}

fn accepted_once(plan: &Plan, f: &Figures, ran: &Ran) -> Check {
    let [by_clients, by_judge, keys] = f.accepted;
    let unresolved = sum(ran, "without_an_outcome");
    Check {
        name: "accepted-is-unique",
        sentence: "Every order sent was accepted, and none a second time.".to_owned(),
        holds: f.accepted == [plan.orders; 3] && unresolved == 0,
        figures: format!(
            "{} sent; accepted: {by_clients} say the clients, {by_judge} the judge, {keys} the \
             replayed engine; {unresolved} open",
            plan.orders
        ),
    }
}

fn killed_while_serving(f: &Figures, evidence: &Evidence) -> Check {
    let lines = &evidence.lines;
    let clients = usize::try_from(CLIENTS).unwrap_or(0);
    let both_sides = lines.iter().filter(|l| l.accepted_before > 0 && l.accepted_after > 0).count();
    let is_hit = f.reconnects.len() == clients
        && f.reconnects.iter().all(|&count| count >= 1)
        && lines.len() == clients
        && both_sides == clients
        && evidence.restart_index.is_some();
    let reconnects: Vec<String> = f.reconnects.iter().map(u64::to_string).collect();
    Check {
        name: KILLED_WHILE_SERVING,
        sentence: "SIGKILL hit an engine that was serving every client, and each came back."
            .to_owned(),
        holds: is_hit,
        figures: format!(
            "reconnects of each client {}; {both_sides} of {CLIENTS} had orders accepted before \
             and after",
            reconnects.join(" ")
        ),
    }
}

fn duplicates_answered(f: &Figures, ran: &Ran) -> Check {
    let [silent, asked, answered] = f.duplicates;
    let unexpected = sum(ran, "unexpected_answers");
    Check {
        name: "duplicates-answered",
        sentence: "A duplicate under a new number got its order's state, under an old one \
                   nothing."
            .to_owned(),
        holds: asked == answered && unexpected == 0,
        figures: format!(
            "{asked} asked, {answered} answered, {silent} silent; {unexpected} unexpected answers"
        ),
    }
}

fn recovered(f: &Figures) -> Check {
    Check {
        name: RECOVERED_BY_NUMBER,
        sentence: "Reports seen before the kill were sent again after it and compared.".to_owned(),
        holds: f.compared > 0,
        figures: format!("{} missed and recovered, {} seen and compared", f.recovered, f.compared),
    }
}

fn journal_clean(evidence: &Evidence) -> Check {
    let verified = &evidence.verified;
    Check {
        name: "journal-clean",
        sentence: "Every record's checksum and the chain between them are whole.".to_owned(),
        holds: verified.get("sound").and_then(Value::as_bool) == Some(true),
        figures: format!(
            "{} records; {}",
            number(verified, "records").unwrap_or(0),
            text(verified, "end")
        ),
    }
}

fn replay_equal(f: &Figures, ran: &Ran, evidence: &Evidence) -> Check {
    let live = ran.stopped.get("stopped").and_then(|stopped| number(stopped, "index"));
    let replayed = number(&evidence.replayed, "index");
    let is_equal = |[live, replayed]: &[String; 2]| live == replayed && live != "missing";
    let index = |index: Option<u64>| index.map_or_else(|| "none".to_owned(), |i| i.to_string());
    Check {
        name: "replay-is-live",
        sentence: "The journal, executed again, gives the engine that stopped: index and both \
                   digests."
            .to_owned(),
        holds: live.is_some() && live == replayed && is_equal(&f.output) && is_equal(&f.state),
        figures: format!(
            "index {} = {}, output {} = {}, state {} = {}",
            index(live),
            index(replayed),
            f.output[0],
            f.output[1],
            f.state[0],
            f.state[1]
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::Histogram;
    use tidegate::client::judge::Verdict;

    /// A run without a fault: a hundred orders of each client, half of them before the kill.
    fn honest() -> (Plan, Ran, Evidence) {
        let plan = Plan {
            orders: 400,
            duplicates: 20,
            cancels: 5,
            window: 16,
            seed: 1,
            kill_per_mille: 500,
        };
        let client = json!({ "counts": {
            "accepted": 99, "answered_by_status": 1, "without_an_outcome": 0, "reconnects": 1,
            "duplicates_old_number": 10, "duplicates_new_number": 10, "duplicates_answered": 10,
            "resent_after_a_loss": 3, "unexpected_answers": 0,
        }});
        let ran = Ran {
            killed: Nanos(1_000),
            listening: Nanos(2_000),
            clients: vec![client; 4],
            stopped: json!({
                "stopped": { "index": 500 }, "output_digest": "0a", "state_digest": "0b",
            }),
        };
        let mut verdict = Verdict::default();
        verdict.figures.accepted_unique = 400;
        verdict.figures.replays_compared = 7;
        let line = Split {
            connects: 2,
            accepted_before: 50,
            accepted_after: 50,
            recovered: 2,
            served_again: Some(Nanos(3_000)),
            ..Split::default()
        };
        let evidence = Evidence {
            verified: json!({ "sound": true, "records": 500, "end": "zeros follow" }),
            replayed: json!({
                "index": 500, "keys": 400, "output_digest": "0a", "state_digest": "0b",
                "trades": 9,
            }),
            verdict,
            restart_index: Some(250),
            lines: vec![line; 4],
            service: Histogram::new(3).unwrap(),
        };
        (plan, ran, evidence)
    }

    #[track_caller]
    fn check(broken: &[&str], is_missed: bool, change: impl FnOnce(&mut Ran, &mut Evidence)) {
        let (plan, mut ran, mut evidence) = honest();
        change(&mut ran, &mut evidence);
        let findings = Findings::of(plan, &ran, &evidence);
        let found: Vec<&str> =
            findings.checks.iter().filter(|check| !check.holds).map(|check| check.name).collect();
        assert_eq!(found, broken);
        assert_eq!(findings.holds(), broken.is_empty());
        assert_eq!(findings.is_missed(), is_missed);
    }

    fn count(ran: &mut Ran, name: &str, value: u64) {
        ran.clients[2]["counts"][name] = value.into();
    }

    #[test]
    fn every_witness_can_break_its_claim() {
        let (accepted, serving) = ("accepted-is-unique", "killed-while-serving");
        let (replay, answered) = ("replay-is-live", "duplicates-answered");
        check(&[], false, |_, _| {});
        // The orders: by the clients, the judge, the replayed engine.
        check(&[accepted], false, |r, _| count(r, "accepted", 98));
        check(&[accepted], false, |r, _| count(r, "without_an_outcome", 1));
        check(&[accepted], false, |_, e| e.verdict.figures.accepted_unique = 401);
        check(&[accepted], false, |_, e| e.replayed["keys"] = 399.into());
        // A kill that hit nothing, in each way it can be seen; alone it is a miss.
        check(&[serving], true, |r, _| count(r, "reconnects", 0));
        check(&[serving], true, |_, e| e.lines[3].accepted_after = 0);
        check(&[serving], true, |_, e| e.lines[3].accepted_before = 0);
        check(&[serving], true, |_, e| e.restart_index = None);
        check(&[serving], true, |_, e| e.lines.truncate(3));
        check(&[serving, "recovered-by-number"], true, |r, e| {
            count(r, "reconnects", 0);
            e.verdict.figures.replays_compared = 0;
        });
        check(&[accepted, serving], false, |r, _| {
            count(r, "reconnects", 0);
            count(r, "accepted", 98);
        });
        check(&[answered], false, |r, _| count(r, "duplicates_answered", 9));
        check(&[answered], false, |r, _| count(r, "unexpected_answers", 1));
        check(&["recovered-by-number"], false, |_, e| e.verdict.figures.replays_compared = 0);
        check(&["journal-clean"], false, |_, e| e.verified["sound"] = false.into());
        check(&["journal-clean"], false, |_, e| e.verified = json!({}));
        check(&[replay], false, |_, e| e.replayed["index"] = 499.into());
        check(&[replay], false, |_, e| e.replayed["output_digest"] = "0c".into());
        check(&[replay], false, |r, _| r.stopped["state_digest"] = "0c".into());
        // Two that are missing are not two that agree.
        check(&[replay], false, |r, e| {
            r.stopped["output_digest"] = Value::Null;
            e.replayed["output_digest"] = Value::Null;
        });
    }

    #[test]
    fn what_was_acknowledged_and_is_in_no_journal_is_counted_as_lost() {
        let (plan, ran, mut evidence) = honest();
        assert_eq!(Findings::of(plan, &ran, &evidence).figures.lost, 0);
        evidence.replayed["keys"] = 376.into();
        assert_eq!(Findings::of(plan, &ran, &evidence).figures.lost, 24);
    }

    #[test]
    fn a_share_is_shown_as_it_is_meant() {
        assert_eq!([per_mille(50), per_mille(500), per_mille(949)], ["5.0 %", "50.0 %", "94.9 %"]);
    }
}
