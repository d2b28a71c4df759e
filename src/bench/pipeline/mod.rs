//! `cableway bench pipeline`: how long packets take, in memory.
//!
//! ```text
//!               not timed                 timed
//!  player ─ port in memory ─ batch ─┬─ stages ─ queue ─ port in memory ─┬─ batch …
//!                                 clock       of one node, or of two   clock
//! ```
//! Two nodes are made from configs by the daemon's own code ([`node`]), with its stages, tables,
//! packet memory and ports, but without devices and without sleep. Traffic is made just before it is
//! received, batch by batch ([`traffic`]); timed is what follows: all stages, the port's queue, the
//! port that lets go of the frames, and the freeing of their memory. On the whole path from pod to
//! pod that is both nodes, with the frames' way from one to the other.
//!
//! A round is sixteen batches, over within a fraction of a scheduler's tick ([`mod@measure`]). Stages are
//! timed each in a pass of its own, where the clock is read after each ([`watch`]).

mod case;
mod course;
mod figure;
mod flows;
mod measure;
pub mod node;
pub mod routes;
mod scene;
pub mod table;
pub mod traffic;
mod watch;

pub use case::{Action, Case, Mix, Scope, Size, short};
pub use course::Course;
pub use figure::{Core, Figure, Stage};
pub use scene::{Scene, Stock};
pub use watch::Watch;

use crate::interrupt;
use core_affinity::CoreId;
use measure::{Measured, measure};
use pipeline::frame::{Memory, Pool};
use std::sync::Barrier;
use std::time::Duration;

/// Chunks of packet memory for each core: enough for batches of super-frames, and for what they are
/// cut into.
const CHUNKS: u32 = 1 << 14;

/// What to measure, and how.
#[derive(Clone, Debug)]
pub struct Plan {
    /// The cases, those with as many routes one after the other.
    pub cases: Vec<Case>,
    /// How many cores.
    pub cores: usize,
    /// How long each case is measured, besides what leads to it and the stages' own pass.
    pub duration: Duration,
}

/// Why nothing could be measured, or not all.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There are not as many cores.
    #[error("{asked} cores are asked for, and this process may use {available}")]
    Cores {
        /// How many are asked for.
        asked: usize,
        /// How many there are.
        available: usize,
    },
    /// A thread could not be kept on its core.
    #[error("a thread could not be pinned to core {0}")]
    Pin(usize),
    /// There is no packet memory.
    #[error(transparent)]
    Memory(#[from] pipeline::frame::MemoryError),
    /// Packets did not go where they were to.
    #[error("{case}: {fault}; this is a fault of Cableway, not of the machine")]
    Fault {
        /// The case.
        case: String,
        /// What happened.
        fault: String,
    },
}

/// The names of the tunnels to measure: the plain sample of each kind.
pub fn tunnels() -> Vec<&'static str> {
    encap::Kind::ALL.iter().map(|kind| kind.name()).collect()
}

/// Measures case after case, and gives each figure to `tell`; whether all were measured: not when the
/// user interrupted it.
///
/// # Errors
/// What kept it from it.
pub fn run(plan: &Plan, mut tell: impl FnMut(Figure)) -> Result<bool, Error> {
    let cores = cores(plan.cores)?;
    let memory = Memory::new(CHUNKS * cores.len() as u32, true)?;
    let mut pools: Vec<_> = cores.iter().map(|_| Pool::new(memory)).collect();
    let mut stock = Stock::default();
    for case in &plan.cases {
        let named = |fault| Error::Fault { case: case.to_string(), fault };
        let scene = stock.scene(case, &mut pools[0]).map_err(named)?;
        let mut measured = Vec::new();
        for (core, outcome) in on_cores(&cores, &mut pools, &scene, plan.duration) {
            measured.push((core.id, outcome.ok_or(Error::Pin(core.id))?.map_err(named)?));
        }
        // What was cut short is no figure.
        if interrupt::is_raised() {
            return Ok(false);
        }
        tell(Figure::new(case, &scene.traffic, &measured));
    }
    Ok(true)
}

/// The last ones of those that we may run on: the first ones are often the kernel's favourites.
fn cores(asked: usize) -> Result<Vec<CoreId>, Error> {
    let mut all = core_affinity::get_core_ids().unwrap_or_default();
    let available = all.len();
    match available.checked_sub(asked) {
        Some(others) if asked > 0 => Ok(all.split_off(others)),
        _ => Err(Error::Cores { asked, available }),
    }
}

/// Measures on all cores at a time; what each measured, or `None` where it could not be pinned.
fn on_cores(
    cores: &[CoreId],
    pools: &mut [Pool],
    scene: &Scene,
    duration: Duration,
) -> Vec<(CoreId, Option<Result<Measured, String>>)> {
    let together = Barrier::new(cores.len());
    std::thread::scope(|scope| {
        let start = |(core, pool): (&CoreId, _)| {
            let (core, together) = (*core, &together);
            scope.spawn(move || {
                let is_pinned = core_affinity::set_for_current(core);
                let measured = measure(scene, core.id as u64, pool, duration, together);
                (core, is_pinned.then_some(measured))
            })
        };
        let threads: Vec<_> = cores.iter().zip(pools).map(start).collect();
        threads.into_iter().map(|thread| thread.join().expect("measuring does not panic")).collect()
    })
}

#[cfg(test)]
mod tests;
