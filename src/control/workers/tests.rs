//! Workers that come to harm, and who gets which queue.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::io::PortCx;
use pipeline::frame::{Batch, Frame, Link};
use pipeline::snapshot::Caps;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, Ordering};

/// What a port does to its worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Harm {
    None,
    /// It takes its time to begin, and is let go then.
    Delay,
    /// When it is asked for frames.
    Panic,
    Hang,
}

/// A port that does harm, until it is let go.
struct Harmful {
    harm: Harm,
    go: Arc<AtomicBool>,
}

impl Port for Harmful {
    fn link(&self) -> Link {
        Link::Ip
    }

    fn caps(&self) -> Caps {
        Caps::default()
    }

    fn begin(&mut self, _: &mut PortCx<'_>) -> io::Result<()> {
        if self.harm == Harm::Delay {
            std::thread::sleep(Duration::from_millis(100));
            self.go.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    fn rx(&mut self, _: &mut Batch, _: &mut PortCx<'_>) -> io::Result<bool> {
        match self.harm {
            Harm::None | Harm::Delay => {}
            Harm::Panic => panic!("a fault that was put in"),
            Harm::Hang => {
                while !self.go.load(Ordering::Relaxed) {
                    std::thread::sleep(Duration::from_millis(10));
                }
            }
        }
        Ok(false)
    }

    fn tx(&mut self, _: &mut VecDeque<Frame>, _: &mut PortCx<'_>) -> io::Result<usize> {
        Ok(0)
    }

    fn describe(&self) -> String {
        format!("{:?}", self.harm)
    }
}

fn workers(count: usize) -> Arc<Workers> {
    let plan = Plan {
        cores: vec![None; count],
        pacing: Pacing::default(),
        memory: Memory::new(1024, false).unwrap(),
        snapshot: Arc::default(),
        epoch: Instant::now(),
    };
    Workers::with("adaptive", &plan).unwrap()
}

/// Two workers, the second of which gets a port that does this to it; what the watch says of it.
fn harmed(harm: Harm) -> (Arc<Workers>, Arc<AtomicBool>, Option<WorkerError>) {
    let workers = workers(2);
    let go = Arc::new(AtomicBool::new(false));
    for (id, harm) in [(3, Harm::None), (7, harm)] {
        workers.add(PortId(id), vec![Box::new(Harmful { harm, go: go.clone() })]).unwrap();
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let patience = LOOK * (STRIKES + 3);
    let watch = workers.watch(|id| format!("p{}", id.0));
    let error = runtime.block_on(async { tokio::time::timeout(patience, watch).await.ok() });
    (workers, go, error)
}

#[test]
fn a_worker_that_panics_is_noticed() {
    let (workers, _, error) = harmed(Harm::Panic);
    let text = error.unwrap().to_string();
    assert!(text.contains("has ended receiving from port p7"), "{text}");
    assert!(workers.is_running(0) && !workers.is_running(1));
    let error = workers.stop().unwrap_err().to_string();
    assert!(error.contains("panicked: a fault that was put in"), "{error}");
}

#[test]
fn a_worker_that_hangs_is_noticed_and_left_behind() {
    let (workers, go, error) = harmed(Harm::Hang);
    let text = error.unwrap().to_string();
    assert!(text.contains("hangs receiving from port p7"), "{text}");
    let error = workers.stop().unwrap_err().to_string();
    assert!(error.contains("hangs"), "{error}");
    go.store(true, Ordering::Relaxed);
}

#[test]
fn well_workers_are_left_alone() {
    let (workers, _, error) = harmed(Harm::None);
    assert!(error.is_none(), "{error:?}");
    workers.stop().unwrap();
}

#[tokio::test]
async fn ports_are_at_work_when_it_is_said_so() {
    let workers = workers(2);
    let go: [Arc<AtomicBool>; 3] = Default::default();
    let ports = go.iter().map(|go| Box::new(Harmful { harm: Harm::Delay, go: go.clone() }));
    workers.add(PortId(1), ports.map(|port| port as Box<dyn Port>).collect()).unwrap();
    workers.begun().await;
    assert!(go.iter().all(|go| go.load(Ordering::Relaxed)));
    workers.stop().unwrap();
}

#[test]
fn queues_are_spread() {
    assert_eq!(owners(vec![0, 0], 2), [0, 1]);
    assert_eq!(owners(vec![5, 0], 2), [0, 1], "a queue for each: by number");
    assert_eq!(owners(vec![9, 0], 5), [0, 1, 0, 1, 0]);
    assert_eq!(owners(vec![1, 0], 1), [1]);
    assert_eq!(owners(vec![1, 1, 1], 2), [0, 1]);
    assert_eq!(owners(vec![2, 1, 0, 2], 3), [2, 1, 2]);
}

#[tokio::test]
async fn a_removed_port_is_gone_when_it_is_said_so() {
    let workers = workers(3);
    let go = Arc::new(AtomicBool::new(false));
    for round in 0..20u16 {
        let queues = (0..=round % 4).map(|_| {
            let harm = Harm::None;
            Box::new(Harmful { harm, go: go.clone() }) as Box<dyn Port>
        });
        workers.add(PortId(round % 2), queues.collect()).unwrap();
        assert_eq!(workers.queues().len(), usize::from(round % 4) + 1);
        workers.remove(PortId(round % 2)).await;
        assert_eq!(Arc::strong_count(&go), 1, "all its queues are closed");
    }
    workers.stop().unwrap();
}
