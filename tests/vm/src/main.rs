//! `make test-vm`: runs the cases one after the other, each in a machine of its own, and says how many passed. Words as
//! arguments choose the cases whose names contain one of them.

mod cases;

use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::time::Instant;

use vm::Lab;

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    let chosen = |name: &str| wanted.is_empty() || wanted.iter().any(|word| name.contains(word.as_str()));
    let cases: Vec<_> = cases::ALL.iter().filter(|(name, _)| chosen(name)).collect();
    let bins = std::env::current_exe().expect("a program knows its path");
    let began = Instant::now();
    let lab = Lab::open(bins.parent().expect("a program lies in a folder"));
    say(&format!("the lab is open after {:.1?}", began.elapsed()));
    let mut failed = Vec::new();
    for (name, case) in &cases {
        let began = Instant::now();
        let passed = panic::catch_unwind(AssertUnwindSafe(|| case(&lab))).is_ok();
        say(&format!("{} {name} ({:.1?})", if passed { "ok    " } else { "FAILED" }, began.elapsed()));
        if !passed {
            failed.push(*name);
        }
    }
    for name in &failed {
        say(&format!("failed: {name}"));
    }
    let whole = began.elapsed();
    say(&format!("{} passed, {} failed ({whole:.1?})", cases.len() - failed.len(), failed.len()));
    if failed.is_empty() && !cases.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[expect(clippy::print_stdout, reason = "the results are what this program is run for")]
pub(crate) fn say(text: &str) {
    println!("{text}");
}
