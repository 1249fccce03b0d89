//! Package URIs: parsed, taken apart, and written so that no credential shows.
//!
//! A fragment belongs to the gateway and is never sent: `#sha256=HEX&version=TEXT`, other keys ignored. Whether a URI
//! is *allowed* is `policy`'s to say. Pure; used by the machine and by downloads.

use url::Url;

use super::table::{Refusal, Refused};
use crate::device::{Sha256Digest, masked_uri};

/// Longest URI that is taken, in bytes. The object's model says 255; presigned links of object stores need more.
const MAX_URI: usize = 2048;
/// Longest version text in bytes, wherever it comes from (5/0/7 is a String of 0..255).
pub const MAX_VERSION: usize = 255;

/// A URI of an image, taken apart.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ImageUri {
    /// What is asked of the server: no fragment.
    pub request: Url,
    /// The digest that the image must have.
    pub sha256: Option<Sha256Digest>,
    /// The version that the image is said to be.
    pub version: Option<String>,
}

impl ImageUri {
    /// Reads a URI as a server wrote it.
    ///
    /// # Errors
    /// [`Refusal::BadUri`] when it is none (also a fragment with a digest that is none), [`Refusal::UnknownScheme`]
    /// when it is neither http nor https.
    pub fn parse(text: &str) -> Result<Self, Refused> {
        if text.len() > MAX_URI {
            return Err(bad(format!("a URI of {} bytes is too long, at most {MAX_URI}", text.len())));
        }
        let mut request =
            Url::parse(text).map_err(|error| bad(format!("`{}` is no URI: {error}", masked_uri(text))))?;
        if !matches!(request.scheme(), "http" | "https") {
            let reason = format!("the scheme `{}` is unknown, only http and https are", request.scheme());
            return Err(Refused::new(Refusal::UnknownScheme, reason));
        }
        let mut uri = Self { request: request.clone(), sha256: None, version: None };
        for pair in request.fragment().unwrap_or_default().split('&') {
            uri.take(pair)?;
        }
        request.set_fragment(None);
        uri.request = request;
        Ok(uri)
    }

    fn take(&mut self, pair: &str) -> Result<(), Refused> {
        match pair.split_once('=') {
            Some(("sha256", hex)) => {
                let digest = hex.parse().map_err(|error| bad(format!("the fragment's sha256 is none: {error}")))?;
                self.sha256 = Some(digest);
            }
            Some(("version", text)) => self.version = version_text(&percent_decoded(text)),
            _ => {}
        }
        Ok(())
    }

    /// The URI of a file beside the image: its path plus `suffix`, the query kept.
    pub fn sidecar(&self, suffix: &str) -> Url {
        let mut sidecar = self.request.clone();
        sidecar.set_path(&format!("{}{suffix}", self.request.path()));
        sidecar
    }

    /// Without what a log must not show.
    pub fn masked(&self) -> String {
        masked_uri(self.request.as_str())
    }
}

/// A version as it may be shown in 5/0/7: trimmed, printable, bounded; `None` when nothing is left.
pub fn version_text(text: &str) -> Option<String> {
    let text = text.trim();
    let fits = !text.is_empty() && text.len() <= MAX_VERSION && !text.chars().any(char::is_control);
    fits.then(|| text.to_owned())
}

fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((&first, tail)) = rest.split_first() {
        let code = tail.get(..2).filter(|_| first == b'%').and_then(hex_byte);
        bytes.push(code.unwrap_or(first));
        rest = if code.is_some() { &tail[2..] } else { tail };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn hex_byte(pair: &[u8]) -> Option<u8> {
    let digit = |byte: u8| (byte as char).to_digit(16);
    u8::try_from(digit(pair[0])? * 16 + digit(pair[1])?).ok()
}

fn bad(reason: String) -> Refused {
    Refused::new(Refusal::BadUri, reason)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn the_fragment_is_read_and_never_sent() {
        let uri = ImageUri::parse(&format!("https://h.example/a.bin?x=1#sha256={DIGEST}&version=1.2%2Bg3&more=1"));
        let uri = uri.expect("a URI");
        assert_eq!(uri.request.as_str(), "https://h.example/a.bin?x=1");
        assert_eq!(uri.sha256.expect("a digest").to_string(), DIGEST);
        assert_eq!(uri.version.as_deref(), Some("1.2+g3"));
    }

    #[test]
    fn a_sidecar_lies_beside_the_image_and_keeps_the_query() {
        let uri = ImageUri::parse("http://h.example:8080/fw/a.bin?token=t").expect("a URI");
        assert_eq!(uri.sidecar(".sha256").as_str(), "http://h.example:8080/fw/a.bin.sha256?token=t");
    }

    #[test]
    fn what_is_no_uri_is_told_apart_from_an_unknown_scheme() {
        for text in ["", "foo", "http://", "//h/x", "https://h/#sha256=12", "http://h:99999/"] {
            assert_eq!(ImageUri::parse(text).expect_err(text).why, Refusal::BadUri, "{text}");
        }
        for text in ["ftp://h/x", "coap://h/x", "file:///etc/passwd", "data:,x"] {
            assert_eq!(ImageUri::parse(text).expect_err(text).why, Refusal::UnknownScheme, "{text}");
        }
        assert_eq!(ImageUri::parse(&format!("http://h/{}", "x".repeat(3000))).expect_err("long").why, Refusal::BadUri);
    }

    #[test]
    fn credentials_never_show() {
        let uri = ImageUri::parse("https://u:p@h.example/a?sig=s#version=1").expect("a URI");
        assert_eq!(uri.masked(), "https://***@h.example/a?***");
        let refused = ImageUri::parse("http://user:secret@h:99999/").expect_err("no URI");
        assert!(!refused.reason.contains("secret"), "{}", refused.reason);
    }
}
