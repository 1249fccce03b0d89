//! Open files: each device costs one for every server, and one for its link.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// What the gateway itself needs: database, journal, sockets, tools' pipes, downloads.
const OWN: u64 = 128;

/// Raises the soft limit to the hard one and logs what that carries.
pub(super) fn raise_open_files(servers: usize) {
    let found = getrlimit(Resource::Nofile);
    if found.current != found.maximum {
        let wanted = Rlimit { current: found.maximum, maximum: found.maximum };
        if let Err(error) = setrlimit(Resource::Nofile, wanted) {
            tracing::warn!(%error, "the limit of open files could not be raised");
        }
    }
    match getrlimit(Resource::Nofile).current {
        Some(limit) => {
            let devices = carried(limit, servers);
            tracing::info!(limit, servers, devices, "open files are enough for so many devices");
        }
        None => tracing::info!(servers, "open files are not limited"),
    }
}

/// How many devices a limit carries.
fn carried(limit: u64, servers: usize) -> u64 {
    limit.saturating_sub(OWN) / (servers as u64 + 1)
}

#[cfg(test)]
mod tests {
    use super::carried;

    #[test]
    fn each_device_costs_a_file_per_server_and_one_for_its_link() {
        assert_eq!(carried(20_000, 2), 6624);
        assert_eq!(carried(64, 2), 0);
        assert_eq!(carried(1128, 0), 1000);
    }
}
