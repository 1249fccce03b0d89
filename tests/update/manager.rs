//! The actor with real files and real downloads; the rest of the gateway is the test's own.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use nuncio::device::{
    FirmwareOrder, FirmwareReply, FirmwareRight, FlashProfile, ImageFormat, ImageRules, JournalStep, WriteError,
};
use nuncio::update::{Adoption, DownloadSettings, Effect, Manager, Setup, Signatures, UpdateSettings};
use tokio::sync::mpsc;

use crate::gateway::{Gateway, device, link_of};
use crate::support::{download_settings, hex_file, profile, server, settings};
use crate::web::{Answer, Web, body, file, status};

fn board() -> Arc<FlashProfile> {
    profile(1, Duration::ZERO)
}

fn hex() -> Vec<u8> {
    hex_file(&[(0, vec![0x42; 20_000])]).into_bytes()
}

fn start() -> Gateway {
    let gateway = Gateway::start(settings(), &download_settings(&[]));
    *gateway.world.version.lock().expect("version") = "2.0".into();
    gateway
}

fn start_with(web: &Web) -> (Gateway, DownloadSettings) {
    let download = download_settings(&[&web.uri("/")]);
    let gateway = Gateway::start(settings(), &download);
    *gateway.world.version.lock().expect("version") = "2.0".into();
    (gateway, download)
}

#[tokio::test]
async fn a_push_is_staged_flashed_and_proven_and_leaves_only_the_last_good_image() {
    let (gateway, press) = (start(), device("press-3"));
    gateway.adopt(&press, &board()).await;
    gateway.push(&press, &hex()).await;
    gateway.until(&press, 2, 0).await;
    assert_eq!(gateway.staged().len(), 1);
    gateway.done(&press, FirmwareOrder::Execute).await;
    gateway.until(&press, 0, 1).await;
    assert_eq!(gateway.told(&press), [(0, 0), (1, 0), (2, 0), (3, 0), (0, 1)]);
    assert_eq!(*gateway.world.flashed.lock().expect("flashed"), hex());
    gateway.until_so("staging is empty", |gateway| gateway.staged().is_empty()).await;
    assert_eq!(std::fs::read(&gateway.good()[0]).expect("the last good image"), hex());
    assert!(gateway.world.leases.lock().expect("leases").is_empty());
    assert!(matches!(gateway.journal()[..], [JournalStep::Closed { outcome: Ok(Some(_)), .. }]));
}

#[tokio::test]
async fn a_pull_is_checked_and_the_expected_version_is_the_uris() {
    let web = Web::start(|asked| if asked.target == "/a.hex" { body(&hex()) } else { status(404) }).await;
    let (gateway, _) = start_with(&web);
    let press = device("press-3");
    gateway.adopt(&press, &board()).await;
    gateway.done(&press, FirmwareOrder::Fetch(web.uri("/a.hex#version=3.0"))).await;
    let view = gateway.until(&press, 2, 0).await;
    assert_eq!(view.package_version, "3.0");
    gateway.done(&press, FirmwareOrder::Execute).await;
    gateway.until(&press, 2, 8).await;
    assert!(gateway.world.leases.lock().expect("leases").is_empty());
    *gateway.world.version.lock().expect("version") = "3.0".into();
    gateway.done(&press, FirmwareOrder::Execute).await;
    gateway.until(&press, 0, 1).await;
}

#[tokio::test]
async fn devices_that_ask_for_one_uri_share_one_download_and_check_for_their_own_board() {
    let web = Web::start(|asked| match (asked.target.as_str(), asked.number) {
        ("/a.hex", 0) => Answer { cut: Some(1000), stall: Duration::from_millis(300), ..file(asked, &hex(), "\"1\"") },
        ("/a.hex", _) => file(asked, &hex(), "\"1\""),
        _ => status(404),
    })
    .await;
    let (gateway, _) = start_with(&web);
    let esp = ImageRules { formats: vec![ImageFormat::EspImage], max_size: 1 << 20, ..ImageRules::default() };
    let other = Arc::new(FlashProfile { image: esp, ..(*board()).clone() });
    let names = [device("a"), device("b"), device("c"), device("d")];
    for (name, profile) in names.iter().zip([&board(), &board(), &other, &board()]) {
        gateway.adopt(name, profile).await;
        gateway.done(name, FirmwareOrder::Fetch(web.uri("/a.hex"))).await;
    }
    gateway.done(&names[3], FirmwareOrder::Cancel).await;
    gateway.until(&names[0], 2, 0).await;
    gateway.until(&names[1], 2, 0).await;
    gateway.until(&names[2], 0, 6).await;
    gateway.until(&names[3], 0, 10).await;
    let whole: Vec<_> = web.images_asked().into_iter().filter(|asked| asked.from().is_none()).collect();
    assert_eq!(whole.len(), 1, "{whole:?}");
    gateway.until_so("one image per device", |gateway| gateway.staged().len() == 2).await;
    gateway.done(&names[0], FirmwareOrder::Execute).await;
    gateway.until(&names[0], 0, 1).await;
    assert_eq!(*gateway.world.flashed.lock().expect("flashed"), hex());
}

#[tokio::test]
async fn a_push_ends_as_it_should_when_it_breaks_off_is_silent_or_too_large() {
    let update = UpdateSettings { push_timeout: Duration::from_secs(2), ..settings() };
    let download = DownloadSettings { max_size: 5000, ..download_settings(&[]) };
    let (gateway, press) = (Gateway::start(update, &download), device("press-3"));
    gateway.adopt(&press, &board()).await;

    let mut broken = gateway.writer(&press).await;
    broken.write(b"abc").expect("room");
    drop(broken);
    gateway.until(&press, 0, 4).await;

    let mut silent = gateway.writer(&press).await;
    gateway.until(&press, 1, 0).await;
    silent.write(b"abc").expect("room");
    gateway.until(&press, 0, 4).await;
    assert_eq!(silent.write(b"late"), Err(WriteError::Ended));

    let mut large = gateway.writer(&press).await;
    large.write(&[0; 5000]).expect("room");
    assert!(matches!(large.write(&[0]), Err(WriteError::TooLarge(_))));
    gateway.until(&press, 0, 2).await;
    gateway.until_so("nothing is left", |gateway| gateway.staged().is_empty()).await;
}

#[tokio::test]
async fn a_push_that_begins_anew_takes_the_place_of_the_one_before() {
    let (gateway, press) = (start(), device("press-3"));
    gateway.adopt(&press, &board()).await;
    let mut first = gateway.writer(&press).await;
    first.write(b":1000").expect("room");
    let mut second = gateway.writer(&press).await;
    assert_eq!(first.write(b"x"), Err(WriteError::Ended));
    drop(first);
    second.write(&hex()).expect("room");
    second.finish();
    gateway.until(&press, 2, 0).await;
    assert_eq!(gateway.told(&press), [(0, 0), (1, 0), (2, 0)]);
    gateway.until_so("one file", |gateway| gateway.staged().len() == 1).await;
}

#[tokio::test]
async fn a_download_that_a_crash_cut_off_goes_on_where_its_journal_stands() {
    let large: Vec<u8> = hex_file(&[(0, vec![0x42; 32_000])]).into_bytes();
    let padded: Vec<u8> = b"\r\n".repeat(200_000).into_iter().chain(large.iter().copied()).collect();
    let image: Vec<u8> = large.iter().copied().chain(padded[..400_000].iter().copied()).collect();
    let served = image.clone();
    let web = Web::start(move |asked| match (asked.target.as_str(), asked.number) {
        ("/a.hex", 0) => {
            let stall = Duration::from_secs(600);
            Answer { cut: Some(served.len() - 1000), stall, ..file(asked, &served, "\"1\"") }
        }
        ("/a.hex", _) => file(asked, &served, "\"1\""),
        _ => status(404),
    })
    .await;
    let (gateway, download) = start_with(&web);
    let press = device("press-3");
    gateway.adopt(&press, &board()).await;
    gateway.done(&press, FirmwareOrder::Fetch(web.uri("/a.hex"))).await;
    let resumable = |step: &JournalStep| matches!(step, JournalStep::Downloading { etag: Some(_), .. });
    gateway.until_so("the journal knows an ETag", |gateway| gateway.journal().iter().any(resumable)).await;
    let gateway = gateway.restart(settings(), &download).await;
    gateway.adopt(&press, &board()).await;
    gateway.until(&press, 2, 0).await;
    gateway.done(&press, FirmwareOrder::Execute).await;
    gateway.until_so("flashed", |gateway| !gateway.world.flashed.lock().expect("flashed").is_empty()).await;
    assert_eq!(*gateway.world.flashed.lock().expect("flashed"), image);
    assert_eq!(gateway.told(&press).iter().filter(|shown| **shown == (0, 4)).count(), 0);
}

#[tokio::test]
async fn a_push_that_a_crash_cut_off_is_lost() {
    let (gateway, press) = (start(), device("press-3"));
    gateway.adopt(&press, &board()).await;
    let mut writer = gateway.writer(&press).await;
    writer.write(b":10").expect("room");
    gateway.until_so("journal", |gateway| !gateway.journal().is_empty()).await;
    let gateway = gateway.restart(settings(), &download_settings(&[])).await;
    assert!(gateway.staged().is_empty(), "what nobody claims is swept");
    gateway.adopt(&press, &board()).await;
    gateway.until(&press, 0, 4).await;
}

#[tokio::test]
async fn a_staged_image_survives_a_restart_unless_it_was_touched() {
    let (gateway, press) = (start(), device("press-3"));
    gateway.adopt(&press, &board()).await;
    gateway.push(&press, &hex()).await;
    gateway.until(&press, 2, 0).await;
    std::fs::write(gateway.folder().join("orphan.img"), b"x").expect("a file");
    let gateway = gateway.restart(settings(), &download_settings(&[])).await;
    assert_eq!(gateway.staged().len(), 1, "the orphan is swept");
    gateway.adopt(&press, &board()).await;
    gateway.until(&press, 2, 0).await;
    let path = gateway.staged().remove(0);
    let gateway = gateway.restart(settings(), &download_settings(&[])).await;
    std::fs::write(path, b"touched").expect("a file");
    gateway.adopt(&press, &board()).await;
    gateway.until(&press, 0, 5).await;
    gateway.until_so("dropped", |gateway| gateway.staged().is_empty()).await;
}

#[tokio::test]
async fn a_flash_that_a_crash_cut_off_is_finished_and_proven() {
    let (gateway, press) = (start(), device("press-3"));
    gateway.adopt(&press, &board()).await;
    gateway.push(&press, &hex()).await;
    gateway.until(&press, 2, 0).await;
    gateway.world.endless.store(true, Ordering::Relaxed);
    gateway.done(&press, FirmwareOrder::Execute).await;
    let flashing = |gateway: &Gateway| !gateway.world.flashed.lock().expect("flashed").is_empty();
    gateway.until_so("the tool runs", flashing).await;
    let gateway = gateway.restart(settings(), &download_settings(&[])).await;
    gateway.world.endless.store(false, Ordering::Relaxed);
    gateway.until_so("the old tool is gone", |gateway| gateway.world.leases.lock().expect("leases").is_empty()).await;
    gateway.world.flashed.lock().expect("flashed").clear();
    gateway.world.told.lock().expect("told").clear();
    let first = gateway.adopt(&press, &board()).await.expect("it was not known before");
    assert_eq!((first.state as u8, first.result as u8), (3, 0), "servers never find it idle");
    assert_eq!(gateway.adopt(&press, &board()).await, None);
    gateway.until(&press, 0, 1).await;
    assert_eq!(gateway.told(&press), [(3, 0), (0, 1)]);
    assert_eq!(*gateway.world.flashed.lock().expect("flashed"), hex(), "it was flashed once more");
}

#[tokio::test]
async fn an_update_whose_link_is_held_starts_when_the_lease_is_given_back() {
    let (gateway, press) = (start(), device("press-3"));
    gateway.adopt(&press, &board()).await;
    gateway.push(&press, &hex()).await;
    gateway.until(&press, 2, 0).await;
    gateway.world.held.store(true, Ordering::Relaxed);
    gateway.done(&press, FirmwareOrder::Execute).await;
    gateway.until(&press, 2, 11).await;
    gateway.handle.lease_released(link_of(&device("another"))).await;
    gateway.world.held.store(false, Ordering::Relaxed);
    gateway.handle.lease_released(link_of(&press)).await;
    gateway.until(&press, 0, 1).await;
    assert_eq!(gateway.told(&press), [(0, 0), (1, 0), (2, 0), (2, 11), (3, 0), (0, 1)]);
}

#[tokio::test]
async fn a_store_whose_disk_is_full_lets_nothing_be_staged_or_flashed() {
    let (gateway, press) = (start(), device("press-3"));
    gateway.adopt(&press, &board()).await;
    gateway.world.full.store(true, Ordering::Relaxed);
    gateway.push(&press, &hex()).await;
    gateway.until(&press, 0, 2).await;
    gateway.world.full.store(false, Ordering::Relaxed);
    gateway.push(&press, &hex()).await;
    gateway.until(&press, 2, 0).await;
    gateway.world.full.store(true, Ordering::Relaxed);
    gateway.done(&press, FirmwareOrder::Execute).await;
    gateway.until(&press, 2, 8).await;
    assert!(gateway.world.flashed.lock().expect("flashed").is_empty(), "the tool never ran");
}

#[tokio::test]
async fn a_gateway_that_drops_every_question_hangs_no_update() {
    let (gateway, press) = (start(), device("press-3"));
    gateway.adopt(&press, &board()).await;
    gateway.push(&press, &hex()).await;
    gateway.until(&press, 2, 0).await;
    gateway.world.deaf.store(true, Ordering::Relaxed);
    gateway.done(&press, FirmwareOrder::Execute).await;
    gateway.until(&press, 2, 11).await;
    gateway.done(&press, FirmwareOrder::Cancel).await;
    gateway.until(&press, 0, 10).await;
}

#[tokio::test]
async fn a_local_image_is_checked_like_any_other() {
    let (gateway, press) = (start(), device("press-3"));
    gateway.adopt(&press, &board()).await;
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.hex");
    let local = async |order| {
        let reply = gateway.handle.order(press.clone(), nuncio::device::Requester::Local, FirmwareRight::Any, order);
        assert!(matches!(reply.await, FirmwareReply::Done));
    };
    local(FirmwareOrder::Stage { path: path.clone(), version: None }).await;
    gateway.until(&press, 0, 7).await;
    std::fs::write(&path, &hex()[..500]).expect("a file");
    local(FirmwareOrder::Stage { path: path.clone(), version: None }).await;
    gateway.until(&press, 0, 5).await;
    local(FirmwareOrder::Reset).await;
    std::fs::write(&path, hex()).expect("a file");
    let wrong = format!("{}  a.hex\n", "0".repeat(64));
    std::fs::write(folder.path().join("a.hex.sha256"), wrong).expect("a file");
    local(FirmwareOrder::Stage { path: path.clone(), version: None }).await;
    gateway.until(&press, 0, 5).await;
    std::fs::remove_file(folder.path().join("a.hex.sha256")).expect("a file");
    std::fs::write(folder.path().join("a.hex.version"), "2.0\n").expect("a file");
    local(FirmwareOrder::Stage { path, version: None }).await;
    assert_eq!(gateway.until(&press, 2, 0).await.package_version, "2.0");
    let folder_itself = FirmwareOrder::Stage { path: folder.path().to_owned(), version: None };
    local(FirmwareOrder::Reset).await;
    local(folder_itself).await;
    gateway.until(&press, 0, 7).await;
}

#[tokio::test]
async fn a_reset_ends_a_download_and_removes_what_came() {
    let web =
        Web::start(|asked| Answer { cut: Some(1000), stall: Duration::from_secs(600), ..file(asked, &hex(), "\"1\"") })
            .await;
    let (gateway, _) = start_with(&web);
    let press = device("press-3");
    gateway.adopt(&press, &board()).await;
    gateway.done(&press, FirmwareOrder::Fetch(web.uri("/a.hex"))).await;
    gateway.until_so("it came to staging", |gateway| !gateway.staged().is_empty()).await;
    gateway.done(&press, FirmwareOrder::Reset).await;
    gateway.until(&press, 0, 0).await;
    gateway.until_so("nothing is left", |gateway| gateway.staged().is_empty()).await;
}

#[tokio::test]
async fn a_gateway_that_stops_finishes_the_running_flash_and_begins_none() {
    let (gateway, press, pump) = (start(), device("press-3"), device("pump-1"));
    for name in [&press, &pump] {
        gateway.adopt(name, &board()).await;
        gateway.push(name, &hex()).await;
        gateway.until(name, 2, 0).await;
    }
    gateway.world.endless.store(true, Ordering::Relaxed);
    gateway.done(&press, FirmwareOrder::Execute).await;
    gateway.until(&press, 3, 0).await;
    let handle = gateway.handle.clone();
    let drained = tokio::spawn(async move { handle.drain().await });
    gateway.until_so("it is told", |_| true).await;
    tokio::task::yield_now().await;
    gateway.world.endless.store(false, Ordering::Relaxed);
    drained.await.expect("drained");
    assert_eq!(gateway.told(&press).last(), Some(&(0, 1)));
    let closed = |step: &JournalStep| matches!(step, JournalStep::Closed { outcome: Ok(_), .. });
    assert!(gateway.journal().iter().any(closed), "its end is written down: {:?}", gateway.journal());
    gateway.done(&pump, FirmwareOrder::Execute).await;
    gateway.until(&pump, 2, 11).await;
}

#[tokio::test]
async fn an_unknown_device_answers_wrong_state() {
    let gateway = start();
    let reply = gateway.order(&device("nobody"), FirmwareOrder::Execute).await;
    assert!(matches!(reply, FirmwareReply::WrongState));
}

#[tokio::test]
async fn facts_are_taken_while_nobody_takes_effects() {
    let folder = tempfile::tempdir().expect("a folder");
    let (out, mut effects) = mpsc::channel(1);
    let download = download_settings(&[]);
    let setup = Setup {
        update: settings(),
        download: &download,
        served: None,
        staging: folder.path(),
        signatures: Arc::new(Signatures::load(&settings()).expect("no keys")),
        brakes: Vec::new(),
        journal: Vec::new(),
    };
    let (handle, manager) = Manager::spawn(setup, out).expect("a manager");
    let adopt_all = async {
        for number in 0..3000 {
            let device = device(&format!("device-{number}"));
            let link = link_of(&device);
            handle
                .adopt(Adoption {
                    device: device.clone(),
                    profile: board(),
                    link,
                    version: None,
                    worked: None,
                    hub: None,
                    power_cycle: false,
                })
                .await;
            handle.reachable(device, server(1), false).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), adopt_all).await.expect("not held up");
    let mut shown = 0;
    while shown < 3000 {
        shown += usize::from(matches!(effects.recv().await, Some(Effect::View { .. })));
    }
    drop(handle);
    manager.await.expect("it ends with its last handle");
}
