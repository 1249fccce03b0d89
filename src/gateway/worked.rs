//! What worked on which physical port: values of a board's variables other than usual, so that the next update begins with
//! them. Kept by the store; here only handed to and fro.

use std::collections::{BTreeMap, HashMap};

use super::Gateway;
use crate::device::{BoardId, DeviceId};

/// Values of variables by physical port and board.
pub(super) type Worked = HashMap<(String, BoardId), BTreeMap<String, String>>;

impl Gateway {
    /// What worked for a device's board on the port that it hangs on.
    pub(super) fn worked_at(&self, device: &DeviceId) -> Option<BTreeMap<String, String>> {
        self.worked.get(&self.port_and_board(device)?).cloned()
    }

    /// Other values than usual worked for a device, or the usual ones did again (`None`).
    pub(super) fn remember_worked(&mut self, device: &DeviceId, vars: Option<BTreeMap<String, String>>) {
        let Some((port, board)) = self.port_and_board(device) else { return };
        tracing::info!(%device, port, ?vars, "what works on this port is remembered");
        let ack = self.store.remember_worked(port.clone(), board.clone(), vars.clone());
        match vars {
            Some(vars) => drop(self.worked.insert((port, board), vars)),
            None => drop(self.worked.remove(&(port, board))),
        }
        tokio::spawn(async move {
            if let Err(error) = ack.await {
                tracing::warn!(%error, "what works on a port is not remembered");
            }
        });
    }

    fn port_and_board(&self, device: &DeviceId) -> Option<(String, BoardId)> {
        Some((self.registry.port(device)?, self.registry.device(device)?.board.clone()))
    }
}
