//! Which flow the next packet is of.

use super::case::Mix;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Zipf};

/// Draws flows, by number.
#[derive(Clone, Debug)]
pub struct Draw {
    flows: usize,
    zipf: Option<Zipf<f64>>,
    random: SmallRng,
}

impl Draw {
    /// Of so many flows, mixed so; `seed` makes the order another one.
    ///
    /// # Panics
    /// Of no flow.
    pub fn new(flows: usize, mix: Mix, seed: u64) -> Draw {
        assert!(flows > 0, "there is a flow to draw");
        let zipf = (mix == Mix::Zipf).then(|| Zipf::new(flows as f64, 1.0).expect("a valid law"));
        Draw { flows, zipf, random: SmallRng::seed_from_u64(seed) }
    }

    /// The next one.
    pub fn next(&mut self) -> usize {
        match &self.zipf {
            Some(law) => law.sample(&mut self.random) as usize - 1,
            None => self.random.random_range(0..self.flows),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FLOWS: usize = 1_000;
    const DRAWS: usize = 200_000;

    fn counts(mix: Mix) -> Vec<usize> {
        let (mut draw, mut counts) = (Draw::new(FLOWS, mix, 7), vec![0; FLOWS]);
        (0..DRAWS).for_each(|_| counts[draw.next()] += 1);
        counts
    }

    /// Whether a count is what the law says, give or take five standard deviations.
    fn is_near(count: usize, share: f64) -> bool {
        let (expected, draws) = (share * DRAWS as f64, DRAWS as f64);
        (count as f64 - expected).abs() < 5.0 * (draws * share * (1.0 - share)).sqrt()
    }

    #[test]
    fn each_flow_is_as_likely() {
        assert!(counts(Mix::Uniform).iter().all(|count| is_near(*count, 1.0 / FLOWS as f64)));
    }

    #[test]
    fn the_nth_flow_is_n_times_rarer_than_the_first() {
        let harmonic: f64 = (1..=FLOWS).map(|n| 1.0 / n as f64).sum();
        for (n, count) in counts(Mix::Zipf).iter().enumerate() {
            let share = 1.0 / ((n + 1) as f64 * harmonic);
            assert!(is_near(*count, share), "flow {n}: {count} of {DRAWS}, share {share}");
        }
    }

    #[test]
    fn a_single_flow_is_always_drawn() {
        for mix in [Mix::Uniform, Mix::Zipf] {
            let mut draw = Draw::new(1, mix, 1);
            assert!((0..100).all(|_| draw.next() == 0));
        }
    }
}
