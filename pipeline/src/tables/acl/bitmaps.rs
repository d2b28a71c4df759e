//! Which rules match one of a packet's properties, a bit for each, in classes of values that the
//! same rules match; and which is the first that matches two such properties.
//!
//! Words without any bit are not kept: a class begins with a *summary*, a bit for each of its
//! words, and goes on with those words that it has. So few words of two classes have to be looked
//! at, namely those that both have. Rules that match every value are in no class, but kept once for
//! all.

use hashbrown::HashMap;

const BITS: usize = u64::BITS as usize;

/// Classes of values, with the rules that match them; see the [module](self).
#[derive(Debug)]
pub(super) struct Bitmaps {
    /// Rules that match every value: all words, and their summary.
    always: Box<[u64]>,
    always_summary: Box<[u64]>,
    /// Where each class begins in `words`.
    starts: Box<[usize]>,
    words: Box<[u64]>,
}

impl Bitmaps {
    /// The first rule that matches a value of each, but for one that always matches both.
    #[inline]
    pub(super) fn first_common(
        &self,
        class: u32,
        other: &Bitmaps,
        class_of_other: u32,
    ) -> Option<usize> {
        let (mut ours, mut theirs) = (self.class(class), other.class(class_of_other));
        for i in 0..self.always_summary.len() {
            let (a, b) = (ours.summary[i], theirs.summary[i]);
            let mut words = a & (b | other.always_summary[i]) | b & self.always_summary[i];
            while words != 0 {
                let bit = words.trailing_zeros();
                let word = i * BITS + bit as usize;
                let common = (ours.word(a, bit) | self.always[word])
                    & (theirs.word(b, bit) | other.always[word]);
                if common != 0 {
                    return Some(word * BITS + common.trailing_zeros() as usize);
                }
                words &= words - 1;
            }
            ours.skip(a);
            theirs.skip(b);
        }
        None
    }

    #[inline]
    fn class(&self, class: u32) -> Class<'_> {
        let words = &self.words[self.starts[class as usize]..];
        let (summary, words) = words.split_at(self.always_summary.len());
        Class { summary, words }
    }

    pub(super) fn memory(&self) -> usize {
        size_of_val(&*self.always) + size_of_val(&*self.starts) + size_of_val(&*self.words)
    }
}

struct Class<'a> {
    summary: &'a [u64],
    /// Begins with those that belong to the word of the summary that is looked at.
    words: &'a [u64],
}

impl Class<'_> {
    /// The word that a bit of the summary stands for.
    #[inline]
    fn word(&self, summary: u64, bit: u32) -> u64 {
        if summary >> bit & 1 == 0 {
            return 0;
        }
        self.words[(summary & ((1 << bit) - 1)).count_ones() as usize]
    }

    #[inline]
    fn skip(&mut self, summary: u64) {
        self.words = &self.words[summary.count_ones() as usize..];
    }
}

/// [`Bitmaps`] as they are made.
pub(super) struct Builder {
    /// For each set of values the rules that match these, all words.
    sets: Vec<Vec<u64>>,
    bitmaps: Bitmaps,
    starts: Vec<usize>,
    words: Vec<u64>,
    /// Classes by the sets that a value lies in, and the class of what is around them.
    known: HashMap<(Vec<usize>, u32), u32>,
}

impl Builder {
    /// For so many rules, of which these always match, and these match each set.
    pub(super) fn new(count: usize, always: &[usize], sets: &[Vec<usize>]) -> Builder {
        let words = count.div_ceil(BITS);
        let bitmap = |rules: &[usize]| {
            let mut bitmap = vec![0; words];
            for rule in rules {
                bitmap[rule / BITS] |= 1 << (rule % BITS);
            }
            bitmap
        };
        let always = bitmap(always);
        let mut builder = Builder {
            sets: sets.iter().map(|rules| bitmap(rules)).collect(),
            bitmaps: Bitmaps {
                always_summary: summary(&always).into(),
                always: always.into(),
                starts: Box::default(),
                words: Box::default(),
            },
            starts: Vec::new(),
            words: Vec::new(),
            known: HashMap::new(),
        };
        // The first class is that of values in no set.
        builder.add(&vec![0; words]);
        builder
    }

    /// The class of values that lie in these sets, and within values of the class `around`.
    pub(super) fn class(&mut self, sets: Vec<usize>, around: u32) -> u32 {
        let key = (sets, around);
        if let Some(&class) = self.known.get(&key) {
            return class;
        }
        let mut bitmap = self.bitmap(around);
        for &set in &key.0 {
            for (word, of_set) in bitmap.iter_mut().zip(&self.sets[set]) {
                *word |= of_set;
            }
        }
        let class = self.add(&bitmap);
        self.known.insert(key, class);
        class
    }

    pub(super) fn finish(self) -> Bitmaps {
        Bitmaps { starts: self.starts.into(), words: self.words.into(), ..self.bitmaps }
    }

    fn add(&mut self, bitmap: &[u64]) -> u32 {
        self.starts.push(self.words.len());
        self.words.extend(summary(bitmap));
        self.words.extend(bitmap.iter().filter(|&&word| word != 0));
        self.starts.len() as u32 - 1
    }

    /// All words of a class.
    fn bitmap(&self, class: u32) -> Vec<u64> {
        let count = self.bitmaps.always.len();
        let words = &self.words[self.starts[class as usize]..];
        let (summary, words) = words.split_at(self.bitmaps.always_summary.len());
        let mut words = words.iter();
        let has = |i: usize| summary[i / BITS] >> (i % BITS) & 1 != 0;
        (0..count).map(|i| if has(i) { words.next().copied().unwrap_or(0) } else { 0 }).collect()
    }
}

/// A bit for each word that has one.
fn summary(bitmap: &[u64]) -> Vec<u64> {
    let of_words = |words: &[u64]| {
        words.iter().rev().fold(0, |summary, &word| summary << 1 | u64::from(word != 0))
    };
    bitmap.chunks(BITS).map(of_words).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    /// Of three sets, and of all values, the rules that match them, in steps that leave words out.
    fn rules() -> impl Strategy<Value = [BTreeSet<usize>; 4]> {
        let rule = prop_oneof![0..9_usize, 60..70_usize, 4090..4100_usize, 0..10_000_usize];
        let some = move || prop::collection::btree_set(rule.clone(), 0..20);
        [some(), some(), some(), some()]
    }

    /// A class within another, and the rules of each.
    fn made([a, b, c, always]: &[BTreeSet<usize>; 4]) -> (Bitmaps, [(u32, BTreeSet<usize>); 3]) {
        let list = |rules: &BTreeSet<usize>| rules.iter().copied().collect::<Vec<_>>();
        let mut builder = Builder::new(10_000, &list(always), &[a, b, c].map(list));
        let outer = builder.class(vec![0, 2], 0);
        let inner = builder.class(vec![1], outer);
        assert_eq!(builder.class(vec![1], outer), inner);
        let (a, b, c) = (a | always, b, c);
        let classes = [(0, always.clone()), (outer, &a | c), (inner, &(&a | c) | b)];
        (builder.finish(), classes)
    }

    proptest! {
        #[test]
        fn the_first_common_rule_is_found(ours in rules(), mut theirs in rules()) {
            // What always matches both is kept elsewhere.
            theirs[3] = &theirs[3] - &ours[3];
            let ((a, of_a), (b, of_b)) = (made(&ours), made(&theirs));
            for (class, rules) in &of_a {
                for (other, others) in &of_b {
                    let first = rules.intersection(others).next().copied();
                    prop_assert_eq!(a.first_common(*class, &b, *other), first);
                    prop_assert_eq!(b.first_common(*other, &a, *class), first);
                }
            }
        }
    }
}
