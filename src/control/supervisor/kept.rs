//! Descriptors that come from an earlier life and go to a later one, by name.
//!
//! A process is given descriptors once, and they are its own as a whole: so is what is known of them
//! here. TUN queues go by `port.NAME`, a management socket by `management`, or `management.own` when its
//! file is ours to remove, and the desired state by `state`.

use super::{notify, sys};
use sd_notify::NotifyState;
use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, Weak};

/// What we were given and nobody has taken yet.
static INHERITED: Mutex<BTreeMap<String, Vec<OwnedFd>>> = Mutex::new(BTreeMap::new());
/// What the next life is to have. Weak: a device that is closed here is gone.
static KEPT: Mutex<BTreeMap<String, Vec<Weak<File>>>> = Mutex::new(BTreeMap::new());

/// A descriptor that is held so that it lasts until the next life has it.
pub struct Held {
    /// Its name.
    pub name: String,
    /// The descriptor.
    pub descriptor: OwnedFd,
}

/// Takes what the process was given. To be called once, at its start.
pub fn inherit() {
    match sys::listen_fds() {
        Ok(given) => {
            let mut inherited = lock(&INHERITED);
            for (name, descriptor) in given {
                inherited.entry(name).or_default().push(descriptor);
            }
        }
        Err(error) => tracing::warn!("LISTEN_FDS: {error}; going on without what was given"),
    }
}

/// Whether something was given by this name that nobody has taken.
pub fn is_given(name: &str) -> bool {
    lock(&INHERITED).contains_key(name)
}

/// Takes what was given by this name.
pub fn take(name: &str) -> Vec<OwnedFd> {
    lock(&INHERITED).remove(name).unwrap_or_default()
}

/// Closes what was given and nobody has taken: ports that are no more, and what we don't know.
pub fn close_rest() {
    for name in std::mem::take(&mut *lock(&INHERITED)).into_keys() {
        tracing::info!("closed a descriptor that was given and has no use: {name}");
        forget(&name);
    }
}

/// Has files kept by this name, until they are closed here or [forgotten](forget). Those that were
/// [taken](take) by it are with the manager already.
pub fn keep(name: String, files: &[&Arc<File>], are_new: bool) {
    for file in files.iter().filter(|_| are_new) {
        let states = [NotifyState::FdStore, NotifyState::FdName(&name)];
        if let Err(error) = sd_notify::notify_with_fds(&states, &[file.as_fd()]) {
            tracing::warn!("having the service manager keep {name}: {error}");
        }
    }
    lock(&KEPT).insert(name, files.iter().map(|file| Arc::downgrade(file)).collect());
}

/// Has nothing kept by this name any more.
pub fn forget(name: &str) {
    lock(&KEPT).remove(name);
    notify(&[NotifyState::FdStoreRemove, NotifyState::FdName(name)]);
}

/// Forgets what was closed here.
pub fn sweep() {
    let is_closed = |files: &Vec<Weak<File>>| files.iter().all(|file| file.strong_count() == 0);
    let mut kept = lock(&KEPT);
    let closed: Vec<_> = kept.extract_if(.., |_, files| is_closed(files)).collect();
    drop(kept);
    closed.iter().for_each(|(name, _)| forget(name));
}

/// Holds all that is kept.
///
/// # Errors
/// When there is no descriptor left for it.
pub fn hold() -> std::io::Result<Vec<Held>> {
    let kept = lock(&KEPT);
    let files = kept.iter().flat_map(|(name, files)| {
        files.iter().filter_map(move |file| Some((name, file.upgrade()?)))
    });
    let held = files.map(|(name, file)| {
        Ok(Held { name: name.clone(), descriptor: file.as_fd().try_clone_to_owned()? })
    });
    held.collect()
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}
