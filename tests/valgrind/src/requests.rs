//! Requests to valgrind (`requests.c`). Outside valgrind they do nothing.

use std::ffi::{CString, c_char, c_uint, c_void};
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

/// Whether instructions are counted right now.
static COUNTING: AtomicBool = AtomicBool::new(false);

unsafe extern "C" {
    safe fn vg_running() -> c_uint;
    safe fn vg_errors() -> c_uint;
    safe fn vg_compared() -> c_uint;
    safe fn vg_silent();
    safe fn vg_loud();
    safe fn vg_toggle();
    safe fn vg_zero();
    fn vg_dump(name: *const c_char);
    fn vg_undefined(at: *const c_void, bytes: usize);
    fn vg_defined(at: *mut c_void, bytes: usize);
}

/// Whether the program runs under valgrind.
pub fn running() -> bool {
    vg_running() != 0
}

/// The findings so far, repeated ones included.
pub fn errors() -> u32 {
    vg_errors()
}

/// How many comparisons of the crate had undefined bytes before them, since the last call.
pub fn compared() -> u32 {
    vg_compared()
}

/// Marks memory undefined: from here on memcheck follows these bytes.
pub fn undefine(bytes: &[u8]) {
    // SAFETY: only valgrind's own notes about this memory change, not the memory.
    unsafe { vg_undefined(bytes.as_ptr().cast(), bytes.len()) }
}

/// Makes a verdict about undefined bytes defined, so that it can be judged.
pub fn verdict(mut same: bool) -> bool {
    // SAFETY: as above.
    unsafe { vg_defined((&raw mut same).cast(), 1) }
    same
}

/// Does something without being watched.
pub fn unseen<T>(what: impl FnOnce() -> T) -> T {
    vg_silent();
    let done = what();
    vg_loud();
    done
}

/// Counts the instructions of one thing under callgrind, and nothing else.
pub fn count<T>(what: impl FnOnce() -> T) -> T {
    vg_zero();
    COUNTING.store(true, Relaxed);
    vg_toggle();
    let done = what();
    vg_toggle();
    COUNTING.store(false, Relaxed);
    done
}

/// Leaves something out of what is counted.
pub fn uncounted<T>(what: impl FnOnce() -> T) -> T {
    if !COUNTING.load(Relaxed) {
        return what();
    }
    vg_toggle();
    let done = what();
    vg_toggle();
    done
}

/// Has callgrind write down what it counted, under a name.
pub fn dump(name: &str) {
    let name = CString::new(name).expect("a name without NUL");
    // SAFETY: a text that ends, and is only read.
    unsafe { vg_dump(name.as_ptr()) }
}
