//! How many connections one peer may have.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, PoisonError};

use crate::web::rate::household;

/// Who has how many. Its clones are the same.
#[derive(Debug, Clone, Default)]
pub(super) struct Seats(Arc<Mutex<HashMap<IpAddr, usize>>>);

/// One connection of a peer; given back when it is dropped.
#[derive(Debug)]
pub(super) struct Seat {
    seats: Seats,
    peer: IpAddr,
}

impl Seats {
    /// One more for a peer, which has at most so many.
    pub(super) fn take(&self, peer: IpAddr, most: usize) -> Option<Seat> {
        let peer = household(peer);
        let mut taken = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(peer).or_default();
        if *count >= most {
            return None;
        }
        *count += 1;
        Some(Seat { seats: self.clone(), peer })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut taken = self.seats.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.peer) {
            *count = count.saturating_sub(1);
            if *count == 0 {
                taken.remove(&self.peer);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_peer_has_so_many_and_gives_them_back() {
        let (seats, one, other) = (Seats::default(), IpAddr::from([192, 0, 2, 1]), IpAddr::from([192, 0, 2, 2]));
        let held = [seats.take(one, 2), seats.take(one, 2)];
        assert!(held.iter().all(Option::is_some) && seats.take(one, 2).is_none(), "a third one");
        assert!(seats.take(other, 2).is_some(), "another peer");
        drop(held);
        assert!(seats.0.lock().expect("whole").is_empty(), "something is kept of those who left");
    }
}
