//! Twenty kills of `make torture`'s own plan: the daemon, the tool and the link, under avrdude and esptool, at random
//! moments and at steps of a flash.
//!
//! Needs the peers avr, esp and leshan: `make peers`.

use std::path::Path;
use std::sync::Arc;

use world::torture::{Plan, run};

#[test]
fn after_twenty_kills_the_servers_were_told_the_truth_and_every_board_was_flashed_again() {
    let plan = Plan { at_once: 4, ..Plan::new(4) }.first(20);
    let report = run(Path::new(env!("CARGO_BIN_EXE_nuncio")), &plan, &Arc::default());
    assert!(report.violations.is_empty(), "{}", report.table());
    assert_eq!(report.kills(), 20, "{}", report.table());
}
