//! What is sent and what arrives.
//!
//! A [`Traffic`] is a sender and a sink at the two ends of a [`Side`] of the routers at work. Both
//! count; nothing is taken for sent or received that was not counted.

mod frames;
mod live;
mod program;
mod sink;

pub use frames::{Frame, Side};
pub use live::{Live, Pace};
pub use sink::{Counts, Sink, Times};

use super::Result;
use super::arena::{self, Arena, FAR, NODE, POD_DEVICE, UPLINK, offload};
use super::contender::Attachment;
use crate::lab::netns::sysctl;
use crate::lab::shell::{self, sh};
use encap::wire::Mac;
use sink::Expect;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

/// What feeds a TUN device: a pair of veths in the pod's namespace, whose kernel forwards.
const FEED: [&str; 2] = ["feed", "feed-in"];
const FEED_MAC: Mac = Mac([2, 0, 0, 0, 3, 1]);
/// How long frames may be under way when no more are sent.
const DRAIN: Duration = Duration::from_millis(500);
/// How often it is looked whether more have arrived.
const LOOK: Duration = Duration::from_millis(5);

/// A sender and a sink.
#[derive(Debug)]
pub struct Traffic {
    sender: Live,
    sink: Sink,
}

/// What was sent and what arrived, in a time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Flow {
    /// Frames sent.
    pub sent: u64,
    /// Frames that arrived as they should.
    pub arrived: u64,
    /// Frames that arrived and are not as they should be.
    pub strange: u64,
    /// The time in which they were sent.
    pub time: Duration,
}

impl Flow {
    /// Frames sent, a second.
    pub fn offered(&self) -> f64 {
        self.sent as f64 / self.time.as_secs_f64()
    }

    /// Frames that arrived, a second.
    pub fn delivered(&self) -> f64 {
        self.arrived as f64 / self.time.as_secs_f64()
    }

    /// The share that did not arrive, 0 to 1.
    pub fn loss(&self) -> f64 {
        1.0 - self.arrived as f64 / self.sent.max(1) as f64
    }
}

impl Traffic {
    /// Of frames of `size` bytes (as the pod's Ethernet frame; 60 to [`arena::POD_MTU`] + 14) and
    /// `flows` source ports. The routers that this side takes are at work.
    ///
    /// # Errors
    /// When a device is missing or the kernel takes no programs.
    pub fn open(
        arena: &Arena,
        side: Side,
        attachment: Attachment,
        size: usize,
        flows: u32,
    ) -> Result<Traffic> {
        let cores = &arena.cores;
        let sender = match (side, attachment) {
            (Side::Decap, _) => {
                let frame = Frame::of_wire(size, side);
                Live::open(FAR.netns, UPLINK, frame, flows, cores)?
            }
            (_, Attachment::Veth) => {
                let frame = Frame::of_pod(size, side, None);
                Live::open(NODE.pod_netns, POD_DEVICE, frame, flows, cores)?
            }
            (_, Attachment::Tun) => {
                feed()?;
                let frame = Frame::of_pod(size, side, Some(FEED_MAC));
                Live::open(NODE.pod_netns, FEED[0], frame, flows, cores)?
            }
        };
        let (netns, device) = match side {
            Side::Encap => (FAR.netns, UPLINK),
            Side::Decap => (NODE.pod_netns, POD_DEVICE),
            Side::Path => (FAR.pod_netns, POD_DEVICE),
        };
        let tunnelled = side == Side::Encap;
        let attachment = if tunnelled { Attachment::Veth } else { attachment };
        let expect = Expect { side, size, tunnelled, attachment };
        Ok(Traffic { sender, sink: Sink::attach(netns, device, &expect)? })
    }

    /// The sink.
    pub fn sink(&self) -> &Sink {
        &self.sink
    }

    /// Sends as fast as can be, and counts for `time` after `before`.
    ///
    /// # Errors
    /// When the kernel does not send or count, or the user asked to stop.
    pub fn overload(&self, before: Duration, time: Duration) -> Result<Flow> {
        self.while_sending(Pace::Flat, || {
            sleep(before)?;
            let (start, sent, counts) = self.look()?;
            sleep(time)?;
            let (end, sent_at_end, counts_at_end) = self.look()?;
            Ok(Flow {
                sent: sent_at_end - sent,
                arrived: counts_at_end.frames - counts.frames,
                strange: counts_at_end.strange - counts.strange,
                time: end - start,
            })
        })
    }

    /// Sends at a constant rate (frames a second) for a time, and counts until no more arrive.
    ///
    /// # Errors
    /// As those of [`overload`](Self::overload).
    pub fn constant(&self, rate: f64, time: Duration) -> Result<Flow> {
        let (_, sent, counts) = self.look()?;
        self.while_sending(Pace::Constant { rate, time }, || sleep(time))?;
        let sent = self.sender.sent()? - sent;
        let arrived = self.drain(counts.frames + sent)?;
        Ok(Flow {
            sent,
            arrived: arrived.frames - counts.frames,
            strange: arrived.strange - counts.strange,
            time,
        })
    }

    /// Waits until so many frames have arrived, or nothing does any more.
    fn drain(&self, all: u64) -> Result<Counts> {
        let (mut latest, mut changed) = (self.sink.counts()?, Instant::now());
        while latest.frames < all && changed.elapsed() < DRAIN {
            sleep(LOOK)?;
            let now = self.sink.counts()?;
            if now != latest {
                (latest, changed) = (now, Instant::now());
            }
        }
        Ok(latest)
    }

    fn look(&self) -> Result<(Instant, u64, Counts)> {
        Ok((Instant::now(), self.sender.sent()?, self.sink.counts()?))
    }

    /// Does something while the sender sends, which then stops.
    fn while_sending<T>(&self, pace: Pace, job: impl FnOnce() -> Result<T>) -> Result<T> {
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            let sender = scope.spawn(|| self.sender.send(pace, &stop));
            let done = job();
            stop.store(true, Ordering::Relaxed);
            let sent = sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            sent.and(done)
        })
    }
}

/// Sleeps, unless the user asked to stop.
pub(super) fn sleep(time: Duration) -> Result<()> {
    let end = Instant::now() + time;
    loop {
        shell::check_interrupt()?;
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Ok(());
        }
        thread::sleep(left.min(Duration::from_millis(100)));
    }
}

/// Makes the pair that feeds the pod's TUN device, if it is not there yet.
fn feed() -> Result<()> {
    let (ns, [out, into]) = (NODE.pod_netns, FEED);
    if shell::attempt(&format!("ip -n {ns} link show {out}")).is_ok() {
        return Ok(());
    }
    sh!("ip -n {ns} link add {out} type veth peer name {into} address {FEED_MAC}")?;
    sh!("ip -n {ns} link set {out} up")?;
    sh!("ip -n {ns} link set {into} up")?;
    // The packets are the pod's own, but for where they come from.
    sysctl(ns, &format!("net.ipv4.ip_forward=1 net.ipv4.conf.{into}.accept_local=1"))?;
    offload(ns, into, "gro on")
}

/// Sizes that frames can have.
pub const SIZES: std::ops::RangeInclusive<usize> = 60..=arena::POD_MTU + 14;
