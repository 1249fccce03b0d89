//! `[executors]`: which tool flashes which board.

use std::collections::BTreeMap;

use crate::device::ImageFormat;

/// The tool of a board, or one for each format of its images.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
#[serde(untagged, expecting = "expected a tool's name or a table of image format = tool")]
pub enum ToolChoice {
    /// One tool for every format.
    Tool(String),
    /// By format.
    ByFormat(BTreeMap<ImageFormat, String>),
}

/// `[executors]`, the embedded table and the user's lines merged key by key.
#[derive(Debug, Clone, PartialEq, Eq, Default, serde::Deserialize)]
#[serde(transparent)]
pub struct ExecutorSettings(pub BTreeMap<String, ToolChoice>);
