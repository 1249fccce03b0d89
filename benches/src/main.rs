//! `make bench`: measures the figures of docs/BENCHMARKS.md against the release build, and prints a table.
//!
//! Each figure is a ratio to a peer measured in the same run where it can be. With names as arguments only those are
//! measured: `read`, `memory`, `idle`, `writes`, `appear`, `update`, `flood`, `parallel`, `restart`, `history`,
//! `discovery`, `rest`, `push`.

mod daemon;
mod discovery;
mod echo;
mod figures;
mod flood;
mod history;
mod parallel;
mod rest;
mod restart;
mod server;
mod sink;
mod supervision;
mod writes;

use anyhow::Result;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "echo") {
        return echo::run(&arguments[1..]);
    }
    type Figure = (&'static str, fn() -> Result<Vec<String>>);
    let all: [Figure; 13] = [
        ("read", figures::read),
        ("memory", figures::memory),
        ("idle", figures::idle),
        ("writes", writes::measure),
        ("appear", figures::appear),
        ("update", supervision::measure),
        ("flood", flood::measure),
        ("parallel", parallel::measure),
        ("restart", restart::measure),
        ("history", history::measure),
        ("discovery", discovery::measure),
        ("rest", rest::measure),
        // Last: it keeps this process on one core.
        ("push", figures::push),
    ];
    for (name, measure) in all {
        if arguments.is_empty() || arguments.iter().any(|asked| asked == name) {
            for line in measure()? {
                println!("{name:9} {line}");
            }
        }
    }
    Ok(())
}
