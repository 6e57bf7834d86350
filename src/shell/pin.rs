//! Puts the hot thread on its core and keeps its memory in place.
//!
//! Both are best effort: a container may forbid either, and an engine that runs slower is better
//! than one that does not start. What did not hold is said, once, as a warning.

use nix::sys::mman::{MlockAllFlags, mlockall};

/// Pins the calling thread to `core`. An error says what was asked and what there is.
pub fn pin_thread(core: usize) -> Result<(), String> {
    let cores = core_affinity::get_core_ids().unwrap_or_default();
    let Some(id) = cores.iter().find(|id| id.id == core) else {
        let known: Vec<usize> = cores.iter().map(|id| id.id).collect();
        return Err(format!("core {core} is not one that this process may use: {known:?}"));
    };
    if core_affinity::set_for_current(*id) {
        Ok(())
    } else {
        Err(format!("the kernel refused to pin the thread to core {core}"))
    }
}

/// Locks everything the process has mapped, which also faults it in.
pub fn lock_memory() -> Result<(), String> {
    mlockall(MlockAllFlags::MCL_CURRENT).map_err(|errno| {
        format!("memory could not be locked ({errno}): raise RLIMIT_MEMLOCK or grant CAP_IPC_LOCK")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_that_is_not_there_is_named() {
        let error = pin_thread(100_000).unwrap_err();
        assert!(error.contains("core 100000"), "{error}");
    }
}
