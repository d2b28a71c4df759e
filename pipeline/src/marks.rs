//! A set of small numbers as a bitmap: which of many ports there is something to do for.

use std::ops::Range;

/// The set. It allocates only in [`fit`](Self::fit).
#[derive(Clone, Debug, Default)]
pub struct Marks {
    words: Vec<u64>,
}

impl Marks {
    /// Makes room for numbers below `end`.
    pub fn fit(&mut self, end: usize) {
        let words = end.div_ceil(64);
        if words > self.words.len() {
            self.words.resize(words, 0);
        }
    }

    /// Adds a number.
    ///
    /// # Panics
    /// When there is no room for it.
    #[inline]
    pub fn set(&mut self, index: usize) {
        self.words[index / 64] |= 1 << (index % 64);
    }

    /// Takes a number out, if it is there.
    #[inline]
    pub fn clear(&mut self, index: usize) {
        if let Some(word) = self.words.get_mut(index / 64) {
            *word &= !(1 << (index % 64));
        }
    }

    /// Whether a number is there.
    #[inline]
    pub fn contains(&self, index: usize) -> bool {
        self.words.get(index / 64).is_some_and(|word| word & 1 << (index % 64) != 0)
    }

    /// Whether none is there.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.words.iter().all(|word| *word == 0)
    }

    /// One more than the largest number that there is room for.
    #[inline]
    pub fn end(&self) -> usize {
        self.words.len() * 64
    }

    /// The least number within `range`; changes between two calls do no harm.
    #[inline]
    pub fn next(&self, range: Range<usize>) -> Option<usize> {
        let mut at = range.start / 64;
        let mut word = self.words.get(at)? & u64::MAX << (range.start % 64);
        while word == 0 {
            at += 1;
            if at * 64 >= range.end {
                return None;
            }
            word = *self.words.get(at)?;
        }
        let index = at * 64 + word.trailing_zeros() as usize;
        (index < range.end).then_some(index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        #[test]
        fn behaves_as_a_set_does(
            set in proptest::collection::btree_set(0usize..200, 0..20),
            gone in proptest::collection::vec(0usize..300, 0..20),
            from in 0usize..300,
            to in 0usize..300,
        ) {
            let mut marks = Marks::default();
            marks.fit(200);
            set.iter().for_each(|n| marks.set(*n));
            gone.iter().for_each(|n| marks.clear(*n));
            let set: BTreeSet<_> = set.into_iter().filter(|n| !gone.contains(n)).collect();
            prop_assert_eq!(marks.is_empty(), set.is_empty());
            prop_assert!((0..300).all(|n| marks.contains(n) == set.contains(&n)));
            let mut found = Vec::new();
            let mut at = from;
            while let Some(n) = marks.next(at..to) {
                found.push(n);
                at = n + 1;
            }
            let expected: Vec<_> = set.into_iter().filter(|n| (from..to).contains(n)).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
