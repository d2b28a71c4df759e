//! Frames on their way out, a queue for each port, and which of the queues have any.

use crate::drops::Reason;
use crate::frame::{Frame, Run};
use crate::marks::Marks;
use crate::snapshot::PortId;
use crate::stages::{port, settle};
use std::collections::VecDeque;
use std::ops::Index;

/// Frames that may wait for one port: what a few super-frames are cut into.
const QUEUE: usize = 1024;

/// The queues, by port.
#[derive(Debug, Default)]
pub struct Queues {
    each: Vec<VecDeque<Frame>>,
    /// Those that are not empty, and perhaps some that were emptied since somebody looked.
    busy: Marks,
}

impl Queues {
    /// Makes a queue for each port below `end`, and takes the others away; `f` gets their frames.
    pub fn fit(&mut self, end: usize, f: impl FnMut(Frame)) {
        if self.each.len() != end {
            self.each.drain(end.min(self.each.len())..).flatten().for_each(f);
            self.each.resize_with(end, VecDeque::new);
            self.busy.fit(end);
        }
    }

    /// Puts a frame into the queue of `port`.
    ///
    /// # Errors
    /// The frame, and why it can't wait there.
    #[inline]
    pub fn push(&mut self, frame: Frame, port: PortId) -> Result<(), (Frame, Reason)> {
        match self.each.get_mut(port.index()) {
            Some(queue) if queue.len() < QUEUE => {
                queue.push_back(frame);
                self.busy.set(port.index());
                Ok(())
            }
            Some(_) => Err((frame, port::FULL)),
            None => Err((frame, settle::NO_PORT)),
        }
    }

    /// Puts frames into the queue of `port`; those that can't wait there, and why.
    #[inline]
    pub(crate) fn push_run<'a>(&mut self, mut run: Run<'a>, port: PortId) -> (Run<'a>, Reason) {
        let Some(queue) = self.each.get_mut(port.index()) else { return (run, settle::NO_PORT) };
        // Its length is known: the queue asks for room once.
        queue.extend(run.split(QUEUE.saturating_sub(queue.len())));
        self.busy.set(port.index());
        (run, port::FULL)
    }

    /// The first port from `from` on whose queue is not empty.
    #[inline]
    pub fn next_busy(&mut self, from: usize) -> Option<PortId> {
        let mut at = from;
        while let Some(index) = self.busy.next(at..self.each.len()) {
            if !self.each[index].is_empty() {
                return Some(PortId(index as u16));
            }
            self.busy.clear(index);
            at = index + 1;
        }
        None
    }

    /// The queue of a port, if it has one.
    pub fn get(&self, port: PortId) -> Option<&VecDeque<Frame>> {
        self.each.get(port.index())
    }

    /// The queue of a port, if it has one. To put something in, use [`push`](Self::push).
    #[inline]
    pub fn get_mut(&mut self, port: PortId) -> Option<&mut VecDeque<Frame>> {
        self.each.get_mut(port.index())
    }

    /// All queues, in the order of the ports.
    pub fn iter_mut(&mut self) -> std::slice::IterMut<'_, VecDeque<Frame>> {
        self.each.iter_mut()
    }

    /// Frames in all queues.
    pub fn held(&self) -> usize {
        let (mut held, mut at) = (0, 0);
        while let Some(index) = self.busy.next(at..self.each.len()) {
            held += self.each[index].len();
            at = index + 1;
        }
        held
    }
}

/// The queue of the port with this number; it panics where there is none.
impl Index<usize> for Queues {
    type Output = VecDeque<Frame>;

    fn index(&self, index: usize) -> &VecDeque<Frame> {
        &self.each[index]
    }
}

impl<'a> IntoIterator for &'a mut Queues {
    type Item = &'a mut VecDeque<Frame>;
    type IntoIter = std::slice::IterMut<'a, VecDeque<Frame>>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter_mut()
    }
}
