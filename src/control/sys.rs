//! What the control side asks of the C library that has no safe wrapper.

/// Has all threads allocate from one heap.
///
/// The allocator would give each thread a heap of its own. Workers don't allocate while they forward,
/// so nobody waits for anybody; but what is built on one thread and dropped on another, a config or a
/// table, stays as room in many heaps, each as large as the largest table that was ever built there.
pub(super) fn share_heap() {
    // SAFETY: it takes two numbers; no other thread runs yet that could allocate meanwhile, and
    // glibc holds a lock against that anyway.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_ARENA_MAX, 1);
    }
}
