//! What a packet costs in time of the processors: of the whole machine, since a kernel's share of the
//! work appears in no process, and beside it of the router's own threads.
//!
//! The sender's own time is not the router's: it spins to keep the pace. So of its core only what the
//! kernel does in interrupts counts, which is where it receives the sender's frames for the router. The
//! kernel samples whose time it is at each tick, a hundredth or so of a second; a second or two of that
//! are good for some per cent.

use serde::{Deserialize, Serialize};
use std::fs;
use std::time::{Duration, Instant};

/// What a packet took.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Cpu {
    /// Frames a second that arrived meanwhile.
    pub rate: f64,
    /// Nanoseconds a frame of all cores, less those that the machine is busy when it is idle, as measured
    /// before the router was started, and less the sender's.
    pub machine_ns: f64,
    /// Nanoseconds a frame of the router's own threads.
    pub threads_ns: f64,
    /// The router's own threads that did anything, and the share of a core that each had, 0 to 1.
    pub threads: Vec<Thread>,
    /// How many cores the machine is busy with when idle.
    pub idle: f64,
}

/// A thread of a router.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Thread {
    /// Its name.
    pub name: String,
    /// Its share of a core, 0 to 1.
    pub busy: f64,
}

/// A look at the clocks of cores and threads.
#[derive(Debug)]
pub struct Look {
    at: Instant,
    machine: Duration,
    threads: Vec<(u32, String, Duration)>,
}

impl Look {
    /// Now. `sender` is the core whose processes don't count; `processes` are the router's.
    pub fn now(sender: usize, processes: &[u32]) -> Look {
        let stat = fs::read_to_string("/proc/stat").unwrap_or_default();
        Look {
            at: Instant::now(),
            machine: busy(&stat, sender, rustix::param::clock_ticks_per_second()),
            threads: processes.iter().flat_map(|pid| threads(*pid)).collect(),
        }
    }

    /// Cores that the machine was busy with since `earlier`.
    pub fn load_since(&self, earlier: &Look) -> f64 {
        let machine = self.machine.saturating_sub(earlier.machine);
        machine.as_secs_f64() / (self.at - earlier.at).as_secs_f64()
    }

    /// What `frames` took since `earlier`, on a machine that is busy with `idle` cores anyway.
    pub fn since(&self, earlier: &Look, frames: u64, idle: f64) -> Cpu {
        let time = (self.at - earlier.at).as_secs_f64();
        let each = |cores: f64| cores * time * 1e9 / frames.max(1) as f64;
        let before = |id| earlier.threads.iter().find(|(other, ..)| *other == id);
        let busy = self.threads.iter().map(|(id, name, now)| {
            let before = before(*id).map_or(Duration::ZERO, |(.., before)| *before);
            let busy = now.saturating_sub(before).as_secs_f64() / time;
            Thread { name: name.clone(), busy }
        });
        let mut threads: Vec<_> = busy.filter(|thread| thread.busy > 0.0).collect();
        threads.sort_by(|a, b| b.busy.total_cmp(&a.busy));
        Cpu {
            rate: frames as f64 / time,
            machine_ns: each(self.load_since(earlier) - idle),
            threads_ns: each(threads.iter().fold(0.0, |sum, thread| sum + thread.busy)),
            threads,
            idle,
        }
    }
}

/// The time that cores were busy, by the text of `/proc/stat`: columns are user, nice, system, idle,
/// iowait, irq, softirq, steal and guests, in ticks.
fn busy(stat: &str, sender: usize, ticks_per_second: u64) -> Duration {
    let core = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let core: usize = words.next()?.strip_prefix("cpu")?.parse().ok()?;
        let columns: Vec<u64> = words.map_while(|word| word.parse().ok()).collect();
        let processes = columns.get(..3)?.iter().sum::<u64>();
        let interrupts = columns.get(5..7)?.iter().sum::<u64>();
        Some(if core == sender { interrupts } else { processes + interrupts })
    };
    let ticks: u64 = stat.lines().filter_map(core).sum();
    Duration::from_secs_f64(ticks as f64 / ticks_per_second as f64)
}

/// The threads of a process: number, name, time on a core.
fn threads(pid: u32) -> Vec<(u32, String, Duration)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let thread = |task: fs::DirEntry| {
        let read = |file| fs::read_to_string(task.path().join(file)).ok();
        let nanoseconds = read("schedstat")?.split(' ').next()?.parse().ok()?;
        let id = task.file_name().to_str()?.parse().ok()?;
        Some((id, read("comm")?.trim().to_owned(), Duration::from_nanos(nanoseconds)))
    };
    tasks.filter_map(thread).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_the_senders_core_only_interrupts_count() {
        let stat = "cpu  9 9 9 9 9 9 9 9 0 0\n\
                    cpu0 100 0 200 5000 7 10 20 9 0 0\n\
                    cpu1 1 2 3 6000 7 4 5 9 0 0\n\
                    intr 1 2 3\n";
        assert_eq!(busy(stat, 0, 100), Duration::from_millis(450));
        assert_eq!(busy(stat, 1, 100), Duration::from_millis(3390));
        assert_eq!(busy("", 0, 100), Duration::ZERO);
    }

    #[test]
    fn a_busy_thread_is_seen() {
        let me = [std::process::id()];
        let before = Look::now(0, &me);
        // Until the clock of threads moves.
        let cpu = loop {
            let cpu = Look::now(0, &me).since(&before, 1000, 0.0);
            if cpu.threads_ns > 0.0 {
                break cpu;
            }
        };
        assert!(!cpu.threads.is_empty() && cpu.rate > 0.0, "{cpu:?}");
        let time = 1000.0 / cpu.rate;
        let threads: f64 = cpu.threads.iter().map(|thread| thread.busy).sum();
        assert!((threads * time * 1e6 - cpu.threads_ns).abs() < 1.0, "{cpu:?}");
    }
}
