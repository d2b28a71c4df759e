//! Drop reasons and the counters.
//!
//! A reason is declared once, beside the stage that uses it, with [`drops!`](crate::drops!); that line gives its code,
//! its counter and metric, its text in the command line and its row in the docs. [`all`] lists them.

use crate::doing::Doing;
use crate::frame::Frame;
use crate::samples::{Notes, Sample, Samples};
use crate::snapshot::PortId;
use crate::stages::{STAGES, StageId};
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};

/// Reasons a stage may have.
const PER_STAGE: usize = 16;

/// Why a frame was dropped: the stage and its own code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Reason(u8);

/// What there is to know about a [`Reason`].
#[derive(Clone, Copy, Debug)]
pub struct DropInfo {
    /// Name within the stage, `snake_case`; with the stage's name before a dot it is unique.
    pub name: &'static str,
    /// What happened, for people.
    pub text: &'static str,
}

impl Reason {
    #[doc(hidden)]
    pub const fn new(stage: StageId, code: usize) -> Reason {
        assert!(code < PER_STAGE && (stage as usize) < 256 / PER_STAGE);
        Reason((stage as usize * PER_STAGE + code) as u8)
    }

    #[inline]
    fn index(self) -> usize {
        usize::from(self.0)
    }

    /// The stage's place in the list.
    #[inline]
    pub(crate) fn stage(self) -> usize {
        self.index() / PER_STAGE
    }

    /// The reason's place in its stage's list.
    #[inline]
    pub(crate) fn code(self) -> usize {
        self.index() % PER_STAGE
    }

    fn info(self) -> &'static DropInfo {
        &STAGES[self.stage()].drops[self.code()]
    }

    /// `stage.name`.
    pub fn name(self) -> String {
        format!("{}.{}", STAGES[self.stage()].name, self.info().name)
    }

    /// What happened, for people.
    pub fn text(self) -> &'static str {
        self.info().text
    }
}

/// Every reason there is, in the order of the stages.
pub fn all() -> impl Iterator<Item = Reason> {
    STAGES.iter().enumerate().flat_map(|(s, stage)| {
        (0..stage.drops.len()).map(move |code| Reason((s * PER_STAGE + code) as u8))
    })
}

/// The reason that is called so: `stage.name`.
pub fn named(name: &str) -> Option<Reason> {
    all().find(|reason| reason.name() == name)
}

/// Declares a stage's drop reasons: `NAME = "name", "what happened";` each.
#[macro_export]
macro_rules! drops {
    ($stage:ident: $($NAME:ident = $name:literal, $text:literal;)*) => {
        $crate::drops!(@each $stage, 0usize; $($NAME = $text;)*);
        /// The stage's drop reasons in the order of their codes.
        pub const DROPS: &[$crate::drops::DropInfo] =
            &[$($crate::drops::DropInfo { name: $name, text: $text },)*];
    };
    (@each $stage:ident, $code:expr;) => {};
    (@each $stage:ident, $code:expr; $NAME:ident = $text:literal; $($rest:tt)*) => {
        #[doc = $text]
        pub const $NAME: $crate::drops::Reason =
            $crate::drops::Reason::new($crate::stages::StageId::$stage, $code);
        $crate::drops!(@each $stage, $code + 1usize; $($rest)*);
    };
}

/// A counter with one writer, its worker, and any readers.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the owning worker calls this: it is a plain load and store.
    #[inline]
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Ordering::Relaxed).wrapping_add(n), Ordering::Relaxed);
    }

    /// Sets it to a value that someone else counts, the kernel for one.
    #[inline]
    pub fn set(&self, n: u64) {
        self.0.store(n, Ordering::Relaxed);
    }

    /// The value now.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// A worker's counts of frames. The law that ties them together, once no frame is in flight:
///
/// received + generated + split + replicated + taken
///     = emitted + held (now) + merged + handed + the sum of drops
///
/// For the process, what workers handed over and no other one has taken yet is held, in the rings
/// between them.
#[derive(Debug)]
pub struct Counters {
    /// Frames that ports handed in.
    pub received: Counter,
    /// Frames that stages made: ARP, ND and ICMP messages.
    pub generated: Counter,
    /// Frames that segmentation and fragmentation added: n - 1 for a frame cut into n.
    pub split: Counter,
    /// Copies made to flood a frame.
    pub replicated: Counter,
    /// Frames that ports took.
    pub emitted: Counter,
    /// Frames that wait now: for a neighbour, in the reinject queue, for room in a port. A gauge.
    pub held: Counter,
    /// Frames that became part of another by coalescing.
    pub merged: Counter,
    /// Frames handed over to the workers that own their ports.
    pub handed: Counter,
    /// Frames taken over from other workers.
    pub taken: Counter,
    /// What the worker is doing.
    pub doing: Doing,
    /// The worker's clock as of its turn's start: monotonic, nanoseconds.
    pub clock: Counter,
    /// Frames that rules took note of.
    pub noted: Counter,
    drops: [Counter; 256],
    samples: Samples,
    notes: Notes,
}

impl Default for Counters {
    fn default() -> Self {
        Counters {
            received: Counter::default(),
            generated: Counter::default(),
            split: Counter::default(),
            replicated: Counter::default(),
            emitted: Counter::default(),
            held: Counter::default(),
            merged: Counter::default(),
            handed: Counter::default(),
            taken: Counter::default(),
            doing: Doing::default(),
            clock: Counter::default(),
            drops: std::array::from_fn(|_| Counter::default()),
            samples: Samples::default(),
            noted: Counter::default(),
            notes: Notes::default(),
        }
    }
}

impl Counters {
    /// Counts a frame that is dropped now, and keeps a sample of it.
    pub fn dropped(&self, frame: &Frame, reason: Reason) {
        let counter = &self.drops[reason.index()];
        self.samples.keep(counter.get(), reason, frame, self.clock.get());
        counter.add(1);
    }

    /// Counts a frame of which there is nothing, since `port` could not even receive it.
    pub fn refused(&self, port: PortId, reason: Reason) {
        let counter = &self.drops[reason.index()];
        self.samples.keep_none(counter.get(), reason, port, self.clock.get());
        counter.add(1);
    }

    /// Keeps a frame for the log, and which rule wants it there.
    pub fn note(&self, frame: &Frame, rule: u32) {
        self.notes.keep(self.noted.get(), rule, frame, self.clock.get());
        self.noted.add(1);
    }

    /// Of the frames that rules took note of these, with the rules, as far as they are kept.
    pub fn notes(&self, which: Range<u64>) -> Vec<(u32, Sample)> {
        self.notes.read(which)
    }

    /// The latest frames that were dropped for `reason`, the oldest first.
    pub fn samples(&self, reason: Reason) -> Vec<Sample> {
        self.samples.read(reason)
    }

    /// Frames dropped for `reason`.
    pub fn drops(&self, reason: Reason) -> u64 {
        self.drops[reason.index()].get()
    }

    /// Frames dropped for any reason.
    pub fn dropped_in_all(&self) -> u64 {
        all().map(|reason| self.drops(reason)).sum()
    }

    /// Both sides of the law: (came in or was made, went out or ended).
    pub fn balance(&self) -> (u64, u64) {
        let came = self.received.get() + self.generated.get() + self.split.get();
        let came = came + self.replicated.get() + self.taken.get();
        let went = self.emitted.get() + self.held.get() + self.merged.get() + self.handed.get();
        (came, went + self.dropped_in_all())
    }
}
