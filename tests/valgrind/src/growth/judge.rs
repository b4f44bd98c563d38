//! The figures, from the parts that callgrind wrote.

/// The steepest growth: exponent of the size.
const STEEPEST: f64 = 1.1;
/// Up to this many instructions a byte, the copy of the bytes is most of the cost. The C library copies in another way
/// from some sizes on, which callgrind counts as a step: this slope is the bound there.
const COPIED: (usize, f64) = (4, 1.2);
/// The highest peak: so many times the input, and so many bytes.
const HEAP: (usize, usize) = (8, 64 * 1024);

/// Parsers without that bound: the helper for servers reads a body into `serde_json::Value`, which takes 32 bytes
/// for an item of two. How large a body may be is for the server to say.
const HEAP_UNBOUNDED: &[&str] = &["registration request"];

#[derive(Clone, Copy)]
struct Point {
    bytes: usize,
    peak: usize,
    instructions: usize,
    taken: bool,
}

/// Prints a line for each case; whether all are as they should be. A control has to be caught.
pub fn all(parts: &str) -> bool {
    let (mut cases, mut failed) = (Vec::<(&str, Vec<Point>)>::new(), 0);
    let mut part = None;
    for line in parts.lines() {
        if let Some(name) = line.strip_prefix("desc: Trigger: Client Request: ") {
            part = Some(name);
        } else if let Some(total) = line.strip_prefix("totals: ")
            && let Some(name) = part.take()
        {
            let [name, bytes, peak, taken] = name.split('|').collect::<Vec<_>>()[..] else {
                panic!("{name}")
            };
            let [bytes, peak, instructions] =
                [bytes, peak, total].map(|number| number.trim().parse().expect(number));
            let point = Point {
                bytes,
                peak,
                instructions,
                taken: taken == "true",
            };
            match cases.last_mut() {
                Some((known, points)) if *known == name => points.push(point),
                _ => cases.push((name, vec![point])),
            }
        }
    }
    for (name, points) in &cases {
        failed += u32::from(!judged(name, points));
    }
    println!("growth: {} cases, {failed} failed", cases.len());
    failed == 0 && !cases.is_empty()
}

fn judged(name: &str, points: &[Point]) -> bool {
    let [floor, grown @ ..] = points else {
        panic!("{name}: no points")
    };
    assert_eq!(grown.len(), 4, "{name}: n, 2n, 4n, 8n");
    let logs: Vec<(f64, f64)> = grown
        .iter()
        .map(|point| {
            let beyond = |all: usize, fixed: usize| (all.saturating_sub(fixed).max(1) as f64).ln();
            (
                beyond(point.bytes, floor.bytes),
                beyond(point.instructions, floor.instructions),
            )
        })
        .collect();
    // Late growth shows in the last doubling.
    let slope = fitted(&logs).max(fitted(&logs[2..]));
    let largest = grown[3];
    let each = largest.instructions.saturating_sub(floor.instructions)
        / largest.bytes.saturating_sub(floor.bytes).max(1);
    let peak = points.iter().map(|point| point.peak).max().unwrap_or(0);
    let bounded = !HEAP_UNBOUNDED.iter().any(|parser| name.starts_with(parser));
    let heaped = bounded
        && points
            .iter()
            .any(|point| point.peak > HEAP.0 * point.bytes + HEAP.1);
    let steepest = if each <= COPIED.0 { COPIED.1 } else { STEEPEST };
    let good = slope <= steepest && !heaped;
    let verdict = match (name.starts_with("control"), good) {
        // An input that is refused early costs little and proves nothing.
        _ if !points.iter().all(|point| point.taken) => "FAIL, not taken",
        (false, true) => "ok",
        (false, false) => "FAIL",
        (true, false) => "caught",
        (true, true) => "FAIL, not caught",
    };
    println!(
        "{name:<48} {:>7} bytes   slope {slope:>5.2}   {each:>5} instructions a byte   heap {peak:>7}   {verdict}",
        largest.bytes
    );
    !verdict.starts_with("FAIL")
}

/// The slope of the line through the points, by least squares.
fn fitted(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|p| p.0), mean(|p| p.1));
    let rise: f64 = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    rise / points.iter().map(|p| (p.0 - x).powi(2)).sum::<f64>()
}
