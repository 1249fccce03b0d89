//! What a client says of itself when it registers, and what is kept of it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use coap::{Code, Incoming};

use crate::link::{self, LinkValue};
use crate::model::{Version, default_version};
use crate::path::Path;

/// `lt` where a client names none, in seconds (LwM2M core 6.2.1).
const DEFAULT_LIFETIME: u32 = 86_400;
/// Longest endpoint name, in bytes: one Uri-Query option holds 255 with `ep=`.
const MAX_ENDPOINT: usize = 252;
/// `rt` of the link that names the root of the objects.
const ROOT_TYPE: &str = "oma.lwm2m";
/// Content-Format of the list of objects.
const LINK_FORMAT: u16 = 40;

/// One registration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Registration {
    /// The endpoint name.
    pub endpoint: Arc<str>,
    /// Location-Path as given.
    pub location: Vec<String>,
    /// `lwm2m=`
    pub version: Version,
    /// `lt=`, seconds; 0 never runs out.
    pub lifetime: u32,
    /// `b=`
    pub binding: Option<String>,
    /// The list of objects, as sent.
    pub objects: String,
    /// What stands before the objects' own paths.
    pub root: Vec<String>,
    /// The whole query of the Register, in its order.
    pub query: Vec<String>,
    /// Where it came from.
    pub peer: SocketAddr,
    /// When it registered or updated last.
    pub seen: Instant,
}

/// An object or object instance that a client states.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stated {
    /// One or two levels.
    pub path: Path,
    /// The version of its object, where this link states one.
    pub version: Option<Version>,
}

impl Registration {
    /// A new one; it has no location yet.
    pub(super) fn of(offer: Offer, peer: SocketAddr, now: Instant) -> Result<Self, Code> {
        let (Some(endpoint), Some(version)) = (offer.endpoint, offer.version) else { return Err(Code::BAD_REQUEST) };
        let objects = offer.objects.unwrap_or_default();
        Ok(Self {
            endpoint: endpoint.into(),
            location: Vec::new(),
            version,
            lifetime: offer.lifetime.unwrap_or(DEFAULT_LIFETIME),
            binding: offer.binding,
            root: root(&objects),
            objects,
            query: offer.query,
            peer,
            seen: now,
        })
    }

    /// Takes over what an Update says.
    pub(super) fn update(&mut self, offer: Offer, now: Instant) -> Result<(), Code> {
        if offer.endpoint.is_some() || offer.version.is_some() {
            return Err(Code::BAD_REQUEST);
        }
        if let Some(objects) = offer.objects {
            self.root = root(&objects);
            self.objects = objects;
        }
        self.lifetime = offer.lifetime.unwrap_or(self.lifetime);
        self.binding = offer.binding.or_else(|| self.binding.take());
        self.seen = now;
        Ok(())
    }

    /// When it runs out, unless an Update comes.
    pub fn expires(&self) -> Option<Instant> {
        if self.lifetime == 0 { None } else { self.seen.checked_add(Duration::from_secs(self.lifetime.into())) }
    }

    /// What it states of its objects. A link that is no path below its root is left out.
    pub fn stated(&self) -> Vec<Stated> {
        let root = self.root.iter().fold(String::new(), |root, part| format!("{root}/{part}"));
        let stated = |link: link::Link| {
            let path: Path = link.target.strip_prefix(&root)?.parse().ok()?;
            let version = link.attribute("ver").and_then(|version| text(version)?.parse().ok());
            matches!(path.depth(), 1 | 2).then_some(Stated { path, version })
        };
        // It was looked at when it came.
        link::parse(&self.objects).unwrap_or_default().into_iter().filter_map(stated).collect()
    }

    /// Whether it has an object, or this instance of it.
    pub fn has(&self, path: Path) -> bool {
        self.stated().iter().any(|stated| stated.path.starts_with(path) || stated.path == path)
    }

    /// The version of an object, as stated or by default.
    pub fn object_version(&self, object: u16) -> Version {
        let stated = self.stated().into_iter().find(|stated| stated.path == Path::new([object]));
        stated.and_then(|stated| stated.version).unwrap_or_else(|| default_version(object, self.version))
    }
}

/// What a Register or an Update carries.
#[derive(Debug)]
pub(super) struct Offer {
    endpoint: Option<String>,
    version: Option<Version>,
    lifetime: Option<u32>,
    binding: Option<String>,
    objects: Option<String>,
    query: Vec<String>,
}

impl Offer {
    /// Reads it. Arguments that are not known are none of our business.
    pub(super) fn read(request: &Incoming) -> Result<Self, Code> {
        let argument = |name: &str| request.query.iter().find_map(|query| query.strip_prefix(name)?.strip_prefix('='));
        let endpoint = argument("ep").map(str::to_owned);
        if endpoint.as_ref().is_some_and(|name| !is_name(name)) {
            return Err(Code::BAD_REQUEST);
        }
        let bad = |_| Code::BAD_REQUEST;
        let version = argument("lwm2m").map(|text| text.parse().map_err(bad)).transpose()?;
        let lifetime = argument("lt").map(|text| text.parse().map_err(|_| Code::BAD_REQUEST)).transpose()?;
        let binding = argument("b").map(str::to_owned);
        Ok(Self { endpoint, version, lifetime, binding, objects: objects(request)?, query: request.query.clone() })
    }
}

/// The list of objects, if there is one.
fn objects(request: &Incoming) -> Result<Option<String>, Code> {
    if request.payload.is_empty() {
        return Ok(None);
    }
    if request.content_format.is_some_and(|format| format != LINK_FORMAT) {
        return Err(Code::UNSUPPORTED_CONTENT_FORMAT);
    }
    let text = str::from_utf8(&request.payload).map_err(|_| Code::BAD_REQUEST)?;
    link::parse(text).map_err(|_| Code::BAD_REQUEST)?;
    Ok(Some(text.to_owned()))
}

fn is_name(text: &str) -> bool {
    (1..=MAX_ENDPOINT).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// `</lwm2m>;rt="oma.lwm2m"` puts all objects below `/lwm2m` (LwM2M core 6.2.1).
fn root(objects: &str) -> Vec<String> {
    let links = link::parse(objects).unwrap_or_default();
    let named = links.iter().find(|link| {
        link.attribute("rt").and_then(text).is_some_and(|types| types.split(' ').any(|one| one == ROOT_TYPE))
    });
    let target = named.map_or("", |link| link.target.as_str());
    target.split('/').filter(|part| !part.is_empty()).map(str::to_owned).collect()
}

fn text(value: &LinkValue) -> Option<&str> {
    match value {
        LinkValue::Flag => None,
        LinkValue::Token(text) | LinkValue::Quoted(text) => Some(text),
    }
}
