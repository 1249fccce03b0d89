//! The first page: all devices, what was found and is none, and what is wrong.

use axum::Extension;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};

use super::layout::{badge, or_dash, presence, progress, registration, whole};
use super::problem;
use crate::control::{ControlRequest, DeviceStatus, Failure, GatewayStatus, LinkStatus, RegistrationStatus};
use crate::device::{Access, Identity};
use crate::web::Context;
use crate::web::access::Caller;

/// So many devices are shown on one page.
const MAX_SHOWN: usize = 500;

pub(super) async fn page(State(context): State<Context>, Extension(caller): Extension<Caller>) -> Response {
    match parts(&context, &caller).await {
        Ok(main) => whole("Devices", Some("/"), Some(&caller), &main).into_response(),
        Err(failure) => problem(&failure.into(), Some(&caller)),
    }
}

async fn parts(context: &Context, caller: &Caller) -> Result<Markup, Failure> {
    let gateway = context.0.door.ask(|reply| ControlRequest::Gateway { reply }).await?;
    let list = context.0.door.ask(|reply| ControlRequest::Devices { reply }).await?;
    Ok(html! {
        h1 { "Devices on " (gateway.name) }
        div id="live-devices" data-live {
            (troubles(&gateway, &list.devices))
            @if list.devices.is_empty() { (nothing_yet()) } @else { (table(&list.devices)) }
            @if list.devices.len() > MAX_SHOWN {
                p { "Further " (list.devices.len() - MAX_SHOWN) " devices are not shown here; " code { "nuncio devices" } " lists all." }
            }
            @if !list.links.is_empty() { (found(&list.links, caller)) }
        }
    })
}

fn nothing_yet() -> Markup {
    html! {
        section.empty {
            p { "No device is here yet. Plug a board in: it appears by itself." }
            p.hint { "One that is plugged in and not listed is below under “Found, but no device”, with the reason." }
        }
    }
}

/// What is wrong, and the cure.
fn troubles(gateway: &GatewayStatus, devices: &[DeviceStatus]) -> Markup {
    let of_devices = devices.iter().filter_map(|device| {
        let reason = device.quarantined.as_ref().or(device.update.message.as_ref())?;
        Some((device, reason))
    });
    let of_devices: Vec<_> = of_devices.take(10).collect();
    html! {
        @if !gateway.notes.is_empty() || !of_devices.is_empty() {
            section.troubles aria-labelledby="troubles" {
                h2 id="troubles" { "What wants looking at" }
                ul {
                    @for note in &gateway.notes { li { (note) } }
                    @for (device, reason) in of_devices {
                        li { a href={ "/devices/" (device.id) } { (device.id) } ": " (reason) }
                    }
                }
            }
        }
    }
}

fn table(devices: &[DeviceStatus]) -> Markup {
    html! {
        table.cards {
            caption.hidden { "Devices" }
            thead {
                tr {
                    th scope="col" { "Device" }
                    th scope="col" { "Board" }
                    th scope="col" { "State" }
                    th scope="col" { "Firmware" }
                    th scope="col" { "Servers" }
                    th scope="col" { "Update" }
                }
            }
            tbody {
                @for device in devices.iter().take(MAX_SHOWN) {
                    tr {
                        th scope="row" { a href={ "/devices/" (device.id) } { (device.id) } }
                        td data-label="Board" {
                            (device.board)
                            " " span.hint title=(device.sureness.reason()) { "(" (device.sureness.in_short()) ")" }
                            " " span.hint.below title={ "Recognised by " (device.identity.in_words()) } { (recognised(&device.identity)) }
                        }
                        td data-label="State" { (presence(device)) }
                        td data-label="Firmware" {
                            (or_dash(device.version.as_ref().map(|version| version.text.as_str())))
                            @if let Some(version) = &device.version { " " span.hint.below { "as it told: " (version.source) } }
                        }
                        td data-label="Servers" { (servers(&device.registrations)) }
                        td data-label="Update" { (update(device)) }
                    }
                }
            }
        }
    }
}

/// By what a device is recognised, in short.
fn recognised(identity: &Identity) -> &'static str {
    match identity {
        Identity::Mac(_) => "by its MAC address",
        Identity::UsbSerial(_) => "by its USB serial number",
        Identity::Ble(_) => "by its Bluetooth address",
        Identity::Configured(_) => "by its [[device]] entry",
        Identity::Host(_) => "by its host name",
        Identity::UsbPath(_) => "by its USB socket",
        Identity::PortPath(_) => "by its port",
    }
}

fn servers(registrations: &[RegistrationStatus]) -> Markup {
    html! {
        @if registrations.is_empty() { (or_dash(None)) }
        ul.plain { @for one in registrations { li { (one.server) " " (registration(one.state)) } } }
    }
}

fn update(device: &DeviceStatus) -> Markup {
    html! {
        (progress(device))
        @if device.not_updatable.is_some() { (badge("off", "cannot be updated")) }
    }
}

/// Links that are no device, with what an operator can do about it.
fn found(links: &[LinkStatus], caller: &Caller) -> Markup {
    html! {
        section aria-labelledby="found" {
            h2 id="found" { "Found, but no device" }
            ul.found {
                @for link in links {
                    li {
                        p { strong { (link.link) } @if let Some(seen) = &link.seen { " · " (seen) } }
                        p.hint { (why_not(link)) }
                        @if caller.is_operator() && link.approvable {
                            form method="post" action="/approve" {
                                input type="hidden" name="link" value=(link.link);
                                button { "Let it join" }
                            }
                        }
                        @if link.access != Access::Absent {
                            a href={ "/links?link=" (percent(&link.link.to_string())) } { "Why it is none" }
                        }
                    }
                }
            }
        }
    }
}

fn why_not(link: &LinkStatus) -> Markup {
    html! {
        @match &link.access {
            Access::Busy { holder, remedy } => { "In use by " (holder) ": " (remedy) },
            Access::NotPermitted { permissions, remedy } => { "Not permitted (" (permissions) "): " (remedy) },
            Access::Absent => { "Not there: is it plugged in, and powered? " },
            Access::Usable | Access::Denied => {},
        }
        @if let Some(note) = &link.note { (note) }
    }
}

/// For a query.
fn percent(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}
