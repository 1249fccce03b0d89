//! What a client's answer holds, as records.

use coap::Response;

use crate::format::{self, ContentFormat, DecodeError};
use crate::model;
use crate::path::Path;
use crate::record::Record;

/// The values in the answer to a Read or Observe of a path, or in a notification. What is not known to the models here, or has
/// another type than they say, is left out: a client may have resources of its own.
///
/// # Errors
/// When the payload is none in its format, or the format is not spoken here.
pub fn records(base: Path, response: &Response) -> Result<Vec<Record>, DecodeError> {
    let number = response.content_format.unwrap_or_default();
    let format = ContentFormat::from_number(number).ok_or(DecodeError::Unsupported)?;
    format::decode_known(format, base, &response.payload, &model::kind_at)
}
