//! What a soak is asked to be.

use std::path::PathBuf;
use std::time::Duration;

/// One run.
#[derive(Debug, Clone)]
pub struct Plan {
    /// The daemon.
    pub nuncio: PathBuf,
    /// Where everything is written down.
    pub folder: PathBuf,
    /// How long it takes.
    pub length: Duration,
    /// So many devices come and go.
    pub devices: usize,
    /// What chance there is comes from here.
    pub seed: u64,
}

impl Plan {
    /// What `MINUTES`, `DEVICES` and `SEED` say: else two hours, 200, and any.
    ///
    /// # Panics
    /// When one of them is no number.
    pub fn from_env(nuncio: PathBuf, folder: PathBuf) -> Self {
        let number = |name: &str| {
            let given = std::env::var(name).ok().filter(|text| !text.is_empty());
            given.map(|text| text.parse::<u64>().unwrap_or_else(|_| panic!("{name}={text} is no number")))
        };
        Self {
            nuncio,
            folder,
            length: Duration::from_secs(60 * number("MINUTES").unwrap_or(120)),
            devices: usize::try_from(number("DEVICES").unwrap_or(200)).expect("a few"),
            seed: number("SEED").unwrap_or_else(crate::seed),
        }
    }
}
