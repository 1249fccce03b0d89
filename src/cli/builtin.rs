//! `nuncio builtin`.

use nuncio::control::Client;
use nuncio::device::{BuiltinClient, BuiltinOffer, BuiltinView};

use super::code;
use super::output::{print, print_json, table, word};

pub(crate) async fn builtin(client: Client, json: bool) -> anyhow::Result<u8> {
    let view = client.builtin().await?;
    if json {
        print_json("builtin/1", &view)?;
    } else {
        print(&told(&view));
    }
    Ok(code::OK)
}

fn told(view: &BuiltinView) -> String {
    let head = format!("The built-in server is at {}; images are dropped into {}.", view.uri, view.drop.display());
    let trouble = view.trouble.as_ref().map(|trouble| format!("It does not work: {trouble}."));
    let clients: Vec<[String; 5]> = view.clients.iter().map(client).collect();
    let clients = if clients.is_empty() {
        "Nobody is registered there.".to_owned()
    } else {
        table(["ENDPOINT", "DEVICE", "VERSION", "5/0/3", "5/0/5"], clients)
    };
    let offers: Vec<[String; 4]> = view.offers.iter().flat_map(offer).collect();
    let offers = (!offers.is_empty()).then(|| table(["IMAGE", "DEVICE", "STATE", ""], offers));
    [Some(head), trouble, Some(clients), offers].into_iter().flatten().collect::<Vec<_>>().join("\n\n")
}

fn client(client: &BuiltinClient) -> [String; 5] {
    let value = |path: &str| {
        let known = client.values.iter().find(|value| value.path == path);
        known.map_or_else(|| "-".to_owned(), |value| value.value.clone())
    };
    let device = client.device.clone().unwrap_or_else(|| "-".to_owned());
    [client.endpoint.clone(), device, value("/3/0/3"), value("/5/0/3"), value("/5/0/5")]
}

/// A line for each device, or one where there is none yet.
fn offer(offer: &BuiltinOffer) -> Vec<[String; 4]> {
    let image = format!("{}/{}", offer.folder, offer.image);
    if offer.devices.is_empty() {
        let state = if offer.over { "over" } else { "waiting" };
        return vec![[image, "-".to_owned(), state.to_owned(), offer.says.clone()]];
    }
    let line = |target: &nuncio::device::BuiltinTarget| {
        [image.clone(), target.device.clone(), word(&target.state), target.says.clone()]
    };
    offer.devices.iter().map(line).collect()
}
