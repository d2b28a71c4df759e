//! What is sent and what arrives.
//!
//! A [`Traffic`] is a sender and a sink at the two ends of a [`Side`] of the routers at work. Both
//! count; nothing is taken for sent or received that was not counted.

mod frames;
mod live;
mod packet;
mod program;
mod sink;

pub use frames::{Frame, Side};
pub use live::Live;
pub use packet::{Packet, Wire};
pub use sink::{Counts, Sink, Times};

use super::Result;
use super::arena::{self, Arena, FAR, NODE, POD_DEVICE, UPLINK, offload};
use super::contender::Attachment;
use crate::lab::netns::sysctl;
use crate::lab::shell::{self, sh};
use encap::wire::Mac;
use serde::{Deserialize, Serialize};
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

/// How fast frames are sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Pace {
    /// As fast as can be, until told to stop.
    Flat,
    /// At a constant rate for a time. Each frame has its time from the start, and those that come late
    /// are sent at once: a router that holds the sender up does not change what is asked of it.
    Constant {
        /// Frames a second.
        rate: f64,
        /// How long.
        time: Duration,
    },
}

/// Who sends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Generator {
    /// The kernel's test of XDP programs: it overloads any router
    Live,
    /// A packet socket, as programs have it
    Packet,
}

/// What is sent, and which way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind {
    /// Which way.
    pub side: Side,
    /// Bytes of the pod's Ethernet frame, one of [`SIZES`].
    pub size: usize,
    /// UDP source ports.
    pub flows: u32,
    /// By whom.
    pub generator: Generator,
}

/// A device in a namespace.
#[derive(Clone, Copy, Debug)]
pub(super) struct Point {
    netns: &'static str,
    device: &'static str,
}

/// A sender and a sink.
#[derive(Debug)]
pub struct Traffic {
    sender: Sender,
    sink: Sink,
}

#[derive(Debug)]
enum Sender {
    Live(Box<Live>),
    Packet(Packet),
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
    /// Opens both; the routers that this side takes are at work. A live sender's frames are for a TUN
    /// device forwarded by the kernel of the pod's namespace, since XDP can't send them there.
    ///
    /// # Errors
    /// When a device is missing or the kernel takes no programs.
    pub fn open(arena: &Arena, attachment: Attachment, kind: &Kind) -> Result<Traffic> {
        let Kind { side, size, flows, generator } = *kind;
        let pod = Point { netns: NODE.pod_netns, device: POD_DEVICE };
        let (from, frame) = match (side, attachment, generator) {
            (Side::Decap, ..) => {
                (Point { netns: FAR.netns, device: UPLINK }, Frame::of_wire(size, side))
            }
            (_, Attachment::Veth, _) => (pod, Frame::of_pod(size, side, None)),
            (_, Attachment::Tun, Generator::Packet) => {
                (pod, Frame::of_pod(size, side, None).without_link())
            }
            (_, Attachment::Tun, Generator::Live) => {
                feed()?;
                (Point { device: FEED[0], ..pod }, Frame::of_pod(size, side, Some(FEED_MAC)))
            }
        };
        let sender = match generator {
            Generator::Live => {
                Sender::Live(Box::new(Live::open(&from, frame, flows, &arena.cores)?))
            }
            Generator::Packet => Sender::Packet(Packet::open(&from, frame, flows, &arena.cores)?),
        };
        let to = match side {
            Side::Encap => Point { netns: FAR.netns, device: UPLINK },
            Side::Decap => pod,
            Side::Path => Point { netns: FAR.pod_netns, device: POD_DEVICE },
        };
        let tunnelled = side == Side::Encap;
        let attachment = if tunnelled { Attachment::Veth } else { attachment };
        let expect = Expect { side, size, tunnelled, attachment };
        Ok(Traffic { sender, sink: Sink::attach(&to, &expect)? })
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
        let sent = self.sender.sent()?;
        self.while_sending(Pace::Flat, |has_ended| {
            // On a busy machine it takes a while to begin.
            while self.sender.sent()? == sent && !has_ended() {
                sleep(LOOK)?;
            }
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
        self.while_sending(Pace::Constant { rate, time }, |has_ended| {
            sleep(time)?;
            while !self.sender.is_over()? && !has_ended() {
                sleep(LOOK)?;
            }
            Ok(())
        })?;
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

    /// Does something while the sender sends, which then stops. `job` may ask whether it has ended by
    /// itself, which it does when it fails.
    fn while_sending<T>(
        &self,
        pace: Pace,
        job: impl FnOnce(&dyn Fn() -> bool) -> Result<T>,
    ) -> Result<T> {
        let stop = AtomicBool::new(false);
        self.sender.prepare(pace)?;
        thread::scope(|scope| {
            let sender = scope.spawn(|| self.sender.send(pace, &stop));
            let done = job(&|| sender.is_finished());
            stop.store(true, Ordering::Relaxed);
            while !sender.is_finished() {
                self.sender.wake();
                thread::sleep(Duration::from_millis(1));
            }
            let sent = sender.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
            sent.and(done)
        })
    }
}

impl Sender {
    fn sent(&self) -> Result<u64> {
        match self {
            Sender::Live(sender) => sender.sent(),
            Sender::Packet(sender) => Ok(sender.sent()),
        }
    }

    /// Has it ready to send at this pace; what it says next is about that.
    fn prepare(&self, pace: Pace) -> Result<()> {
        match self {
            Sender::Live(sender) => sender.prepare(pace),
            Sender::Packet(sender) => {
                sender.prepare();
                Ok(())
            }
        }
    }

    /// Whether a constant pace's time is over.
    fn is_over(&self) -> Result<bool> {
        match self {
            Sender::Live(sender) => sender.is_over(),
            Sender::Packet(sender) => Ok(sender.is_over()),
        }
    }

    /// Has it look whether to stop.
    fn wake(&self) {
        match self {
            Sender::Live(sender) => sender.wake(),
            // It looks all the time.
            Sender::Packet(_) => {}
        }
    }

    fn send(&self, pace: Pace, stop: &AtomicBool) -> Result<()> {
        match self {
            Sender::Live(sender) => sender.send(stop),
            Sender::Packet(sender) => sender.send(pace, stop),
        }
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
