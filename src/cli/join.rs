//! `nuncio approve`, `forget` and `rename`.

use nuncio::control::{Client, JoinOrder};

use super::code;
use super::output::{print, print_json};

pub(crate) async fn join(client: Client, order: JoinOrder, json: bool) -> anyhow::Result<u8> {
    let report = client.join(order).await?;
    if json {
        print_json("join/1", &report)?;
    } else {
        print(&report.done);
    }
    Ok(code::OK)
}
