//! The latest answer of a lookup, kept for the next frame of a batch: it often asks the same.

/// A lookup's latest key and answer.
#[derive(Debug)]
pub(crate) struct Latest<K, V>(Option<(K, V)>);

impl<K: Copy + PartialEq, V: Copy> Latest<K, V> {
    /// Of no lookup yet.
    #[inline(always)]
    pub(crate) fn new() -> Self {
        Latest(None)
    }

    /// The answer for `key`, which `find` looks up if it was not the latest one asked for. What is not
    /// found is looked up again the next time.
    #[inline(always)]
    pub(crate) fn get(&mut self, key: K, find: impl FnOnce() -> Option<V>) -> Option<V> {
        if let Some((known, answer)) = self.0
            && known == key
        {
            return Some(answer);
        }
        let answer = find()?;
        self.0 = Some((key, answer));
        Some(answer)
    }
}
