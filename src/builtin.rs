//! A small Device Management server of the gateway's own: one more server like any other to the virtual clients, which speak
//! LwM2M to it over loopback. It makes a gateway useful to somebody who has no server yet.
//!
//! It knows of a device what the device's client tells it, and does to it what a server may do; nothing reaches an update by
//! another way. The machine is `lwm2m`'s server half; here are its sockets and its task. Not here: the clients, which are
//! `proxy`'s, and what an order on firmware comes to, which is `update`'s. Driven by `gateway`, which names the devices.

mod book;
mod check;
mod door;
mod folder;
mod hopper;
mod names;
mod offer;
mod offering;
mod offers;
mod own;
mod settings;
mod shelf;
mod task;

use std::io;
use std::path::{Path, PathBuf};

use tokio::sync::{mpsc, oneshot, watch};

pub use check::{Finding, check};
pub use settings::BuiltinSettings;

use url::Url;

use crate::device::{BoardId, BuiltinView, DeviceId};
use own::Secrets;
use shelf::Shelf;
use task::Task;

/// What the task is told and asked at once at most.
const ORDERS: usize = 256;

/// A device of the gateway, as far as folders go by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its name.
    pub id: DeviceId,
    /// Its endpoint name.
    pub endpoint: String,
    /// Its type.
    pub board: BoardId,
}

/// What the task is told.
#[derive(Debug)]
enum Order {
    DeviceIs(Device),
    DeviceGone(DeviceId),
    DeviceForgotten(DeviceId),
    Look(oneshot::Sender<BuiltinView>),
}

/// A server that is about to run.
#[derive(Debug)]
pub struct Builtin {
    settings: BuiltinSettings,
    secrets: Secrets,
    drop: PathBuf,
    max_size: u64,
}

/// The way to it; cheap to clone. The server ends when the last one is dropped.
#[derive(Debug, Clone)]
pub struct Handle {
    orders: mpsc::Sender<Order>,
    listens: watch::Receiver<bool>,
}

impl Builtin {
    /// Reads or makes what outlives a restart, below `state`. Images larger than `max_size` bytes are not offered. Blocking.
    ///
    /// # Errors
    /// What the system said.
    pub fn prepare(settings: &BuiltinSettings, state: &Path, max_size: u64) -> io::Result<Self> {
        let drop = settings.drop.clone().unwrap_or_else(|| state.join("drop"));
        Ok(Self { settings: settings.clone(), secrets: Secrets::of(state)?, drop, max_size })
    }

    /// What the URIs of all images that it offers begin with: on loopback, behind a path that only the gateway knows.
    pub fn served(&self) -> Url {
        self.shelf().base().clone()
    }

    fn shelf(&self) -> Shelf {
        Shelf::new(self.settings.port, &self.secrets.path)
    }

    /// The argument that goes into the query of the clients' Registers: who shows it is one of the gateway's own.
    pub fn key(&self) -> String {
        self.secrets.key()
    }

    /// Starts it. `troubles` is told what keeps it from its work, and that nothing does any more.
    pub fn spawn(self, troubles: mpsc::Sender<Option<String>>) -> Handle {
        let (orders, inbox) = mpsc::channel(ORDERS);
        let (listening, listens) = watch::channel(false);
        tokio::spawn(Task::new(self, troubles, listening).run(inbox));
        Handle { orders, listens }
    }
}

impl Handle {
    /// Whether it has its port. Before that somebody else may, who must not be shown the key.
    pub fn listens(&self) -> &watch::Receiver<bool> {
        &self.listens
    }

    /// A device is there, or is another one now. To be told before its client begins.
    pub async fn device_is(&self, device: Device) {
        self.tell(Order::DeviceIs(device)).await;
    }

    /// A device is gone.
    pub async fn device_gone(&self, device: DeviceId) {
        self.tell(Order::DeviceGone(device)).await;
    }

    /// A device is not known any more, after it is gone.
    pub async fn device_forgotten(&self, device: DeviceId) {
        self.tell(Order::DeviceForgotten(device)).await;
    }

    /// What it knows; `None` when it has ended.
    pub async fn look(&self) -> Option<BuiltinView> {
        let (reply, view) = oneshot::channel();
        self.tell(Order::Look(reply)).await;
        view.await.ok()
    }

    async fn tell(&self, order: Order) {
        if self.orders.send(order).await.is_err() {
            tracing::debug!("the built-in server has ended");
        }
    }
}
