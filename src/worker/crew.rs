//! All workers of a process, and the thread that closes what they give away.

use super::closer::Closer;
use super::hand::{Door, Hands};
use super::handle::{Command, Handle, Outfit};
use super::pace::{Pace, Pacing};
use super::stats::{PortStats, Stats};
use crate::io::Port;
use arc_swap::ArcSwap;
use pipeline::frame::Memory;
use pipeline::snapshot::{PortId, Snapshot};
use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long workers may take to do what they are told when they are to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// What workers are made with.
#[derive(Clone, Debug)]
pub struct Plan {
    /// A worker for each: its core, or wherever the scheduler puts it.
    pub cores: Vec<Option<usize>>,
    /// How they wait.
    pub pacing: Pacing,
    /// The frames' memory.
    pub memory: &'static Memory,
    /// The tables.
    pub snapshot: Arc<ArcSwap<Snapshot>>,
    /// When their clocks, which are one, begin.
    pub epoch: Instant,
}

/// A queue that a worker is to have.
pub struct NewQueue {
    /// Which worker.
    pub owner: usize,
    /// The queue.
    pub port: Box<dyn Port>,
    /// Where it is counted.
    pub stats: Arc<PortStats>,
}

/// Running workers. Dropping it does not stop them; [`Crew::stop`] does.
pub struct Crew {
    workers: Vec<Handle>,
    closer: Closer,
}

impl Crew {
    /// Starts the workers, without a port.
    ///
    /// # Errors
    /// Which worker cannot be had, and why. Nothing runs then.
    pub fn start(plan: &Plan) -> Result<Crew, (Option<usize>, io::Error)> {
        let first = plan.cores.first().copied().flatten();
        let mut crew = Crew {
            workers: Vec::with_capacity(plan.cores.len()),
            closer: Closer::start(plan.memory).map_err(|error| (first, error))?,
        };
        match crew.hire(plan) {
            Ok(()) => Ok(crew),
            Err(error) => {
                let _ = crew.stop();
                Err(error)
            }
        }
    }

    fn hire(&mut self, plan: &Plan) -> Result<(), (Option<usize>, io::Error)> {
        let mut paces = Vec::with_capacity(plan.cores.len());
        let mut doors = Vec::with_capacity(plan.cores.len());
        for core in &plan.cores {
            let (pace, waker) = Pace::new(plan.pacing).map_err(|error| (*core, error))?;
            paces.push(pace);
            doors.push(Door::new(waker));
        }
        let hands = Hands::join(&doors);
        let outfits = paces.into_iter().zip(hands).zip(doors).zip(&plan.cores);
        for (((pace, hands), door), core) in outfits {
            let outfit = Outfit {
                core: *core,
                pace,
                hands,
                door,
                closer: self.closer.sender.clone(),
                memory: plan.memory,
                snapshot: plan.snapshot.clone(),
                epoch: plan.epoch,
            };
            self.workers.push(Handle::start(outfit).map_err(|error| (*core, error))?);
        }
        Ok(())
    }

    /// The workers.
    pub fn workers(&self) -> &[Handle] {
        &self.workers
    }

    /// What became of frames that ports still had when they were closed.
    pub fn closed(&self) -> &Arc<Stats> {
        &self.closer.stats
    }

    /// Gives workers the queues of a port: one owner each. All other workers hand frames for the
    /// port to those.
    ///
    /// # Errors
    /// When a queue's readiness cannot be watched. Nothing was given to anybody then.
    ///
    /// # Panics
    /// When there is no queue, or no such worker.
    pub fn add(&mut self, id: PortId, queues: Vec<NewQueue>) -> io::Result<()> {
        let owners: Vec<_> = queues.iter().map(|queue| queue.owner).collect();
        let mut commands = Vec::with_capacity(queues.len());
        for NewQueue { owner, mut port, stats } in queues {
            stats.open(port.as_mut());
            match self.workers[owner].watch(id, port.as_ref()) {
                Ok(key) => commands.push((owner, key, port, stats)),
                Err(error) => {
                    owners.iter().for_each(|owner| self.workers[*owner].forget(id));
                    return Err(error);
                }
            }
        }
        for (owner, key, port, stats) in commands {
            self.workers[owner].tell(Command::Add { id, key, port, stats });
        }
        // Now that the owners have been told.
        for (worker, handle) in self.workers.iter_mut().enumerate() {
            if !owners.contains(&worker) {
                handle.tell(Command::Lead { id, to: owners[worker % owners.len()] });
            }
        }
        Ok(())
    }

    /// Takes a port away from all workers. It is closed, and its device gone, some time later: see
    /// [`PortStats::is_closed`]. Its number may be used again when all workers [have
    /// obeyed](Self::has_obeyed) this, then [`purge`](Self::purge), and then that.
    pub fn remove(&mut self, id: PortId) {
        for worker in &mut self.workers {
            worker.tell(Command::Remove(id));
            worker.forget(id);
        }
    }

    /// Ends what is still on its way between workers for a port that all of them have forgotten.
    pub fn purge(&mut self, id: PortId) {
        self.workers.iter_mut().for_each(|worker| worker.tell(Command::Purge(id)));
    }

    /// Whether all workers that are still there have carried out what they were told.
    pub fn has_obeyed(&self) -> bool {
        self.workers.iter().all(|worker| worker.has_obeyed() || worker.is_finished())
    }

    /// Ends the workers: frames are settled, chunks given back, devices closed.
    ///
    /// # Errors
    /// What ended a worker earlier, if something did, or that it hangs: then it is left behind.
    pub fn stop(mut self) -> io::Result<()> {
        let start = Instant::now();
        // First all cease to hand over, then each takes over what is left.
        for command in [|| Command::Close, || Command::Stop] {
            self.workers.iter_mut().for_each(|worker| worker.tell(command()));
            while !self.has_obeyed() && start.elapsed() < PATIENCE {
                std::thread::sleep(Duration::from_micros(200));
            }
        }
        let mut result = Ok(());
        for worker in self.workers {
            let core = worker.core().unwrap_or_default();
            let hangs = !worker.has_obeyed() && !worker.is_finished();
            let ended = if hangs { Err(io::Error::other("hangs")) } else { worker.join() };
            if let Err(error) = ended {
                result = Err(io::Error::other(format!("the worker on core {core}: {error}")));
            }
        }
        result.and(self.closer.stop())
    }
}
