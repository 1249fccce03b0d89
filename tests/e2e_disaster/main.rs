//! Disasters in the middle of a flash with the real avrdude: after one restart both servers read what is so, nothing is
//! left over, and the board can be flashed again. Kills by chance are the torture's business (`e2e_torture`).
//!
//! Needs the peers avr, leshan and disaster: `make peers`.

mod clock;
mod damaged;
mod disk;
mod order;
mod power;
mod renamed;
mod unsynced;

/// How many chances are tried of each kind, where somebody has more time than a run of all tests (`NUNCIO_SAMPLES`).
fn samples() -> Option<u64> {
    std::env::var("NUNCIO_SAMPLES").ok()?.parse().ok()
}
