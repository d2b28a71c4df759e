//! The service manager above us: what it is told, and what it keeps for us.
//!
//! The protocols are systemd's, which others speak too (sd_notify(3), sd_listen_fds(3)). Where there
//! is no manager nothing here does anything.
//!
//! | variable | what it makes us do |
//! | --- | --- |
//! | `NOTIFY_SOCKET` | tell that we are ready, reload, or stop; have TUN queues kept |
//! | `WATCHDOG_USEC` | tell, twice within that time, that every worker has moved |
//! | `LISTEN_FDS` | begin with these descriptors: a management socket, TUN queues that were kept |
//!
//! A TUN device lives as long as somebody has a descriptor of it. So one that is [kept](keep) by the
//! manager outlives us with its addresses and routes, whatever ends us, and our next life
//! [takes](take) it up again. [Re-executing](super::upgrade) ourselves is the same without a manager.

mod kept;
#[allow(unsafe_code)]
mod sys;

pub use kept::{Held, close_rest, forget, hold, inherit, is_given, keep, sweep, take};

use super::workers::Workers;
use sd_notify::NotifyState;
use std::convert::Infallible;
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

/// How often we look for devices that are gone and need not be kept.
const SWEEP: Duration = Duration::from_secs(5);

/// Whether there is a manager to be told anything.
pub fn is_there() -> bool {
    std::env::var_os("NOTIFY_SOCKET").is_some()
}

/// Tells the manager something; that it can't be told is logged.
pub fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("telling the service manager (NOTIFY_SOCKET): {error}");
    }
}

/// Tells that we are ready; `status` is for people.
pub fn ready(status: &str) {
    notify(&[NotifyState::Ready, NotifyState::Status(status)]);
}

/// Tells that we read the config again; [`ready`] is to follow.
pub fn reloading() {
    match NotifyState::monotonic_usec_now() {
        Ok(now) => notify(&[NotifyState::Reloading, now]),
        Err(error) => tracing::warn!("asking for the time: {error}"),
    }
}

/// Tells that we stop.
pub fn stopping() {
    notify(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// Keeps the manager's watchdog quiet while all workers move, which even a sleeping one does twice a
/// second. The control side is watched too: it is what does the telling.
pub async fn attend(workers: &Workers) -> Infallible {
    let watchdog = sd_notify::watchdog_enabled();
    let rest = watchdog.map_or(SWEEP, |limit| SWEEP.min(limit / 2));
    let mut seen = Vec::new();
    loop {
        let turns = workers.facts().iter().map(|facts| facts.stats.turns.get()).collect();
        if have_moved(&mut seen, turns) && watchdog.is_some() {
            notify(&[NotifyState::Watchdog]);
        }
        sweep();
        tokio::time::sleep(rest).await;
    }
}

/// Whether all counts are others than those seen last, which they become.
fn have_moved(seen: &mut Vec<u64>, counts: Vec<u64>) -> bool {
    let moved = counts.iter().enumerate().all(|(i, count)| seen.get(i) != Some(count));
    *seen = counts;
    moved
}

/// Becomes `program`, which begins with what is held as with what a manager gave it. Returns only
/// before anything was changed, or when the program can't be executed.
pub(super) fn become_program<'a>(
    program: &Path,
    arguments: impl Iterator<Item = &'a OsStr>,
    held: &[Held],
) -> io::Error {
    let names: Vec<_> = held.iter().map(|held| held.name.as_str()).collect();
    let mut command = Command::new(program);
    command
        .args(arguments)
        .env("LISTEN_PID", std::process::id().to_string())
        .env("LISTEN_FDS", held.len().to_string())
        .env("LISTEN_FDNAMES", names.join(":"));
    let descriptors: Vec<_> = held.iter().map(|held| held.descriptor.as_fd()).collect();
    sys::exec(command, &descriptors)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_that_stands_still_is_seen() {
        let mut seen = Vec::new();
        assert!(have_moved(&mut seen, vec![7, 7]));
        assert!(!have_moved(&mut seen, vec![7, 8]));
        assert!(have_moved(&mut seen, vec![8, 9]));
    }
}
