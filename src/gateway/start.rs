//! Bringing the gateway up: what earlier runs left behind first, then the rooms, the ports last.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, anyhow};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use super::flashing::Flashings;
use super::joining::Turns;
use super::ledger::Ledger;
use super::own::Own;
use super::recorder::Recorder;
use super::tapes::{Player, Recordings};
use super::watching::Watches;
use super::{EVENTS_WAITING, Event, Gateway, Inbox, data, history};
use crate::boards::{Catalogue, Probe, Registry, RegistrySettings};
use crate::builtin::Builtin;
use crate::config::Config;
use crate::control::{self, ControlRequest, Door, Feed, LifecycleOrder, Listener, LogControl, Wires};
use crate::device::{BoardState, DeviceId, FileError, JournalEntry, JournalStep, Link, ServiceType, UpdateResult};
use crate::executors::{self, Executor, Leftover};
use crate::hooks;
use crate::leases;
use crate::mqtt;
use crate::proxy::{Proxy, ServerSettings};
use crate::store::Store;
use crate::transports::{ble, discovery, disk, esphome, http, hub, mdns, serial, smp, tcp};
use crate::update::{Manager, Setup};
use crate::web::{self, Tokens};

/// Links that are reported before the loop has looked at the first ones.
const LINKS_WAITING: usize = 256;
/// Troubles of those who go along that wait for the loop.
const TROUBLES_WAITING: usize = 16;
/// Requests of operators that wait for the loop.
const OPERATORS_WAITING: usize = 64;

/// Where the kernel shows its devices.
pub(super) const SYS: &str = "/sys";
/// The section of the page and the API.
const WEB: &str = "web";
/// The section of the built-in server.
const BUILTIN: &str = "builtin_server";

/// Everything up to the first turn of the loop.
pub(super) async fn start(
    config: Config,
    lifecycle: mpsc::Receiver<LifecycleOrder>,
    log: LogControl,
) -> anyhow::Result<(Gateway, Inbox)> {
    let data = data::load(&config).map_err(|errors| anyhow!(drawn(&errors)))?;
    let state = config.gateway.state.clone();
    let store = tokio::task::spawn_blocking(move || Store::open(&state)).await??;
    let notes: Vec<String> = store.damaged().map(damaged).into_iter().collect();
    let open = store.open_journal().await?;
    let ledger = Ledger::recalled(&open);
    let jobs = config.gateway.state.join("jobs");
    let touched = end_leftovers(&open, &jobs).await?;

    let (events, own) = mpsc::channel(EVENTS_WAITING);
    let (effects_out, effects) = mpsc::channel(EVENTS_WAITING);
    let mut journal: Vec<JournalEntry> = store.latest_closed().await?.into_iter().chain(open).collect();
    journal.iter_mut().filter(|entry| touched.contains(&entry.device)).for_each(doubt);
    let builtin = prepare_builtin(&config)?;
    let staging = config.gateway.state.join("staging");
    let brakes = store.brakes().await?;
    let setup = Setup {
        update: config.update.clone(),
        download: &config.download,
        served: builtin.as_ref().map(Builtin::served),
        staging: &staging,
        signatures: Arc::clone(&data.signatures),
        brakes,
        journal,
    };
    let (update, _manager) = Manager::spawn(setup, effects_out)?;
    let executor = Arc::new(Executor::new(Arc::clone(&data.tools), jobs));
    let (clients_out, clients) = mpsc::channel(EVENTS_WAITING);
    let mut proxy = Proxy::new(told_servers(&config, builtin.as_ref()), clients_out);
    let builtin = builtin.map(|builtin| builtin.spawn(trouble(BUILTIN, &events)));
    if let (Some(builtin), Some(short_id)) = (&builtin, config.builtin_server.short_id) {
        proxy.waits_for(short_id, builtin.listens());
    }
    let itself = begin_own(&config, &mut proxy).await?;
    let (leases, releases) = leases::Table::new();
    let (points_out, points) = mpsc::channel(EVENTS_WAITING);
    let known = store.identities().await?;
    let worked = store.worked().await?.into_iter().map(|one| ((one.port, one.board), one.vars)).collect();
    let recorder = Recorder::new(&config.gateway.name, store.open_records().await?);
    history::keep_tidy(store.clone(), config.history);
    let settings = RegistrySettings {
        gateway: config.gateway.name.clone(),
        questions: config.serial.questions,
        budget: config.serial.budget,
        ask_hosts: config.mdns.ask,
        ask_ble: config.ble.ask,
        devices: config.devices.clone(),
        naming: config.naming.clone(),
        join: config.join.clone(),
        banned: store.banned().await?,
        own_endpoint: config.gateway.endpoint.clone(),
    };
    let catalogue = Arc::clone(&data.catalogue);
    let registry = Registry::new(Arc::clone(&catalogue), settings, known);
    let feed = Feed::default();
    let tokens = Tokens::new(store.tokens().await?);
    let (requests, operators) = serve_operators(&config.gateway.socket, &feed)?;
    let web = web::Setup {
        settings: config.web.clone(),
        state: config.gateway.state.clone(),
        max_image: config.download.max_size,
        name: config.gateway.name.clone(),
        door: Door::new(requests.clone()),
        feed: feed.clone(),
        tokens: tokens.clone(),
        trouble: trouble(WEB, &events),
    };
    web::spawn(web).context("[web]")?;
    let (troubles_out, troubles) = mpsc::channel(TROUBLES_WAITING);
    let gateway = config.gateway.name.clone();
    let wires = Wires { gateway, requests, feed: feed.clone(), troubles: troubles_out };
    let companions = [mqtt::spawn(&config.mqtt, &wires), hooks::spawn(&config.hooks, &wires)];
    look_for_tools(data, events.clone());
    let (links_out, links) = mpsc::channel(LINKS_WAITING);
    let player = config.replay.as_ref().map(|replay| Player::start(replay, links_out.clone()));
    let hubs = hub::Hubs::new(Path::new(SYS), &config.gateway.state, &config.serial);
    let left_off = hubs.clone();
    tokio::task::spawn_blocking(move || left_off.restore()).await?;
    let heard = heard(&config);
    let serial = open_transports(&heard, &links_out)?;
    let types = service_types(&config, &catalogue);
    let mdns = mdns::spawn(&heard.mdns, &config.gateway.name, types, links_out.clone());
    disk::spawn(&heard.disk, links_out.clone()).context("cannot look after disks")?;
    discovery::spawn(heard.discoveries.clone(), links_out.clone());
    let ble = ble::spawn(&heard.ble, links_out);

    let gateway = Gateway {
        started: unix_now(),
        notes,
        registry,
        leases,
        serial,
        hubs,
        restarting: BTreeSet::new(),
        mdns,
        ble,
        http: http::Handle::default(),
        esphome: esphome::Handle::new(&config.esphome.keys),
        smp: smp::Handle::default(),
        recordings: Recordings::default(),
        player,
        obstacles: BTreeMap::new(),
        proxy,
        builtin,
        own: itself,
        restarts: false,
        update,
        executor,
        store,
        ledger,
        turns: Turns::per_minute(config.join.per_minute),
        reopenings: Turns::every(config.serial.again_after),
        worked,
        recorder,
        flashings: Flashings::default(),
        returning: HashMap::new(),
        watches: Watches::default(),
        points: points_out,
        troubles_told: BTreeSet::new(),
        log,
        tokens,
        feed,
        companions: companions.into_iter().flatten().collect(),
        events,
        stop_now: CancellationToken::new(),
        config,
    };
    Ok((gateway, Inbox { links, clients, effects, operators, releases, points, troubles, lifecycle, own }))
}

/// What the built-in server needs before anything may name it.
fn prepare_builtin(config: &Config) -> anyhow::Result<Option<Builtin>> {
    let prepare = || Builtin::prepare(&config.builtin_server, &config.gateway.state, config.download.max_size);
    config.builtin_server.enabled.then(prepare).transpose().context("cannot prepare the built-in server")
}

/// The servers as the clients know them: by the built-in one's key, which nobody else is told.
fn told_servers(config: &Config, builtin: Option<&Builtin>) -> Vec<ServerSettings> {
    let mut servers = config.servers.clone();
    let own = servers.iter_mut().find(|server| Some(server.short_id) == config.builtin_server.short_id);
    if let (Some(server), Some(builtin)) = (own, builtin) {
        server.uri = format!("{}/?{}", server.uri, builtin.key());
    }
    servers
}

/// The endpoint that is the gateway itself, where it is to have one.
async fn begin_own(config: &Config, proxy: &mut Proxy) -> anyhow::Result<Option<Own>> {
    let (endpoint, state) = (config.gateway.endpoint.clone(), config.gateway.state.clone());
    let Some(endpoint) = endpoint.filter(|_| !config.servers.is_empty()) else { return Ok(None) };
    let (own, outline) = tokio::task::spawn_blocking(move || Own::look(endpoint, &state)).await?;
    proxy.add_own(own.info(), &outline);
    Ok(Some(own))
}

/// Several errors of files, each drawn.
fn drawn(errors: &[FileError]) -> String {
    errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n")
}

fn damaged(aside: &Path) -> String {
    format!("the database was damaged and put aside as {}: names and history begin anew", aside.display())
}

/// Ends tools that an earlier gateway left running, before any port is touched; gives the devices that they may have touched
/// without a word in the journal.
async fn end_leftovers(open: &[JournalEntry], jobs: &Path) -> anyhow::Result<BTreeSet<DeviceId>> {
    let started = |entry: &JournalEntry| match &entry.step {
        JournalStep::Flashing { start, .. } => Some(Leftover::from(start)),
        _ => None,
    };
    let named: Vec<Leftover> = open.iter().filter_map(started).collect();
    let found = Leftover::in_folders(jobs);
    let lost = found.iter().filter(|one| named.iter().all(|other| other.marker != one.marker));
    let touched = lost.filter_map(|one| one.device.clone()).collect();
    let leftovers: Vec<Leftover> = named.into_iter().chain(found).collect();
    for killed in tokio::task::spawn_blocking(move || executors::sweep(&leftovers)).await? {
        tracing::warn!(process = killed, "ended a tool that an earlier gateway left behind");
    }
    Ok(touched)
}

/// A tool was made ready for this device and the journal does not tell of it: its last words were lost, or never came. What
/// the device told before it may tell no more.
fn doubt(entry: &mut JournalEntry) {
    if matches!(entry.step, JournalStep::Flashing { .. }) || entry.board != BoardState::Sound {
        return;
    }
    tracing::warn!(device = %entry.device, "a tool had it that the journal does not know of: what it runs is unknown");
    (entry.board, entry.version) = (BoardState::Touched, None);
    if let JournalStep::Closed { outcome, .. } = &mut entry.step
        && outcome.is_ok()
    {
        entry.view.result = UpdateResult::Initial;
    }
}

type Operators = (mpsc::Sender<ControlRequest>, mpsc::Receiver<ControlRequest>);

fn serve_operators(socket: &Path, feed: &Feed) -> anyhow::Result<Operators> {
    let listener = Listener::bind(socket)?;
    let (requests, operators) = mpsc::channel(OPERATORS_WAITING);
    tokio::spawn(control::serve(listener, Door::new(requests.clone()), feed.clone()));
    Ok((requests, operators))
}

/// Where a room tells what keeps it from its work.
fn trouble(room: &'static str, events: &mpsc::Sender<Event>) -> mpsc::Sender<Option<String>> {
    let (told, mut heard) = mpsc::channel(TROUBLES_WAITING);
    let events = events.clone();
    tokio::spawn(async move {
        while let Some(what) = heard.recv().await {
            // The loop may have ended meanwhile.
            let _ = events.send(Event::Trouble { room, what }).await;
        }
    });
    told
}

/// Asks programs for their versions in the background: a slow one keeps nobody from registering.
pub(super) fn look_for_tools(data: data::Data, events: mpsc::Sender<Event>) {
    tokio::task::spawn_blocking(move || {
        // The loop may have ended meanwhile.
        let _ = events.blocking_send(Event::Troubles(data::troubles(&data)));
    });
}

fn open_transports(config: &Config, links: &mpsc::Sender<crate::transports::Event>) -> anyhow::Result<serial::Handle> {
    let paths: Vec<PathBuf> =
        config.devices.iter().filter_map(|device| device.link.serial_path().map(Path::to_owned)).collect();
    let serial = serial::spawn(&config.serial, paths, links.clone()).context("cannot look after serial ports")?;
    let of_tcp = config.devices.iter().filter(|device| matches!(device.link, Link::Tcp { .. }));
    let targets =
        of_tcp.map(|device| tcp::Target { link: device.link.clone(), never_probe: device.probe == Probe::Never });
    tcp::spawn(&config.tcp, targets.collect(), links.clone());
    Ok(serial)
}

/// The configuration as the transports have it: where a tape is played, nothing else is looked at.
fn heard(config: &Config) -> Config {
    let mut heard = config.clone();
    if config.replay.is_some() {
        heard.serial.watch.clear();
        heard.devices.clear();
        heard.discoveries.clear();
        (heard.mdns.enabled, heard.ble.enabled, heard.disk.enabled) = (false, false, false);
    }
    heard
}

/// What is listened for: what board files name, and what `[[device]]` entries do.
pub(super) fn service_types(config: &Config, catalogue: &Catalogue) -> BTreeSet<ServiceType> {
    let named = config.devices.iter().filter_map(|device| match &device.link {
        Link::Service(name) => name.kind().parse().ok(),
        Link::Serial(_) | Link::Tcp { .. } | Link::Ble(_) | Link::Discovered(_) => None,
    });
    catalogue.service_types().into_iter().chain(named).collect()
}

pub(super) fn unix_now() -> i64 {
    let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}
