//! Downloads from servers that are good, slow, broken, changing or hostile.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use nuncio::device::Sha256Digest;
use nuncio::update::DownloadSettings;
use nuncio::update::download::{Destination, Downloaded, Downloader, Progress, Resume};
use nuncio::update::table::{Refusal, Refused};
use nuncio::update::uri::ImageUri;
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use sha2::{Digest, Sha256};
use tempfile::TempDir;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};

use crate::support::{download_settings, esp_image};
use crate::web::{Answer, Asked, Web, body, file, status};

fn image() -> Vec<u8> {
    (0..700_000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect()
}

fn digest(bytes: &[u8]) -> Sha256Digest {
    Sha256Digest(Sha256::digest(bytes).into())
}

fn allowing(web: &Web) -> DownloadSettings {
    download_settings(&[&web.uri("/")])
}

struct Got {
    folder: TempDir,
    result: Result<Downloaded, Refused>,
    progress: Vec<Progress>,
}

impl Got {
    fn bytes(&self) -> Vec<u8> {
        let downloaded = self.result.as_ref().expect("downloaded");
        let bytes = std::fs::read(&downloaded.stored.path).expect("the file");
        assert_eq!(digest(&bytes), downloaded.stored.sha256, "the digest is that of the whole file");
        assert_eq!(bytes.len() as u64, downloaded.stored.size);
        bytes
    }

    fn refusal(&self) -> Refusal {
        self.result.as_ref().expect_err("refused").why
    }
}

fn destination(folder: &TempDir) -> Destination {
    Destination { part: folder.path().join("a.part"), image: folder.path().join("a.img"), resume: None }
}

async fn get(uri: &str, settings: &DownloadSettings) -> Got {
    let folder = tempfile::tempdir().expect("a folder");
    let destination = destination(&folder);
    get_to(uri, settings, folder, destination).await
}

async fn get_to(uri: &str, settings: &DownloadSettings, folder: TempDir, destination: Destination) -> Got {
    let downloader = Downloader::new(settings).expect("settings");
    let progress = Mutex::new(Vec::new());
    let report = |now: &Progress| progress.lock().expect("progress").push(now.clone());
    let uri = ImageUri::parse(uri).expect("a URI");
    let result = downloader.fetch(&uri, &destination, &report).await;
    Got { folder, result, progress: progress.into_inner().expect("progress") }
}

fn only_image(answer: impl Fn(&Asked) -> Answer + Send + Sync + 'static) -> impl Fn(&Asked) -> Answer + Send + Sync {
    move |asked| if asked.target.starts_with("/a.bin.") { status(404) } else { answer(asked) }
}

#[tokio::test]
async fn a_file_is_downloaded_and_its_progress_told() {
    let web = Web::start(only_image(|asked| file(asked, &image(), "\"1\""))).await;
    let got = get(&web.uri("/a.bin"), &allowing(&web)).await;
    assert_eq!(got.bytes(), image());
    let last = got.progress.last().expect("progress");
    assert_eq!((last.bytes, last.total), (700_000, Some(700_000)));
    assert_eq!(last.etag.as_deref(), Some("\"1\""));
    assert!(!got.folder.path().join("a.part").exists());
}

#[tokio::test]
async fn a_server_that_closes_at_half_is_resumed_where_it_stopped() {
    let web = Web::start(only_image(|asked| {
        let whole = file(asked, &image(), "\"1\"");
        let cut = if asked.number == 0 { Some(350_000) } else { None };
        Answer { cut, ..whole }
    }))
    .await;
    let got = get(&web.uri("/a.bin"), &allowing(&web)).await;
    assert_eq!(got.bytes(), image());
    let asked = web.images_asked();
    assert_eq!(asked.len(), 2);
    assert!(asked[1].from().is_some_and(|from| from > 0 && from <= 350_000), "{asked:?}");
    assert_eq!(asked[1].headers["if-range"], "\"1\"");
}

#[tokio::test]
async fn a_file_that_changed_meanwhile_is_fetched_anew_and_never_mixed() {
    let other: Vec<u8> = image().iter().map(|byte| !byte).collect();
    let expected = other.clone();
    let web = Web::start(only_image(move |asked| match asked.number {
        0 => Answer { cut: Some(350_000), ..file(asked, &image(), "\"1\"") },
        _ => file(asked, &other, "\"2\""),
    }))
    .await;
    let got = get(&web.uri("/a.bin"), &allowing(&web)).await;
    assert_eq!(got.bytes(), expected);
}

#[tokio::test]
async fn a_server_that_ignores_if_range_does_not_mix_two_files() {
    let other: Vec<u8> = image().iter().map(|byte| !byte).collect();
    let expected = other.clone();
    let web = Web::start(only_image(move |asked| match asked.number {
        0 => Answer { cut: Some(350_000), ..file(asked, &image(), "\"1\"") },
        1 => {
            let from = asked.from().expect("a range");
            let range = format!("bytes {from}-{}/{}", other.len() - 1, other.len());
            let headers = vec![("ETag", "\"2\"".to_owned()), ("Content-Range", range)];
            Answer { status: 206, headers, body: other[from..].to_vec(), ..Answer::default() }
        }
        _ => file(asked, &other, "\"2\""),
    }))
    .await;
    let got = get(&web.uri("/a.bin"), &allowing(&web)).await;
    assert_eq!(got.bytes(), expected);
}

#[tokio::test]
async fn a_part_other_than_asked_for_is_not_taken() {
    let web = Web::start(only_image(|asked| match asked.number {
        0 => Answer { cut: Some(350_000), ..file(asked, &image(), "\"1\"") },
        1 => {
            let headers = vec![("ETag", "\"1\"".to_owned()), ("Content-Range", "bytes 5-699999/700000".to_owned())];
            Answer { status: 206, headers, body: image()[5..].to_vec(), ..Answer::default() }
        }
        _ => file(asked, &image(), "\"1\""),
    }))
    .await;
    assert_eq!(get(&web.uri("/a.bin"), &allowing(&web)).await.bytes(), image());
}

#[tokio::test]
async fn without_a_strong_etag_a_broken_download_begins_again_once() {
    for etag in ["W/\"1\"", ""] {
        let web = Web::start(only_image(move |asked| {
            let headers = if etag.is_empty() { vec![] } else { vec![("ETag", etag.to_owned())] };
            let cut = if asked.number == 0 { Some(350_000) } else { None };
            Answer { cut, headers, ..body(&image()) }
        }))
        .await;
        assert_eq!(get(&web.uri("/a.bin"), &allowing(&web)).await.bytes(), image());
        assert!(web.images_asked().iter().all(|asked| asked.from().is_none()));

        let web = Web::start(only_image(|_| Answer { cut: Some(350_000), ..body(&image()) })).await;
        assert_eq!(get(&web.uri("/a.bin"), &allowing(&web)).await.refusal(), Refusal::ConnectionLost);
        assert_eq!(web.images_asked().len(), 2);
    }
}

#[tokio::test]
async fn what_the_server_answers_decides_the_result() {
    let cases = [
        (404, Refusal::BadUri, 1),
        (410, Refusal::BadUri, 1),
        (403, Refusal::ConnectionLost, 1),
        (401, Refusal::ConnectionLost, 1),
        (500, Refusal::ConnectionLost, 3),
        (503, Refusal::ConnectionLost, 3),
    ];
    for (code, why, tries) in cases {
        let web = Web::start(move |_| status(code)).await;
        let settings = DownloadSettings { retries: 2, ..allowing(&web) };
        assert_eq!(get(&web.uri("/a.bin"), &settings).await.refusal(), why, "{code}");
        assert_eq!(web.images_asked().len(), tries, "{code}");
    }
}

#[tokio::test]
async fn a_server_that_recovers_is_asked_again() {
    let web = Web::start(only_image(|asked| match asked.number {
        0 | 1 => status(503),
        _ => file(asked, b"image", "\"1\""),
    }))
    .await;
    assert_eq!(get(&web.uri("/a.bin"), &allowing(&web)).await.bytes(), b"image");
}

#[tokio::test]
async fn nobody_at_the_port_is_a_lost_connection() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let uri = format!("http://{}/a.bin", listener.local_addr().expect("an address"));
    drop(listener);
    let settings = DownloadSettings { retries: 1, ..download_settings(&[&uri]) };
    assert_eq!(get(&uri, &settings).await.refusal(), Refusal::ConnectionLost);
}

#[tokio::test]
async fn a_server_that_falls_silent_is_given_up_and_one_that_is_only_slow_is_not() {
    let web = Web::start(only_image(|asked| {
        let stall = if asked.number == 0 { Duration::from_secs(60) } else { Duration::ZERO };
        let cut = if asked.number == 0 { Some(350_000) } else { None };
        Answer { stall, cut, ..file(asked, &image(), "\"1\"") }
    }))
    .await;
    let settings = DownloadSettings { stalled: Duration::from_millis(500), ..allowing(&web) };
    let began = Instant::now();
    assert_eq!(get(&web.uri("/a.bin"), &settings).await.bytes(), image());
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[tokio::test]
async fn what_is_too_large_is_refused_by_its_announced_length_or_by_its_bytes() {
    for chunked in [false, true] {
        let web = Web::start(only_image(move |_| Answer { chunked, ..body(&image()) })).await;
        let settings = DownloadSettings { max_size: 100_000, ..allowing(&web) };
        let got = get(&web.uri("/a.bin"), &settings).await;
        assert_eq!(got.refusal(), Refusal::NoRoom);
        let most = got.progress.last().map_or(0, |progress| progress.bytes);
        assert!(most <= if chunked { 100_000 } else { 0 }, "{most}");
    }
}

#[tokio::test]
async fn the_gateway_itself_is_refused_unless_allow_names_it() {
    let web = Web::start(|_| body(b"secret")).await;
    let open = download_settings(&[]);
    for uri in [web.uri("/a.bin"), web.uri("/a.bin").replace("127.0.0.1", "localhost")] {
        assert_eq!(get(&uri, &open).await.refusal(), Refusal::BadUri, "{uri}");
    }
    assert_eq!(web.images_asked().len(), 0);
}

#[tokio::test]
async fn a_redirect_is_followed_and_checked_like_a_first_uri() {
    let inner = Web::start(only_image(|asked| file(asked, b"inner", "\"1\""))).await;
    let target = inner.uri("/a.bin");
    let outer = Web::start(move |asked| match asked.target.as_str() {
        "/relative" => Answer { headers: vec![("Location", "/a.bin".into())], ..status(302) },
        "/a.bin" => body(b"here"),
        "/inner" => Answer { headers: vec![("Location", target.clone())], ..status(307) },
        "/ftp" => Answer { headers: vec![("Location", "ftp://h/x".into())], ..status(302) },
        "/loop" => Answer { headers: vec![("Location", "/loop".into())], ..status(301) },
        "/nowhere" => status(302),
        _ => status(404),
    })
    .await;
    let both = download_settings(&[&outer.uri("/"), &inner.uri("/")]);
    let one = allowing(&outer);
    assert_eq!(get(&outer.uri("/relative"), &one).await.bytes(), b"here");
    assert_eq!(get(&outer.uri("/inner"), &both).await.bytes(), b"inner");
    let before = inner.images_asked().len();
    assert_eq!(get(&outer.uri("/inner"), &one).await.refusal(), Refusal::BadUri);
    assert_eq!(inner.images_asked().len(), before, "what is forbidden is not even asked");
    assert_eq!(get(&outer.uri("/ftp"), &one).await.refusal(), Refusal::UnknownScheme);
    assert_eq!(get(&outer.uri("/loop"), &one).await.refusal(), Refusal::BadUri);
    assert_eq!(get(&outer.uri("/nowhere"), &one).await.refusal(), Refusal::BadUri);
}

#[tokio::test]
async fn a_digest_in_the_fragment_or_beside_the_image_must_match() {
    let web = Web::start(|asked| match asked.target.as_str() {
        "/a.bin?t=1" | "/b.bin" | "/c.bin" | "/d.bin" => body(&image()),
        "/a.bin.sha256?t=1" => body(format!("{}  a.bin\n", digest(&image())).as_bytes()),
        "/b.bin.sha256" => body(format!("{}  b.bin\n", digest(b"other")).as_bytes()),
        "/c.bin.sha256" => status(410),
        "/d.bin.sha256" => status(403),
        _ => status(404),
    })
    .await;
    let settings = DownloadSettings { retries: 0, ..allowing(&web) };
    get(&web.uri("/a.bin?t=1"), &settings).await.result.expect("its sidecar matches");
    assert_eq!(get(&web.uri("/b.bin"), &settings).await.refusal(), Refusal::Damaged);
    get(&web.uri("/c.bin"), &settings).await.result.expect("410 means that there is none");
    assert_eq!(get(&web.uri("/d.bin"), &settings).await.refusal(), Refusal::ConnectionLost);
    let right = web.uri(&format!("/b.bin#sha256={}", digest(&image())));
    get(&right, &settings).await.result.expect("the fragment goes first");
    let wrong = web.uri(&format!("/c.bin#sha256={}", digest(b"other")));
    assert_eq!(get(&wrong, &settings).await.refusal(), Refusal::Damaged);
}

#[tokio::test]
async fn a_version_beside_the_image_is_asked_only_when_it_counts() {
    let esp = esp_image(5, "3.0", "p", 100);
    let web = Web::start(move |asked| match asked.target.as_str() {
        "/a.bin" | "/b.bin" => body(b"raw"),
        "/esp.bin" => body(&esp),
        "/a.bin.version" => body(b" 1.4.2 \nmore\n"),
        _ => status(404),
    })
    .await;
    let settings = allowing(&web);
    let version = async |path: &str| get(&web.uri(path), &settings).await.result.expect(path).sidecar_version;
    assert_eq!(version("/a.bin").await.as_deref(), Some("1.4.2"));
    assert_eq!(version("/b.bin").await, None);
    assert_eq!(version("/esp.bin").await, None);
    assert_eq!(version("/b.bin#version=2").await, None);
    assert!(web.was_asked("/b.bin.version") && !web.was_asked("/esp.bin.version"));
}

fn resumed(folder: &TempDir, good: &[u8], synced: usize) -> Destination {
    let part = folder.path().join("old.part");
    let mut bytes = good[..synced].to_vec();
    bytes.extend([0xee; 1000]);
    std::fs::write(&part, bytes).expect("a part");
    let resume = Resume { part: part.clone(), synced: synced as u64, etag: "\"1\"".into() };
    Destination { part, image: folder.path().join("a.img"), resume: Some(resume) }
}

#[tokio::test]
async fn after_a_crash_a_download_goes_on_from_its_synced_offset() {
    let web = Web::start(only_image(|asked| file(asked, &image(), "\"1\""))).await;
    let folder = tempfile::tempdir().expect("a folder");
    let destination = resumed(&folder, &image(), 262_144);
    let got = get_to(&web.uri("/a.bin"), &allowing(&web), folder, destination).await;
    assert_eq!(got.bytes(), image());
    assert_eq!(web.images_asked()[0].from(), Some(262_144));
}

#[tokio::test]
async fn after_a_crash_a_file_that_changed_is_lost() {
    let web = Web::start(only_image(|asked| file(asked, &image(), "\"2\""))).await;
    let folder = tempfile::tempdir().expect("a folder");
    let changed = resumed(&folder, &image(), 262_144);
    let got = get_to(&web.uri("/a.bin"), &allowing(&web), folder, changed).await;
    assert_eq!(got.refusal(), Refusal::ConnectionLost);

    let folder = tempfile::tempdir().expect("a folder");
    let gone = Resume { part: folder.path().join("none.part"), synced: 5, etag: "\"1\"".into() };
    let lost = Destination { resume: Some(gone), ..destination(&folder) };
    let got = get_to(&web.uri("/a.bin"), &allowing(&web), folder, lost).await;
    assert_eq!(got.refusal(), Refusal::ConnectionLost);
}

#[tokio::test]
async fn after_a_crash_a_file_that_another_device_took_is_fetched_whole() {
    let web = Web::start(only_image(|asked| file(asked, &image(), "\"1\""))).await;
    let folder = tempfile::tempdir().expect("a folder");
    let gone = Resume { part: folder.path().join("none.part"), synced: 5, etag: "\"1\"".into() };
    let taken = Destination { resume: Some(gone), ..destination(&folder) };
    assert_eq!(get_to(&web.uri("/a.bin"), &allowing(&web), folder, taken).await.bytes(), image());
}

#[tokio::test]
async fn credentials_go_to_the_server_and_into_no_reason() {
    let web =
        Web::start(|asked| if asked.headers.contains_key("authorization") { status(403) } else { status(401) }).await;
    let uri = web.uri("/a.bin?sig=s3cret").replace("http://", "http://user:passw0rd@");
    let got = get(&uri, &download_settings(&[])).await;
    let reason = got.result.expect_err("refused").reason;
    assert!(!reason.contains("passw0rd") && !reason.contains("s3cret"), "{reason}");
    let got = get(&uri, &allowing(&web)).await;
    let reason = got.result.expect_err("refused").reason;
    assert!(reason.contains("403") && !reason.contains("passw0rd") && !reason.contains("s3cret"), "{reason}");
}

struct Authority {
    folder: TempDir,
    tls: TlsAcceptor,
}

/// A certificate authority of the test's own, and a server's certificate for 127.0.0.1 made by it.
fn authority() -> Authority {
    let mut params = CertificateParams::new(Vec::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let ca = CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority");
    let key = KeyPair::generate().expect("a key");
    let names = vec!["127.0.0.1".to_owned()];
    let leaf = CertificateParams::new(names).expect("parameters").signed_by(&key, &ca).expect("a certificate");
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("ca.pem"), ca.pem()).expect("a file");
    let secret = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(key.serialize_der()));
    let config = ServerConfig::builder().with_no_client_auth().with_single_cert(vec![leaf.der().clone()], secret);
    Authority { folder, tls: TlsAcceptor::from(Arc::new(config.expect("a configuration"))) }
}

#[tokio::test]
async fn https_works_with_the_configured_authority_and_not_without_it() {
    let authority = authority();
    let web = Web::with_tls(Some(authority.tls.clone()), only_image(|asked| file(asked, b"image", "\"1\""))).await;
    let uri = web.uri("/a.bin").replace("http://", "https://");
    let base = DownloadSettings { retries: 0, ..download_settings(&[&uri]) };
    let ca = vec![authority.folder.path().join("ca.pem")];
    let with = DownloadSettings { ca, ..base.clone() };
    assert_eq!(get(&uri, &with).await.bytes(), b"image");
    assert_eq!(get(&uri, &base).await.refusal(), Refusal::ConnectionLost);
}

#[tokio::test]
async fn a_certificate_file_that_is_none_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("none.pem");
    let settings = DownloadSettings { ca: vec![path.clone()], ..download_settings(&[]) };
    assert!(Downloader::new(&settings).expect_err("no file").to_string().contains("none.pem"));
    std::fs::write(&path, "nothing").expect("a file");
    assert!(Downloader::new(&settings).expect_err("no certificate").to_string().contains("none.pem"));
    assert!(Downloader::new(&download_settings(&["gopher://x/"])).is_err());
}

#[tokio::test]
async fn a_server_that_breaks_off_again_and_again_is_given_up() {
    let tries = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&tries);
    let web = Web::start(only_image(move |asked| {
        counted.fetch_add(1, Ordering::Relaxed);
        Answer { cut: Some(10), ..file(asked, &image(), "\"1\"") }
    }))
    .await;
    let settings = DownloadSettings { retries: 2, ..allowing(&web) };
    assert_eq!(get(&web.uri("/a.bin"), &settings).await.refusal(), Refusal::ConnectionLost);
    assert_eq!(tries.load(Ordering::Relaxed), 3);
}
