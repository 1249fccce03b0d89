//! `make soak`: hours with devices that come and go; or, with `--report FOLDER`, the verdict on what a run has left so far.
//! Ends with 1 where a bound was not held.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use world::soak::{Plan, Verdict, run};
use world::{repository, stop_at_interrupt};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let folder = match &arguments[..] {
        [flag, folder] if flag == "--report" => PathBuf::from(folder),
        [] => soak(),
        _ => panic!("soak, or soak --report FOLDER"),
    };
    let verdict = Verdict::of(&folder);
    let broken: String = verdict.broken.iter().map(|line| format!("NOT HELD: {line}\n")).collect();
    let text = format!("{}{broken}", verdict.text);
    print(&text);
    if arguments.is_empty() {
        fs::write(folder.join("summary.txt"), text).expect("a writable folder");
    }
    if verdict.broken.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn soak() -> PathBuf {
    let path = |name: &str, other: &str| {
        let given = std::env::var_os(name).filter(|text| !text.is_empty());
        given.map_or_else(|| repository().join(other), PathBuf::from)
    };
    let nuncio = path("NUNCIO", "target/release/nuncio");
    assert!(nuncio.exists(), "{} is not built; run: cargo build --release -p nuncio", nuncio.display());
    let folder = path("FOLDER", "target/soak");
    let stop = stop_at_interrupt();
    run(&Plan::from_env(absolute(&nuncio), absolute(&folder)), &stop);
    folder
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).expect("a path")
}

#[expect(clippy::print_stdout, reason = "the verdict is what this program is run for")]
fn print(text: &str) {
    println!("{}", text.trim_end());
}
