//! A connection to a device's native API: frames in the clear or by Noise, and messages out of them.
//!
//! Frames as ESPHome's `api_frame_helper` has them: in the clear `00`, length and type as varints; encrypted `01` and a length of
//! 16 bits, inside type and length of 16 bits each. The handshake is Noise_NNpsk0_25519_ChaChaPoly_SHA256.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::key::Key;
use crate::device::QuestionFailed;

/// Longest frame that is taken, in bytes; a list entry has a few hundred.
const MAX_FRAME: usize = 32 * 1024;
/// What encryption adds: type and length inside, and the tag.
const ADDED: usize = 4 + 16;
/// How long a device may take to take the connection.
const CONNECT: Duration = Duration::from_secs(5);
/// How long it may take to take bytes.
const WRITE: Duration = Duration::from_secs(10);
const PATTERN: &str = "Noise_NNpsk0_25519_ChaChaPoly_SHA256";
const PROLOGUE: &[u8] = b"NoiseAPIInit\0\0";
/// What a frame begins with.
const PLAIN: u8 = 0x00;
const ENCRYPTED: u8 = 0x01;

/// An open connection.
pub(super) struct Connection {
    stream: TcpStream,
    noise: Option<Box<snow::TransportState>>,
    received: Vec<u8>,
}

impl Connection {
    /// Connects to the first of a device's addresses that answers; by Noise where there is a key.
    pub(super) async fn open(addresses: &[SocketAddr], key: Option<&Key>) -> Result<Self, QuestionFailed> {
        let mut last = failed("it announces no address that could be asked");
        for address in addresses {
            match timeout(CONNECT, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    // Small messages, each of which is waited for; where the system refuses they are only slower.
                    let _ = stream.set_nodelay(true);
                    let mut connection = Self { stream, noise: None, received: Vec::new() };
                    if let Some(key) = key {
                        connection.shake_hands(key).await?;
                    }
                    return Ok(connection);
                }
                Ok(Err(error)) => last = failed(format!("its native API cannot be reached: {}", error.kind())),
                Err(_) => last = failed("its native API cannot be reached: it does not answer"),
            }
        }
        Err(last)
    }

    async fn shake_hands(&mut self, key: &Key) -> Result<(), QuestionFailed> {
        let wrong = |error: snow::Error| failed(format!("no handshake with its native API: {error}"));
        let builder = snow::Builder::new(PATTERN.parse().map_err(wrong)?);
        let builder = builder.psk(0, key.bytes()).and_then(|builder| builder.prologue(PROLOGUE)).map_err(wrong)?;
        let mut noise = builder.build_initiator().map_err(wrong)?;
        let mut message = [0; 128];
        let length = noise.write_message(&[], &mut message[1..]).map_err(wrong)?;
        // An empty hello, then the handshake behind a byte that says that all is well.
        let mut bytes = vec![ENCRYPTED, 0, 0];
        bytes.extend(encrypted(&message[..=length]));
        self.write(&bytes).await?;
        let hello = self.encrypted_frame().await?;
        if hello.first() != Some(&ENCRYPTED) {
            return Err(failed("its native API wants another kind of encryption"));
        }
        let answer = self.encrypted_frame().await?;
        match answer.split_first() {
            Some((0, message)) => {
                noise.read_message(message, &mut [0; 128]).map_err(|_| wrong_key())?;
            }
            Some((_, reason)) if reason.starts_with(b"Handshake MAC failure") => return Err(wrong_key()),
            Some((_, reason)) => {
                let reason: String =
                    String::from_utf8_lossy(reason).chars().filter(|c| !c.is_control()).take(80).collect();
                return Err(failed(format!("its native API refuses: {reason}")));
            }
            None => return Err(failed("no handshake with its native API: it says nothing")),
        }
        self.noise = Some(Box::new(noise.into_transport_mode().map_err(wrong)?));
        Ok(())
    }

    /// Sends a message.
    pub(super) async fn send(&mut self, kind: u32, body: &[u8]) -> Result<(), QuestionFailed> {
        let bytes = match &mut self.noise {
            None => {
                let mut bytes = vec![PLAIN];
                prost::encode_length_delimiter(body.len(), &mut bytes).map_err(|error| failed(error.to_string()))?;
                prost::encode_length_delimiter(kind as usize, &mut bytes).map_err(|error| failed(error.to_string()))?;
                bytes.extend_from_slice(body);
                bytes
            }
            Some(noise) => {
                let length = u16::try_from(body.len()).map_err(|_| failed("too long a message"))?;
                let mut inside = u16::try_from(kind).unwrap_or_default().to_be_bytes().to_vec();
                inside.extend(length.to_be_bytes());
                inside.extend_from_slice(body);
                let mut outside = vec![0; inside.len() + ADDED];
                let length = noise.write_message(&inside, &mut outside).map_err(|error| failed(error.to_string()))?;
                encrypted(&outside[..length])
            }
        };
        self.write(&bytes).await
    }

    /// The next message: its kind and its body. Safe to drop while waiting.
    pub(super) async fn next(&mut self) -> Result<(u32, Vec<u8>), QuestionFailed> {
        loop {
            if let Some(frame) = self.take_frame()? {
                let Some(noise) = &mut self.noise else { return Ok(frame) };
                let mut inside = vec![0; frame.1.len()];
                let length = noise.read_message(&frame.1, &mut inside).map_err(|_| nonsense())?;
                inside.truncate(length);
                let (head, body) = inside.split_first_chunk::<4>().ok_or_else(nonsense)?;
                let [a, b, _, _] = *head;
                return Ok((u16::from_be_bytes([a, b]).into(), body.to_vec()));
            }
            self.read().await?;
        }
    }

    async fn encrypted_frame(&mut self) -> Result<Vec<u8>, QuestionFailed> {
        loop {
            if self.received.first() == Some(&PLAIN) {
                return Err(failed("its native API is not encrypted: leave its key out of `[esphome] keys`"));
            }
            if let Some((_, frame)) = take_encrypted(&mut self.received)? {
                return Ok(frame);
            }
            self.read().await?;
        }
    }

    fn take_frame(&mut self) -> Result<Option<(u32, Vec<u8>)>, QuestionFailed> {
        match (self.received.first(), self.noise.is_some()) {
            (None, _) => Ok(None),
            (Some(&PLAIN), false) => take_plain(&mut self.received),
            (Some(&ENCRYPTED), true) => take_encrypted(&mut self.received),
            (Some(&ENCRYPTED), false) => Err(wants_key()),
            _ => Err(nonsense()),
        }
    }

    async fn read(&mut self) -> Result<(), QuestionFailed> {
        match self.stream.read_buf(&mut self.received).await {
            Ok(0) => Err(failed("it closed the connection")),
            Ok(_) => Ok(()),
            Err(error) => Err(failed(format!("the connection broke: {}", error.kind()))),
        }
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), QuestionFailed> {
        match timeout(WRITE, self.stream.write_all(bytes)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(failed(format!("the connection broke: {}", error.kind()))),
            Err(_) => Err(failed("it takes no bytes")),
        }
    }
}

/// A frame around bytes of at most 65,535.
fn encrypted(inside: &[u8]) -> Vec<u8> {
    let mut bytes = vec![ENCRYPTED];
    bytes.extend(u16::try_from(inside.len()).unwrap_or_default().to_be_bytes());
    bytes.extend_from_slice(inside);
    bytes
}

/// Takes a whole frame off the front, if it is there.
fn take_encrypted(received: &mut Vec<u8>) -> Result<Option<(u32, Vec<u8>)>, QuestionFailed> {
    let Some(&[first, high, low]) = received.first_chunk() else { return Ok(None) };
    if first != ENCRYPTED {
        return Err(nonsense());
    }
    let end = 3 + usize::from(u16::from_be_bytes([high, low]));
    if end > MAX_FRAME {
        return Err(failed("it says too much at once"));
    }
    if received.len() < end {
        return Ok(None);
    }
    let frame = received[3..end].to_vec();
    received.drain(..end);
    Ok(Some((0, frame)))
}

/// Takes a whole message off the front, if it is there.
fn take_plain(received: &mut Vec<u8>) -> Result<Option<(u32, Vec<u8>)>, QuestionFailed> {
    let Some((length, after_length)) = varint(&received[1..])? else { return Ok(None) };
    let Some((kind, after_kind)) = varint(&received[1 + after_length..])? else { return Ok(None) };
    let length = length as usize;
    if length > MAX_FRAME {
        return Err(failed("it says too much at once"));
    }
    let begin = 1 + after_length + after_kind;
    if received.len() < begin + length {
        return Ok(None);
    }
    let body = received[begin..begin + length].to_vec();
    received.drain(..begin + length);
    Ok(Some((kind, body)))
}

/// A number of at most five bytes of seven bits, and how many it took; `None` while it is not whole.
fn varint(bytes: &[u8]) -> Result<Option<(u32, usize)>, QuestionFailed> {
    let mut number = 0_u64;
    for (at, byte) in bytes.iter().take(5).enumerate() {
        number |= u64::from(byte & 0x7F) << (7 * at);
        if byte & 0x80 == 0 {
            let number = u32::try_from(number).map_err(|_| nonsense())?;
            return Ok(Some((number, at + 1)));
        }
    }
    if bytes.len() >= 5 { Err(nonsense()) } else { Ok(None) }
}

/// It is encrypted, and there is no key.
pub(super) fn wants_key() -> QuestionFailed {
    failed("its native API is encrypted: give its key under `[esphome] keys`, and it is asked")
}

fn wrong_key() -> QuestionFailed {
    failed("its native API is encrypted with another key than the one under `[esphome] keys`")
}

fn nonsense() -> QuestionFailed {
    failed("it does not speak ESPHome's native API")
}

pub(super) fn failed(what: impl Into<String>) -> QuestionFailed {
    QuestionFailed::Failed(what.into())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_message_is_taken_when_it_is_whole() {
        let whole = [0x00, 0x02, 0x19, 0xAA, 0xBB, 0x00];
        for cut in 0..5 {
            assert_eq!(take_plain(&mut whole[..cut.max(1)].to_vec()), Ok(None), "{cut}");
        }
        let mut received = whole.to_vec();
        assert_eq!(take_plain(&mut received), Ok(Some((0x19, vec![0xAA, 0xBB]))));
        assert_eq!(received, [0x00]);
        let mut received = encrypted(&[1, 2, 3]);
        received.push(9);
        assert_eq!(take_encrypted(&mut received), Ok(Some((0, vec![1, 2, 3]))));
        assert_eq!(received, [9]);
    }

    #[test]
    fn what_is_too_long_or_no_number_is_refused_at_once() {
        assert!(take_plain(&mut vec![0x00, 0xFF, 0xFF, 0xFF, 0xFF, 0x0F, 0x01]).is_err());
        assert!(take_plain(&mut vec![0x00, 0x80, 0x80, 0x80, 0x80, 0x80, 0x01]).is_err());
        assert!(take_encrypted(&mut vec![0x01, 0xFF, 0xFF]).is_err());
    }

    proptest! {
        #[test]
        fn any_bytes_are_safe(bytes in proptest::collection::vec(any::<u8>(), 1..64)) {
            let _ = take_plain(&mut bytes.clone());
            let _ = take_encrypted(&mut bytes.clone());
        }
    }
}
