//! Where a server is: one look-up at a time for all clients, so that a name server that is slow or dead costs one waiting
//! thread for each server, and not one for each device.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use tokio::sync::{Mutex, watch};
use tokio::time::Instant;

use super::translate::Address;

/// Addresses taken from one answer.
const ADDRESSES_MAX: usize = 16;

/// The name of one server, and what it came to last.
#[derive(Debug)]
pub(super) struct Resolver {
    address: Address,
    last: Mutex<Option<Answer>>,
    /// Nobody goes there before this is true.
    open: Option<watch::Receiver<bool>>,
}

/// What a look-up came to.
#[derive(Debug, Clone)]
struct Answer {
    began: Instant,
    outcome: Result<Arc<[SocketAddr]>, (io::ErrorKind, Arc<str>)>,
}

impl Resolver {
    /// For a server's URI.
    pub(super) fn of(uri: &str) -> Self {
        Self { address: Address::of(uri), last: Mutex::new(None), open: None }
    }

    /// For one whose port somebody else may have as long as `open` does not say otherwise.
    pub(super) fn once(open: watch::Receiver<bool>, uri: &str) -> Self {
        Self { open: Some(open), ..Self::of(uri) }
    }

    /// The server's addresses, never from a look-up that began before this was asked for.
    ///
    /// # Errors
    /// When the name resolves to nothing, or the server is gone for good.
    pub(super) async fn addresses(&self) -> io::Result<Arc<[SocketAddr]>> {
        if let Some(open) = &self.open {
            open.clone().wait_for(|open| *open).await.map_err(|_| io::Error::other("the server has ended"))?;
        }
        let asked = Instant::now();
        let mut last = self.last.lock().await;
        let answer = match last.take().filter(|answer| answer.began >= asked) {
            Some(answer) => answer,
            None => self.look_up().await,
        };
        last.insert(answer).outcome.clone().map_err(|(kind, text)| io::Error::new(kind, &*text))
    }

    async fn look_up(&self) -> Answer {
        let began = Instant::now();
        let found = tokio::net::lookup_host((self.address.host.as_str(), self.address.port)).await;
        let outcome = match found.map(|found| found.take(ADDRESSES_MAX).collect::<Arc<[SocketAddr]>>()) {
            Ok(addresses) if addresses.is_empty() => {
                Err((io::ErrorKind::NotFound, format!("{} has no address", self.address.host).into()))
            }
            Ok(addresses) => Ok(addresses),
            Err(error) => Err((error.kind(), error.to_string().into())),
        };
        Answer { began, outcome }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_name_is_looked_up_anew_for_whoever_asks_later() {
        let resolver = Resolver::of("coap://127.0.0.1:5683");
        let first = resolver.addresses().await.expect("an address");
        assert_eq!(&*first, ["127.0.0.1:5683".parse::<SocketAddr>().expect("an address")]);
        let second = resolver.addresses().await.expect("an address");
        assert!(!Arc::ptr_eq(&first, &second));
    }

    #[tokio::test]
    async fn all_who_wait_share_the_look_up_that_began_while_they_waited() {
        let resolver = Resolver::of("coap://[::1]:11683");
        let held = resolver.last.lock().await;
        let waiting = futures_util::future::join_all((0..100).map(|_| resolver.addresses()));
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        drop(held);
        let answers: Vec<_> = waiting.await.into_iter().map(|answer| answer.expect("an address")).collect();
        assert!(answers.iter().all(|answer| Arc::ptr_eq(answer, &answers[0])));
    }

    #[tokio::test]
    async fn nobody_is_told_an_address_before_the_server_has_it() {
        let (open, seen) = watch::channel(false);
        let resolver = Resolver::once(seen, "coap://127.0.0.1:5693/?gateway=key");
        let waiting = resolver.addresses();
        tokio::pin!(waiting);
        assert!(futures_util::poll!(&mut waiting).is_pending());
        open.send_replace(true);
        assert_eq!(waiting.await.expect("an address").len(), 1);
        open.send_replace(false);
        drop(open);
        resolver.addresses().await.expect_err("it has ended");
    }

    #[tokio::test]
    async fn what_is_no_uri_has_no_address() {
        let error = Resolver::of("nonsense").addresses().await.expect_err("nothing there");
        assert!(!error.to_string().is_empty());
    }
}
