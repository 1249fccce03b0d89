//! A small scripted DM server: `lwm2m`'s own server half with faults on purpose.
//!
//! For unit tests and the demo; acceptance tests use servers that we did not write. [`driver`] runs one on a UDP socket.

pub mod driver;

use std::sync::Arc;

use coap::Code;
use lwm2m::model::Version;
use lwm2m::server::{Admission, Config, Server};

pub use lwm2m::server::{CallId, Event as DmEvent, Registration, ask};

/// The server.
pub type DmServer = Server<Behaviour>;

/// One that knows nobody.
pub fn dm_server(behaviour: Behaviour, coap: Arc<coap::Config>, seed: u64) -> DmServer {
    // It tries what clients do with more than they can take.
    Server::new(behaviour, Config { coap, max_observations: usize::MAX, ..Config::default() }, seed)
}

/// How a server behaves. May be changed while it runs.
#[derive(Debug, Clone)]
pub struct Behaviour {
    /// Versions of LwM2M that it takes; others get 4.12. Empty takes all.
    pub versions: Vec<Version>,
    /// Answer every Register with this code.
    pub refuse_register: Option<Code>,
    /// Give the location as one segment, `rd/1`, as lwm2m-node-lib does.
    pub one_segment_location: bool,
}

impl Default for Behaviour {
    fn default() -> Self {
        let versions = vec![Version::V1_0, Version::V1_1];
        Self { versions, refuse_register: None, one_segment_location: false }
    }
}

impl Admission for Behaviour {
    fn admit(&mut self, registration: &Registration) -> Result<(), Code> {
        if let Some(code) = self.refuse_register {
            return Err(code);
        }
        let speaks = self.versions.is_empty() || self.versions.contains(&registration.version);
        if speaks { Ok(()) } else { Err(Code::PRECONDITION_FAILED) }
    }

    fn location(&self, number: u64) -> Vec<String> {
        match self.one_segment_location {
            true => vec![format!("rd/{number}")],
            false => vec!["rd".to_owned(), format!("r{number}")],
        }
    }
}
