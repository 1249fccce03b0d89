//! The requests of device management and reporting, as a server sends them.

use coap::{Code, Request};

const TEXT: u16 = 0;
const LINK_FORMAT: u16 = 40;
const OPAQUE: u16 = 42;

/// Read, in the device's default format.
pub fn read(path: &str) -> Request {
    Request::new(Code::GET).with_path(path)
}

/// Read in a format.
pub fn read_as(path: &str, accept: u16) -> Request {
    read(path).with_accept(accept)
}

/// Discover.
pub fn discover(path: &str) -> Request {
    read_as(path, LINK_FORMAT)
}

/// Write, replacing.
pub fn write(path: &str, format: u16, payload: impl Into<Vec<u8>>) -> Request {
    Request::new(Code::PUT).with_path(path).with_payload(format, payload)
}

/// Write a resource as text.
pub fn write_text(path: &str, value: &str) -> Request {
    write(path, TEXT, value)
}

/// Write, partial.
pub fn write_partial(path: &str, format: u16, payload: impl Into<Vec<u8>>) -> Request {
    Request::new(Code::POST).with_path(path).with_payload(format, payload)
}

/// Write-Attributes.
pub fn write_attributes(path: &str, query: &[&str]) -> Request {
    let request = Request::new(Code::PUT).with_path(path);
    query.iter().fold(request, |request, argument| request.with_query(*argument))
}

/// Execute, with arguments or `""`.
pub fn execute(path: &str, arguments: &str) -> Request {
    let request = Request::new(Code::POST).with_path(path);
    if arguments.is_empty() { request } else { request.with_payload(TEXT, arguments) }
}

/// Observe.
pub fn observe(path: &str) -> Request {
    read(path).with_observe(0)
}

/// Cancel the observation of a path.
pub fn cancel(path: &str) -> Request {
    read(path).with_observe(1)
}

/// Create an object instance.
pub fn create(object: &str, format: u16, payload: impl Into<Vec<u8>>) -> Request {
    write_partial(object, format, payload)
}

/// Delete an object instance.
pub fn delete(path: &str) -> Request {
    Request::new(Code::DELETE).with_path(path)
}

/// Push an image, by Block1 where it is large.
pub fn push(image: impl Into<Vec<u8>>) -> Request {
    write("/5/0/0", OPAQUE, image)
}
