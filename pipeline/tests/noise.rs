//! Any traffic through all stages loses neither frames nor chunks. The fuzz target `pipeline` plays the
//! same games for longer.
#![allow(clippy::unwrap_used)]

#[path = "common/play.rs"]
mod play;
#[path = "common/samples.rs"]
mod samples;

use play::Worlds;
use proptest::prelude::*;

proptest! {
    #![proptest_config(ProptestConfig::with_cases(4))]
    #[test]
    fn nothing_gets_lost(
        games in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..1500), 100),
    ) {
        let mut worlds = Worlds::new();
        for game in games {
            worlds.play(&game);
        }
    }
}
