//! Between the gateway's words and the LwM2M client's.

use std::sync::Arc;

use lwm2m::client::{self, Refusal};
use lwm2m::model::Version;

use super::{FirmwareObject, OfferedVersion, ServerAccess, ServerSettings};
use crate::device::{BoardId, Connectivity, DeviceInfo, FirmwareRight, FirmwareView, FlashingView, Requester};

/// 5/0/8: HTTP and HTTPS, the schemes that a pull accepts.
const PULL_PROTOCOLS: &[u8] = &[2, 3];
/// 5/0/9: pull and push.
const DELIVERY_BOTH: u8 = 2;
/// 3/0/11 of a device in quarantine (object 3, Error Code 8).
const PERIPHERAL_MALFUNCTION: u8 = 8;
/// CoAP's default port.
const COAP_PORT: u16 = 5683;

/// The facts a client shows in object 3.
pub(super) fn facts(info: &DeviceInfo) -> client::DeviceFacts {
    client::DeviceFacts {
        manufacturer: info.manufacturer.clone(),
        model: info.model.clone(),
        serial: info.serial_number.clone(),
        firmware_version: info.version.as_ref().map(|version| version.text.clone()),
        hardware_version: info.hardware_version.clone(),
        device_type: info.device_type.clone(),
        error_codes: info.quarantined.iter().map(|_| PERIPHERAL_MALFUNCTION).collect(),
    }
}

/// What object 4 shows.
pub(super) fn connectivity(connectivity: &Connectivity) -> client::ConnectivityFacts {
    client::ConnectivityFacts {
        bearer: connectivity.bearer as u8,
        signal: connectivity.signal,
        quality: None,
        addresses: connectivity.addresses.clone(),
        routers: Vec::new(),
    }
}

/// What object 5 shows.
pub(super) fn view(view: &FirmwareView) -> client::FirmwareView {
    client::FirmwareView {
        state: view.state as u8,
        result: view.result as u8,
        uri: view.uri.clone(),
        package_name: view.package_name.clone(),
        package_version: view.package_version.clone(),
        severity: view.severity,
        last_change: view.last_change,
        max_defer: view.max_defer,
        protocols: PULL_PROTOCOLS,
        delivery: DELIVERY_BOTH,
    }
}

/// What object 26300 shows.
pub(super) fn flashing(board: &BoardId, view: &FlashingView) -> client::FlashingView {
    client::FlashingView {
        board: board.to_string(),
        tool: view.tool.clone(),
        phase: view.phase.as_str().to_owned(),
        percent: view.percent,
        reason: view.reason.clone(),
        format: view.format.clone(),
        log: view.log.clone(),
    }
}

/// The servers as all clients share them.
pub(super) fn server_configs(servers: &[ServerSettings]) -> Arc<[client::ServerConfig]> {
    servers.iter().map(server_config).collect()
}

fn server_config(server: &ServerSettings) -> client::ServerConfig {
    let address = Address::of(&server.uri);
    client::ServerConfig {
        name: server.name.clone(),
        short_id: server.short_id,
        uri: server.uri.clone(),
        base_path: address.path,
        base_query: address.query,
        lifetime: u32::try_from(server.lifetime.as_secs()).unwrap_or(u32::MAX),
        version: match server.version {
            OfferedVersion::V1_0 => Version::V1_0,
            OfferedVersion::V1_1 => Version::V1_1,
            OfferedVersion::V1_2 => Version::V1_2,
        },
        firmware_object_1_0: server.firmware_object == FirmwareObject::V1_0,
        flashing_object: server.flashing_object,
        notification_storing: server.notification_storing,
        access: match server.access {
            ServerAccess::Full => client::Access::Full,
            ServerAccess::Read => client::Access::Read,
        },
        firmware: match server.firmware {
            FirmwareRight::Own => client::FirmwareRight::Own,
            FirmwareRight::Any => client::FirmwareRight::Any,
            FirmwareRight::None => client::FirmwareRight::None,
        },
        retry: server.retry,
        retry_max: server.retry_max,
    }
}

/// Where a server is, from its `coap://` URI; the configuration has checked that it is one.
#[derive(Debug)]
pub(super) struct Address {
    /// Name or address, without brackets.
    pub(super) host: String,
    /// UDP port.
    pub(super) port: u16,
    path: Vec<String>,
    query: Vec<String>,
}

impl Address {
    /// Takes a URI apart; one that cannot be parsed has an empty host, which then fails to resolve.
    pub(super) fn of(uri: &str) -> Self {
        let Ok(parsed) = url::Url::parse(uri) else {
            return Self { host: String::new(), port: COAP_PORT, path: Vec::new(), query: Vec::new() };
        };
        let host = parsed.host_str().unwrap_or_default().trim_start_matches('[').trim_end_matches(']').to_owned();
        let path = parsed.path_segments().into_iter().flatten().filter(|part| !part.is_empty()).map(str::to_owned);
        let query = parsed.query().into_iter().flat_map(|query| query.split('&')).map(str::to_owned);
        Self { host, port: parsed.port().unwrap_or(COAP_PORT), path: path.collect(), query: query.collect() }
    }
}

/// Who a server is, as the update knows requesters.
pub(super) fn requester(server: &ServerSettings) -> Requester {
    Requester::Server { short_id: server.short_id, name: server.name.clone() }
}

/// Turns a server's order on firmware into the gateway's; `None` for a push, which `push.rs` handles.
pub(super) fn order(order: client::FirmwareOrder) -> Option<crate::device::FirmwareOrder> {
    use crate::device::FirmwareOrder as Ours;
    match order {
        client::FirmwareOrder::WriteUri(uri) => Some(Ours::Fetch(uri)),
        client::FirmwareOrder::Push { .. } => None,
        client::FirmwareOrder::Reset => Some(Ours::Reset),
        client::FirmwareOrder::Execute => Some(Ours::Execute),
        client::FirmwareOrder::Cancel => Some(Ours::Cancel),
        client::FirmwareOrder::SetSeverity(severity) => Some(Ours::SetSeverity(severity)),
        client::FirmwareOrder::SetMaxDefer(seconds) => Some(Ours::SetMaxDefer(seconds)),
    }
}

/// The refusal that a reply means, if it is one.
pub(super) fn refusal(reply: &crate::device::FirmwareReply) -> Result<(), Refusal> {
    use crate::device::FirmwareReply as Reply;
    match reply {
        Reply::Done | Reply::Writer(_) => Ok(()),
        Reply::NotAllowed => Err(Refusal::NotAllowed),
        Reply::WrongState => Err(Refusal::WrongState),
        Reply::BadValue => Err(Refusal::BadValue),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_uri_is_taken_apart() {
        let address = Address::of("coap://dm.example.org/base/x?tenant=7&a");
        assert_eq!((address.host.as_str(), address.port), ("dm.example.org", 5683));
        assert_eq!(address.path, ["base", "x"]);
        assert_eq!(address.query, ["tenant=7", "a"]);
        let address = Address::of("coap://[::1]:11683");
        assert_eq!((address.host.as_str(), address.port), ("::1", 11683));
        assert!(address.path.is_empty() && address.query.is_empty());
    }
}
