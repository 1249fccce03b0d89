//! The peer of the read figure: a bare tokio UDP echo that answers as many bytes as the daemon does.

use anyhow::{Context as _, Result};
use tokio::net::UdpSocket;

/// Answers every datagram with `ANSWER` bytes, for ever; prints its port first.
pub fn run(arguments: &[String]) -> Result<()> {
    let answer: usize = arguments.first().context("answer size")?.parse()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        let socket = UdpSocket::bind("127.0.0.1:0").await?;
        println!("{}", socket.local_addr()?.port());
        let mut buffer = vec![0; 2048];
        let reply = vec![0x5a; answer];
        loop {
            let (_, from) = socket.recv_from(&mut buffer).await?;
            socket.send_to(&reply, from).await?;
        }
    })
}
