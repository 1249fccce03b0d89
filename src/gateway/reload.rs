//! SIGHUP: boards, tools, keys and log level are read again; what a running gateway cannot change is said.

use std::path::Path;
use std::sync::Arc;

use super::{Gateway, data, start};
use crate::config::{self, Config, GatewaySettings};
use crate::proxy::ServerSettings;
use crate::update::UpdateSettings;

impl Gateway {
    /// Takes over what can be taken over. A file that is wrong changes nothing.
    pub(super) async fn reload(&mut self) -> Result<(), String> {
        let outcome = self.take_over().await;
        self.notes.retain(|note| !note.starts_with(RELOAD));
        match &outcome {
            Ok(()) => tracing::info!("configuration, boards and tools were read again"),
            Err(error) => {
                tracing::error!("nothing was reloaded, the old configuration holds:\n{error}");
                self.notes.push(format!("{RELOAD} failed, the old configuration holds: {error}"));
            }
        }
        outcome
    }

    async fn take_over(&mut self) -> Result<(), String> {
        let config = config::load(self.config.chosen.as_deref()).map_err(|error| error.to_string())?;
        let data = data::load(&config)
            .map_err(|errors| errors.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n\n"))?;
        self.log.set(&config.gateway.log)?;
        for part in needs_restart(&self.config, &config) {
            tracing::warn!(part, "has changed, which takes a restart");
        }
        self.executor.set_tools(Arc::clone(&data.tools));
        self.update.set_signatures(Arc::clone(&data.signatures)).await;
        self.mdns.set_types(start::service_types(&self.config, &data.catalogue));
        // They begin again, by what the files say now, when their links have come back.
        self.stop_all_watches();
        let decisions = self.registry.set_catalogue(Arc::clone(&data.catalogue));
        self.carry_out(decisions).await;
        self.show_points_anew();
        start::look_for_tools(data, self.events.clone());
        self.config.executors = config.executors;
        self.config.update.signatures = config.update.signatures;
        self.config.update.keys = config.update.keys;
        self.config.gateway.log = config.gateway.log;
        Ok(())
    }

    /// What changed in the file and takes a restart, for the operator who asked for the reload.
    pub(super) fn waiting_for_restart(&self) -> Vec<String> {
        config::load(self.config.chosen.as_deref())
            .map(|config| needs_restart(&self.config, &config).into_iter().map(str::to_owned).collect())
            .unwrap_or_default()
    }
}

/// Begins the note on a reload that failed.
const RELOAD: &str = "reload";

/// `[gateway]` but for what a reload takes over.
fn without_log(settings: &GatewaySettings) -> (&str, Option<&str>, &Path, &Path) {
    (&settings.name, settings.endpoint.as_deref(), &settings.state, &settings.socket)
}

/// `[update]` but for what a reload takes over, which is the new one's.
fn without_signatures(old: &UpdateSettings, new: &UpdateSettings) -> UpdateSettings {
    UpdateSettings { signatures: new.signatures, keys: new.keys.clone(), ..old.clone() }
}

/// `[[server]]` without the built-in one, which follows from its own section.
fn own_servers(config: &Config) -> Vec<&ServerSettings> {
    let builtin = config.builtin_server.short_id.filter(|_| config.builtin_server.enabled);
    config.servers.iter().filter(|server| Some(server.short_id) != builtin).collect()
}

fn needs_restart(old: &Config, new: &Config) -> Vec<&'static str> {
    let parts = [
        ("[gateway]", without_log(&old.gateway) != without_log(&new.gateway)),
        ("[[server]]", own_servers(old) != own_servers(new)),
        ("[builtin_server]", old.builtin_server != new.builtin_server),
        ("[[device]]", old.devices != new.devices),
        ("[[discovery]]", old.discoveries != new.discoveries),
        ("[naming]", old.naming != new.naming),
        ("[join]", old.join != new.join),
        ("[serial]", old.serial != new.serial),
        ("[disk]", old.disk != new.disk),
        ("[tcp]", old.tcp != new.tcp),
        ("[mdns]", old.mdns != new.mdns),
        ("[esphome]", old.esphome != new.esphome),
        ("[ble]", old.ble != new.ble),
        ("[update]", without_signatures(&old.update, &new.update) != new.update),
        ("[download]", old.download != new.download),
        ("[history]", old.history != new.history),
        ("[mqtt]", old.mqtt != new.mqtt),
        ("[[hook]]", old.hooks != new.hooks),
        ("[web]", old.web != new.web),
    ];
    parts.into_iter().filter_map(|(part, changed)| changed.then_some(part)).collect()
}
