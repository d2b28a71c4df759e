//! All workers as the control side has them: which of them owns which queue, and whether they are
//! well.
//!
//! A device with as many queues as there are workers, or more, has its queue `i` with worker `i`
//! modulo their number: what a flow's packets came in by on one device then is, on another such
//! device, the queue that they leave by. The queues of other devices go to whoever has the fewest.

use crate::config;
use crate::io::Port;
use crate::worker::{Crew, Mode, NewQueue, Pacing, Plan, PortStats, Stats};
use arc_swap::ArcSwap;
use pipeline::drops::Counters;
use pipeline::frame::Memory;
use pipeline::snapshot::{PortId, Snapshot};
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

/// How often workers are looked at.
const LOOK: Duration = Duration::from_secs(1);
/// Looks in a row at which a worker has not moved: then it hangs. A sleeping one moves twice a
/// second.
const STRIKES: u32 = 5;
/// How often it is asked whether workers have done what they were told.
const POLL: Duration = Duration::from_micros(500);
/// How long they may take; beyond that the watch over them will find out why.
const PATIENCE: Duration = Duration::from_secs(10);

/// Something is wrong with a worker.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// It can't be started.
    #[error("worker on core {core}: {source}; `[workers] cores` names the cores")]
    Start {
        /// Its core.
        core: usize,
        /// What was refused.
        source: io::Error,
    },
    /// It can't be given a port.
    #[error("port {port} can't be watched by a worker: {source}")]
    Watch {
        /// The port's number.
        port: u16,
        /// What the kernel said.
        source: io::Error,
    },
    /// Its thread has ended, by an error or a panic.
    #[error("the worker on core {core} has ended {doing}; the log line above says why")]
    Ended {
        /// Its core.
        core: usize,
        /// What it was doing.
        doing: String,
    },
    /// It does not go on.
    #[error(
        "the worker on core {core} has not moved for {seconds} s; it hangs {doing}. Please report it; a \
         restart of the daemon helps"
    )]
    Hangs {
        /// Its core.
        core: usize,
        /// What it is doing.
        doing: String,
        /// For how long.
        seconds: u64,
    },
}

/// A worker, for those who want to know.
#[derive(Clone, Debug)]
pub struct WorkerFacts {
    /// Its core.
    pub core: usize,
    /// Its counters.
    pub stats: Arc<Stats>,
}

/// A queue of a port.
#[derive(Clone, Debug)]
pub struct QueueFacts {
    /// The port.
    pub port: PortId,
    /// Which of the port's queues.
    pub queue: usize,
    /// The worker that owns it: index into [`Workers::facts`].
    pub owner: usize,
    /// What is counted of it.
    pub stats: Arc<PortStats>,
}

/// The workers.
pub struct Workers {
    mode: &'static str,
    facts: Vec<WorkerFacts>,
    /// What closed ports still had.
    closed: Arc<Stats>,
    /// `None` once they were stopped.
    crew: Mutex<Option<Crew>>,
    queues: Mutex<Vec<QueueFacts>>,
}

impl Workers {
    /// Starts a worker on each core of the config, without a port. Their clock begins at `epoch`.
    ///
    /// # Errors
    /// Which worker can't be had. Nothing runs then.
    pub fn start(
        config: &config::Workers,
        memory: &'static Memory,
        snapshot: Arc<ArcSwap<Snapshot>>,
        epoch: Instant,
    ) -> Result<Arc<Workers>, WorkerError> {
        let (mode, name) = match config.mode {
            config::Mode::Poll => (Mode::Poll, "poll"),
            config::Mode::Adaptive => (Mode::Adaptive, "adaptive"),
            config::Mode::Interrupt => (Mode::Interrupt, "interrupt"),
        };
        let pacing = Pacing { mode, spin: config.spin() };
        let cores = config.cores.iter().map(|core| Some(core.get() as usize)).collect();
        Workers::with(name, &Plan { cores, pacing, memory, snapshot, epoch })
    }

    fn with(mode: &'static str, plan: &Plan) -> Result<Arc<Workers>, WorkerError> {
        let crew = Crew::start(plan).map_err(|(core, source)| WorkerError::Start {
            core: core.unwrap_or_default(),
            source,
        })?;
        let facts = crew.workers().iter().map(|worker| WorkerFacts {
            core: worker.core().unwrap_or_default(),
            stats: worker.stats.clone(),
        });
        Ok(Arc::new(Workers {
            mode,
            facts: facts.collect(),
            closed: crew.closed().clone(),
            crew: Mutex::new(Some(crew)),
            queues: Mutex::default(),
        }))
    }

    /// What was told of workers that there are not.
    #[cfg(test)]
    pub(super) fn by_hand(facts: Vec<WorkerFacts>, queues: Vec<QueueFacts>) -> Arc<Workers> {
        let (mode, closed, crew) = ("adaptive", Arc::default(), Mutex::new(None));
        Arc::new(Workers { mode, facts, closed, crew, queues: Mutex::new(queues) })
    }

    /// Gives a port's queues to workers that own them from now on. The tables that lead packets to
    /// the port are to be published after this, unless it was [suspended](Self::suspend).
    ///
    /// # Errors
    /// When a queue can't be watched. The port is not with any worker then.
    ///
    /// # Panics
    /// When a port has no queue.
    pub fn add(&self, id: PortId, queues: Vec<Box<dyn Port>>) -> Result<(), WorkerError> {
        assert!(!queues.is_empty(), "a port has a queue");
        let mut crew = lock(&self.crew);
        let Some(crew) = crew.as_mut() else { return Ok(()) };
        let load: Vec<_> = crew.workers().iter().map(|worker| worker.queues()).collect();
        let owners = owners(load, queues.len());
        let mut all = lock(&self.queues);
        // What was counted of a port goes on with the device that takes its place.
        let mut old = all.extract_if(.., |queue| queue.port == id).map(|queue| queue.stats);
        let stats: Vec<_> = owners.iter().map(|_| old.next().unwrap_or_default()).collect();
        drop(old);
        let facts = owners.iter().zip(&stats).enumerate().map(|(queue, (owner, stats))| {
            QueueFacts { port: id, queue, owner: *owner, stats: stats.clone() }
        });
        all.extend(facts);
        let new = owners.into_iter().zip(queues).zip(stats);
        let new = new.map(|((owner, port), stats)| NewQueue { owner, port, stats }).collect();
        crew.add(id, new).map_err(|source| {
            all.retain(|queue| queue.port != id);
            WorkerError::Watch { port: id.0, source }
        })
    }

    /// Waits until whatever arrives by the ports that were [added](Self::add) is received.
    pub async fn begun(&self) {
        self.until(Crew::has_obeyed).await;
    }

    /// Takes a port away; tables that lead nowhere near it are to be published before this. When it
    /// returns the device is closed, and no frame is under way to this number, which may be used
    /// again.
    pub async fn remove(&self, id: PortId) {
        self.suspend(id).await;
        lock(&self.queues).retain(|queue| queue.port != id);
    }

    /// Takes a port's device away; what is sent to it is dropped until it is [added](Self::add)
    /// again, and what is counted of it goes on then. When it returns the device is closed.
    pub async fn suspend(&self, id: PortId) {
        self.tell(|crew| crew.remove(id));
        self.until(Crew::has_obeyed).await;
        self.tell(|crew| crew.purge(id));
        let leaving: Vec<_> = self.queues().into_iter().filter(|queue| queue.port == id).collect();
        let closed =
            |crew: &Crew| crew.has_obeyed() && leaving.iter().all(|queue| queue.stats.is_closed());
        self.until(closed).await;
    }

    fn tell(&self, f: impl FnOnce(&mut Crew)) {
        if let Some(crew) = lock(&self.crew).as_mut() {
            f(crew);
        }
    }

    async fn until(&self, is_so: impl Fn(&Crew) -> bool) {
        let start = Instant::now();
        while !lock(&self.crew).as_ref().is_none_or(&is_so) && start.elapsed() < PATIENCE {
            tokio::time::sleep(POLL).await;
        }
    }

    /// Watches over the workers until something is wrong with one. `name` names ports.
    pub async fn watch(&self, name: impl Fn(PortId) -> String) -> WorkerError {
        let mut seen = vec![(0, 0); self.facts.len()];
        loop {
            tokio::time::sleep(LOOK).await;
            for (worker, (turns, strikes)) in seen.iter_mut().enumerate() {
                let WorkerFacts { core, stats } = &self.facts[worker];
                let doing = || stats.counters.doing.tell(&name);
                if !self.is_running(worker) {
                    return WorkerError::Ended { core: *core, doing: doing() };
                }
                let now = stats.turns.get();
                *strikes = if now == *turns { *strikes + 1 } else { 0 };
                *turns = now;
                if *strikes == STRIKES {
                    let seconds = u64::from(STRIKES) * LOOK.as_secs();
                    return WorkerError::Hangs { core: *core, doing: doing(), seconds };
                }
            }
        }
    }

    /// Whether a worker's thread runs.
    pub fn is_running(&self, worker: usize) -> bool {
        let crew = lock(&self.crew);
        let handle = crew.as_ref().and_then(|crew| crew.workers().get(worker));
        handle.is_some_and(|handle| !handle.is_finished())
    }

    /// Ends all of them, and closes their ports.
    ///
    /// # Errors
    /// What ended one earlier, if something did, or that one hangs.
    pub fn stop(&self) -> io::Result<()> {
        let crew = lock(&self.crew).take();
        crew.map_or(Ok(()), Crew::stop)
    }

    /// `poll`, `adaptive` or `interrupt`.
    pub fn mode(&self) -> &'static str {
        self.mode
    }

    /// The workers, in the config's order.
    pub fn facts(&self) -> &[WorkerFacts] {
        &self.facts
    }

    /// All counters of frames.
    pub fn counters(&self) -> impl Iterator<Item = &Counters> {
        self.stats().map(|stats| &stats.counters)
    }

    /// Free chunks in the workers' pools, as of a second ago.
    pub fn pooled(&self) -> u64 {
        self.stats().map(|stats| stats.chunks.get()).sum()
    }

    fn stats(&self) -> impl Iterator<Item = &Stats> {
        self.facts.iter().map(|facts| &*facts.stats).chain([&*self.closed])
    }

    /// The queues of all ports.
    pub fn queues(&self) -> Vec<QueueFacts> {
        lock(&self.queues).clone()
    }
}

/// Who is to own the queues of a new port; see above. `load` says how many each worker has.
fn owners(mut load: Vec<usize>, queues: usize) -> Vec<usize> {
    let workers = load.len();
    if queues >= workers {
        return (0..queues).map(|queue| queue % workers).collect();
    }
    let mut least = || {
        let worker = (0..workers).min_by_key(|worker| load[*worker]).unwrap_or_default();
        load[worker] += 1;
        worker
    };
    (0..queues).map(|_| least()).collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

#[cfg(test)]
mod tests;
