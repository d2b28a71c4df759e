//! Measures a course: many short rounds, the clock read before and after each batch.

use super::course::Course;
use super::scene::Scene;
use super::watch::Watch;
use crate::bench::allocations;
use crate::interrupt;
use pipeline::frame::Pool;
use std::sync::Barrier;
use std::time::{Duration, Instant};

/// Batches in a round: what is measured of one is over within a fraction of a scheduler's tick, so
/// that most rounds are not interrupted, and the median is of those.
const BATCHES: usize = 16;
/// Rounds at least, however long they take.
const LEAST: usize = 10;

/// What one core measured.
#[derive(Debug)]
pub struct Measured {
    /// Nanoseconds a packet, of each round.
    pub rounds: Vec<f64>,
    /// Packets in all of them.
    pub packets: u64,
    /// Allocations for these.
    pub allocations: u64,
    /// Nanoseconds of each stage, of each round of its own pass.
    pub stages: Vec<Vec<f64>>,
}

/// Measures a scene on the core that this thread is on, for so long. `together` has all cores begin
/// at a time.
///
/// # Errors
/// When frames got lost; then what was measured is something else.
pub(super) fn measure(
    scene: &Scene,
    seed: u64,
    pool: &mut Pool,
    duration: Duration,
    together: &Barrier,
) -> Result<Measured, String> {
    let mut course = scene.course(seed);
    let each = scene.traffic.packets_per_frame() as u64;
    let mut measured = Measured {
        rounds: Vec::with_capacity(1 << 16),
        packets: 0,
        allocations: 0,
        stages: Vec::new(),
    };
    together.wait();
    // Queues grow, caches and the branch predictor learn.
    repeat(duration / 10, || _ = round(&mut course, pool));
    together.wait();
    repeat(duration, || {
        let Round { nanoseconds, frames, allocations } = round(&mut course, pool);
        let packets = frames * each;
        measured.rounds.push(nanoseconds / packets as f64);
        measured.packets += packets;
        measured.allocations += allocations;
    });
    let mut watch = Watch::new();
    repeat(duration / 4, || {
        for _ in 0..BATCHES {
            course.receive(pool);
            watch.begin();
            course.pass(pool, Some(&mut watch));
        }
        measured.stages.push(watch.take());
    });
    match course.fault() {
        Some(fault) => Err(fault),
        None => Ok(measured),
    }
}

/// Does it for so long, and a few times at least; less when the user wants to stop.
fn repeat(duration: Duration, mut f: impl FnMut()) {
    let (start, mut times) = (Instant::now(), 0);
    while (start.elapsed() < duration || times < LEAST) && !interrupt::is_raised() {
        f();
        times += 1;
    }
}

struct Round {
    nanoseconds: f64,
    frames: u64,
    allocations: u64,
}

fn round(course: &mut Course, pool: &mut Pool) -> Round {
    let (mut time, mut frames, mut allocations) = (Duration::ZERO, 0, 0);
    for _ in 0..BATCHES {
        frames += course.receive(pool) as u64;
        let made = allocations::made();
        let start = Instant::now();
        course.pass(pool, None);
        time += start.elapsed();
        allocations += allocations::made() - made;
    }
    Round { nanoseconds: time.as_nanos() as f64, frames, allocations }
}
