//! The small files beside an image: `IMAGE.sha256` as sha256sum writes it, `IMAGE.version` with one line.

use std::path::PathBuf;
use std::time::Duration;

use reqwest::StatusCode;
use reqwest::header::HeaderMap;
use url::Url;

use super::Downloader;
use super::http::Stop;
use crate::device::{Sha256Digest, masked_uri};
use crate::update::inspect;
use crate::update::staging::Stored;
use crate::update::table::{Refusal, Refused};
use crate::update::uri::{ImageUri, version_text};

/// Longest file beside an image; a list of digests may name a whole folder.
pub(crate) const MAX_SIDECAR: usize = 64 * 1024;
/// Pause between tries.
const PAUSE: Duration = Duration::from_millis(500);

/// The digest that `IMAGE.sha256` tells; `None` when there is no such file.
pub(super) async fn digest(downloader: &Downloader, uri: &ImageUri) -> Result<Option<Sha256Digest>, Refused> {
    let beside = uri.sidecar(".sha256");
    let Some(text) = text(downloader, &beside).await? else { return Ok(None) };
    let name = uri.request.path_segments().and_then(|mut segments| segments.next_back()).unwrap_or_default();
    digest_in(&text, name, &masked_uri(beside.as_str())).map(Some)
}

/// The version that `IMAGE.version` tells, asked only when it would count.
pub(super) async fn version(
    downloader: &Downloader,
    uri: &ImageUri,
    stored: &Stored,
) -> Result<Option<String>, Refused> {
    let path: PathBuf = stored.path.clone();
    if uri.version.is_some()
        || tokio::task::spawn_blocking(move || inspect::own_version(&path)).await.is_ok_and(|own| own.is_some())
    {
        return Ok(None);
    }
    let text = text(downloader, &uri.sidecar(".version")).await?;
    Ok(text.and_then(|text| version_in(&text)))
}

/// The digest of the file `name` in sha256sum's format; a list of one line needs no matching name.
pub(crate) fn digest_in(text: &str, name: &str, source: &str) -> Result<Sha256Digest, Refused> {
    let lines: Vec<&str> = text.lines().filter(|line| !line.trim().is_empty()).collect();
    let of_name = |line: &&&str| line.split_whitespace().nth(1).is_some_and(|file| file_name(file) == name);
    let line = match lines.as_slice() {
        [only] => Some(*only),
        many => many.iter().find(of_name).copied(),
    };
    let hex = line.and_then(|line| line.split_whitespace().next()).map(|hex| hex.trim_start_matches('\\'));
    hex.and_then(|hex| hex.parse().ok())
        .ok_or_else(|| Refused::new(Refusal::Damaged, format!("{source} holds no SHA-256 for {name}")))
}

/// `*` marks binary mode; a path may stand before the name.
fn file_name(file: &str) -> &str {
    let file = file.strip_prefix('*').unwrap_or(file);
    file.rsplit_once('/').map_or(file, |(_, name)| name)
}

/// The version of a file with one line.
pub(crate) fn version_in(text: &str) -> Option<String> {
    version_text(text.lines().next()?)
}

/// A small text file; `None` when the server says that there is none.
pub(super) async fn text(downloader: &Downloader, uri: &Url) -> Result<Option<String>, Refused> {
    let mut tries = downloader.retries;
    loop {
        match once(downloader, uri).await {
            Ok(text) => return Ok(text),
            Err(Stop::Refused(refused)) => return Err(Refused::new(Refusal::ConnectionLost, refused.reason)),
            Err(Stop::Broken(reason)) if tries == 0 => return Err(Refused::new(Refusal::ConnectionLost, reason)),
            Err(Stop::Broken(_)) => tries -= 1,
        }
        tokio::time::sleep(PAUSE).await;
    }
}

async fn once(downloader: &Downloader, uri: &Url) -> Result<Option<String>, Stop> {
    let mut response = downloader.http.get(uri, &HeaderMap::new()).await?;
    match response.status() {
        StatusCode::NOT_FOUND | StatusCode::GONE => return Ok(None),
        StatusCode::OK => {}
        status => {
            return Err(Refused::new(
                Refusal::ConnectionLost,
                format!("{} answered {status}", masked_uri(uri.as_str())),
            )
            .into());
        }
    }
    let mut bytes = Vec::new();
    while let Some(piece) = downloader.http.piece(&mut response, uri).await? {
        bytes.extend_from_slice(&piece);
        if bytes.len() > MAX_SIDECAR {
            return Err(
                Refused::new(Refusal::ConnectionLost, format!("{} is too long", masked_uri(uri.as_str()))).into()
            );
        }
    }
    Ok(Some(String::from_utf8_lossy(&bytes).into_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: &str = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    #[test]
    fn a_digest_is_found_in_what_sha256sum_writes() {
        let zero = "0".repeat(64);
        for text in [
            A.to_owned(),
            format!("{A}  a.bin\n"),
            format!("{A} *build/other.bin\n"),
            format!("{zero}  b.bin\n{A}  out/a.bin\n"),
        ] {
            assert_eq!(digest_in(&text, "a.bin", "s").expect(&text).to_string(), A);
        }
        for text in [String::new(), "<html>".to_owned(), format!("{A}  c.bin\n{A}  d.bin")] {
            assert_eq!(digest_in(&text, "a.bin", "s").expect_err("none").why, Refusal::Damaged);
        }
    }
}
