//! Questions asked over UDP of devices with MCUmgr's SMP server: which images they have, and what they are.
//!
//! Only devices that announced themselves are asked, at the addresses that they announced and the port that their board
//! file names. A datagram is one message, without any framing. Driven by `gateway`; the messages are also spoken over
//! serial consoles.

pub(super) mod message;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::UdpSocket;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use self::message::{Read, Told};
use super::http::address_of;
use crate::device::{Answer, Lease, Question, QuestionFailed};

/// How long one answer may take, and how often it is asked for: datagrams get lost.
const WITHIN: Duration = Duration::from_secs(2);
const TRIES: u8 = 3;
/// At most so many devices are asked at once.
const AT_ONCE: usize = 16;
/// Largest datagram.
const MAX_ANSWER: usize = 4096;

/// Asks SMP servers. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Handle {
    places: Arc<Semaphore>,
}

impl Default for Handle {
    fn default() -> Self {
        Self { places: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Handle {
    /// Asks a question over the leased link.
    pub async fn ask(&self, lease: Lease, question: Question) -> (Lease, Result<Answer, QuestionFailed>) {
        let Question::SmpUdp { service, port } = question else {
            return (lease, Err(QuestionFailed::Unsupported));
        };
        let addresses: Vec<SocketAddr> =
            service.addresses.iter().filter_map(|address| address_of(address, port)).collect();
        let place = self.places.acquire().await;
        let outcome = ask_any(&addresses).await;
        drop(place);
        (lease, outcome)
    }
}

/// Asks at one address after the other until one answers.
async fn ask_any(addresses: &[SocketAddr]) -> Result<Answer, QuestionFailed> {
    let mut failed = "it announces no address that could be asked".to_owned();
    for address in addresses {
        match ask(*address).await {
            Ok(Some(answer)) => return Ok(answer),
            Ok(None) => "its SMP server does not answer".clone_into(&mut failed),
            Err(error) => failed = format!("its SMP server cannot be asked: {error}"),
        }
    }
    Err(QuestionFailed::Failed(failed))
}

async fn ask(address: SocketAddr) -> std::io::Result<Option<Answer>> {
    let any: SocketAddr = if address.is_ipv4() { ([0; 4], 0).into() } else { ([0u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    // From now on the kernel takes datagrams from this address only.
    socket.connect(address).await?;
    let slots = match read(&socket, Read::Images).await? {
        None => return Ok(None),
        Some(Told::Images(slots)) => slots,
        Some(_) => Vec::new(),
    };
    let info = match read(&socket, Read::Info).await? {
        Some(Told::Info(info)) => Some(info),
        _ => None,
    };
    let (evidence, version) = message::evidence(slots, info);
    Ok(Some(Answer { evidence: vec![evidence], version }))
}

async fn read(socket: &UdpSocket, what: Read) -> std::io::Result<Option<Told>> {
    let mut buffer = vec![0; MAX_ANSWER];
    for sequence in 0..TRIES {
        socket.send(&what.request(sequence)).await?;
        let answered = async {
            loop {
                let count = socket.recv(&mut buffer).await?;
                if let Some(told) = (0..=sequence).find_map(|asked| what.answer(asked, &buffer[..count])) {
                    return Ok(told);
                }
            }
        };
        if let Ok(told) = timeout(WITHIN, answered).await {
            return told.map(Some);
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_server_that_loses_datagrams_and_talks_nonsense_is_read_all_the_same() {
        let server = UdpSocket::bind("127.0.0.1:0").await.expect("a port");
        let address = server.local_addr().expect("bound");
        tokio::spawn(async move {
            let mut buffer = [0; 128];
            let mut heard = 0;
            loop {
                let (_, from) = server.recv_from(&mut buffer).await.expect("received");
                heard += 1;
                if heard == 1 {
                    continue;
                }
                let body: &[u8] = match buffer[7] {
                    0 => b"\xA1\x66images\x81\xA2\x67version\x651.2.3\x66active\xF5",
                    _ => b"\xA1\x62rc\x08",
                };
                let length = u8::try_from(body.len()).expect("short");
                let answer = [&[1, 0, 0, length], &buffer[4..8], body].concat();
                server.send_to(b"nonsense", from).await.expect("sent");
                server.send_to(&answer, from).await.expect("sent");
            }
        });
        let answer = ask(address).await.expect("asked").expect("answered");
        assert_eq!(answer.version.expect("a version").text, "1.2.3");
    }
}
