//! Costs that a peer can cause: instructions grow no faster than the input, up to the largest accepted input, and
//! the heap stays within a multiple of it.
//!
//! `growth` runs under callgrind, which writes a part for each measurement; `growth FILE` judges what it wrote.

mod bodies;
mod cases;
mod headers;
mod judge;
mod messages;

use mcp_auth_valgrind::heap::Heap;
use mcp_auth_valgrind::requests::{count, dump, running};

#[global_allocator]
static HEAP: Heap = Heap::counting();

/// Tells after the measurement whether the input was accepted as intended.
type Taken = Box<dyn FnOnce() -> bool>;
/// The measured code.
type Work = Box<dyn FnOnce() -> Taken>;

/// One parser with one shape of input, of any size.
struct Case {
    name: String,
    /// The largest size whose input is taken whole.
    largest: usize,
    input: Box<dyn Fn(usize) -> String>,
    /// Gets everything ready to read this input of this size.
    prepare: Box<dyn Fn(String, usize) -> Work>,
}

fn main() {
    if let Some(path) = std::env::args().nth(1) {
        let parts = std::fs::read_to_string(path).expect("what callgrind wrote");
        std::process::exit(i32::from(!judge::all(&parts)));
    }
    if !running() {
        eprintln!("to be run under valgrind");
        std::process::exit(2);
    }
    for case in cases::all() {
        // Size 1 is what any input costs; it is subtracted.
        for size in [
            1,
            case.largest / 8,
            case.largest / 4,
            case.largest / 2,
            case.largest,
        ] {
            let input = (case.input)(size);
            let bytes = input.len();
            let work = (case.prepare)(input, size);
            let (taken, peak) = HEAP.peak(|| count(work));
            dump(&format!("{}|{bytes}|{peak}|{}", case.name, taken()));
        }
    }
}
