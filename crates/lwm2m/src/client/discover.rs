//! The lists of links: the payload of Register, and Discover (lwm2m.md 5.1, 5.11).
//!
//! An object or instance that a server may not read is listed only where it is its own.

use coap::{Code, Response};

use super::observe::AttributeTable;
use super::read::locate;
use crate::access::Rights;
use crate::attributes::Attributes;
use crate::format::ContentFormat;
use crate::link::{self, Link, LinkValue};
use crate::model::Version;
use crate::objects::{Content, Tree};
use crate::path::Path;

/// The objects and instances that a server is told of when we register.
pub(super) fn registration(tree: &Tree<'_>) -> String {
    let links: Vec<Link> = tree.objects().flat_map(|object| registration_links(tree, object)).collect();
    link::write(&links)
}

/// An object is listed itself where its version is stated; its instances follow.
fn registration_links(tree: &Tree<'_>, object: u16) -> impl Iterator<Item = Link> {
    let stated = tree.stated_version(object).map(|_| object_link(tree, object));
    stated.into_iter().chain(tree.instances(object).map(move |instance| Link::new(Path::new([object, instance]))))
}

/// Answers Discover.
///
/// # Errors
/// The code to answer.
pub(super) fn discover(tree: &Tree<'_>, attributes: &AttributeTable, path: Path) -> Result<Response, Code> {
    let object = locate(tree, path, Rights::READ)?.id;
    let links = match (path.instance(), path.resource(), path.resource_instance()) {
        (None, ..) => discover_object(tree, attributes, object),
        (Some(instance), None, _) => discover_instance(tree, attributes, object, instance),
        (Some(_), Some(_), None) => discover_resource(tree, attributes, path)?,
        (Some(_), Some(_), Some(_)) => return Err(Code::METHOD_NOT_ALLOWED),
    };
    let payload = link::write(&links);
    Ok(Response::new(Code::CONTENT).with_payload(ContentFormat::LinkFormat.number(), payload))
}

/// The object with its attributes, and everything in it; from 1.2 on also what is attached below.
fn discover_object(tree: &Tree<'_>, attributes: &AttributeTable, object: u16) -> Vec<Link> {
    let detailed = tree.version() >= Version::V1_2;
    let mut links = vec![attached(object_link(tree, object), attributes.own(Path::new([object])))];
    for instance in tree.instances(object) {
        if detailed {
            links.extend(discover_instance(tree, attributes, object, instance));
        } else {
            links.push(Link::new(Path::new([object, instance])));
            let resources = tree.resources(object, instance);
            links.extend(resources.map(|(resource, _)| Link::new(Path::new([object, instance, resource.id]))));
        }
    }
    links
}

/// The instance and its resources, each with what is attached to it.
fn discover_instance(tree: &Tree<'_>, attributes: &AttributeTable, object: u16, instance: u16) -> Vec<Link> {
    let path = Path::new([object, instance]);
    let mut links = vec![attached(Link::new(path), attributes.own(path))];
    links.extend(tree.resources(object, instance).map(|(resource, content)| {
        let path = Path::new([object, instance, resource.id]);
        attached(resource_link(path, &content), attributes.own(path))
    }));
    links
}

/// The resource with the attributes that count for it, and from 1.1 on its instances.
fn discover_resource(tree: &Tree<'_>, attributes: &AttributeTable, path: Path) -> Result<Vec<Link>, Code> {
    let [object, instance, resource] = *path.levels() else { return Err(Code::BAD_REQUEST) };
    let content = tree.content(object, instance, resource);
    if content == Content::Absent {
        return Err(Code::NOT_FOUND);
    }
    let mut links = vec![attached(resource_link(path, &content), attributes.inherited(path))];
    if let Content::Multiple(values) = content
        && tree.version() >= Version::V1_1
    {
        let instances = values.iter().filter_map(|(id, _)| path.child(*id));
        links.extend(instances.map(|path| attached(Link::new(path), attributes.own(path))));
    }
    Ok(links)
}

fn object_link(tree: &Tree<'_>, object: u16) -> Link {
    let link = Link::new(Path::new([object]));
    match tree.stated_version(object) {
        Some(version) => link.with("ver", LinkValue::Token(version.to_string())),
        None => link,
    }
}

fn resource_link(path: Path, content: &Content) -> Link {
    let link = Link::new(path);
    match content {
        Content::Multiple(values) => link.with("dim", LinkValue::Token(values.len().to_string())),
        Content::Absent | Content::Silent | Content::Single(_) => link,
    }
}

fn attached(link: Link, attributes: Attributes) -> Link {
    attributes.link_attributes().into_iter().fold(link, |link, (name, value)| link.with(name, value))
}
