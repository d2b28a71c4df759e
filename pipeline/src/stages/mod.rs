//! The stages, in order. The list below IS the pipeline.
//!
//! A stage looks at the frames of a batch that are alive, changes their bytes and facts, and sets a
//! verdict where it has decided; it moves and frees nothing. A new stage is a folder and a line.

use crate::cx::Cx;
use crate::drops::DropInfo;
use crate::frame::Batch;

/// One step that every frame takes.
pub trait Stage: Send {
    /// Looks at the live frames of `batch`.
    fn process(&mut self, batch: &mut Batch, cx: &mut Cx<'_>);

    /// Called about once a millisecond, traffic or not: let go of what was held too long.
    fn tick(&mut self, _cx: &mut Cx<'_>) {}

    /// Frames that it holds.
    fn held(&self) -> usize {
        0
    }

    /// Called once, at the end: let go of what is held.
    fn close(&mut self, _cx: &mut Cx<'_>) {}
}

/// A line of the list.
#[derive(Clone, Copy, Debug)]
pub struct StageInfo {
    /// The folder's name.
    pub name: &'static str,
    /// Its drop reasons.
    pub drops: &'static [DropInfo],
}

macro_rules! stages {
    ($($folder:ident => $Stage:ident,)+ ; $($other:ident => $Other:ident,)+) => {
        $(pub mod $folder;)+
        $(pub mod $other;)+

        /// A stage's place in the list; after the stages, others that drop frames.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[repr(u8)]
        pub enum StageId {
            $(#[doc = concat!("See [`", stringify!($folder), "`].")] $Stage,)+
            $(#[doc = concat!("See [`", stringify!($other), "`].")] $Other,)+
        }

        /// Names and drop reasons, indexed by [`StageId`].
        pub static STAGES: &[StageInfo] = &[
            $(StageInfo { name: stringify!($folder), drops: $folder::DROPS },)+
            $(StageInfo { name: stringify!($other), drops: $other::DROPS },)+
        ];

        /// The stages themselves, in order.
        pub fn pipeline() -> Vec<(StageId, Box<dyn Stage>)> {
            vec![$((StageId::$Stage, Box::new($folder::$Stage::default())),)+]
        }
    };
}

stages! {
    // from the wire to an IP packet of the overlay
    parse => Parse,
    decap => Decap,
    resolve => Resolve, // ARP and ND: answers, proxies, learns
    // where it goes and whether it may
    route => Route,
    acl => Acl, // behind the route, since it asks both ends; before anything is answered
    ttl => Ttl, // and ICMP: errors, echo to the gateway
    // towards the wire again
    tunnel => Tunnel,
    neighbour => Neighbour,
    finish => Finish,
    ; // not stages, but they drop frames too
    port => Port,
    settle => Settle,
}
