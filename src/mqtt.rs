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

use crate::control::{CheckItem, CheckState, Companion, Secret, Wires};

/// What `nuncio check` says of the broker. Blocking; does not connect.
pub fn check(settings: &MqttSettings) -> Option<CheckItem> {
    let item = |state, detail: String| Some(CheckItem::new("MQTT broker", state, detail));
    let broker = settings::Broker::parse(&settings.broker).ok().filter(|_| settings.enabled)?;
    let file = Some(&settings.password_file).filter(|file| !file.as_os_str().is_empty());
    match file.map(|file| Secret::read(file)) {
        Some(Err(error)) => item(CheckState::Error, format!("no password: {error}")),
        _ if !settings.username.is_empty() && broker.is_overheard() => {
            let item = item(CheckState::Warning, format!("{broker}: the password goes over the network in the clear"));
            item.map(|item| {
                item.with_hint("mqtts:// at a broker that speaks TLS, with `ca` for an authority of your own")
            })
        }
        _ => item(CheckState::Ok, broker.to_string()),
    }
}

/// Begins, where the configuration says so. To be called in a runtime.
pub fn spawn(settings: &MqttSettings, wires: &Wires) -> Option<Companion> {
    let run = settings.enabled.then(|| run::Run::new(settings.clone(), wires.clone()))?;
    Some(Companion::spawn(|stop| run.run(stop)))
}
