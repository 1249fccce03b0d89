//! The peer of the push figure: a bare Block1 sink that writes the same file and does not sync.

use std::fs::File;
use std::io::Write as _;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::thread::JoinHandle;

use anyhow::{Context as _, Result};
use coap::block::BlockOption;

/// Starts a sink on a thread; it ends after the last block.
pub fn start(file: &Path) -> Result<(SocketAddr, JoinHandle<Result<u64>>)> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    let address = socket.local_addr()?;
    let mut file = File::create(file)?;
    let thread = std::thread::spawn(move || {
        let mut buffer = [0; 2048];
        let mut written = 0;
        loop {
            let (count, from) = socket.recv_from(&mut buffer)?;
            let message = coap_message(&buffer[..count]).context("a Block1 request")?;
            file.write_all(message.payload)?;
            written += message.payload.len() as u64;
            socket.send_to(&message.answer, from)?;
            if !message.more {
                return Ok(written);
            }
        }
    });
    Ok((address, thread))
}

struct Message<'a> {
    payload: &'a [u8],
    more: bool,
    answer: Vec<u8>,
}

/// Just enough of RFC 7252 to find Block1 (27), its answer, and the payload.
fn coap_message(bytes: &[u8]) -> Option<Message<'_>> {
    let token_length = usize::from(bytes.first()? & 0x0f);
    let token = bytes.get(4..4 + token_length)?;
    let mut at = 4 + token_length;
    let (mut number, mut block) = (0, None);
    while at < bytes.len() && bytes[at] != 0xff {
        let head = bytes[at];
        at += 1;
        let mut extend = |nibble: u8| -> Option<usize> {
            Some(match nibble {
                13 => {
                    at += 1;
                    usize::from(*bytes.get(at - 1)?) + 13
                }
                14 => {
                    at += 2;
                    usize::from(u16::from_be_bytes([*bytes.get(at - 2)?, *bytes.get(at - 1)?])) + 269
                }
                nibble => usize::from(nibble),
            })
        };
        number += extend(head >> 4)?;
        let length = extend(head & 0x0f)?;
        let value = bytes.get(at..at + length)?;
        at += length;
        if number == 27 {
            block = BlockOption::decode(value).ok();
        }
    }
    let payload = bytes.get(at + 1..).unwrap_or_default();
    let block = block?;
    let code = if block.more { 0x5f } else { 0x44 };
    let mut answer = vec![0x60 | u8::try_from(token.len()).ok()?, code, bytes[2], bytes[3]];
    answer.extend_from_slice(token);
    let value = block.encode();
    answer.extend_from_slice(&[0xd0 | u8::try_from(value.len()).ok()?, 27 - 13]);
    answer.extend_from_slice(&value);
    Some(Message { payload, more: block.more, answer })
}
