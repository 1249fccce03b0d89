//! `nuncio who` and `nuncio identify`.

use nuncio::control::{Client, Who};
use nuncio::device::Access;

use super::code;
use super::output::{print, print_aside, print_json};

pub(crate) async fn who(client: Client, device: String, json: bool) -> anyhow::Result<u8> {
    let who = client.who(&device).await?;
    if json {
        print_json("who/1", &who)?;
    } else {
        print(&told(&who));
    }
    Ok(code::OK)
}

pub(crate) async fn identify(client: Client, device: String, json: bool) -> anyhow::Result<u8> {
    if !json {
        print_aside("Look at the boards: one of them blinks now.");
    }
    let identified = client.identify(&device).await?;
    if json {
        print_json("identify/1", &identified)?;
    } else {
        print(&format!("That was {}: {}.", identified.device, identified.by));
    }
    Ok(code::OK)
}

fn told(who: &Who) -> String {
    let of = who.device.as_ref().map_or_else(String::new, |device| format!(", which is {device}"));
    let link = format!("{}{of}", who.link);
    match (&who.holder, &who.access) {
        (Some(holder), _) => format!("{link}: held by the gateway, {holder}."),
        (None, Access::Busy { holder, remedy }) => format!("{link}: held by {holder}.\n  {remedy}"),
        (None, Access::NotPermitted { permissions, remedy }) => {
            format!("{link}: nobody is known to hold it, and the gateway may not open it ({permissions}).\n  {remedy}")
        }
        (None, Access::Denied) => format!("{link}: nobody is known to hold it; the configuration forbids opening it."),
        (None, Access::Usable | Access::Absent) => format!("{link}: nobody holds it."),
    }
}
