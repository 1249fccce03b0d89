//! Types that are one text in JSON, as the OpenAPI document describes them.

use utoipa::openapi::{ObjectBuilder, RefOr, Schema, Type};
use utoipa::{PartialSchema, ToSchema};

use super::{Link, Sha256Digest};

macro_rules! text {
    ($type:ty, $example:literal, $description:literal) => {
        impl PartialSchema for $type {
            fn schema() -> RefOr<Schema> {
                let text = ObjectBuilder::new().schema_type(Type::String).description(Some($description));
                text.examples([$example]).into()
            }
        }

        impl ToSchema for $type {}
    };
}

text!(Link, "serial:/dev/ttyUSB0", "How a device is reached");
text!(
    Sha256Digest,
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "SHA-256 in 64 hexadecimal digits"
);
