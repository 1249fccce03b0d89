//! Reading characteristics of a device over a connection.

use std::collections::BTreeMap;
use std::time::Duration;

use btleplug::api::{Central as _, Peripheral as _};
use btleplug::platform::{Adapter, Peripheral};
use tokio::time::timeout;
use tracing::debug;

use crate::device::{Answer, BleAddress, Evidence, QuestionFailed};

/// How long connecting and finding the services may take: BlueZ itself gives up after about 25 s.
const CONNECT: Duration = Duration::from_secs(40);
/// How long one characteristic may take.
const READ: Duration = Duration::from_secs(10);
/// How long the end of a connection may take.
const DISCONNECT: Duration = Duration::from_secs(15);
/// Longest value that is kept, in bytes: an attribute has no more (Core specification, volume 3, part F, 3.2.9).
const MAX_VALUE: usize = 512;

/// Connects, reads, and ends the connection, whatever came of it.
pub(super) async fn read(adapter: &Adapter, address: BleAddress, wanted: &[String]) -> Result<Answer, QuestionFailed> {
    let all = adapter.peripherals().await.map_err(failed)?;
    let peripheral = all.into_iter().find(|one| one.address().into_inner() == address.0);
    let peripheral = peripheral.ok_or(QuestionFailed::Gone)?;
    let outcome = timeout(CONNECT, connect(&peripheral)).await;
    let values = match outcome {
        Ok(Ok(())) => Ok(values(&peripheral, wanted).await),
        Ok(Err(error)) => Err(failed(error)),
        Err(_) => Err(QuestionFailed::Failed("it does not take a connection".to_owned())),
    };
    match timeout(DISCONNECT, peripheral.disconnect()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%address, %error, "not disconnected"),
        Err(_) => debug!(%address, "disconnecting takes too long"),
    }
    values.map(|values| {
        let evidence = (!values.is_empty()).then_some(Evidence::Gatt { values });
        Answer { evidence: evidence.into_iter().collect(), version: None }
    })
}

async fn connect(peripheral: &Peripheral) -> btleplug::Result<()> {
    peripheral.connect().await?;
    peripheral.discover_services().await
}

/// What could be read; what a device does not have, or does not give, is left out.
async fn values(peripheral: &Peripheral, wanted: &[String]) -> BTreeMap<String, String> {
    let mut values = BTreeMap::new();
    for characteristic in peripheral.characteristics() {
        let uuid = characteristic.uuid.to_string();
        if !wanted.contains(&uuid) || values.contains_key(&uuid) {
            continue;
        }
        match timeout(READ, peripheral.read(&characteristic)).await {
            Ok(Ok(bytes)) => {
                let text = String::from_utf8_lossy(&bytes[..bytes.len().min(MAX_VALUE)]);
                values.insert(uuid, text.trim_end_matches('\0').to_owned());
            }
            Ok(Err(error)) => debug!(uuid, %error, "not read"),
            Err(_) => debug!(uuid, "reading takes too long"),
        }
    }
    values
}

fn failed(error: btleplug::Error) -> QuestionFailed {
    match error {
        btleplug::Error::DeviceNotFound => QuestionFailed::Gone,
        btleplug::Error::PermissionDenied => QuestionFailed::NotPermitted,
        other => QuestionFailed::Failed(other.to_string()),
    }
}
