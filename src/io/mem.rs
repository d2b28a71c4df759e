//! Ports in memory: frames in, frames out. For tests, benches and replay.
//!
//! [`MemPort`] takes and gives byte strings; [`Endless`] has its frames made, and forgets what it
//! sends; [`CablePort`]s hand frames to each other.

use super::{Port, PortCx};
use pipeline::frame::{Batch, Frame, Link, Meta, Pool};
use pipeline::snapshot::{Caps, PortId};
use std::collections::VecDeque;
use std::hint::black_box;
use std::io;
use std::sync::{Arc, Mutex};

/// Frames on the way into or out of a [`MemPort`], shared with whoever drives it.
pub type Wire = Arc<Mutex<VecDeque<Vec<u8>>>>;

/// A port whose devices are two queues of byte strings.
#[derive(Debug)]
pub struct MemPort {
    link: Link,
    caps: Caps,
    input: Wire,
    output: Wire,
}

impl MemPort {
    /// A port that receives what is put into `input` and sends into `output`.
    pub fn new(link: Link, caps: Caps, input: Wire, output: Wire) -> MemPort {
        MemPort { link, caps, input, output }
    }
}

impl Port for MemPort {
    fn link(&self) -> Link {
        self.link
    }

    fn caps(&self) -> Caps {
        self.caps
    }

    fn rx(&mut self, batch: &mut Batch, cx: &mut PortCx<'_>) -> io::Result<bool> {
        let mut input = self.input.lock().unwrap_or_else(|e| e.into_inner());
        while batch.room() > 0 {
            let Some(bytes) = input.pop_front() else { return Ok(false) };
            match Frame::copied(&bytes, cx.pool, cx.id) {
                Some(frame) => batch.push(frame),
                None => cx.refuse(pipeline::stages::port::NO_MEMORY),
            }
        }
        Ok(true)
    }

    fn tx(&mut self, queue: &mut VecDeque<Frame>, cx: &mut PortCx<'_>) -> io::Result<usize> {
        let mut output = self.output.lock().unwrap_or_else(|e| e.into_inner());
        let sent = queue.len();
        for frame in queue.drain(..) {
            output.push_back(frame.segments().flatten().copied().collect());
            frame.free(cx.pool);
        }
        Ok(sent)
    }

    fn describe(&self) -> String {
        "memory".to_owned()
    }
}

/// Makes the frames that an [`Endless`] port receives.
pub trait Source: Send {
    /// The next frame, as if received from `port`; `None` when there is none, or no chunk for one.
    fn frame(&mut self, pool: &mut Pool, port: PortId) -> Option<Frame>;
}

/// A port that receives whatever its source makes, and that lets go of what it is given to send.
#[derive(Debug)]
pub struct Endless<S> {
    link: Link,
    caps: Caps,
    source: S,
}

impl<S: Source> Endless<S> {
    /// A port that receives from `source`.
    pub fn new(link: Link, caps: Caps, source: S) -> Endless<S> {
        Endless { link, caps, source }
    }
}

impl<S: Source> Port for Endless<S> {
    fn link(&self) -> Link {
        self.link
    }

    fn caps(&self) -> Caps {
        self.caps
    }

    fn rx(&mut self, batch: &mut Batch, cx: &mut PortCx<'_>) -> io::Result<bool> {
        while batch.room() > 0 {
            let Some(frame) = self.source.frame(cx.pool, cx.id) else { return Ok(false) };
            batch.push(frame);
        }
        Ok(true)
    }

    fn tx(&mut self, queue: &mut VecDeque<Frame>, cx: &mut PortCx<'_>) -> io::Result<usize> {
        let sent = queue.len();
        for frame in queue.drain(..) {
            // As much of a look as is needed to send it.
            black_box(frame.head().first());
            frame.free(cx.pool);
        }
        Ok(sent)
    }

    fn describe(&self) -> String {
        "memory, endless".to_owned()
    }
}

/// Frames on the way from one port of this process to another. They keep their chunks, so all that
/// touch them must have pools of one [`Memory`](pipeline::frame::Memory).
pub type Cable = Arc<Mutex<VecDeque<Frame>>>;

/// A port at the end of two cables: what is sent by one of them is received at the other end without
/// a copy.
#[derive(Debug)]
pub struct CablePort {
    link: Link,
    caps: Caps,
    input: Cable,
    output: Cable,
}

impl CablePort {
    /// A port that receives what is put into `input` and sends into `output`.
    pub fn new(link: Link, caps: Caps, input: Cable, output: Cable) -> CablePort {
        CablePort { link, caps, input, output }
    }
}

impl Port for CablePort {
    fn link(&self) -> Link {
        self.link
    }

    fn caps(&self) -> Caps {
        self.caps
    }

    fn rx(&mut self, batch: &mut Batch, cx: &mut PortCx<'_>) -> io::Result<bool> {
        let mut input = self.input.lock().unwrap_or_else(|e| e.into_inner());
        while batch.room() > 0 {
            let Some(mut frame) = input.pop_front() else { return Ok(false) };
            frame.meta = Meta::received(cx.id);
            batch.push(frame);
        }
        Ok(true)
    }

    fn tx(&mut self, queue: &mut VecDeque<Frame>, _cx: &mut PortCx<'_>) -> io::Result<usize> {
        let mut output = self.output.lock().unwrap_or_else(|e| e.into_inner());
        let sent = queue.len();
        output.append(queue);
        Ok(sent)
    }

    fn describe(&self) -> String {
        "memory, by cable".to_owned()
    }
}
