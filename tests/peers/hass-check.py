"""Holds what a device is told as to Home Assistant's own schemas of its MQTT integration.

  hass-check.py discovery     standard input: the payload of DISCOVERY/device/.../config
  hass-check.py update STATE  standard input: a state of the update entity; prints what Home Assistant makes of it: on or off

The schemas of entities are those of the release in hass.txt, the last one for Debian 12's Python. It is older than device
discovery, which takes the payload apart into one for each entity first; that is done here as its documentation says.
"""

import json
import sys

from homeassistant.components.mqtt import binary_sensor, number, sensor, switch, text, update
from homeassistant.components.mqtt.light import schema_basic
from homeassistant.components.update import UpdateEntity

SCHEMAS = {
    "binary_sensor": binary_sensor.DISCOVERY_SCHEMA,
    "light": schema_basic.DISCOVERY_SCHEMA_BASIC,
    "number": number.DISCOVERY_SCHEMA,
    "sensor": sensor.DISCOVERY_SCHEMA,
    "switch": switch.DISCOVERY_SCHEMA,
    "text": text.DISCOVERY_SCHEMA,
    "update": update.DISCOVERY_SCHEMA,
}
# https://www.home-assistant.io/integrations/mqtt/#device-discovery-payload
SHARED = {"availability", "availability_mode", "state_topic", "command_topic", "qos", "encoding"}


def components(payload):
    unknown = set(payload) - SHARED - {"device", "origin", "components"}
    if unknown:
        sys.exit(f"device discovery has no {unknown}")
    if not isinstance(payload["origin"]["name"], str):
        sys.exit("the origin has no name")
    shared = {key: payload[key] for key in SHARED & set(payload)}
    for name, component in payload["components"].items():
        component = dict(component)
        platform = component.pop("platform")
        if component:
            yield name, platform, {**shared, **component, "device": payload["device"]}
        else:
            print(f"{name}: removed")


def discovery():
    ids = set()
    for name, platform, told in components(json.load(sys.stdin)):
        try:
            taken = SCHEMAS[platform](dict(told))
        except Exception as error:
            sys.exit(f"{name} ({platform}): {error}\n{told}")
        dropped = set(told) - set(taken)
        if dropped:
            sys.exit(f"{name} ({platform}): Home Assistant knows no {dropped}")
        if not told.get("unique_id") or told["unique_id"] in ids:
            sys.exit(f"{name} has no id of its own")
        ids.add(told["unique_id"])
        print(f"{name}: {platform}")


def state():
    told = json.load(sys.stdin)
    entity = UpdateEntity()
    entity._attr_installed_version = told["installed_version"]
    entity._attr_latest_version = told["latest_version"]
    print(entity.state)


{"discovery": discovery, "update": state}[sys.argv[1]]()
