//! One file over as many connections as it takes, within bounds.

use std::time::Duration;

use reqwest::header::{CONTENT_RANGE, ETAG, HeaderMap, HeaderValue, IF_RANGE, RANGE};
use reqwest::{Response, StatusCode};

use super::http::Stop;
use super::sink::Sink;
use super::{Destination, Downloader, Progress};
use crate::update::staging::Stored;
use crate::update::table::{Refusal, Refused};
use crate::update::uri::ImageUri;

/// First pause after a broken connection; doubles up to [`MAX_PAUSE`].
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const MAX_PAUSE: Duration = Duration::from_secs(10);
/// A connection that brought so much counts as good: the tries begin anew.
const GOOD_CONNECTION: u64 = 256 * 1024;
/// A file that changes is fetched anew so often.
const MAX_RESTARTS: u32 = 1;
/// Longest ETag that is remembered.
const MAX_ETAG: usize = 256;

/// A file on its way.
pub(super) struct Transfer<'a> {
    downloader: &'a Downloader,
    uri: &'a ImageUri,
    destination: &'a Destination,
    report: &'a (dyn Fn(&Progress) + Send + Sync),
    sink: Sink,
    progress: Progress,
    restarts_left: u32,
    failures: u32,
}

impl<'a> Transfer<'a> {
    pub(super) async fn begin(
        downloader: &'a Downloader,
        uri: &'a ImageUri,
        destination: &'a Destination,
        report: &'a (dyn Fn(&Progress) + Send + Sync),
    ) -> Result<Self, Refused> {
        let (sink, bytes) = Sink::open(destination, downloader.max_size).await?;
        let etag = destination.resume.as_ref().map(|resume| resume.etag.clone());
        // What an earlier gateway began is finished as that file, or not at all.
        let restarts_left = if destination.resume.is_some() { 0 } else { MAX_RESTARTS };
        let progress = Progress { bytes, total: None, synced: bytes, etag };
        Ok(Self { downloader, uri, destination, report, sink, progress, restarts_left, failures: 0 })
    }

    pub(super) async fn run(mut self) -> Result<Stored, Refused> {
        loop {
            let before = self.progress.bytes;
            match self.connection().await {
                Ok(true) => return self.sink.finish(self.destination).await,
                // The sink is gone: its own error says why.
                Ok(false) => return Err(self.sink.finish(self.destination).await.err().unwrap_or_else(unexplained)),
                Err(Stop::Refused(refused)) => return Err(refused),
                Err(Stop::Broken(reason)) => self.pause(before, reason).await?,
            }
        }
    }

    /// Waits before the next try, or gives up.
    async fn pause(&mut self, before: u64, reason: String) -> Result<(), Refused> {
        if self.progress.bytes.saturating_sub(before) >= GOOD_CONNECTION {
            self.failures = 0;
        }
        if self.failures == self.downloader.retries {
            return Err(Refused::new(Refusal::ConnectionLost, reason));
        }
        let pause = (FIRST_PAUSE * 2_u32.saturating_pow(self.failures.min(16))).min(MAX_PAUSE);
        self.failures += 1;
        tracing::debug!(reason, bytes = self.progress.bytes, ?pause, "the download broke off, trying again");
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// One request. `Ok(true)`: the file is complete; `Ok(false)`: it cannot be written any more.
    async fn connection(&mut self) -> Result<bool, Stop> {
        if self.progress.bytes > 0
            && self.progress.etag.is_none()
            && !self.restart("it broke off without an ETag").await?
        {
            return Ok(false);
        }
        let response = self.downloader.http.get(&self.uri.request, &self.headers()).await?;
        match response.status() {
            StatusCode::NOT_FOUND | StatusCode::GONE => Err(self.refused(Refusal::BadUri, "there is no such file")),
            StatusCode::PARTIAL_CONTENT => self.resumed(response).await,
            StatusCode::OK => self.whole(response).await,
            StatusCode::PRECONDITION_FAILED | StatusCode::RANGE_NOT_SATISFIABLE if self.progress.bytes > 0 => {
                self.restart("the server does not know the rest").await?;
                Err(Stop::Broken("the file changed meanwhile".into()))
            }
            status => Err(self.refused(Refusal::ConnectionLost, &format!("the server answered {status}"))),
        }
    }

    fn headers(&self) -> HeaderMap {
        let mut headers = HeaderMap::new();
        let etag = self.progress.etag.as_deref().and_then(|etag| HeaderValue::from_str(etag).ok());
        if let (Some(etag), true) = (etag, self.progress.bytes > 0) {
            let range = format!("bytes={}-", self.progress.bytes);
            headers.insert(RANGE, HeaderValue::from_str(&range).expect("digits are a header value"));
            headers.insert(IF_RANGE, etag);
        }
        headers
    }

    /// 206: only if it goes on exactly where we are, in the same file.
    async fn resumed(&mut self, response: Response) -> Result<bool, Stop> {
        let range = response.headers().get(CONTENT_RANGE).and_then(|value| value.to_str().ok()).and_then(content_range);
        let same_file = strong_etag(&response).is_none_or(|etag| Some(etag) == self.progress.etag);
        match range {
            Some((start, total)) if self.progress.bytes > 0 && start == self.progress.bytes && same_file => {
                self.progress.total = total.or(self.progress.total);
                self.receive(response).await
            }
            _ => {
                self.restart("the server sent another part than asked for").await?;
                Err(Stop::Broken("the server sent another part than asked for".into()))
            }
        }
    }

    /// 200: the file from its first byte.
    async fn whole(&mut self, response: Response) -> Result<bool, Stop> {
        if self.progress.bytes > 0 && !self.restart("the file changed meanwhile").await? {
            return Ok(false);
        }
        let etag = strong_etag(&response);
        if self.destination.resume.as_ref().is_some_and(|resume| etag.as_ref() != Some(&resume.etag)) {
            return Err(self.refused(Refusal::ConnectionLost, "the file changed while the gateway was away"));
        }
        self.progress.etag = etag;
        self.progress.total = response.content_length();
        self.receive(response).await
    }

    async fn receive(&mut self, mut response: Response) -> Result<bool, Stop> {
        self.fits(self.progress.total.unwrap_or(0))?;
        while let Some(piece) = self.downloader.http.piece(&mut response, &self.uri.request).await? {
            let bytes = self.progress.bytes + piece.len() as u64;
            self.fits(bytes)?;
            if self.sink.write(piece).await.is_err() {
                return Ok(false);
            }
            self.progress.bytes = bytes;
            self.progress.synced = self.sink.synced();
            (self.report)(&self.progress);
        }
        match self.progress.total {
            Some(total) if self.progress.bytes < total => {
                Err(Stop::Broken(format!("only {} of {total} bytes came", self.progress.bytes)))
            }
            _ => Ok(true),
        }
    }

    fn fits(&self, bytes: u64) -> Result<(), Stop> {
        if bytes <= self.downloader.max_size {
            return Ok(());
        }
        let reason = format!("more than the {} bytes that [download] max_size allows", self.downloader.max_size);
        Err(self.refused(Refusal::NoRoom, &reason))
    }

    /// Back to the first byte, if that may still be. `Ok(false)`: the file cannot be written any more.
    async fn restart(&mut self, why: &str) -> Result<bool, Stop> {
        if self.restarts_left == 0 {
            return Err(self.refused(Refusal::ConnectionLost, why));
        }
        self.restarts_left -= 1;
        tracing::debug!(uri = self.uri.masked(), why, "the download begins again");
        self.progress = Progress::default();
        Ok(self.sink.restart().await.is_ok())
    }

    fn refused(&self, why: Refusal, reason: &str) -> Stop {
        Stop::Refused(Refused::new(why, format!("{}: {reason}", self.uri.masked())))
    }
}

fn unexplained() -> Refused {
    Refused::new(Refusal::NoRoom, "the staged file could not be written")
}

/// Weak ETags promise nothing about bytes.
fn strong_etag(response: &Response) -> Option<String> {
    let etag = response.headers().get(ETAG)?.to_str().ok()?;
    (etag.starts_with('"') && etag.len() <= MAX_ETAG).then(|| etag.to_owned())
}

/// First byte and, where told, the whole length of `bytes 5-9/10`.
fn content_range(value: &str) -> Option<(u64, Option<u64>)> {
    let (range, total) = value.trim().strip_prefix("bytes")?.trim_start().split_once('/')?;
    let (first, _) = range.split_once('-')?;
    Some((first.parse().ok()?, total.parse().ok()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_content_range_tells_where_it_starts() {
        assert_eq!(content_range("bytes 5-9/10"), Some((5, Some(10))));
        assert_eq!(content_range("bytes 5-9/*"), Some((5, None)));
        for text in ["", "bytes */10", "bytes=5-9", "items 1-2/3", "bytes x-9/10"] {
            assert_eq!(content_range(text), None, "{text}");
        }
    }
}
