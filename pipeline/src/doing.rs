//! What a worker is doing: a crumb that it leaves before each step with a batch, for whoever finds
//! that it goes on no more.

use crate::snapshot::PortId;
use crate::stages::{STAGES, StageId};
use std::fmt;
use std::sync::atomic::{AtomicU32, Ordering};

/// A step of a worker's turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Between two turns.
    Pause,
    /// Asking a port for frames.
    Receive(PortId),
    /// Running a stage over a batch.
    Stage(StageId),
    /// Giving a port frames.
    Send(PortId),
    /// Taking frames over from other workers.
    TakeOver,
    /// Carrying out what the control side wants.
    Obey,
}

/// The crumb. Its worker writes it, a relaxed store for each batch and step; anyone reads it.
#[derive(Debug, Default)]
pub struct Doing(AtomicU32);

const KIND: u32 = 16;

impl Doing {
    /// Says what comes now.
    #[inline]
    pub fn set(&self, step: Step) {
        let (kind, what) = match step {
            Step::Pause => (0, 0),
            Step::Receive(port) => (1, port.0),
            Step::Stage(stage) => (2, stage as u16),
            Step::Send(port) => (3, port.0),
            Step::TakeOver => (4, 0),
            Step::Obey => (5, 0),
        };
        self.0.store(kind << KIND | u32::from(what), Ordering::Relaxed);
    }

    /// What the worker was doing, in words; `port` names a port.
    pub fn tell(&self, port: impl Fn(PortId) -> String) -> String {
        let word = self.0.load(Ordering::Relaxed);
        let id = PortId(word as u16);
        match word >> KIND {
            1 => format!("receiving from port {}", port(id)),
            2 => format!("in stage {}", STAGES.get(id.index()).map_or("?", |stage| stage.name)),
            3 => format!("sending by port {}", port(id)),
            4 => "taking frames over from another worker".to_owned(),
            5 => "carrying out a command".to_owned(),
            _ => "between two turns".to_owned(),
        }
    }
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.tell(|id| format!("#{}", id.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_told() {
        let doing = Doing::default();
        assert_eq!(doing.to_string(), "between two turns");
        doing.set(Step::Send(PortId(7)));
        assert_eq!(doing.tell(|id| format!("a{}", id.0)), "sending by port a7");
        doing.set(Step::Stage(StageId::Neighbour));
        assert_eq!(doing.to_string(), "in stage neighbour");
    }
}
