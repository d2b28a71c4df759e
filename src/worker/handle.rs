//! A worker as its [`Crew`](super::Crew) holds it: its thread, its counters, its commands.

use super::closer::{Leaving, ToCloser};
use super::hand::{Door, Hands};
use super::pace::Pace;
use super::stats::{PortStats, Stats};
use super::{Slot, Way, Worker};
use crate::io::{Port, PortCx};
use arc_swap::ArcSwap;
use mio::unix::SourceFd;
use mio::{Interest, Registry, Token};
use pipeline::doing::Step;
use pipeline::frame::{Batch, Memory, Pool};
use pipeline::marks::Marks;
use pipeline::snapshot::{PortId, Snapshot};
use pipeline::{Pipeline, Turn};
use std::io;
use std::os::fd::AsRawFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;

/// What the control side asks of a worker.
pub(super) enum Command {
    /// To serve a queue of a port, under this key.
    Add { id: PortId, key: usize, port: Box<dyn Port>, stats: Arc<PortStats> },
    /// To hand frames for this port to another worker.
    Lead { id: PortId, to: usize },
    /// To give its queues of a port away, and to forget the port.
    Remove(PortId),
    /// To end what others handed over for a port before they forgot it.
    Purge(PortId),
    /// To give all ports away and to end all frames, but to go on taking over.
    Close,
    /// To end.
    Stop,
}

/// A running worker.
pub struct Handle {
    /// Its counters.
    pub stats: Arc<Stats>,
    core: Option<usize>,
    /// The ports under its keys.
    keys: Vec<Option<PortId>>,
    registry: Registry,
    commands: mpsc::Sender<Command>,
    told: u64,
    obeyed: Arc<AtomicU64>,
    door: Arc<Door>,
    thread: JoinHandle<io::Result<()>>,
}

/// The worker's end of its handle.
pub(super) struct Inside {
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(super) door: Arc<Door>,
    commands: mpsc::Receiver<Command>,
    obeyed: Arc<AtomicU64>,
}

/// What a worker is made with.
pub(super) struct Outfit {
    pub(super) core: Option<usize>,
    pub(super) pace: Pace,
    pub(super) hands: Hands,
    pub(super) door: Arc<Door>,
    pub(super) closer: ToCloser,
    pub(super) memory: &'static Memory,
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
    pub(super) epoch: Instant,
}

impl Handle {
    /// Starts a worker on its core (or wherever the scheduler puts it), without a port.
    ///
    /// # Errors
    /// When the thread cannot be made or pinned. Nothing runs then.
    pub(super) fn start(outfit: Outfit) -> io::Result<Handle> {
        let Outfit { core, pace, door, snapshot, .. } = outfit;
        let stats = Arc::new(Stats::default());
        let (sender, commands) = mpsc::channel();
        let obeyed = Arc::new(AtomicU64::new(0));
        let inside = Inside { snapshot, door: door.clone(), commands, obeyed: obeyed.clone() };
        let registry = pace.registry().try_clone()?;
        let worker = Worker {
            ports: Vec::new(),
            ways: Vec::new(),
            ready: Marks::default(),
            pending: Marks::default(),
            hands: outfit.hands,
            pool: Pool::new(outfit.memory),
            pipeline: Pipeline::new(),
            batch: Batch::new(),
            stats: stats.clone(),
            closer: outfit.closer,
            epoch: outfit.epoch,
            now: 0,
            next_tick: 0,
            next_settle: 0,
            first: 0,
            starving: false,
        };
        let (ready, pinned) = mpsc::channel();
        let name = core.map_or_else(|| "cableway".to_owned(), |core| format!("cableway-{core}"));
        let thread = std::thread::Builder::new().name(name).spawn(move || {
            let is_pinned = core.is_none_or(pin);
            let _ = ready.send(is_pinned);
            let result = if is_pinned { super::run(worker, inside, pace) } else { Ok(()) };
            if let Err(error) = &result {
                tracing::error!("the worker on core {}: {error}", core.unwrap_or_default());
            }
            result
        })?;
        match pinned.recv() {
            Ok(true) => {}
            _ => return Err(io::Error::other(refused(core))),
        }
        let (keys, told) = (Vec::new(), 0);
        Ok(Handle { stats, core, keys, registry, commands: sender, told, obeyed, door, thread })
    }

    /// The core that it is pinned to.
    pub fn core(&self) -> Option<usize> {
        self.core
    }

    /// Queues that it serves.
    pub fn queues(&self) -> usize {
        self.keys.iter().flatten().count()
    }

    /// Whether its thread has ended, which it does on its own only after an error.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Whether it sleeps until something comes.
    pub fn is_asleep(&self) -> bool {
        self.door.bell.is_asleep()
    }

    /// Whether it has carried out all that it was told.
    pub fn has_obeyed(&self) -> bool {
        self.obeyed.load(Ordering::Acquire) == self.told
    }

    /// Begins to watch a queue that the worker is then to be given under the key that is returned.
    pub(super) fn watch(&mut self, id: PortId, port: &dyn Port) -> io::Result<usize> {
        let key = self.keys.iter().position(Option::is_none).unwrap_or(self.keys.len());
        if let Some(fd) = port.readiness() {
            let fd = fd.as_raw_fd();
            self.registry.register(&mut SourceFd(&fd), Token(key), Interest::READABLE)?;
        }
        self.keys.resize(self.keys.len().max(key + 1), None);
        self.keys[key] = Some(id);
        Ok(key)
    }

    /// Frees the keys of a port that the worker was told to remove.
    pub(super) fn forget(&mut self, id: PortId) {
        self.keys.iter_mut().filter(|key| **key == Some(id)).for_each(|key| *key = None);
    }

    pub(super) fn tell(&mut self, command: Command) {
        // A worker that has ended hears nothing, which its thread's result tells.
        let _ = self.commands.send(command);
        self.told += 1;
        self.door.commands.raise();
        self.door.call();
    }

    /// What its thread ended with.
    pub(super) fn join(self) -> io::Result<()> {
        self.thread.join().unwrap_or_else(|panic| {
            let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
            let text = text.or_else(|| panic.downcast_ref::<String>().cloned());
            Err(io::Error::other(format!("panicked: {}", text.unwrap_or_default())))
        })
    }
}

/// Pins the calling thread; a core beyond those that we may use is not even tried.
fn pin(core: usize) -> bool {
    let may_use = core_affinity::get_core_ids().unwrap_or_default();
    may_use.iter().any(|id| id.id == core)
        && core_affinity::set_for_current(core_affinity::CoreId { id: core })
}

fn refused(core: Option<usize>) -> String {
    let available = core_affinity::get_core_ids().unwrap_or_default();
    let available: Vec<_> = available.iter().map(|core| core.id.to_string()).collect();
    format!(
        "the worker could not be pinned to core {}; this process may use {}",
        core.unwrap_or_default(),
        available.join(", ")
    )
}

impl Inside {
    /// Whether there is a command. One relaxed load a turn.
    #[inline]
    pub(super) fn is_commanded(&self) -> bool {
        self.door.commands.is_raised()
    }

    /// Carries all commands out; whether the worker is to end.
    pub(super) fn obey(&self, worker: &mut Worker, pace: &mut Pace) -> io::Result<bool> {
        self.door.commands.take();
        worker.stats.counters.doing.set(Step::Obey);
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Add { id, key, port, stats } => {
                    pace.begin(port.as_ref());
                    worker.add(id, key, port, stats);
                }
                Command::Lead { id, to } => worker.lead(id, Way::Other(to)),
                Command::Remove(id) => {
                    worker.remove(|slot| slot.id == id, pace)?;
                    worker.forget(id);
                }
                Command::Purge(id) => worker.purge(id),
                Command::Close => {
                    worker.remove(|_| true, pace)?;
                    worker.close(&self.snapshot.load());
                }
                Command::Stop => {
                    worker.close(&self.snapshot.load());
                    self.obeyed.fetch_add(1, Ordering::Release);
                    return Ok(true);
                }
            }
            self.obeyed.fetch_add(1, Ordering::Release);
        }
        Ok(false)
    }
}

impl Worker {
    fn add(&mut self, id: PortId, key: usize, mut port: Box<dyn Port>, stats: Arc<PortStats>) {
        let mut cx = PortCx { id, pool: &mut self.pool, counters: &self.stats.counters };
        if let Err(error) = port.begin(&mut cx) {
            stats.fail(&error);
        }
        if self.ports.len() <= key {
            self.ports.resize_with(key + 1, || None);
            self.ready.fit(key + 1);
            self.pending.fit(key + 1);
        }
        self.ports[key] = Some(Slot { id, port, stats, heard: self.now, sent: 0 });
        self.ready.set(key);
        if !matches!(self.way(id), Way::Own(_)) {
            self.lead(id, Way::Own(key));
        }
    }

    /// Gives ports away to be closed; what is still queued for them is dropped.
    fn remove(&mut self, which: impl Fn(&Slot) -> bool, pace: &mut Pace) -> io::Result<()> {
        for key in 0..self.ports.len() {
            let Some(slot) = self.ports[key].take_if(|slot| which(slot)) else { continue };
            self.ready.clear(key);
            self.pending.clear(key);
            pace.end(slot.port.as_ref())?;
            let Slot { id, port, stats, .. } = slot;
            // Without a closer the process is at its end.
            let _ = self.closer.send(Some(Leaving { id, port, stats, since: self.now }));
        }
        Ok(())
    }

    /// Forgets a port; what is still queued for it is dropped.
    fn forget(&mut self, id: PortId) {
        self.lead(id, Way::Nowhere);
        self.discard(id);
    }

    /// Ends what others handed over for a port that is no more.
    fn purge(&mut self, id: PortId) {
        self.hands.look();
        self.take_over();
        self.discard(id);
    }

    /// Ends all frames and gives the chunks back.
    fn close(&mut self, snapshot: &Snapshot) {
        self.ways.clear();
        self.hands.look();
        self.take_over();
        let Worker { pipeline, pool, stats, now, .. } = self;
        pipeline.close(&mut Turn { snapshot, pool, counters: &stats.counters, now: *now });
        stats.counters.held.set(0);
        pool.flush();
        stats.chunks.set(pool.idle() as u64);
    }
}
