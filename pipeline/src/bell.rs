//! How a worker that may be asleep learns that there is something for it, without a system call for
//! those who tell it as long as it is awake.
//!
//! ```text
//!   the one who tells                      the one who sleeps
//!   1. puts something where it is seen     1. doze: says that it sleeps
//!   2. ring: is it asleep? then wake it    2. looks once more; stays up if there is something
//!                                          3. sleeps, until woken; rise
//! ```
//! A fence stands between the two steps on both sides, so that at least one of them sees what the
//! other did: either the sleeper finds the thing, or the teller finds it asleep. Without the fences
//! both could miss each other. How a sleeper is woken is the caller's business.

use crate::sync::{AtomicBool, Ordering, fence};

/// Whether a worker sleeps.
#[derive(Debug)]
pub struct Bell {
    asleep: AtomicBool,
}

impl Default for Bell {
    fn default() -> Self {
        Bell { asleep: AtomicBool::new(false) }
    }
}

impl Bell {
    /// Called after something was put where the sleeper looks. Whether the caller has to wake it:
    /// of several callers one is told to.
    #[inline]
    pub fn ring(&self) -> bool {
        fence(Ordering::SeqCst);
        self.asleep.load(Ordering::Relaxed) && self.asleep.swap(false, Ordering::Relaxed)
    }

    /// Called by the sleeper, who must look at everything once more before it really sleeps.
    pub fn doze(&self) {
        self.asleep.swap(true, Ordering::Relaxed);
        fence(Ordering::SeqCst);
    }

    /// Called by the sleeper when it is up again, or has not slept after all.
    pub fn rise(&self) {
        self.asleep.swap(false, Ordering::Relaxed);
    }

    /// Whether it sleeps, as far as one can see from here.
    pub fn is_asleep(&self) -> bool {
        self.asleep.load(Ordering::Relaxed)
    }
}

/// Says that there is something in a channel that is looked at rarely.
#[derive(Debug)]
pub struct Flag {
    raised: AtomicBool,
}

impl Default for Flag {
    fn default() -> Self {
        Flag { raised: AtomicBool::new(false) }
    }
}

impl Flag {
    /// Called after something was put into the channel.
    pub fn raise(&self) {
        self.raised.swap(true, Ordering::Release);
    }

    /// Whether it is raised. One relaxed load.
    #[inline]
    pub fn is_raised(&self) -> bool {
        self.raised.load(Ordering::Relaxed)
    }

    /// Lowers it if it is raised. The channel is emptied after that: what was put in before the
    /// last [`raise`](Self::raise) that was seen is seen, and a later one raises the flag again.
    #[inline]
    pub fn take(&self) -> bool {
        // A plain store of `false` could wipe out a `raise` whose value was never seen.
        self.is_raised() && self.raised.swap(false, Ordering::Acquire)
    }
}

#[cfg(all(test, loom))]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::sync::{Arc, AtomicUsize};
    use loom::sync::atomic::Ordering::Relaxed;
    use loom::thread;

    /// Two tell, one sleeps until it has heard both. Loom finds a sleep that nobody ends as a
    /// deadlock of the channel that stands for the wake-up.
    #[test]
    fn loom_no_call_is_missed() {
        loom::model(|| {
            let (bell, work) = (Arc::new(Bell::default()), Arc::new(AtomicUsize::new(0)));
            let (waker, sleep) = loom::sync::mpsc::channel();
            let tellers = [(); 2].map(|()| {
                let (bell, work, waker) = (bell.clone(), work.clone(), waker.clone());
                thread::spawn(move || {
                    work.fetch_add(1, Relaxed);
                    if bell.ring() {
                        waker.send(()).unwrap();
                    }
                })
            });
            while work.load(Relaxed) < 2 {
                let seen = work.load(Relaxed);
                bell.doze();
                if work.load(Relaxed) == seen && seen < 2 {
                    sleep.recv().unwrap();
                }
                bell.rise();
            }
            tellers.into_iter().for_each(|teller| teller.join().unwrap());
        });
    }

    /// The flag over a channel of one word: the last command is never left in it.
    #[test]
    fn loom_no_command_is_left() {
        loom::model(|| {
            let (flag, channel) = (Arc::new(Flag::default()), Arc::new(AtomicUsize::new(0)));
            let teller = {
                let (flag, channel) = (flag.clone(), channel.clone());
                thread::spawn(move || {
                    for command in [1, 2] {
                        channel.store(command, Relaxed);
                        flag.raise();
                    }
                })
            };
            let mut heard = 0;
            for _ in 0..2 {
                if flag.take() {
                    heard = channel.load(Relaxed);
                }
            }
            teller.join().unwrap();
            if flag.take() {
                heard = channel.load(Relaxed);
            }
            assert_eq!(heard, 2);
        });
    }
}
