//! `nuncio brake`.

use nuncio::control::{BrakeOrder, BrakeReport, Client};
use nuncio::device::{Brake, Sha256Digest};

use super::output::{print, print_json};
use super::status::time;
use super::{BrakeCommand, code};

pub(crate) async fn brake(client: Client, command: Option<BrakeCommand>, json: bool) -> anyhow::Result<u8> {
    let order = match command {
        None => BrakeOrder::List,
        Some(BrakeCommand::Pull { board, image }) => BrakeOrder::Pull { board, image },
        Some(BrakeCommand::Release { what }) => BrakeOrder::Release { what },
    };
    let releases = matches!(order, BrakeOrder::Release { .. });
    let report = client.brake(order).await?;
    if json {
        print_json("brake/1", &report)?;
    } else {
        tell(&report, releases);
    }
    Ok(if releases && report.released.is_empty() { code::FAILED } else { code::OK })
}

fn tell(report: &BrakeReport, releases: bool) {
    for released in &report.released {
        print(&format!("Let go: {} for {} boards.", image(released.image), released.board));
    }
    if releases && report.released.is_empty() {
        print("Nothing of that is held back.");
    }
    if report.brakes.is_empty() {
        return print("No image is held back.");
    }
    report.brakes.iter().for_each(|brake| print(&block(brake)));
}

fn block(brake: &Brake) -> String {
    let by = if brake.by_hand { "by hand" } else { "after failures" };
    let head = format!("{}: {} is held back {by} since {}", brake.board, image(brake.image), time(brake.since));
    let failures = brake.failures.iter().map(|one| format!("  {}  {}: {}", time(one.at), one.device, one.reason));
    std::iter::once(head).chain(failures).collect::<Vec<_>>().join("\n")
}

fn image(image: Option<Sha256Digest>) -> String {
    image.map_or_else(|| "every image".to_owned(), |image| format!("image {}", &image.to_string()[..12]))
}
