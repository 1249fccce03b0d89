//! Figures for Prometheus. Their labels are servers, boards' states and outcomes, never devices: what is bounded by the
//! configuration or by the program.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};

use super::Context;
use super::events::MAX_FOLLOWERS;
use super::problem::Problem;
use crate::control::{ControlRequest, Feed, Heard, News, RegistrationState, Status};
use crate::device::{FirmwareState, UpdateEvent};

/// The content type of OpenMetrics 1.0.
const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";
/// How updates end, as they are counted.
const OUTCOMES: [&str; 4] = ["proven", "failed", "refused", "dropped"];
/// Answers by the first digit of their status.
const CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

type Labels = Vec<(&'static str, String)>;

/// What is counted from the start on.
#[derive(Debug, Clone, Default)]
pub(super) struct Counts(Arc<Counted>);

#[derive(Debug, Default)]
struct Counted {
    outcomes: [AtomicU64; OUTCOMES.len()],
    answers: [AtomicU64; CLASSES.len()],
}

impl Counts {
    /// Counts from now on what the feed tells.
    pub(super) fn follow(feed: &Feed) -> Self {
        let counts = Self::default();
        let (counted, mut follower) = (counts.clone(), feed.follow());
        tokio::spawn(async move {
            while let Some(heard) = follower.next().await {
                if let Heard::Told(told) = heard
                    && let News::Update { what, .. } = &told.news
                {
                    counted.update(what);
                }
            }
        });
        counts
    }

    fn update(&self, event: &UpdateEvent) {
        let outcome = match event {
            UpdateEvent::Proven { .. } => 0,
            UpdateEvent::UpdateFailed { .. } => 1,
            UpdateEvent::StagingFailed { .. } => 2,
            UpdateEvent::Dropped => 3,
            _ => return,
        };
        if let Some(count) = self.0.outcomes.get(outcome) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// A request was answered with this status.
    pub(super) fn answered(&self, status: u16) {
        if let Some(count) = self.0.answers.get(usize::from(status / 100).saturating_sub(1)) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// Figures for Prometheus, as OpenMetrics text
#[utoipa::path(get, path = "/metrics", tag = "gateway", responses(
    (status = 200, content_type = "application/openmetrics-text", body = String),
))]
pub(super) async fn metrics(State(context): State<Context>) -> Result<Response, Problem> {
    let status = context.0.door.ask(|reply| ControlRequest::Status { device: None, reply }).await?;
    let mut registry = Registry::default();
    gateway(&mut registry, &status);
    devices(&mut registry, &status);
    servers(&mut registry, &status);
    counted(&mut registry, &context.0.counts.0);
    let followers = MAX_FOLLOWERS.saturating_sub(context.0.followers.available_permits());
    gauge(&mut registry, "nuncio_http_followers", "Who follows the events over HTTP just now", followers);
    process(&mut registry);
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = encode(&mut text, &registry);
    Ok(([(CONTENT_TYPE, OPEN_METRICS)], text).into_response())
}

fn gateway(registry: &mut Registry, status: &Status) {
    let build = Info::new(vec![("version", status.gateway.version.clone())]);
    registry.register("nuncio_build", "The program", build);
    gauge(registry, "nuncio_tasks", "Tasks that run in the gateway", status.gateway.tasks);
    gauge(registry, "nuncio_notes", "Lines that the operator should know of", status.gateway.notes.len());
}

fn devices(registry: &mut Registry, status: &Status) {
    let count = |what: &dyn Fn(&crate::control::DeviceStatus) -> bool| {
        status.devices.iter().filter(|device| what(device)).count()
    };
    let present = count(&|device| device.present);
    let by_presence = [("present", present), ("away", status.devices.len() - present)];
    family(registry, "nuncio_devices", "Devices that the gateway looks after", "presence", &by_presence);
    let states = [FirmwareState::Idle, FirmwareState::Downloading, FirmwareState::Downloaded, FirmwareState::Updating];
    let names = ["idle", "downloading", "downloaded", "updating"];
    let by_state: Vec<(&str, usize)> =
        names.into_iter().zip(states.map(|state| count(&|device| device.update.state == state))).collect();
    family(
        registry,
        "nuncio_firmware_state",
        "Devices by the state of their firmware object, 5/0/3",
        "state",
        &by_state,
    );
    let troubles = [
        ("quarantined", count(&|device| device.quarantined.is_some())),
        ("not_updatable", count(&|device| device.not_updatable.is_some())),
    ];
    family(registry, "nuncio_devices_in_trouble", "Devices by what is wrong with them", "trouble", &troubles);
}

fn servers(registry: &mut Registry, status: &Status) {
    let registrations = Family::<Labels, Gauge>::default();
    for server in &status.servers {
        let here = status.devices.iter().flat_map(|device| &device.registrations);
        let of_server = here.filter(|registration| registration.short_id == server.short_id);
        let known = of_server.filter(|one| one.state == RegistrationState::Registered).count();
        for (state, count) in [("registered", known), ("not_registered", status.devices.len().saturating_sub(known))] {
            let labels = vec![("server", server.name.clone()), ("state", state.to_owned())];
            registrations.get_or_create(&labels).set(signed(count));
        }
    }
    registry.register("nuncio_registrations", "Devices at each server", registrations);
}

fn counted(registry: &mut Registry, counts: &Counted) {
    let updates = Family::<Labels, prometheus_client::metrics::counter::Counter>::default();
    for (outcome, count) in OUTCOMES.iter().zip(&counts.outcomes) {
        updates.get_or_create(&vec![("outcome", (*outcome).to_owned())]).inc_by(count.load(Ordering::Relaxed));
    }
    registry.register("nuncio_updates", "Updates that ended since the start, by how", updates);
    let answers = Family::<Labels, prometheus_client::metrics::counter::Counter>::default();
    for (class, count) in CLASSES.iter().zip(&counts.answers) {
        answers.get_or_create(&vec![("class", (*class).to_owned())]).inc_by(count.load(Ordering::Relaxed));
    }
    registry.register(
        "nuncio_http_answers",
        "Answers over HTTP since the start, by the class of their status",
        answers,
    );
}

/// What Prometheus' own clients tell of any process, under the same names.
fn process(registry: &mut Registry) {
    if let Some(bytes) = resident() {
        let help = "Resident memory";
        registry.register_with_unit("process_resident_memory", help, Unit::Bytes, ConstGauge::new(signed(bytes)));
    }
    let open = std::fs::read_dir("/proc/self/fd").map(Iterator::count).unwrap_or_default();
    gauge(registry, "process_open_fds", "Open file descriptors", open);
    let used = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let seconds = used.tv_sec as f64 + used.tv_nsec as f64 / 1e9;
    registry.register_with_unit("process_cpu", "Processor time used", Unit::Seconds, ConstCounter::new(seconds));
}

/// Field 2 of `/proc/self/statm` (proc_pid_statm(5)), in bytes.
fn resident() -> Option<usize> {
    let text = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: usize = text.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages.saturating_mul(rustix::param::page_size()))
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: usize) {
    registry.register(name, help, ConstGauge::new(signed(value)));
}

fn family(registry: &mut Registry, name: &str, help: &str, label: &'static str, values: &[(&str, usize)]) {
    let family = Family::<Labels, Gauge>::default();
    for (word, value) in values {
        family.get_or_create(&vec![(label, (*word).to_owned())]).set(signed(*value));
    }
    registry.register(name, help, family);
}

fn signed(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}
