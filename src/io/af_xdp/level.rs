//! How many chunks stand ready for the kernel: memory against loss in a burst.

/// How many chunks the fill ring should hold: few for a quiet socket, as there may be hundreds; twice
/// as many whenever more than half were used up between two looks; half as many again after a period
/// in which three quarters were never touched.
#[derive(Debug)]
pub(super) struct FillLevel {
    min: u32,
    max: u32,
    now: u32,
    /// Chunks in the ring when we last added some.
    pub(super) filled: u32,
    /// The lowest level seen in this period.
    low: u32,
}

impl FillLevel {
    pub(super) fn new(min: u32, max: u32) -> FillLevel {
        let min = min.clamp(1, max);
        FillLevel { min, max, now: min, filled: 0, low: min }
    }

    /// How many chunks to add to `pending`. Small amounts wait, for the sake of the shared cache line.
    #[inline]
    pub(super) fn wanted(&mut self, pending: u32) -> u32 {
        self.low = self.low.min(pending);
        if pending < self.filled / 2 {
            self.now = (self.now * 2).min(self.max);
        }
        let missing = self.now.saturating_sub(pending);
        if missing >= self.now.div_ceil(8) { missing } else { 0 }
    }

    pub(super) fn settle(&mut self) {
        if self.low >= self.now - self.now / 4 {
            self.now = (self.now / 2).max(self.min);
        }
        self.low = self.now;
    }
}

#[cfg(test)]
mod tests {
    use super::FillLevel;

    #[test]
    fn the_fill_level_follows_the_load() {
        let mut level = FillLevel::new(64, 512);
        let look = |level: &mut FillLevel, pending| {
            let wanted = level.wanted(pending);
            if wanted > 0 {
                level.filled = pending + wanted;
            }
            wanted
        };
        assert_eq!(look(&mut level, 0), 64, "an empty ring at the start is no load");
        assert_eq!(look(&mut level, 60), 0, "a few frames are not worth a write");
        assert_eq!(look(&mut level, 40), 24);
        assert_eq!(look(&mut level, 10), 118, "the level doubles");
        assert_eq!(look(&mut level, 0), 256);
        assert_eq!(look(&mut level, 0), 512);
        assert_eq!(look(&mut level, 0), 512, "the ring's size is the limit");
        level.settle();
        assert_eq!(look(&mut level, 500), 0);
        level.settle();
        assert_eq!(look(&mut level, 256), 0, "half the level after a quiet period");
        for _ in 0..9 {
            level.settle();
        }
        assert_eq!(level.now, 64, "and no less than at the start");
    }
}
