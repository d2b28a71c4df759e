//! A port in memory: frames in, frames out. For tests, benches and replay.

use super::{Port, PortCx};
use pipeline::frame::{Batch, Frame, Link};
use pipeline::snapshot::Caps;
use std::collections::VecDeque;
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
