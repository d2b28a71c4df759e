//! Things that are known by an index which never moves: ports, peers, neighbours.
//!
//! Routes, frames and workers name them by it, so that one may come or go without a route being
//! repainted or a queue being moved. A slot whose thing is gone stays empty until something new
//! takes it; when that may be, so that no frame under way means the old one, is for those who fill
//! the table to say.

use std::ops::{Index, IndexMut};

/// Slots, some of which are empty.
#[derive(Clone, Debug)]
pub struct Slots<T>(Vec<Option<T>>);

impl<T> Slots<T> {
    /// What is in a slot; `None` of an empty one and beyond the end.
    #[inline]
    pub fn get(&self, index: usize) -> Option<&T> {
        self.0.get(index)?.as_ref()
    }

    /// Puts something into a slot, wherever that is. Returns what was there.
    pub fn insert(&mut self, index: usize, value: T) -> Option<T> {
        if self.0.len() <= index {
            self.0.resize_with(index + 1, || None);
        }
        self.0[index].replace(value)
    }

    /// Empties a slot. Returns what was there.
    pub fn remove(&mut self, index: usize) -> Option<T> {
        let old = self.0.get_mut(index)?.take();
        let used = self.0.iter().rposition(Option::is_some).map_or(0, |last| last + 1);
        self.0.truncate(used);
        old
    }

    /// The same slots with other things, made of those that there are.
    pub fn map<U>(&self, f: impl Fn(&T) -> U) -> Slots<U> {
        Slots(self.0.iter().map(|slot| slot.as_ref().map(&f)).collect())
    }

    /// One more than the largest index in use.
    pub fn end(&self) -> usize {
        self.0.len()
    }

    /// What there is, in the order of the slots.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().flatten()
    }

    /// The same with the slots' indices.
    pub fn entries(&self) -> impl Iterator<Item = (usize, &T)> {
        self.0.iter().enumerate().filter_map(|(index, slot)| Some((index, slot.as_ref()?)))
    }
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Slots(Vec::new())
    }
}

/// The first slots, all of them taken.
impl<T> From<Vec<T>> for Slots<T> {
    fn from(values: Vec<T>) -> Self {
        values.into_iter().collect()
    }
}

impl<T> FromIterator<T> for Slots<T> {
    fn from_iter<I: IntoIterator<Item = T>>(values: I) -> Self {
        Slots(values.into_iter().map(Some).collect())
    }
}

/// For slots that are known to be taken; it panics at others.
impl<T> Index<usize> for Slots<T> {
    type Output = T;

    fn index(&self, index: usize) -> &T {
        self.get(index).expect("the slot is taken")
    }
}

/// As [`Index`].
impl<T> IndexMut<usize> for Slots<T> {
    fn index_mut(&mut self, index: usize) -> &mut T {
        self.0.get_mut(index).and_then(Option::as_mut).expect("the slot is taken")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_keeps_its_index_when_others_go() {
        let mut slots = Slots::from(vec!['a', 'b', 'c']);
        assert_eq!(slots.remove(1), Some('b'));
        assert_eq!((slots.get(0), slots.get(1), slots.get(2)), (Some(&'a'), None, Some(&'c')));
        assert_eq!(slots.entries().collect::<Vec<_>>(), [(0, &'a'), (2, &'c')]);
        assert_eq!(slots.insert(1, 'd'), None);
        assert_eq!(slots.iter().copied().collect::<String>(), "adc");
    }

    #[test]
    fn other_things_keep_the_slots() {
        let mut slots = Slots::from(vec![1, 2, 3]);
        slots.remove(1);
        let others = slots.map(|n| n * 10);
        assert_eq!(others.entries().collect::<Vec<_>>(), [(0, &10), (2, &30)]);
    }

    #[test]
    fn it_ends_behind_the_last_that_is_there() {
        let mut slots = Slots::default();
        assert_eq!(slots.insert(3, 'x'), None);
        assert_eq!((slots.end(), slots.get(9)), (4, None));
        slots.insert(1, 'y');
        assert_eq!((slots.remove(3), slots.end()), (Some('x'), 2));
        assert_eq!((slots.remove(3), slots.remove(1), slots.end()), (None, Some('y'), 0));
    }
}
