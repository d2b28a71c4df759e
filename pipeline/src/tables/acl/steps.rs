//! Step functions: which value a key has, where neighbours mostly have the same.
//!
//! A static B-tree without pointers. A block has 16 keys, which are searched in four steps without a
//! branch; each is the last that leads to a block of the next level, or at the lowest one to a value.
//! Since the very last is the greatest key there is, no search ever leads beyond the end, whatever it
//! looks for.

/// Keys of a block. Those of IPv4 addresses fill a cache line.
const FAN: usize = 16;

/// More than any table needs: 16^7 steps.
const MAX_LEVELS: usize = 7;

/// Keys to look for: numbers of a fixed width.
pub(super) trait Number: Copy + Ord {
    const MAX: Self;
}

impl Number for u32 {
    const MAX: u32 = u32::MAX;
}

impl Number for u128 {
    const MAX: u128 = u128::MAX;
}

#[derive(Clone, Debug)]
#[repr(align(64))]
struct Block<K>([K; FAN]);

/// A value for every key; see the [module](self).
#[derive(Debug)]
pub(super) struct Steps<K> {
    /// The blocks of all levels, the root's first.
    blocks: Box<[Block<K>]>,
    /// Of every level its first block; none where there is one value only.
    levels: [u32; MAX_LEVELS],
    depth: u8,
    values: Box<[u32]>,
}

impl<K: Number> Steps<K> {
    /// The function that has these values up to and including these keys, which rise up to the
    /// greatest.
    pub(super) fn new(steps: &[(K, u32)]) -> Steps<K> {
        assert!(steps.is_sorted_by(|a, b| a.0 < b.0), "every step begins behind the one before");
        assert!(steps.last().is_some_and(|step| step.0 == K::MAX), "every key has a value");
        let mut levels = Vec::new();
        let mut lasts: Vec<K> = steps.iter().map(|step| step.0).collect();
        while lasts.len() > 1 {
            let level: Vec<Block<K>> = lasts.chunks(FAN).map(block).collect();
            lasts = level.iter().map(|Block(keys)| keys[FAN - 1]).collect();
            levels.insert(0, level);
        }
        let mut starts = [0; MAX_LEVELS];
        for level in 1..levels.len() {
            starts[level] = starts[level - 1] + levels[level - 1].len() as u32;
        }
        Steps {
            depth: levels.len() as u8,
            blocks: levels.concat().into(),
            levels: starts,
            values: steps.iter().map(|step| step.1).collect(),
        }
    }

    /// The key's value, and the last key up to which it is the same.
    #[inline]
    pub(super) fn at(&self, key: K) -> (u32, K) {
        let (mut index, mut last) = (0, K::MAX);
        for &start in &self.levels[..usize::from(self.depth)] {
            let Block(keys) = &self.blocks[start as usize + index];
            let before = count_less(keys, key);
            last = keys[before % FAN];
            index = index * FAN + before;
        }
        (self.values[index], last)
    }

    pub(super) fn memory(&self) -> usize {
        size_of_val(&*self.blocks) + size_of_val(&*self.values)
    }
}

fn block<K: Number>(keys: &[K]) -> Block<K> {
    let mut block = [K::MAX; FAN];
    block[..keys.len()].copy_from_slice(keys);
    Block(block)
}

/// How many keys of a block are less than this one, which the last is not.
#[inline]
fn count_less<K: Number>(keys: &[K; FAN], key: K) -> usize {
    let mut less = 0;
    for half in [8, 4, 2, 1] {
        // No branch: the processor could not guess it.
        less += if keys[(less + half - 1) % FAN] < key { half } else { 0 };
    }
    less
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An IPv6 address in the prefix of this number.
    fn wide(prefix: u32, host: u128) -> u128 {
        u128::from(prefix) << 96 | host
    }

    #[test]
    fn every_size_finds_what_a_search_from_the_start_finds() {
        for count in (1..70).chain([255, 256, 257, 4095, 4096, 4097]) {
            let mut steps: Vec<(u32, u32)> = (1..=count).map(|i| (i * 10, i)).collect();
            if let Some(last) = steps.last_mut() {
                last.0 = u32::MAX;
            }
            let table = Steps::new(&steps);
            let steps6: Vec<_> =
                steps.iter().map(|&(last, i)| (wide(last, u128::MAX >> 32), i)).collect();
            let table6 = Steps::new(&steps6);
            for key in (0..=count * 10 + 11).chain([u32::MAX - 1, u32::MAX]) {
                let &(last, value) = steps.iter().find(|step| key <= step.0).expect("a last step");
                assert_eq!(table.at(key), (value, last), "{key} of {count} steps");
                assert_eq!(table6.at(wide(key, 7)).0, value, "{key} of {count} steps");
            }
        }
    }
}
