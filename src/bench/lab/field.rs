//! The routers of one contender, at work in an arena.

use super::super::arena::{Arena, Cores, FAR, NODE, Underlay};
use super::super::contender::{Contender, Mode, Place, Router};
use super::super::cpu::{Cpu, Look};
use super::super::traffic::{Kind, Traffic};
use super::super::{Error, Result};
use std::time::Duration;

/// Frames that are sent to see whether the way is open: few enough for any router.
const FIRST: (f64, Duration) = (10e3, Duration::from_millis(50));
/// How often the way may be found closed: neighbours must be resolved at first.
const ATTEMPTS: usize = 20;

/// The routers of one contender, at work in an arena; they go when it is dropped.
#[derive(Debug)]
pub struct Field<'a> {
    contender: &'static dyn Contender,
    routers: Vec<Box<dyn Router>>,
    arena: &'a Arena,
    mode: Mode,
    idle: f64,
}

impl<'a> Field<'a> {
    /// One router on the node, and with `path` another one on the far node, for a
    /// [`Side::Path`](super::super::traffic::Side::Path); then there is nothing else that can be measured
    /// there, since the far node's uplink is its router's. `idle` cores were busy before: see
    /// [`Arena::idle`].
    ///
    /// # Errors
    /// When a router does not start.
    pub fn prepare(
        contender: &'static dyn Contender,
        arena: &'a Arena,
        mode: Mode,
        path: bool,
        idle: f64,
    ) -> Result<Field<'a>> {
        if let Some(lack) = contender.lacks() {
            return Err(Error::program(format!("measure {}", contender.name()), lack));
        }
        let mut field = Field { contender, routers: Vec::new(), arena, mode, idle };
        let sites = [(&NODE, &FAR), (&FAR, &NODE)];
        for ((site, peer), core) in sites.into_iter().zip(field.arena.cores.routers) {
            if site == &NODE || path {
                field.routers.push(contender.start(&Place { site, peer, core, mode })?);
            }
        }
        Ok(field)
    }

    /// What is measured.
    pub fn contender(&self) -> &'static dyn Contender {
        self.contender
    }

    /// The router on the node.
    pub fn router(&self) -> &dyn Router {
        &*self.routers[0]
    }

    /// Whether routers' threads may sleep.
    pub fn mode(&self) -> Mode {
        self.mode
    }

    /// What joins the nodes.
    pub fn underlay(&self) -> Underlay {
        self.arena.underlay()
    }

    /// Which core does what.
    pub fn cores(&self) -> &Cores {
        &self.arena.cores
    }

    /// Whether a router's own thread shares its core with the sender.
    pub fn shares_core(&self) -> bool {
        self.cores().are_shared(self.routers.len())
    }

    /// How many cores the machine was busy with before the routers were started.
    pub fn idle(&self) -> f64 {
        self.idle
    }

    /// Opens traffic of a kind, and waits until it comes through.
    ///
    /// # Errors
    /// When it does not.
    pub fn traffic(&self, kind: &Kind) -> Result<Traffic> {
        let traffic = Traffic::open(self.arena, self.router().attachment(), kind)?;
        let mut sent = 0;
        for _ in 0..ATTEMPTS {
            let flow = traffic.constant(FIRST.0, FIRST.1)?;
            sent += flow.sent;
            if flow.arrived * 2 > flow.sent {
                return Ok(traffic);
            }
        }
        let contender = self.contender.name().into();
        Err(Error::NothingArrives { contender, sent, side: kind.side })
    }

    /// What the frames that `job` says it forwarded took in time of the processors.
    ///
    /// # Errors
    /// Those of `job`.
    pub fn cost<T>(&self, job: impl FnOnce() -> Result<(T, u64)>) -> Result<(T, Cpu)> {
        let processes: Vec<u32> =
            self.routers.iter().flat_map(|router| router.processes()).collect();
        let look = || Look::now(self.arena.cores.sender, &processes);
        let before = look();
        let (value, frames) = job()?;
        Ok((value, look().since(&before, frames, self.idle)))
    }
}
