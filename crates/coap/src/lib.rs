//! A CoAP endpoint without I/O: messages, reliability, deduplication, block-wise transfer and observation (RFC 7252, 7641, 7959) over any
//! datagram channel to one peer. It knows no clock, socket or thread: a driver hands in datagrams and the time, and takes out datagrams,
//! events and the next deadline. coap-lite serves as codec only, and shows nowhere.

pub mod block;
mod code;
mod config;
mod endpoint;
mod exchange;
pub mod message;
pub mod options;
mod token;

pub use code::Code;
pub use config::Config;
pub use endpoint::Endpoint;
pub use exchange::{
    Event, ExchangeId, Failure, Incoming, NotificationId, Part, Refused, Request, RequestId, Response, Stats,
};
pub use token::{MessageId, Token};

#[cfg(test)]
#[path = "../tests/endpoint/epoch.rs"]
mod epoch;

#[cfg(test)]
mod tests {
    #[test]
    fn an_endpoint_is_small_since_thousands_live_in_one_process() {
        assert!(size_of::<crate::Endpoint>() <= 512);
    }
}
