//! The program: arguments in, exit code out.
//!
//! Here the daemon's inside is plugged into the command line; everything else is in `cli`.

mod cli;

use std::process::ExitCode;

use nuncio::gateway;

fn main() -> ExitCode {
    cli::main(gateway::run, gateway::check, gateway::boards)
}
