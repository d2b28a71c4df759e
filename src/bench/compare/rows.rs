//! From values to comparisons.

use super::measure::{MEASURES, Measure};
use crate::bench::report::{Measured, Row};
use crate::bench::stats::Spread;

/// The kernel's tunnel, plain and with receive steering. What we are compared with is the better of
/// them, in each measure.
pub const KERNEL: [&str; 2] = ["kernel-vxlan", "kernel-vxlan-rps"];

/// Another router in user space, which ours are compared with too.
pub const OTHER: &str = "ovs-afxdp";

/// What ours begin with.
pub const OURS: &str = "cableway-";

/// All comparisons that these values allow.
pub fn rows(measured: &[Measured]) -> Vec<Row> {
    let mut rows = Vec::new();
    for measure in MEASURES {
        let of_it: Vec<_> = measured.iter().filter(|values| values.id == measure.id).collect();
        let kernel = baseline(measure, &of_it);
        let other = of_it.iter().find(|values| values.contender == OTHER).copied();
        for values in &of_it {
            let is_kernel = KERNEL.contains(&values.contender.as_str());
            let baseline = kernel.filter(|_| !is_kernel);
            rows.extend(baseline.and_then(|baseline| row(measure, values, baseline)));
            let other = other.filter(|_| values.contender.starts_with(OURS));
            rows.extend(other.and_then(|other| row(measure, values, other)));
        }
    }
    rows
}

/// The better of the kernel's two.
fn baseline<'a>(measure: &Measure, of_it: &[&'a Measured]) -> Option<&'a Measured> {
    let theirs = of_it.iter().filter(|values| KERNEL.contains(&values.contender.as_str()));
    let judged = theirs.filter_map(|values| {
        let median =
            Spread::of(&values.values.iter().flatten().copied().collect::<Vec<_>>())?.median;
        Some((if measure.higher_is_better { median } else { -median }, *values))
    });
    judged.max_by(|a, b| a.0.total_cmp(&b.0)).map(|(_, values)| values)
}

/// A contender against another one, if there is a round in which both were measured.
fn row(measure: &Measure, values: &Measured, baseline: &Measured) -> Option<Row> {
    let rounds = values.values.iter().zip(&baseline.values);
    let samples: Vec<[f64; 2]> = rounds.filter_map(|(a, b)| Some([(*a)?, (*b)?])).collect();
    let median = |which: usize| {
        let column: Vec<f64> = samples.iter().map(|pair| pair[which]).collect();
        Spread::of(&column).map(|spread| spread.median)
    };
    Some(Row {
        id: measure.id.to_owned(),
        contender: values.contender.clone(),
        baseline: baseline.contender.clone(),
        unit: measure.unit.to_owned(),
        higher_is_better: measure.higher_is_better,
        value: median(0)?,
        baseline_value: median(1)?,
        ratio: Spread::of_ratios(&samples),
        pairs: samples.len(),
        samples,
    })
}

/// Pairs from which something may be concluded, if all agree.
const ENOUGH: usize = 3;

/// What a comparison comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Better than the baseline, all of the interval.
    Better,
    /// Worse, all of it.
    Worse,
    /// It can't be told.
    Open,
}

impl Row {
    /// Whether its baseline is the kernel's tunnel.
    pub fn is_against_kernel(&self) -> bool {
        KERNEL.contains(&self.baseline.as_str())
    }

    /// What it comes to; of one or two pairs nothing does. A baseline that carries nothing at all is
    /// beaten by what carries something.
    pub fn outcome(&self) -> Outcome {
        if self.pairs < ENOUGH {
            return Outcome::Open;
        }
        let (low, high) = match self.ratio {
            Some(ratio) => (ratio.low, ratio.high),
            None if self.value > 0.0 => (f64::INFINITY, f64::INFINITY),
            None => return Outcome::Open,
        };
        match (low > 1.0, high < 1.0) {
            (true, _) if self.higher_is_better => Outcome::Better,
            (true, _) => Outcome::Worse,
            (_, true) if self.higher_is_better => Outcome::Worse,
            (_, true) => Outcome::Better,
            _ => Outcome::Open,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn measured(id: &str, contender: &str, values: &[f64]) -> Measured {
        let values = values.iter().map(|value| Some(*value)).collect();
        Measured { id: id.to_owned(), contender: contender.to_owned(), values }
    }

    #[test]
    fn the_baseline_is_the_kernels_better_one() {
        let id = "tcp1_wire";
        let all = [
            measured(id, "kernel-vxlan", &[4.0, 5.0, 6.0]),
            measured(id, "kernel-vxlan-rps", &[6.0, 7.0, 8.0]),
            measured(id, "cableway-tun", &[3.0, 14.0, 16.0]),
            measured(id, "ovs-afxdp", &[1.0, 1.0, 1.0]),
        ];
        let rows = rows(&all);
        let pairs: Vec<_> = rows.iter().map(|r| (&r.contender[..], &r.baseline[..])).collect();
        let rps = "kernel-vxlan-rps";
        let tun = "cableway-tun";
        assert_eq!(pairs, [(tun, rps), (tun, "ovs-afxdp"), ("ovs-afxdp", rps)]);
        assert_eq!((rows[0].value, rows[0].baseline_value), (14.0, 7.0));
        let ratio = rows[0].ratio.unwrap();
        assert_eq!((ratio.median, ratio.low, ratio.high), (2.0, 0.5, 2.0));
        assert_eq!(
            rows.iter().map(Row::outcome).collect::<Vec<_>>(),
            [Outcome::Open, Outcome::Better, Outcome::Worse]
        );
    }

    #[test]
    fn less_is_better_where_it_is() {
        let id = "rr_p50_poll";
        let all = [
            measured(id, "kernel-vxlan", &[40.0; 3]),
            measured(id, "kernel-vxlan-rps", &[60.0; 3]),
            measured(id, "cableway-af_xdp", &[10.0; 3]),
        ];
        let rows = rows(&all);
        assert_eq!(rows.len(), 1);
        assert_eq!((&rows[0].baseline[..], rows[0].outcome()), ("kernel-vxlan", Outcome::Better));
    }

    #[test]
    fn a_round_without_a_value_is_no_pair() {
        let id = "udp60_encap_pps";
        let mut ours = measured(id, "cableway-tun", &[5.0, 6.0, 7.0, 8.0]);
        ours.values[1] = None;
        let rows = rows(&[ours, measured(id, "kernel-vxlan", &[0.0; 4])]);
        assert_eq!((rows[0].pairs, rows[0].ratio), (3, None));
        assert_eq!(rows[0].outcome(), Outcome::Better, "livelock is beaten by anything");
    }
}
