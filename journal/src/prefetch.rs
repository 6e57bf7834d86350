//! Prefetch: asks the processor for an entry of a table before it is needed.
//!
//! A big table misses the caches; asking for the entry while other work goes on hides the wait. It
//! is a hint: it reads nothing, changes nothing, and cannot fault.

/// Asks for `slice[index]` to be loaded for reading. Does nothing when `index` is out of range, or
/// on a processor other than x86-64.
#[inline]
pub fn prefetch_read<T>(slice: &[T], index: usize) {
    let Some(item) = slice.get(index) else { return };
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: the instruction is part of every x86-64 processor, the pointer comes from a live
        // reference, and a prefetch neither reads into the program nor faults.
        // JUSTIFICATION: the standard library has no safe prefetch; without it a probe of the
        // duplicate table waits for memory, about 80 ns, instead of overlapping with decoding.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(item).cast()) }
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = item;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_index_is_allowed() {
        let table = [1_u64, 2, 3];
        for index in [0, 2, 3, usize::MAX] {
            prefetch_read(&table, index);
        }
        prefetch_read::<u64>(&[], 0);
        assert_eq!(table, [1, 2, 3]);
    }
}
