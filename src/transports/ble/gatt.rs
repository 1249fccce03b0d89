//! Reading characteristics of a device over a connection.

use std::collections::BTreeMap;
use std::time::Duration;

use btleplug::api::{Central as _, Peripheral as _};
use btleplug::platform::{Adapter, Peripheral};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::device::{Answer, BleAddress, Evidence, NumberForm, QuestionFailed};

/// How long connecting and finding the services may take: BlueZ itself gives up after about 25 s.
const CONNECT: Duration = Duration::from_secs(40);
/// How long one characteristic may take.
const READ: Duration = Duration::from_secs(10);
/// How long the end of a connection may take.
const DISCONNECT: Duration = Duration::from_secs(15);
/// Longest value that is kept, in bytes: an attribute has no more (Core specification, volume 3, part F, 3.2.9).
const MAX_VALUE: usize = 512;

/// Reads characteristics as text.
pub(super) async fn ask(adapter: &Adapter, address: BleAddress, wanted: &[String]) -> Result<Answer, QuestionFailed> {
    let values = read(adapter, address, wanted, &CancellationToken::new()).await?;
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).trim_end_matches('\0').to_owned();
    let values: BTreeMap<String, String> = values.into_iter().map(|(uuid, bytes)| (uuid, text(bytes))).collect();
    let evidence = (!values.is_empty()).then_some(Evidence::Gatt { values });
    Ok(Answer { evidence: evidence.into_iter().collect(), version: None })
}

/// The number that some bytes hold; `None` where they are too few, and where it is the one that means that none is known.
pub(super) fn number(bytes: &[u8], form: NumberForm, unknown: Option<i64>) -> Option<f64> {
    let (length, signed) = match form {
        NumberForm::U8 => (1, false),
        NumberForm::S8 => (1, true),
        NumberForm::U16 => (2, false),
        NumberForm::S16 => (2, true),
        NumberForm::U24 => (3, false),
        NumberForm::S24 => (3, true),
        NumberForm::U32 => (4, false),
        NumberForm::S32 => (4, true),
    };
    let bits = 8 * length as u32;
    let raw = bytes.get(..length)?.iter().rev().fold(0_i64, |sum, &byte| sum << 8 | i64::from(byte));
    let negative = signed && raw >> (bits - 1) == 1;
    let number = if negative { raw - (1 << bits) } else { raw };
    (unknown != Some(number)).then_some(number as f64)
}

/// Connects, reads, and ends the connection, whatever came of it; gives up on `stop`.
pub(super) async fn read(
    adapter: &Adapter,
    address: BleAddress,
    wanted: &[String],
    stop: &CancellationToken,
) -> Result<BTreeMap<String, Vec<u8>>, QuestionFailed> {
    let all = adapter.peripherals().await.map_err(failed)?;
    let peripheral = all.into_iter().find(|one| one.address().into_inner() == address.0);
    let peripheral = peripheral.ok_or(QuestionFailed::Gone)?;
    let reading = async {
        match timeout(CONNECT, connect(&peripheral)).await {
            Ok(Ok(())) => Ok(values(&peripheral, wanted).await),
            Ok(Err(error)) => Err(failed(error)),
            Err(_) => Err(QuestionFailed::Failed("it does not take a connection".to_owned())),
        }
    };
    let values = stop.run_until_cancelled(reading).await;
    let values = values.unwrap_or_else(|| Err(QuestionFailed::Failed("somebody else wants it".to_owned())));
    match timeout(DISCONNECT, peripheral.disconnect()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => debug!(%address, %error, "not disconnected"),
        Err(_) => debug!(%address, "disconnecting takes too long"),
    }
    values
}

async fn connect(peripheral: &Peripheral) -> btleplug::Result<()> {
    peripheral.connect().await?;
    peripheral.discover_services().await
}

/// What could be read; what a device does not have, or does not give, is left out.
async fn values(peripheral: &Peripheral, wanted: &[String]) -> BTreeMap<String, Vec<u8>> {
    let mut values = BTreeMap::new();
    for characteristic in peripheral.characteristics() {
        let uuid = characteristic.uuid.to_string();
        if !wanted.contains(&uuid) || values.contains_key(&uuid) {
            continue;
        }
        match timeout(READ, peripheral.read(&characteristic)).await {
            Ok(Ok(mut bytes)) => {
                bytes.truncate(MAX_VALUE);
                values.insert(uuid, bytes);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_low_byte_first() {
        for (bytes, form, expected) in [
            (&[0x66, 0x08][..], NumberForm::S16, Some(2150.0)),
            (&[0x9C, 0xFF], NumberForm::S16, Some(-100.0)),
            (&[0x9C, 0xFF], NumberForm::U16, Some(65_436.0)),
            (&[0xFF], NumberForm::S8, Some(-1.0)),
            (&[0x5F], NumberForm::U8, Some(95.0)),
            (&[0x00, 0x00, 0x80], NumberForm::S24, Some(-8_388_608.0)),
            (&[0x01, 0x02, 0x03], NumberForm::U24, Some(197_121.0)),
            (&[0xFF, 0xFF, 0xFF, 0xFF], NumberForm::U32, Some(4_294_967_295.0)),
            (&[0xFF, 0xFF, 0xFF, 0xFF, 9], NumberForm::S32, Some(-1.0)),
            (&[0x01], NumberForm::U16, None),
            (&[], NumberForm::U8, None),
        ] {
            assert_eq!(number(bytes, form, None), expected, "{bytes:02x?}");
        }
        let temperature = |bytes: [u8; 2]| number(&bytes, NumberForm::S16, Some(-32_768));
        assert_eq!((temperature([0x00, 0x80]), temperature([0x01, 0x80])), (None, Some(-32_767.0)));
    }
}
