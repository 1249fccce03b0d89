//! The smallest DM server that a measurement needs: it accepts registrations and sends requests, one at a time, over a
//! blocking socket, so that its own cost stays out of the daemon's figures.

use std::collections::HashMap;
use std::net::{SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use coap::{Code, Endpoint, Event, Request, Response};

/// How long any single answer may take.
const PATIENCE: Duration = Duration::from_secs(30);

/// A server on a loopback port of its own.
pub struct Server {
    socket: UdpSocket,
    config: Arc<coap::Config>,
    peers: HashMap<SocketAddr, Endpoint>,
    /// Endpoint names of devices by address, in the order of registration. The gateway itself, which has no firmware, is none.
    pub registered: Vec<(String, SocketAddr)>,
}

impl Server {
    /// Listens on a free port.
    pub fn start() -> Result<Self> {
        let socket = UdpSocket::bind("127.0.0.1:0")?;
        socket.set_read_timeout(Some(Duration::from_millis(2)))?;
        let config = Arc::new(coap::Config { max_body: 8 << 20, ..coap::Config::default() });
        Ok(Self { socket, config, peers: HashMap::new(), registered: Vec::new() })
    }

    /// Its `coap://` URI.
    pub fn uri(&self) -> Result<String> {
        Ok(format!("coap://{}", self.socket.local_addr()?))
    }

    /// Takes an address as a client without a registration.
    pub fn adopt(&mut self, address: SocketAddr) {
        self.peers.insert(address, Endpoint::new(Arc::clone(&self.config), 7));
    }

    /// Serves for a while, or until the condition holds.
    pub fn serve(&mut self, limit: Duration, until: impl Fn(&Self) -> bool) -> Result<bool> {
        let end = Instant::now() + limit;
        while Instant::now() < end {
            if until(self) {
                return Ok(true);
            }
            self.turn()?;
        }
        Ok(until(self))
    }

    /// One datagram, or a timer tick. Returns the events that are not registrations.
    fn turn(&mut self) -> Result<Vec<Event>> {
        let mut buffer = [0; 2048];
        let now = Instant::now();
        let mut left = Vec::new();
        if let Ok((count, from)) = self.socket.recv_from(&mut buffer) {
            let config = Arc::clone(&self.config);
            let peer = self.peers.entry(from).or_insert_with(|| Endpoint::new(config, 7));
            peer.handle_datagram(&buffer[..count], now);
            while let Some(event) = peer.poll_event() {
                if let Event::Request(incoming) = event {
                    let response = match (incoming.method, incoming.path.len()) {
                        (Code::POST, 1) => {
                            let name = incoming.query.iter().find_map(|part| part.strip_prefix("ep="));
                            if String::from_utf8_lossy(&incoming.payload).contains("</5") {
                                self.registered.push((name.unwrap_or_default().to_owned(), from));
                            }
                            Response::new(Code::CREATED).with_location(["rd".to_owned(), from.port().to_string()])
                        }
                        (Code::DELETE, _) => Response::new(Code::DELETED),
                        _ => Response::new(Code::CHANGED),
                    };
                    peer.respond(incoming.exchange, response, now);
                } else {
                    left.push(event);
                }
            }
        }
        for (address, peer) in &mut self.peers {
            if peer.poll_timeout().is_some_and(|due| due <= now) {
                peer.handle_timeout(now);
            }
            while let Some(datagram) = peer.poll_transmit() {
                self.socket.send_to(&datagram, address)?;
            }
        }
        Ok(left)
    }

    /// Sends one request to a registered client and waits for its answer.
    pub fn ask(&mut self, client: SocketAddr, request: Request) -> Result<Response> {
        let peer = self.peers.get_mut(&client).context("no such client")?;
        let id = peer.request(request, Instant::now())?;
        while let Some(datagram) = peer.poll_transmit() {
            self.socket.send_to(&datagram, client)?;
        }
        let end = Instant::now() + PATIENCE;
        while Instant::now() < end {
            for event in self.turn()? {
                match event {
                    Event::Response { request, response } if request == id => return Ok(response),
                    Event::Failed { request, reason } if request == id => bail!("the request failed: {reason:?}"),
                    _ => {}
                }
            }
        }
        bail!("no answer in {PATIENCE:?}")
    }
}
