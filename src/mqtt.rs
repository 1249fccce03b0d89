//! Home Assistant, by MQTT: each device with its firmware update, whether it is there, and its points as entities that
//! Home Assistant finds by itself.
//!
//! One task with one connection to a broker, and none where `[mqtt]` is not enabled. It follows the gateway's news, asks
//! like an operator, and is not waited for: a broker that is slow, away or hostile costs the gateway nothing. It is not
//! the place where anything is decided: an order to install is the same as a server's Execute. Driven by `gateway`.

mod connection;
mod entity;
mod home;
mod mirror;
mod names;
mod run;
mod settings;

pub use settings::MqttSettings;

use crate::control::{Companion, Wires};

/// Begins, where the configuration says so. To be called in a runtime.
pub fn spawn(settings: &MqttSettings, wires: &Wires) -> Option<Companion> {
    let run = settings.enabled.then(|| run::Run::new(settings.clone(), wires.clone()))?;
    Some(Companion::spawn(|stop| run.run(stop)))
}
