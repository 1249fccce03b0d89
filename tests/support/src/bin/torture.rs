//! `make torture`: the whole plan, on the built daemon beside this program. Ends with a table, and with 1 when anything
//! was violated.

use std::process::ExitCode;

use world::stop_at_interrupt;
use world::torture::{Plan, run};

fn main() -> ExitCode {
    let nuncio = std::env::current_exe().expect("a program knows its path").with_file_name("nuncio");
    assert!(nuncio.exists(), "{} is not built; run: cargo build -p nuncio", nuncio.display());
    let stop = stop_at_interrupt();
    let report = run(&nuncio, &Plan::from_env(), &stop);
    print(&report.table());
    for (case, violation) in &report.violations {
        print(&format!("VIOLATED {case}: {:?}: {}", violation.kind, violation.text));
    }
    if report.violations.is_empty() && !report.stopped { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

#[expect(clippy::print_stdout, reason = "the table is what this program is run for")]
fn print(text: &str) {
    println!("{text}");
}
