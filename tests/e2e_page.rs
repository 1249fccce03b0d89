//! The page in a real browser: what a person sees and does. Its screenshots are those of the README.
//!
//! Needs the peers avr, leshan and page: `make peers`.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use serde_json::json;
use world::{Browser, Leshan, Model, Scene, UsbBus, avr_image, eventually, free_tcp, free_udp, repository, world};

/// Ten times what a flash takes.
const FLASH: Duration = Duration::from_secs(240);
/// First load of the page with all its parts, in bytes (issue 6's figure, there for compressed ones).
const FIRST_LOAD: u64 = 60_000;

/// A scene with the page, and a browser that is logged in by the link that `nuncio login` prints.
fn logged_in(scene: &Scene, role: &str) -> Browser {
    let link = scene.daemon.cli(&["login", "--role", role]).line("http");
    let mut browser = Browser::start();
    browser.goto(&link);
    browser.waits_for("h1", "Devices on");
    browser
}

fn scene(world: world::World, link: &str) -> (Scene, String) {
    let port = free_tcp();
    let web = format!("[web]\nenabled = true\nlisten = [\"127.0.0.1:{port}\"]");
    (Scene::with(world, "arduino-uno", link, |daemon| daemon.toml(&web)), format!("http://127.0.0.1:{port}"))
}

#[test]
fn somebody_logs_in_drops_a_file_on_a_board_and_sees_it_proven() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let (scene, base) = scene(world, &board.link());
    let name = scene.name.clone();
    let mut browser = logged_in(&scene, "operator");
    assert!(!browser.url().contains('#'), "the token stands in the address: {}", browser.url());
    let cookies = browser.ask("cookies", json!({}));
    assert_eq!(cookies, json!([{ "name": "nuncio", "httpOnly": true, "sameSite": "Strict", "secure": false }]));

    browser.waits_for("td", "arduino-uno");
    // As a browser that was never there.
    browser.ask("cache", json!({ "on": false }));
    browser.goto(&format!("{base}/"));
    let loaded = browser.ask("loaded", json!({})).as_u64().expect("a number");
    println!("the first load took {loaded} bytes");
    assert!((10_000..FIRST_LOAD).contains(&loaded), "the first load took {loaded} bytes");
    browser.ask("cache", json!({ "on": true }));

    browser.follow(&format!("a[href='/devices/{name}']"));
    browser.waits_for("#servers ~ table td, section td", "registered");
    let image = avr_image("uno-1.3.0.hex");
    browser.ask("drop", json!({ "selector": "[data-drop]", "files": [image] }));
    // The page came back by itself, and shows by itself what goes on.
    browser.waits_for("#live-firmware progress, #live-firmware .progress .what", "");
    browser.waits_for("#live-firmware dd", "1.3.0");
    browser.waits_for("#live-rest .badge", "proven");
    assert!(board.holds(&image));
    browser.waits_for("#live-rest td", "→ 1.3.0");
    let said: Vec<String> = browser.console();
    assert_eq!(said, Vec::<String>::new(), "the browser complains");

    browser.follow("#past ~ table tbody a");
    assert!(browser.text("main").contains("avrdude"), "what was run is shown: {}", browser.text("main"));
    scene.await_firmware(scene.factory(), "0", "1");

    // What comes from outside is text, whatever it looks like.
    let hostile = "<img src=x onerror=alert(1)>\"'<script>alert(2)</script>";
    let image = avr_image("uno-1.2.0.hex");
    let image = image.to_str().expect("text");
    browser.goto(&format!("{base}/devices/{name}"));
    browser.ask("run", json!({ "script": "document.getElementById('log').parentElement.open = true" }));
    // Once more where the page did not listen yet.
    eventually("the log tells it", FLASH, || {
        assert_eq!(scene.daemon.cli(&["flash", &name, image, "--expect-version", hostile]).code, Some(1));
        browser.text("#log").contains("<script>alert(2)</script>").then_some(())
    });
    for page in ["/", "/history", &format!("/devices/{name}")] {
        browser.goto(&format!("{base}{page}"));
        browser.waits_for("main", "<script>alert(2)</script>");
        assert_eq!(browser.ask("count", json!({ "selector": "main img, main script" })), 0, "{page}");
    }
    assert_eq!(browser.console(), Vec::<String>::new(), "something was run, or asked");
}

#[test]
fn every_page_is_readable_in_both_colours_on_a_phone_and_by_keyboard() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let (scene, base) = scene(world, &board.link());
    assert_eq!(scene.daemon.flash(&scene.name, &avr_image("uno-1.3.0.hex")).code, Some(0));
    let update =
        scene.daemon.cli(&["history", "--json"]).json()["updates"][0]["update"].as_str().expect("one").to_owned();
    let mut browser = logged_in(&scene, "operator");
    let device = format!("/devices/{}", scene.name);
    let pages = ["/", &device, "/history", &format!("/updates/{update}"), "/gateway", "/login"];
    for (scheme, width, height) in [("light", 1280, 900), ("dark", 1280, 900), ("light", 390, 844), ("dark", 390, 844)]
    {
        browser.ask("look", json!({ "scheme": scheme, "width": width, "height": height }));
        for page in pages {
            assert_eq!(browser.goto(&format!("{base}{page}")), 200, "{page}");
            assert_eq!(browser.axe(), Vec::<String>::new(), "{page} in {scheme} at {width}");
            assert_eq!(browser.ask("overflow", json!({})), 0, "{page} at {width} is wider than the window");
        }
    }
    // The first key leads past the menu, and every order can be reached.
    browser.ask("look", json!({ "scheme": "light", "width": 1280, "height": 900 }));
    browser.goto(&format!("{base}{device}"));
    browser.ask("press", json!({ "key": "Tab" }));
    assert_eq!(browser.ask("focused", json!({})), "a:Skip to content");
    let mut reached = Vec::new();
    for _ in 0..60 {
        browser.ask("press", json!({ "key": "Tab" }));
        reached.push(browser.ask("focused", json!({})).as_str().unwrap_or_default().to_owned());
    }
    for order in ["input:image", "button:Check and flash", "button:Make it blink", "button:Roll back", "button:Forget"]
    {
        assert!(reached.iter().any(|one| one == order), "{order} is not reached by Tab: {reached:?}");
    }
}

/// A workshop with three boards, one of which is being flashed: the pictures of the README. They are taken anew for it where somebody
/// wants that: `PICTURES=1 cargo test --test e2e_page`.
#[test]
fn pictures_of_a_workshop_show_boards_their_state_and_an_update_under_way() {
    let world = world!();
    let bus = UsbBus::new(&world);
    let (press, bench) = (world.uno("uno-1.2.0.hex"), world.uno("uno-1.2.0.hex"));
    let oven = world.board(Model::NanoOld).with(&avr_image("nano-1.2.0.hex")).start();
    bus.plug(&press, "ttyACM0", "75735313");
    bus.plug(&bench, "ttyACM1", "85834363");
    bus.plug_bridge(&oven, "ttyUSB0", "1-1.4");
    let (factory, port) = (&Leshan::pair().0, free_tcp());
    let daemon = world
        .daemon()
        .server("factory", &factory.uri(), 123, "lifetime = \"30s\"")
        .builtin(free_udp(), "")
        .device("press-3", "arduino-uno", "serial:/dev/ttyACM0", "")
        .device("oven-1", "arduino-nano", "serial:/dev/ttyUSB0", "")
        .serial("watch = [\"/dev/ttyACM*\"]")
        .toml(&format!("[web]\nenabled = true\nlisten = [\"127.0.0.1:{port}\"]"))
        .bus(&bus);
    let mut daemon = daemon.prepare();
    daemon.edit_config(|text| text.replace("name = \"world\"", "name = \"workshop-pi\""));
    daemon.run();
    for device in ["press-3", "oven-1"] {
        daemon.await_registered(device, "factory");
    }
    assert_eq!(daemon.flash("press-3", &avr_image("uno-1.3.0.hex")).code, Some(0));
    let base = format!("http://127.0.0.1:{port}");
    let link = daemon.cli(&["login", "--role", "operator"]).line("http");
    let mut browser = Browser::start();
    browser.goto(&link);
    browser.waits_for("main", "oven-1");
    let folder =
        if std::env::var_os("PICTURES").is_some() { repository().join("docs/pictures") } else { std::env::temp_dir() };
    let look = |browser: &mut Browser, page: &str, (scheme, width, height): (&str, u32, u32)| {
        browser.ask("look", json!({ "scheme": scheme, "width": width, "height": height }));
        browser.goto(&format!("{base}{page}"));
        browser.waits_for("main", "press-3");
    };
    let take = |browser: &mut Browser, name: &str| {
        let path = folder.join(name);
        browser.screenshot(&path);
        assert!(is_picture(&path), "{} is no picture", path.display());
    };
    look(&mut browser, "/", ("light", 1100, 420));
    take(&mut browser, "devices.png");
    look(&mut browser, "/devices/press-3", ("dark", 1100, 1000));
    take(&mut browser, "device.png");
    // The page is there first, and tells by itself what begins.
    look(&mut browser, "/devices/press-3", ("light", 390, 844));
    let mut flash = daemon.command(&["flash", "press-3", avr_image("uno-1.3.0-large.hex").to_str().expect("text")]);
    let mut flash = flash.stdout(Stdio::null()).spawn().expect("started");
    browser.waits_for("main", "writing");
    take(&mut browser, "phone.png");
    assert!(flash.wait().expect("ended").success());
}

fn is_picture(path: &Path) -> bool {
    std::fs::read(path).is_ok_and(|bytes| bytes.starts_with(b"\x89PNG") && bytes.len() > 5_000)
}

#[test]
fn without_scripts_and_with_a_token_that_may_only_read_the_page_still_serves() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let (scene, base) = scene(world, &board.link());
    let token = scene.daemon.cli(&["token", "add", "wall"]).line("nuncio.");
    let mut browser = Browser::start();
    browser.ask("look", json!({ "scripts": false }));
    browser.goto(&format!("{base}/devices/{}", scene.name));
    browser.fill("#token", "nuncio.wall.wrong");
    browser.follow("button.main");
    assert!(browser.text("main").contains("worth nothing"), "a wrong token: {}", browser.text("main"));
    browser.fill("#token", &token);
    // Where it wanted to go first.
    assert!(browser.follow("button.main").ends_with(&scene.name));
    assert_eq!(browser.ask("count", json!({ "selector": "main form" })), 0, "orders that it may not give");
    eventually("the device", FLASH, || {
        browser.goto(&format!("{base}/"));
        browser.text("main").contains("arduino-uno").then_some(())
    });
    let left = browser.follow(".logout button");
    assert!(left.ends_with("/login"), "{left}");
    browser.goto(&format!("{base}/"));
    assert!(browser.url().contains("/login"));
}

#[test]
fn a_page_finds_a_gateway_again_and_leads_to_the_login_when_its_token_is_worth_nothing() {
    let world = world!();
    let port = free_tcp();
    let device = ("arduino-uno", "tcp:127.0.0.1:9", "probe = \"never\"");
    let web = format!("[web]\nenabled = true\nlisten = [\"127.0.0.1:{port}\"]");
    let mut daemon = world.daemon().device("press-3", device.0, device.1, device.2).toml(&web).start();
    let token = daemon.cli(&["token", "add", "wall"]).line("nuncio.");
    let mut browser = Browser::start();
    eventually("the page answers", FLASH, || {
        (world::curl(&[&format!("http://127.0.0.1:{port}/healthz")]).status == 200).then_some(())
    });
    browser.goto(&format!("http://127.0.0.1:{port}/"));
    browser.fill("#token", &token);
    browser.follow("button.main");
    browser.waits_for("main", "press-3");
    assert!(daemon.stop(FLASH).is_some());
    browser.waits_for("#said", "trying again");
    daemon.edit_config(|text| text.replace("press-3", "press-4").replace("127.0.0.1:9\"", "127.0.0.1:7\""));
    daemon.run();
    browser.waits_for("main", "press-4");
    assert_eq!(daemon.cli(&["token", "revoke", "wall"]).code, Some(0));
    eventually("the login", FLASH, || browser.url().contains("/login").then_some(()));
}

#[test]
fn a_page_that_nobody_looks_at_holds_no_connection() {
    let world = world!();
    let board = world.uno("uno-1.2.0.hex");
    let (scene, base) = scene(world, &board.link());
    let mut browser = logged_in(&scene, "operator");
    let device = format!("a[href='/devices/{}']", scene.name);
    let token = format!("Authorization: Bearer {}", scene.daemon.cli(&["token", "add", "figures"]).line("nuncio."));
    let follow = |number: &str| {
        // The browser is the same peer, which may ask only so often.
        std::thread::sleep(Duration::from_millis(500));
        let figures = world::curl(&["-H", &token, &format!("{base}/metrics")]).body;
        let told = figures.lines().find_map(|line| line.strip_prefix("nuncio_http_followers "))?;
        (told == number).then_some(())
    };
    // More than a browser has connections; those that it keeps for "back" count.
    for _ in 0..8 {
        browser.goto(&format!("{base}/"));
        browser.waits_for("td", "arduino-uno");
        browser.follow(&device);
    }
    eventually("one follows", FLASH, || follow("1"));
    browser.ask("run", json!({ "script": "history.back()" }));
    browser.waits_for("h1", "Devices on");
    eventually("one follows", FLASH, || follow("1"));

    browser.ask("cover", json!({}));
    eventually("nobody follows", FLASH, || follow("0"));
    assert_eq!(scene.daemon.flash(&scene.name, &avr_image("uno-1.3.0.hex")).code, Some(0));
    browser.ask("uncover", json!({}));
    // What happened meanwhile is there.
    browser.waits_for("td", "1.3.0");
    assert_eq!(browser.ask("focused", json!({})), format!("a:{}", scene.name), "where it was before");
    eventually("one follows again", FLASH, || follow("1"));
}
