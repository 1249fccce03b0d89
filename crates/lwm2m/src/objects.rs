//! The objects of a device as typed resources: what is there, and what it holds now.
//!
//! Not for how values look on the wire (`format`), nor for who asked how (`client`). A [`Tree`] is one server's view of
//! one device at one moment; it is made for each request and holds nothing.

mod access_control;
mod attached_devices;
mod board_flashing;
mod connectivity;
mod device;
mod firmware;
mod gateway;
mod points;
mod server;
mod statistics;

use std::ops::Range;
use std::sync::Arc;

use crate::access::{self, Rights};
use crate::client::ServerConfig;
use crate::model::{
    ACCESS_CONTROL, ATTACHED_DEVICES, BOARD_FLASHING, CONNECTIVITY, DEVICE, FIRMWARE_UPDATE, FIRMWARE_UPDATE_1_0,
    ObjectModel, SERVER, STATISTICS, Version,
};
use crate::model::{ResourceModel, object};
use crate::value::Value;

pub use attached_devices::AttachedDevice;
pub use board_flashing::FlashingView;
pub use connectivity::ConnectivityFacts;
pub use device::DeviceFacts;
pub use firmware::FirmwareView;
pub use gateway::HostFacts;
pub(crate) use gateway::{GatewayFacts, changes_by_itself};
pub use points::{PointFacts, accepts_value, main_resource, takes_values};
pub(crate) use server::ServerSettings;
pub(crate) use statistics::CollectionOrder;
pub use statistics::Traffic;

/// The objects that servers may see before those of points; object 0 is there but shown to nobody.
const OBJECTS: [u16; 6] = [1, 2, 3, 4, 5, 7];
/// Our own objects, behind them.
const OUR_OBJECTS: [u16; 2] = [FLASHING, ATTACHED];

/// How a flash goes.
pub(crate) const FLASHING: u16 = BOARD_FLASHING.id;
/// What hangs on a gateway.
pub(crate) const ATTACHED: u16 = ATTACHED_DEVICES.id;

/// What all sessions of a client share.
#[derive(Debug)]
pub(crate) struct Facts {
    /// The endpoint name.
    pub(crate) endpoint: Arc<str>,
    /// The accounts.
    pub(crate) servers: Arc<[ServerConfig]>,
    /// Object 3.
    pub(crate) device: DeviceFacts,
    /// Object 4, for a device that is not on a wire.
    pub(crate) connectivity: Option<ConnectivityFacts>,
    /// Object 5; a gateway has none.
    pub(crate) firmware: FirmwareView,
    /// Object 26300; a gateway has none.
    pub(crate) flashing: FlashingView,
    /// IPSO objects, by object and instance.
    pub(crate) points: Box<[PointFacts]>,
    /// What a gateway has besides, where the client is one's own.
    pub(crate) gateway: Option<Box<GatewayFacts>>,
}

/// What a resource holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Content {
    /// It is not there.
    Absent,
    /// It is there and can't be read: executable or write-only.
    Silent,
    /// One value.
    Single(Value),
    /// Instances by id.
    Multiple(Vec<(u16, Value)>),
}

impl Content {
    fn text(text: &str) -> Self {
        Self::Single(Value::String(text.to_owned()))
    }

    fn known(text: Option<&str>) -> Self {
        text.map_or(Self::Absent, Self::text)
    }

    fn integer(number: impl Into<i64>) -> Self {
        Self::Single(Value::Integer(number.into()))
    }
}

/// One server's view of the device.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Tree<'a> {
    facts: &'a Facts,
    own: usize,
    settings: ServerSettings,
    version: Version,
}

impl Facts {
    /// The view of the server with index `own`, under the version of LwM2M that it registered with.
    pub(crate) fn tree(&self, own: usize, settings: ServerSettings, version: Version) -> Tree<'_> {
        Tree { facts: self, own, settings, version }
    }

    /// A point.
    pub(crate) fn point(&self, object: u16, instance: u16) -> Option<&PointFacts> {
        let found = self.points.binary_search_by_key(&(object, instance), |point| (point.object, point.instance));
        found.ok().map(|index| &self.points[index])
    }

    /// How many instances an object has that points are shown by.
    fn points_of(&self, object: u16) -> u16 {
        let count = self.points.iter().filter(|point| point.object == object).count();
        u16::try_from(count).unwrap_or(u16::MAX)
    }
}

impl<'a> Tree<'a> {
    /// The account of the server that looks.
    pub(crate) fn server(&self) -> &'a ServerConfig {
        &self.facts.servers[self.own]
    }

    /// What this server wrote to its account.
    pub(crate) fn settings(&self) -> ServerSettings {
        self.settings
    }

    /// The version of LwM2M of the session.
    pub(crate) fn version(&self) -> Version {
        self.version
    }

    /// Object 5 as last told.
    pub(crate) fn firmware(&self) -> &'a FirmwareView {
        &self.facts.firmware
    }

    /// The objects that may be in the tree, by id.
    pub(crate) fn objects(&self) -> impl Iterator<Item = u16> {
        let mut of_points: Vec<u16> = self.facts.points.iter().map(|point| point.object).collect();
        of_points.dedup();
        OBJECTS.into_iter().chain(of_points).chain(OUR_OBJECTS)
    }

    /// A point.
    pub(crate) fn point(&self, object: u16, instance: u16) -> Option<&'a PointFacts> {
        self.facts.point(object, instance)
    }

    /// The definition of an object that is in the tree, in the version that this server sees.
    pub(crate) fn model(&self, id: u16) -> Option<&'static ObjectModel> {
        match id {
            1 => Some(&SERVER),
            2 => Some(&ACCESS_CONTROL),
            3 => Some(&DEVICE),
            4 if self.facts.connectivity.is_some() => Some(&CONNECTIVITY),
            5 if self.is_gateway() => None,
            5 if self.firmware_1_0() => Some(&FIRMWARE_UPDATE_1_0),
            5 => Some(&FIRMWARE_UPDATE),
            7 if self.is_gateway() => Some(&STATISTICS),
            FLASHING if self.shows_flashing() => Some(&BOARD_FLASHING),
            ATTACHED if self.is_gateway() => Some(&ATTACHED_DEVICES),
            _ => self.facts.point(id, 0).and_then(|_| object(id)),
        }
    }

    /// The version to state for an object where it is not the one that the session's LwM2M version implies.
    pub(crate) fn stated_version(&self, id: u16) -> Option<Version> {
        if id != 5 && self.facts.point(id, 0).is_none() {
            return None;
        }
        let implied = if id == 5 && self.version >= Version::V1_2 { Version::V1_1 } else { Version::V1_0 };
        self.model(id).map(|model| model.version).filter(|version| *version != implied)
    }

    /// The instances that this server may see.
    pub(crate) fn instances(&self, id: u16) -> Range<u16> {
        match id {
            1 => {
                let own = u16::try_from(self.own).unwrap_or(u16::MAX - 1);
                own..own + 1
            }
            2 => 0..access::entry_count(self.facts),
            3 => 0..1,
            4 if self.facts.connectivity.is_some() => 0..1,
            5 if !self.is_gateway() => 0..1,
            7 | ATTACHED if self.is_gateway() => 0..1,
            FLASHING if self.shows_flashing() => 0..1,
            _ => 0..self.facts.points_of(id),
        }
    }

    /// Whether the instance exists, seen or not.
    pub(crate) fn exists(&self, id: u16, instance: u16) -> bool {
        match id {
            1 => instance < access::account_count(&self.facts.servers),
            _ => self.instances(id).contains(&instance),
        }
    }

    /// What this server may do with an instance.
    pub(crate) fn rights(&self, id: u16, instance: u16) -> Rights {
        access::rights(self.server(), self.own, id, instance)
    }

    /// What a resource of an existing instance holds.
    pub(crate) fn content(&self, id: u16, instance: u16, resource: u16) -> Content {
        match id {
            1 => server::content(self.server(), &self.settings, resource),
            2 => access_control::content(self.facts, instance, resource),
            3 => {
                device::content(&self.facts.device, self.facts.gateway.as_ref().map(|gateway| &gateway.host), resource)
            }
            4 => {
                self.facts.connectivity.as_ref().map_or(Content::Absent, |facts| connectivity::content(facts, resource))
            }
            5 => firmware::content(&self.facts.firmware, resource, self.firmware_1_0()),
            7 => self.of_gateway(|gateway| statistics::content(&gateway.collection, resource)),
            FLASHING => board_flashing::content(&self.facts.flashing, resource),
            ATTACHED => self.of_gateway(|gateway| attached_devices::content(&gateway.attached, resource)),
            _ => self.facts.point(id, instance).map_or(Content::Absent, |facts| points::content(facts, resource)),
        }
    }

    /// The resources that an existing instance has now.
    pub(crate) fn resources(&self, id: u16, instance: u16) -> impl Iterator<Item = (&'static ResourceModel, Content)> {
        let resources = self.model(id).map_or(&[][..], |model| model.resources);
        resources.iter().filter_map(move |resource| match self.content(id, instance, resource.id) {
            Content::Absent => None,
            content => Some((resource, content)),
        })
    }

    fn is_gateway(&self) -> bool {
        self.facts.gateway.is_some()
    }

    fn of_gateway(&self, content: impl FnOnce(&GatewayFacts) -> Content) -> Content {
        self.facts.gateway.as_deref().map_or(Content::Absent, content)
    }

    fn shows_flashing(&self) -> bool {
        self.server().flashing_object && !self.is_gateway()
    }

    fn firmware_1_0(&self) -> bool {
        self.version < Version::V1_1 || self.server().firmware_object_1_0
    }
}

/// Whether the id belongs to an object that exists but is shown to no server.
pub(crate) fn is_hidden(id: u16) -> bool {
    id == 0 && object(id).is_some()
}
