//! What workers count, for whoever asks.

use crate::io::{KernelDrop, Meter, Port};
use pipeline::drops::{Counter, Counters};
use std::fmt;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a worker counts. It alone writes; anyone reads.
#[derive(Debug, Default)]
pub struct Stats {
    /// Frames, by what became of them.
    pub counters: Counters,
    /// Turns of its loop: it grows as long as the worker lives, at least twice a second.
    pub turns: Counter,
    /// Chunks that are free in its pool, as of the last look, about a second ago.
    pub chunks: Counter,
}

/// What is counted of one queue of a port. Its worker alone writes.
#[derive(Default)]
pub struct PortStats {
    /// Frames received.
    pub rx_frames: Counter,
    /// Bytes received, link-layer header included.
    pub rx_bytes: Counter,
    /// Frames sent.
    pub tx_frames: Counter,
    /// Bytes sent, link-layer header included.
    pub tx_bytes: Counter,
    /// Of the frames to be sent, those that other workers handed over.
    pub taken: Counter,
    /// Errors of the device.
    pub errors: Counter,
    /// Chunks that it holds, as of the last look, about a second ago.
    pub chunks: Counter,
    meter: Mutex<Option<Box<dyn Meter>>>,
    last_error: Mutex<Option<String>>,
    closed: AtomicBool,
}

impl PortStats {
    /// They are this port's from now on, in addition to one's before; takes its meter.
    pub(super) fn open(&self, port: &mut dyn Port) {
        *self.meter.lock().unwrap_or_else(|e| e.into_inner()) = port.meter();
        self.closed.store(false, Ordering::Release);
    }

    /// What the kernel dropped: asked now, unless the port is gone; then what was told last.
    pub fn kernel_drops(&self) -> Vec<KernelDrop> {
        let mut meter = self.meter.lock().unwrap_or_else(|e| e.into_inner());
        meter.as_mut().map(|meter| meter.kernel_drops()).unwrap_or_default()
    }

    /// The last error of the device.
    pub fn last_error(&self) -> Option<String> {
        self.last_error.lock().unwrap_or_else(|e| e.into_inner()).clone()
    }

    #[cold]
    pub(super) fn fail(&self, error: &io::Error) {
        self.errors.add(1);
        *self.last_error.lock().unwrap_or_else(|e| e.into_inner()) = Some(error.to_string());
    }

    /// Whether the port is closed and its device gone.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    pub(super) fn close(&self) {
        self.chunks.set(0);
        self.closed.store(true, Ordering::Release);
    }
}

impl fmt::Debug for PortStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PortStats { rx_frames, tx_frames, taken, errors, .. } = self;
        let counts = [rx_frames, tx_frames, taken, errors].map(Counter::get);
        write!(
            f,
            "PortStats(received {}, sent {}, taken over {}, errors {})",
            counts[0], counts[1], counts[2], counts[3]
        )
    }
}
