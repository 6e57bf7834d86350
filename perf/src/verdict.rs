//! From slices to a verdict: ratio, resolution, green, red or grey.
//!
//! The machine's speed drifts by tens of per cent within a minute, so two figures taken one after
//! the other cannot be compared. Slices alternate instead, and each pair of neighbours gives one
//! ratio of p50s; the **ratio** of a comparison is the median over all pairs, which a few
//! disturbed pairs cannot move.
//!
//! How fine a difference can such a run see at all? It is asked of the same run: a floor is
//! measured against a second process of the same floor, whose ratio ought to be 1. The
//! **resolution** is the median over the pairs of `|ratio - 1|`: how far off a typical pair is
//! where nothing differs. It is never below the other reading of the same figures, `|median - 1|`,
//! which can be zero by luck.
//!
//! A gate is **green** or **red** only if the ratio is farther from it than the resolution, else
//! **grey**: this run cannot tell. Fewer than [`PAIR_COUNT_MIN`] pairs are always grey.

use serde::Serialize;

/// Pairs without which there is no verdict.
pub(crate) const PAIR_COUNT_MIN: usize = 21;

/// What a ratio must keep: `least <= ratio <= most`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(crate) struct Gate {
    /// At least this; 0 where less is simply better.
    pub(crate) least: f64,
    /// At most this.
    pub(crate) most: f64,
}

/// What the run says about a gate.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Verdict {
    /// Kept, by more than the resolution.
    Green,
    /// Missed, by more than the resolution.
    Red,
    /// This run cannot tell.
    Grey,
    /// There is no gate.
    None,
}

impl Verdict {
    /// The word in the table.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Green => "green",
            Self::Red => "red",
            Self::Grey => "grey",
            Self::None => "-",
        }
    }
}

/// The middle value; the mean of the middle two for an even count; `None` for none.
pub(crate) fn median(values: &[f64]) -> Option<f64> {
    quantile(values, 0.5)
}

/// The value below which the given share lies, with linear interpolation.
pub(crate) fn quantile(values: &[f64], share: f64) -> Option<f64> {
    assert!((0.0..=1.0).contains(&share));
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = share * f64::from(u32::try_from(sorted.len().checked_sub(1)?).ok()?);
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "in [0, len)")]
    let below = rank as usize;
    let lower = *sorted.get(below)?;
    let upper = *sorted.get(below + 1).unwrap_or(&lower);
    Some(lower + (upper - lower) * rank.fract())
}

/// The resolution of a run, from the ratios of floor against floor.
pub(crate) fn resolution(floor_ratios: &[f64]) -> Option<f64> {
    let deviations: Vec<f64> = floor_ratios.iter().map(|ratio| (ratio - 1.0).abs()).collect();
    median(&deviations)
}

/// Judges a ratio over `pair_count` pairs against its gate. The margin is the distance to the
/// bound that is nearest, from inside or from outside.
pub(crate) fn judge(ratio: f64, resolution: f64, gate: Option<Gate>, pair_count: usize) -> Verdict {
    assert!(resolution >= 0.0);
    let Some(Gate { least, most }) = gate else {
        return Verdict::None;
    };
    assert!(least < most);
    let margin = (ratio - least).abs().min((most - ratio).abs());
    if pair_count < PAIR_COUNT_MIN || margin <= resolution {
        Verdict::Grey
    } else if (least..=most).contains(&ratio) {
        Verdict::Green
    } else {
        Verdict::Red
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn median_and_quartiles() {
        let check = |values: &[f64], expected: [Option<f64>; 3]| {
            let found = [quantile(values, 0.25), median(values), quantile(values, 0.75)];
            assert_eq!(found, expected, "{values:?}");
        };
        check(&[], [None, None, None]);
        check(&[3.0], [Some(3.0), Some(3.0), Some(3.0)]);
        check(&[4.0, 2.0], [Some(2.5), Some(3.0), Some(3.5)]);
        check(&[5.0, 1.0, 3.0], [Some(2.0), Some(3.0), Some(4.0)]);
        check(&[1.0, 1.0, 1.0, 1.0, 900.0], [Some(1.0), Some(1.0), Some(1.0)]);
    }

    #[test]
    fn resolution_is_the_typical_miss_and_not_the_lucky_middle() {
        let check = |ratios: &[f64], expected: Option<f64>| {
            assert_eq!(resolution(ratios), expected, "{ratios:?}");
        };
        check(&[], None);
        check(&[1.0, 1.0, 1.0], Some(0.0));
        check(&[0.5, 1.0, 1.5], Some(0.5)); // the median ratio is 1, and yet a pair is half off
        check(&[1.25, 1.25, 1.25], Some(0.25)); // a bias counts as much as a spread
        check(&[1.0, 1.0, 9.0], Some(0.0)); // one disturbed pair does not
    }

    #[test]
    fn resolution_is_never_below_the_deviation_of_the_median() {
        let mut state = 0x9e37_79b9_u32;
        for _ in 0..2_000 {
            let mut draw = || {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                0.5 + f64::from(state >> 8) / f64::from(1_u32 << 24)
            };
            let ratios: Vec<f64> = (0..21).map(|_| draw()).collect();
            let of_median = (median(&ratios).unwrap() - 1.0).abs();
            assert!(resolution(&ratios).unwrap() >= of_median, "{ratios:?}");
        }
    }

    #[test]
    fn verdicts() {
        use Verdict::{Green, Grey, None, Red};
        let check = |ratio, resolution, gate: Option<(f64, f64)>, pair_count, expected| {
            let gate = gate.map(|(least, most)| Gate { least, most });
            let found = judge(ratio, resolution, gate, pair_count);
            assert_eq!(found, expected, "{ratio} {resolution} {gate:?} {pair_count}");
        };
        let goal = Some((0.0, 1.10));
        let parity = Some((0.95, 1.05));
        //    ratio  resol. gate  pairs
        check(1.04, 0.02, goal, 21, Green);
        check(0.70, 0.02, goal, 21, Green);
        check(1.09, 0.02, goal, 21, Grey); // kept, but by less than the run can see
        check(1.11, 0.02, goal, 21, Grey); // missed, but by less than the run can see
        check(1.20, 0.02, goal, 21, Red);
        check(1.04, 0.07, goal, 21, Grey);
        check(1.10, 0.00, goal, 21, Grey); // exactly on the gate
        check(1.04, 0.02, goal, 20, Grey); // too few pairs for any verdict
        check(9.00, 0.02, goal, 20, Grey);
        check(1.01, 0.01, parity, 21, Green);
        check(0.99, 0.01, parity, 21, Green);
        check(0.80, 0.01, parity, 21, Red); // lower is not the same either
        check(1.20, 0.01, parity, 21, Red);
        check(0.96, 0.02, parity, 21, Grey);
        check(0.94, 0.02, parity, 21, Grey);
        check(7.00, 0.02, Option::None, 21, None);
    }
}
