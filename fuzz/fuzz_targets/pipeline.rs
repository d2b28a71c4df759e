//! Any traffic through all stages: frames of pods and peers, right and wrong, with any offload data that
//! a port lets through, while time passes, tables change and memory runs out. Neither a frame nor
//! a chunk may get lost.
#![no_main]

#[path = "../../pipeline/tests/common/play.rs"]
mod play;
#[path = "../../pipeline/tests/common/samples.rs"]
mod samples;

use play::Worlds;
use std::sync::{LazyLock, Mutex};

static WORLDS: LazyLock<Mutex<Worlds>> = LazyLock::new(|| Mutex::new(Worlds::new()));

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| {
    WORLDS.lock().expect("libFuzzer has one thread").play(bytes);
});
