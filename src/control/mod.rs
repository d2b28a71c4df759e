//! Everything but frames: from a config and a machine to running workers, and back.
//!
//! ```text
//! config file ─┐
//!              ├▶ Desired ─▶ plan ─▶ apply ─┬▶ devices
//! API: edits ──┘                            └▶ build ─▶ Snapshot ─▶ workers
//!                                       facts ──┘          │
//!                                         ▲                ▼
//!                                      netlink           state ─▶ report ─▶ management socket
//! ```
//!
//! The desired state goes from life to life: by [`handover`] when a new version takes over, by the
//! [`journal`] after SIGKILL.
//!
//! What a node is told, by signals and edits, waits in one queue ([`orders`]) and is done one by one.
//!
//! All of it runs on the main thread, in a tokio runtime of that one thread; workers never wait for
//! it.

pub mod apply;
pub mod beside;
pub mod build;
pub mod cleanup;
pub mod daemon;
pub mod desired;
pub mod devices;
pub mod follow;
pub mod groups;
pub mod handover;
pub mod journal;
pub mod left;
pub mod management;
pub mod mtus;
pub mod netlink;
pub mod node;
pub mod notes;
pub mod numbers;
pub mod orders;
pub mod outside;
pub mod privilege;
pub mod report;
pub mod reserve;
pub mod routes;
pub mod samples;
pub mod state;
pub mod supervisor;
#[allow(unsafe_code)]
mod sys;
pub mod trace;
pub mod underlay;
pub mod undo;
pub mod upgrade;
pub mod workers;

/// Where a daemon listens when its config doesn't say.
pub const DEFAULT_SOCKET: &str = "/run/cableway/cableway.sock";
