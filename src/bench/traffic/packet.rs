//! Sending as programs do, by a packet socket: through the whole kernel of whoever sends, many frames
//! with one system call. Slower by far than live frames, so that what is measured is often the sender.

#[allow(unsafe_code)]
mod sys;

use super::super::arena::Cores;
use super::super::{Error, Result};
use super::frames::{FIRST_PORT, Frame, MAGIC, UDP};
use super::live::now;
use super::{Pace, Point};
use crate::bench::arena::pin;
use crate::io::{device, netns};
use crate::lab::netns as names;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Frames of one system call.
const BATCH: usize = 32;

/// A packet socket on a device, past the device's queueing discipline.
#[derive(Debug)]
pub struct Wire(OwnedFd);

/// A sender on a packet socket.
#[derive(Debug)]
pub struct Packet {
    wire: Wire,
    core: usize,
    frame: Frame,
    flows: u64,
    sent: AtomicU64,
    is_over: AtomicBool,
}

impl Wire {
    /// On a device of this namespace.
    ///
    /// # Errors
    /// When there is no such device, or no such socket.
    pub fn open(netns: &str, device: &str) -> Result<Wire> {
        let path = names::path(netns);
        let open = || sys::open(device::index(device)?);
        let socket = netns::within(Some(&path), open)?
            .map_err(|e| Error::io(format!("open a packet socket on {device} in {netns}"), e))?;
        Ok(Wire(socket))
    }

    /// Gives frames to the kernel, each a whole one; how many it took or refused.
    ///
    /// # Errors
    /// When the device is gone or down.
    pub fn send(&self, frames: &[Vec<u8>]) -> Result<usize> {
        if frames.is_empty() {
            std::hint::spin_loop();
            return Ok(0);
        }
        match sys::send(&self.0, frames) {
            // The one behind those that were taken was refused, and is lost as in a queue.
            Ok(taken) => Ok((taken + 1).min(frames.len())),
            Err(e) => match e.raw_os_error() {
                Some(libc::ENOBUFS) => Ok(1),
                Some(libc::EINTR | libc::EAGAIN) => Ok(0),
                _ => Err(Error::io("send by a packet socket", e)),
            },
        }
    }
}

impl Packet {
    /// Of `frame`, from a device, with `flows` source ports.
    ///
    /// # Errors
    /// When there is no such device, or no such socket.
    pub(super) fn open(from: &Point, frame: Frame, flows: u32, cores: &Cores) -> Result<Packet> {
        let wire = Wire::open(from.netns, from.device)?;
        let (core, flows, sent) = (cores.sender, u64::from(flows.max(1)), AtomicU64::new(0));
        Ok(Packet { wire, core, frame, flows, sent, is_over: AtomicBool::new(false) })
    }

    /// Frames sent since it was opened. Those that the device refused are among them.
    pub(super) fn sent(&self) -> u64 {
        self.sent.load(Ordering::Relaxed)
    }

    /// Forgets the end of what it sent before.
    pub(super) fn prepare(&self) {
        self.is_over.store(false, Ordering::Relaxed);
    }

    /// Whether a constant pace's time is over.
    pub(super) fn is_over(&self) -> bool {
        self.is_over.load(Ordering::Relaxed)
    }

    /// Sends until `stop` says so, or the pace's time is over. Takes the calling thread's core.
    pub(super) fn send(&self, pace: Pace, stop: &AtomicBool) -> Result<()> {
        pin(self.core);
        let mut frames = vec![self.frame.bytes.clone(); BATCH];
        let (start, began, first) = (Instant::now(), now(), self.sent());
        while !stop.load(Ordering::Relaxed) {
            let done = self.sent() - first;
            let due = match pace {
                Pace::Flat => BATCH,
                Pace::Constant { time, .. } if start.elapsed() >= time => break,
                Pace::Constant { rate, .. } => {
                    let due = 1 + (start.elapsed().as_secs_f64() * rate) as u64;
                    (due.saturating_sub(done) as usize).min(BATCH)
                }
            };
            for (number, frame) in (done..).zip(&mut frames[..due]) {
                let scheduled = match pace {
                    Pace::Flat => 0,
                    Pace::Constant { rate, .. } => {
                        began + Duration::from_secs_f64(number as f64 / rate).as_nanos() as u64
                    }
                };
                self.stamp(frame, first + number, scheduled);
            }
            let sent = self.wire.send(&frames[..due])?;
            self.sent.fetch_add(sent as u64, Ordering::Relaxed);
        }
        self.is_over.store(true, Ordering::Relaxed);
        Ok(())
    }

    /// Writes what differs from frame to frame; as bpf/sender.bpf.c does.
    fn stamp(&self, frame: &mut [u8], number: u64, scheduled: u64) {
        let (headers, stamp) = frame.split_at_mut(self.frame.stamp);
        let port = FIRST_PORT + (number % self.flows) as u16;
        let udp = headers.len() - UDP;
        headers[udp..udp + 2].copy_from_slice(&port.to_be_bytes());
        stamp[..4].copy_from_slice(&MAGIC.to_ne_bytes());
        stamp[4..8].copy_from_slice(&(number as u32).to_ne_bytes());
        stamp[8..16].copy_from_slice(&scheduled.to_ne_bytes());
    }
}
