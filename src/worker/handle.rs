//! A worker as the control side holds it: its thread, its counters, its commands.

use super::pace::Pace;
use super::{Pacing, Slot, Worker};
use crate::io::{KernelDrop, Port};
use arc_swap::ArcSwap;
use mio::Waker;
use pipeline::Pipeline;
use pipeline::drops::{Counter, Counters};
use pipeline::frame::{Batch, Memory, Pool};
use pipeline::snapshot::{PortId, Snapshot};
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::thread::JoinHandle;
use std::time::Instant;
use tokio::sync::oneshot;

/// What the control side asks of a worker.
pub enum Command {
    /// To take a port over.
    Add(PortId, Box<dyn Port>, Arc<PortStats>),
    /// To put another port in the place of one, to close that and hand it back.
    Replace(PortId, Box<dyn Port>, oneshot::Sender<Box<dyn Port>>),
    /// To close a port and hand it back.
    Remove(PortId, oneshot::Sender<Box<dyn Port>>),
    /// To close everything and end.
    Stop,
}

/// What a worker counts. It alone writes; anyone reads.
#[derive(Debug, Default)]
pub struct Stats {
    /// Frames, by what became of them.
    pub counters: Counters,
}

/// What is counted of one port.
#[derive(Debug, Default)]
pub struct PortStats {
    /// Frames received.
    pub rx_frames: Counter,
    /// Bytes received, link-layer header included.
    pub rx_bytes: Counter,
    /// Frames sent.
    pub tx_frames: Counter,
    /// Bytes sent, link-layer header included.
    pub tx_bytes: Counter,
    /// Errors of the device.
    pub errors: Counter,
    kernel: Mutex<Vec<KernelDrop>>,
    last_error: Mutex<Option<String>>,
}

impl PortStats {
    /// What the kernel dropped, as of the last look, about a second ago.
    pub fn kernel_drops(&self) -> Vec<KernelDrop> {
        self.kernel.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// The last error of the device.
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    pub(super) fn survey(&self, port: &mut dyn Port) {
        *self.kernel.lock().unwrap_or_else(|e| e.into_inner()) = port.kernel_drops();
    }

    #[cold]
    pub(super) fn fail(&self, error: &io::Error) {
        self.errors.add(1);
        *self.last_error.lock().unwrap_or_else(|e| e.into_inner()) = Some(error.to_string());
    }
}

/// The ports of a worker and what is counted of them, as of now.
pub type Counted = Arc<Mutex<Vec<(PortId, Arc<PortStats>)>>>;

/// A running worker. Dropping the handle does not stop it; [`Handle::stop`] does.
pub struct Handle {
    /// Its counters.
    pub stats: Arc<Stats>,
    core: Option<usize>,
    ports: Counted,
    commands: mpsc::Sender<Command>,
    flag: Arc<AtomicBool>,
    waker: Waker,
    thread: JoinHandle<io::Result<()>>,
}

/// The worker's end of its handle.
pub(super) struct Inside {
    pub(super) snapshot: Arc<ArcSwap<Snapshot>>,
    commands: mpsc::Receiver<Command>,
    flag: Arc<AtomicBool>,
}

/// Starts a worker on `core` (or wherever the scheduler puts it) with its first ports.
///
/// # Errors
/// When the thread cannot be made or pinned, or a port cannot be watched. Nothing runs then.
pub fn spawn(
    name: &str,
    core: Option<usize>,
    pacing: Pacing,
    memory: &'static Memory,
    snapshot: Arc<ArcSwap<Snapshot>>,
    ports: Vec<(PortId, Box<dyn Port>)>,
) -> io::Result<Handle> {
    let (mut pace, waker) = Pace::new(pacing)?;
    let mut slots = Vec::with_capacity(ports.len());
    for (at, (id, port)) in ports.into_iter().enumerate() {
        pace.watch(port.as_ref(), at)?;
        slots.push(Slot { id, port, stats: Arc::default() });
    }
    let known: Vec<_> = slots.iter().map(|slot| (slot.id, slot.stats.clone())).collect();
    let stats = Arc::new(Stats::default());
    let (sender, receiver) = mpsc::channel();
    let flag = Arc::new(AtomicBool::new(false));
    let inside = Inside { snapshot, commands: receiver, flag: flag.clone() };
    let worker_stats = stats.clone();
    let (ready, pinned) = mpsc::channel();
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        let is_pinned = core.is_none_or(pin);
        let _ = ready.send(is_pinned);
        if !is_pinned {
            return Ok(());
        }
        super::run(Worker::new(slots, memory, worker_stats), inside, pace)
    })?;
    match pinned.recv() {
        Ok(true) => {}
        _ => return Err(io::Error::other(refused(core))),
    }
    Ok(Handle {
        stats,
        core,
        ports: Arc::new(Mutex::new(known)),
        commands: sender,
        flag,
        waker,
        thread,
    })
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

impl Handle {
    /// The core that it is pinned to.
    pub fn core(&self) -> Option<usize> {
        self.core
    }

    /// Its ports and what is counted of them. The list stays up to date.
    pub fn ports(&self) -> &Counted {
        &self.ports
    }

    /// Whether it has that port.
    pub fn has(&self, id: PortId) -> bool {
        let ports = self.ports.lock().unwrap_or_else(|e| e.into_inner());
        ports.iter().any(|(port, _)| *port == id)
    }

    /// Whether its thread has ended, which it does on its own only after an error.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Gives it a port.
    pub fn add(&self, id: PortId, port: Box<dyn Port>) {
        let stats = Arc::new(PortStats::default());
        self.ports.lock().unwrap_or_else(|e| e.into_inner()).push((id, stats.clone()));
        self.tell(Command::Add(id, port, stats));
    }

    /// Puts another device in the place of a port's; what was counted of it stays. The old one comes
    /// back as with [`remove`](Self::remove).
    pub fn replace(&self, id: PortId, port: Box<dyn Port>) -> oneshot::Receiver<Box<dyn Port>> {
        let (back, old) = oneshot::channel();
        self.tell(Command::Replace(id, port, back));
        old
    }

    /// Takes a port away. It comes back closed, to be dropped by who can wait: the kernel takes its
    /// time when a device goes. Nothing comes when the worker has no such port, or has ended.
    pub fn remove(&self, id: PortId) -> oneshot::Receiver<Box<dyn Port>> {
        self.ports.lock().unwrap_or_else(|e| e.into_inner()).retain(|(port, _)| *port != id);
        let (back, port) = oneshot::channel();
        self.tell(Command::Remove(id, back));
        port
    }

    /// Ends it: frames are settled, chunks given back, devices closed.
    ///
    /// # Errors
    /// What ended it earlier, if something did.
    pub fn stop(self) -> io::Result<()> {
        self.tell(Command::Stop);
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the worker panicked")))
    }

    fn tell(&self, command: Command) {
        // A worker that has ended hears nothing, which `stop` reports.
        let _ = self.commands.send(command);
        self.flag.store(true, Ordering::Release);
        let _ = self.waker.wake();
    }
}

impl Inside {
    /// Whether there is a command. One relaxed load a turn.
    pub(super) fn commanded(&self) -> bool {
        self.flag.load(Ordering::Relaxed)
    }

    /// Carries all commands out; whether the worker is to end.
    pub(super) fn obey(&self, worker: &mut Worker, pace: &mut Pace) -> io::Result<bool> {
        self.flag.store(false, Ordering::Relaxed);
        std::sync::atomic::fence(Ordering::Acquire);
        while let Ok(command) = self.commands.try_recv() {
            match command {
                Command::Add(id, port, stats) => {
                    pace.watch(port.as_ref(), id.index())?;
                    worker.add(Slot { id, port, stats });
                }
                Command::Replace(id, port, back) => {
                    pace.watch(port.as_ref(), id.index())?;
                    let _ = back.send(worker.replace(id, port));
                }
                Command::Remove(id, back) => {
                    // Nobody waits for it any more: then it goes here.
                    let _ = worker.remove(id).map(|port| back.send(port));
                }
                Command::Stop => return Ok(true),
            }
        }
        Ok(false)
    }
}

impl Worker {
    pub(super) fn new(ports: Vec<Slot>, memory: &'static Memory, stats: Arc<Stats>) -> Worker {
        Worker {
            ports,
            pool: Pool::new(memory),
            pipeline: Pipeline::new(),
            batch: Batch::new(),
            stats,
            epoch: Instant::now(),
            now: 0,
            next_tick: 0,
            next_survey: 0,
            first: 0,
        }
    }
}
