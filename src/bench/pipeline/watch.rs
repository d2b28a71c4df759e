//! Which stage takes how long: the clock is read after each.

use pipeline::stages::{STAGES, StageId};
use std::time::Instant;

/// Times of the stages, over many batches.
#[derive(Debug)]
pub struct Watch {
    last: Instant,
    /// Nanoseconds, by stage.
    spent: Vec<f64>,
    /// What one look at the clock takes, in nanoseconds.
    look: f64,
}

impl Watch {
    /// A watch that takes its own looks at the clock off what it tells.
    pub fn new() -> Watch {
        Watch { last: Instant::now(), spent: vec![0.0; STAGES.len()], look: look() }
    }

    /// What follows is the first stage's.
    pub fn begin(&mut self) {
        self.last = Instant::now();
    }

    /// What has passed is this stage's.
    pub fn lap(&mut self, stage: StageId) {
        let now = Instant::now();
        let passed = now.duration_since(self.last).as_nanos() as f64;
        self.spent[stage as usize] += (passed - self.look).max(0.0);
        self.last = now;
    }

    /// Nanoseconds of each stage since the last call.
    pub fn take(&mut self) -> Vec<f64> {
        self.spent.iter_mut().map(std::mem::take).collect()
    }
}

impl Default for Watch {
    fn default() -> Self {
        Watch::new()
    }
}

/// What a look at the clock takes, in nanoseconds: the mean of a hundred, the least of a hundred of
/// these.
fn look() -> f64 {
    const LOOKS: u32 = 100;
    let mean = || {
        let start = Instant::now();
        let mut last = start;
        (0..LOOKS).for_each(|_| last = Instant::now());
        last.duration_since(start).as_nanos() as f64 / f64::from(LOOKS)
    };
    (0..100).map(|_| mean()).fold(f64::INFINITY, f64::min)
}
