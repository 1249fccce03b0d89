#!/usr/bin/env python3
"""Announces services through avahi-daemon's D-Bus interface, as programs on a device do.

Reads orders from standard input, one JSON object a line, and answers each with one line, `ok ...` or `error ...`:
  {"op": "add", "id": 1, "name": "kitchen", "type": "_http._tcp", "port": 80, "txt": ["6d61633d3031"], "wait": true}
      txt in hex; with "wait" the answer comes when the network has agreed to the name, which takes avahi a second
  {"op": "txt", "id": 1, "txt": [...]}      another TXT record
  {"op": "free", "id": 1}                   goodbye
A name that another device has is given up for avahi's alternative, as avahi's own programs do. At the end of the input
everything is taken back.
"""
import json
import sys
import time

import dbus

AVAHI = "org.freedesktop.Avahi"
ANY = dbus.Int32(-1)
NO_FLAGS = dbus.UInt32(0)
# States of an entry group.
UNCOMMITTED, REGISTERING, COLLISION = 0, 1, 3

bus = dbus.SystemBus()
server = dbus.Interface(bus.get_object(AVAHI, "/"), f"{AVAHI}.Server")
groups = {}


def record(entries):
    return dbus.Array([dbus.ByteArray(bytes.fromhex(entry)) for entry in entries], signature="ay")


def collides(group, order, name, txt):
    try:
        group.AddService(ANY, ANY, NO_FLAGS, name, order["type"], "", "", dbus.UInt16(order["port"]), txt)
    except dbus.DBusException as error:
        if "CollisionError" in error.get_dbus_name():
            return True
        raise
    group.Commit()
    while order["wait"]:
        state = group.GetState()
        if state not in (UNCOMMITTED, REGISTERING):
            return state == COLLISION
        time.sleep(0.02)
    return False


def add(order):
    group = dbus.Interface(bus.get_object(AVAHI, server.EntryGroupNew()), f"{AVAHI}.EntryGroup")
    name, kind, txt = order["name"], order["type"], record(order["txt"])
    while collides(group, order, name, txt):
        group.Reset()
        name = server.GetAlternativeServiceName(name)
    groups[order["id"]] = (group, name, kind)
    return name


def change(order):
    group, name, kind = groups[order["id"]]
    group.UpdateServiceTxt(ANY, ANY, NO_FLAGS, name, kind, "", record(order["txt"]))
    return name


def free(order):
    group, name, _ = groups.pop(order["id"])
    group.Free()
    return name


OPERATIONS = {"add": add, "txt": change, "free": free}

for line in sys.stdin:
    order = json.loads(line)
    try:
        print("ok", OPERATIONS[order["op"]](order), flush=True)
    except dbus.DBusException as error:
        print("error", error, flush=True)
