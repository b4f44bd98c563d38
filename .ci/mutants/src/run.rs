//! Runs the tests once for each mutant.

use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use wait_timeout::ChildExt;

use crate::build::Built;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// A test failed, or did not come to an end.
    Caught,
    Survived,
}

pub fn run(built: &Built) -> Vec<(usize, Verdict)> {
    let programs: Vec<(&Path, Duration)> = built
        .programs
        .iter()
        .map(|program| {
            let from = Instant::now();
            let sound = passes(program, &built.root, usize::MAX, Duration::from_secs(600));
            assert!(sound, "{} fails without a mutant", program.display());
            // Far more than the tests take.
            (
                program.as_path(),
                from.elapsed() * 6 + Duration::from_secs(3),
            )
        })
        .collect();
    let next = AtomicUsize::new(0);
    let verdicts = Mutex::new(Vec::new());
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while let Some(number) = built.mutants.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let survives = programs.iter().all(|(program, patience)| {
                        passes(program, &built.root, *number, *patience)
                    });
                    let verdict = if survives {
                        Verdict::Survived
                    } else {
                        Verdict::Caught
                    };
                    let mut verdicts = verdicts.lock().unwrap();
                    verdicts.push((*number, verdict));
                    if verdicts.len().is_multiple_of(100) {
                        eprintln!("{} of {}", verdicts.len(), built.mutants.len());
                    }
                }
            });
        }
    });
    let mut verdicts = verdicts.into_inner().unwrap();
    verdicts.sort_by_key(|(number, _)| *number);
    verdicts
}

fn passes(program: &Path, root: &Path, mutant: usize, patience: Duration) -> bool {
    let mut child = Command::new(program)
        .args(["-q", "--test-threads=1"])
        .current_dir(root)
        .env(
            "MUTANT",
            u32::try_from(mutant).unwrap_or(u32::MAX).to_string(),
        )
        .env("RUST_BACKTRACE", "0")
        .env("INSTA_UPDATE", "no")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("the tests run");
    match child.wait_timeout(patience).expect("a process") {
        Some(status) => status.success(),
        None => {
            let _gone = child.kill();
            let _gone = child.wait();
            false
        }
    }
}
