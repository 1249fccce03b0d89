//! `make torture`: the whole plan, on the built daemon beside this program. Ends with a table, and with 1 when anything
//! was violated.

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use world::torture::{Plan, run};

fn main() -> ExitCode {
    let nuncio = std::env::current_exe().expect("a program knows its path").with_file_name("nuncio");
    assert!(nuncio.exists(), "{} is not built; run: cargo build -p nuncio", nuncio.display());
    let stop = Arc::new(AtomicBool::new(false));
    stop_at_interrupt(&stop);
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

/// The first Ctrl-C ends the run cleanly, with the numbers so far; the second at once.
fn stop_at_interrupt(stop: &Arc<AtomicBool>) {
    let stop = Arc::clone(stop);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build().expect("a runtime");
    std::thread::spawn(move || {
        runtime.block_on(async {
            while tokio::signal::ctrl_c().await.is_ok() {
                if stop.swap(true, Ordering::Relaxed) {
                    std::process::exit(130);
                }
            }
        });
    });
}
