//! Sending by the kernel's test of XDP programs: it runs our program for one frame after the other and
//! sends what the program says, in batches, straight into the device behind ours. No sender in user
//! space comes near its rate, so that it overloads any router; and the program itself keeps the pace,
//! so that no system call is between two frames.
//!
//! A call ends by a signal to its thread. There is one for a whole trial, since the kernel takes some
//! milliseconds to tidy up after it (a grace period of RCU).

#[allow(unsafe_code)]
mod sys;

use super::super::arena::Cores;
use super::super::{Error, Result};
use super::frames::{Frame, TUNNELLED};
use super::{Pace, Point, program};
use crate::bench::arena::pin;
use crate::io::{device, netns};
use crate::lab::netns as names;
use aya::maps::{Array, MapData};
use aya::programs::{TestRun, TestRunAttrs, TestRunOptions, Xdp};
use aya::{Ebpf, include_bytes_aligned};
use rustix::time::{ClockId, clock_gettime};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use sys::Waker;

static SENDER: &[u8] = include_bytes_aligned!(concat!(env!("OUT_DIR"), "/sender.o"));

/// Frames that the kernel takes at once: as many as a device's poll takes.
const BATCH: u32 = 64;
/// Runs of the program in a call: more than it is given time for.
const RUNS: u32 = 1 << 31;

/// `struct job` of bpf/sender.bpf.c: time, interval, device and flows, headers.
type Job = [u64; 15];
/// `struct progress`, likewise: sent, start, due, flow.
type Progress = [u64; 4];

/// A sender of live frames, from one device.
pub struct Live {
    ebpf: Ebpf,
    name: &'static str,
    jobs: Mutex<Array<MapData, Job>>,
    progress: Mutex<Array<MapData, Progress>>,
    netns: String,
    device: u32,
    core: usize,
    frame: Frame,
    flows: u32,
    waker: Waker,
    /// Of a constant pace, in nanoseconds.
    time: AtomicU64,
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Live({} in {})", self.device, self.netns)
    }
}

impl Live {
    /// Of `frame`, from `device` in `netns`, with `flows` source ports.
    ///
    /// # Errors
    /// When there is no such device, or the kernel does not take the program.
    pub(super) fn open(from: &Point, frame: Frame, flows: u32, cores: &Cores) -> Result<Live> {
        let Point { netns, device } = from;
        let name = if frame.stamp == TUNNELLED { "tunnelled" } else { "plain" };
        let path = names::path(netns);
        let index = netns::within(Some(&path), || device::index(device))?
            .map_err(|e| Error::io(format!("find device {device} in {netns}"), e))?;
        let mut ebpf = program::load("the sender", SENDER)?;
        program::program(&mut ebpf, name)?;
        let jobs = Mutex::new(program::map(&mut ebpf, "jobs", Array::try_from));
        let progress = Mutex::new(program::map(&mut ebpf, "progresses", Array::try_from));
        let (netns, core) = ((*netns).to_owned(), cores.sender);
        let waker = Waker::new().map_err(|e| Error::io("catch a signal", e))?;
        let (device, time) = (index, AtomicU64::new(0));
        Ok(Live { ebpf, name, jobs, progress, netns, device, core, frame, flows, waker, time })
    }

    /// Frames sent since it was opened.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub(super) fn sent(&self) -> Result<u64> {
        Ok(self.progress()?[0])
    }

    /// Sends what it was [told to](Self::prepare) until it is [woken](Self::wake) and `stop` says so; a
    /// constant pace's frames come to an end before. Takes the calling thread's namespace and core: give it one of its own.
    ///
    /// # Errors
    /// When the kernel does not send.
    pub(super) fn send(&self, stop: &AtomicBool) -> Result<()> {
        let path = names::path(&self.netns);
        netns::within(Some(&path), || {
            pin(self.core);
            let _at_work = self.waker.here();
            while !stop.load(Ordering::Relaxed) {
                self.call()?;
            }
            Ok(())
        })?
    }

    /// Has a sender at work look whether to stop.
    pub(super) fn wake(&self) {
        self.waker.wake();
    }

    /// Whether all frames of a constant pace are sent, or their time is over. On a busy machine it takes
    /// a while to begin.
    ///
    /// # Errors
    /// When the kernel does not tell.
    pub(super) fn is_over(&self) -> Result<bool> {
        let [_, start, ..] = self.progress()?;
        Ok(start != 0 && now() >= start + self.time.load(Ordering::Relaxed))
    }

    /// Tells the program what to do when it is run next.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub(super) fn prepare(&self, pace: Pace) -> Result<()> {
        let (time, interval) = match pace {
            Pace::Flat => (0, 0),
            Pace::Constant { rate, time } => {
                (time.as_nanos() as u64, ((65536e9 / rate) as u64).max(1))
            }
        };
        self.time.store(time, Ordering::Relaxed);
        let mut job = Job::default();
        job[..2].copy_from_slice(&[time, interval]);
        let mut pair = [0; 8];
        pair[..4].copy_from_slice(&self.device.to_ne_bytes());
        pair[4..].copy_from_slice(&self.flows.max(1).to_ne_bytes());
        job[2] = u64::from_ne_bytes(pair);
        let headers = self.frame.bytes[..self.frame.stamp].chunks(8);
        for (word, bytes) in job[3..].iter_mut().zip(headers) {
            let mut whole = [0; 8];
            whole[..bytes.len()].copy_from_slice(bytes);
            *word = u64::from_ne_bytes(whole);
        }
        let failed = |error| Error::program("tell the sender what to do", error);
        lock(&self.jobs).set(0, job, 0).map_err(failed)?;
        let [sent, _, _, flow] = self.progress()?;
        lock(&self.progress).set(0, [sent, 0, 0, flow], 0).map_err(failed)
    }

    /// Runs the program until a signal comes.
    fn call(&self) -> Result<()> {
        let program = self.ebpf.program(self.name).expect("it was loaded by this name");
        let program: &Xdp = program.try_into().expect("it was loaded as this");
        let options = TestRunOptions {
            data_in: Some(&self.frame.bytes),
            repeat: RUNS,
            attrs: TestRunAttrs::new().xdp_live_frames(BATCH),
            ..TestRunOptions::new()
        };
        match program.test_run(options) {
            Ok(_) => Ok(()),
            Err(error) => match os_error(&error) {
                Some(libc::EINTR) => Ok(()),
                Some(libc::EINVAL) => Err(Error::program(
                    "send live frames",
                    format!(
                        "{error}; it takes Linux 5.18 or later (BPF_F_TEST_XDP_LIVE_FRAMES), and \
                         frames of at most 3,500 bytes"
                    ),
                )),
                _ => Err(Error::program("send live frames", error)),
            },
        }
    }

    fn progress(&self) -> Result<Progress> {
        let failed = |error| Error::program("ask the sender how far it is", error);
        lock(&self.progress).get(&0, 0).map_err(failed)
    }
}

fn lock<T>(map: &Mutex<T>) -> MutexGuard<'_, T> {
    map.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The time that the program stamps frames with.
pub(super) fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

fn os_error(error: &aya::programs::ProgramError) -> Option<i32> {
    match error {
        aya::programs::ProgramError::SyscallError(error) => error.io_error.raw_os_error(),
        _ => None,
    }
}
