//! `nuncio points`.

use nuncio::control::{Client, Points};

use super::code;
use super::output::{print, print_json, table};

pub(crate) async fn points(client: Client, device: String, json: bool) -> anyhow::Result<u8> {
    let points = client.points(&device).await?;
    if json {
        print_json("points/1", &points)?;
    } else {
        print(&told(&points));
    }
    Ok(code::OK)
}

fn told(points: &Points) -> String {
    let note = points.not_read.as_ref().map(|why| format!("{}: points are not read: {why}.", points.device));
    let rows: Vec<[String; 5]> = points
        .points
        .iter()
        .map(|point| {
            let value = point.value.as_ref().map_or_else(|| "-".to_owned(), ToString::to_string);
            [
                format!("{}/{}", point.object, point.instance),
                point.name.clone().unwrap_or_default(),
                value,
                point.unit.clone().unwrap_or_default(),
                if point.writable { "writable".to_owned() } else { String::new() },
            ]
        })
        .collect();
    let list = (!rows.is_empty()).then(|| table(["OBJECT", "NAME", "VALUE", "UNIT", ""], rows));
    list.into_iter().chain(note).collect::<Vec<_>>().join("\n")
}
