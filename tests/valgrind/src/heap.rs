//! An allocator that knows how much is live, and on demand every block, to find what they hold.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::UnsafeCell;

use crate::requests::uncounted;

const BLOCKS: usize = 1 << 16;

/// For programs of one thread.
pub struct Heap(UnsafeCell<Book>);

struct Book {
    /// Whether blocks are written down. It takes time, which would be counted with what is measured.
    finds: bool,
    blocks: [(usize, usize); BLOCKS],
    used: usize,
    live: usize,
    peak: usize,
}

impl Book {
    fn note(&mut self, block: *mut u8, bytes: usize) {
        self.live += bytes;
        self.peak = self.peak.max(self.live);
        if self.finds {
            self.blocks[self.used] = (block as usize, bytes);
            self.used += 1;
        }
    }

    fn forget(&mut self, block: *mut u8, bytes: usize) {
        self.live -= bytes;
        let mut known = self.blocks[..self.used].iter();
        if let Some(at) = known.rposition(|known| known.0 == block as usize) {
            self.used -= 1;
            self.blocks[at] = self.blocks[self.used];
        }
    }
}

// SAFETY: the programs of this package have one thread.
unsafe impl Sync for Heap {}

impl Heap {
    /// Counts bytes, and no more.
    pub const fn counting() -> Self {
        Self::new(false)
    }

    /// Knows every block too.
    pub const fn finding() -> Self {
        Self::new(true)
    }

    const fn new(finds: bool) -> Self {
        Self(UnsafeCell::new(Book {
            finds,
            blocks: [(0, 0); BLOCKS],
            used: 0,
            live: 0,
            peak: 0,
        }))
    }

    #[allow(clippy::mut_from_ref)]
    fn book(&self) -> &mut Book {
        // SAFETY: one thread, and no reference outlives the call that it was made for.
        unsafe { &mut *self.0.get() }
    }

    /// The most bytes that were live at a time while this was done, beyond those that were before it.
    pub fn peak<T>(&self, what: impl FnOnce() -> T) -> (T, usize) {
        let before = self.book().live;
        self.book().peak = before;
        let done = what();
        (done, self.book().peak - before)
    }

    /// Shows every place where these bytes stand, in the live blocks that are searched.
    pub fn copies(
        &self,
        wanted: &[u8],
        searched: impl Fn(&[u8]) -> bool,
        mut show: impl FnMut(&[u8]),
    ) {
        for at in 0..self.book().used {
            let (start, bytes) = self.book().blocks[at];
            // SAFETY: the block is live: nothing here frees one.
            let block = unsafe { std::slice::from_raw_parts(start as *const u8, bytes) };
            if start != wanted.as_ptr() as usize && searched(block) {
                let places = block.windows(wanted.len());
                places.filter(|place| *place == wanted).for_each(&mut show);
            }
        }
    }
}

// SAFETY: the blocks are those of the system's allocator. Its own instructions are not counted: they depend on
// what was freed before.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: what the caller promised is passed on.
        uncounted(|| unsafe {
            let block = System.alloc(layout);
            if !block.is_null() {
                self.book().note(block, layout.size());
            }
            block
        })
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: what the caller promised is passed on.
        uncounted(|| unsafe {
            self.book().forget(block, layout.size());
            System.dealloc(block, layout);
        });
    }

    // A block that grows is one block to the sum, as it is for other tools, but its copy is counted.
    unsafe fn realloc(&self, block: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
        // SAFETY: what the caller promised is passed on; the alignment is that of a layout.
        unsafe {
            let other = Layout::from_size_align_unchecked(bytes, layout.align());
            let grown = uncounted(|| System.alloc(other));
            if !grown.is_null() {
                std::ptr::copy_nonoverlapping(block, grown, bytes.min(layout.size()));
                self.dealloc(block, layout);
                uncounted(|| self.book().note(grown, bytes));
            }
            grown
        }
    }
}
