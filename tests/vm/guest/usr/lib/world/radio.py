"""Runs in the guest: a Bluetooth adapter that is none, and BLE devices within its reach.

A virtual controller (bumble) is plugged into the kernel by /dev/vhci, where BlueZ finds it as any other; each device is a
controller and a host of its own, on the same virtual link. Driven by the test outside over a virtio port, a JSON object
a line:

    {"do": "plug"}, {"do": "unplug"}            the adapter
    {"do": "appear", "who": NAME, "address": "F0:...", "public": false, ADVERTISED, "gap": TEXT,
     "gatt": {SERVICE: {UUID: TEXT}}}
    {"do": "say", "who": NAME, ADVERTISED}      another advertisement
    {"do": "silence", "who": NAME}              radio silence: a connection ends by its supervision timeout
    {"do": "sound", "who": NAME}                the end of it
    {"do": "drop", "who": NAME}                 ends its connections
    {"do": "crowd", "count": N}                 so many strangers that only advertise, each once a second; 0: none

ADVERTISED is "name": TEXT, "services": [UUID], "maker": [COMPANY, HEX], each of which may be absent; together at most 31 bytes,
since bumble's controller answers no scan requests. Out come lines `SECONDS WHO WHAT`: `adapter plugged`, `pod there`,
`pod connected`, `pod read 2a26`, `pod disconnected`, `pod error TEXT`.
"""

import asyncio
import json
import os
import sys
import threading
import time

sys.path.insert(0, "/opt/python")

from bumble import ll  # noqa: E402
from bumble.controller import Controller  # noqa: E402
from bumble.core import UUID, AdvertisingData  # noqa: E402
from bumble.device import Device  # noqa: E402
from bumble.gatt import Characteristic, CharacteristicValue, Service  # noqa: E402
from bumble.hci import Address, LeFeatureMask, OwnAddressType  # noqa: E402
from bumble.host import Host  # noqa: E402
from bumble.link import LocalLink  # noqa: E402
from bumble.transport import open_transport  # noqa: E402
from bumble.transport.common import AsyncPipeSink  # noqa: E402

PORT = "/dev/virtio-ports/radio"
BEGAN = time.monotonic()
# Seconds until a device that is not heard any more is taken for gone; bumble's controller does not watch that.
SUPERVISION = 4.0
# Milliseconds between two advertisements.
INTERVAL = 100.0


class Link(LocalLink):
    """Data comes from the address that the connection has. LocalLink takes the random one, which BlueZ does not use."""

    def send_acl_data(self, sender_controller, destination_address, transport, data):
        connection = sender_controller.le_connections.get(destination_address)
        receiver = self.find_le_controller(destination_address)
        if connection and receiver:
            loop = asyncio.get_running_loop()
            loop.call_soon(lambda: receiver.on_link_acl_data(connection.self_address, transport, data))


def uuid(text):
    return UUID.from_16_bits(int(text, 16)) if len(text) == 4 else UUID(text)


def advertised(order):
    parts = [(AdvertisingData.FLAGS, bytes([6]))]
    for service in map(uuid, order.get("services", [])):
        short = len(service.uuid_bytes) == 2
        kind = AdvertisingData.COMPLETE_LIST_OF_16_BIT_SERVICE_CLASS_UUIDS if short else \
            AdvertisingData.COMPLETE_LIST_OF_128_BIT_SERVICE_CLASS_UUIDS
        parts.append((kind, bytes(service)))
    if "maker" in order:
        company, data = order["maker"]
        parts.append((AdvertisingData.MANUFACTURER_SPECIFIC_DATA, int(company, 16).to_bytes(2, "little") + bytes.fromhex(data)))
    if "name" in order:
        parts.append((AdvertisingData.COMPLETE_LOCAL_NAME, order["name"].encode()))
    data = bytes(AdvertisingData(parts))
    if len(data) > 31:
        raise ValueError(f"an advertisement has 31 bytes at most, not {len(data)}")
    return data


class World:
    def __init__(self, port):
        self.port = port
        self.lock = threading.Lock()
        self.link = Link()
        self.adapter = None
        self.devices = {}
        self.crowd_task = None

    def tell(self, who, what):
        line = f"{time.monotonic() - BEGAN:.3f} {who} {what}\n".encode()
        with self.lock:
            while line:
                line = line[os.write(self.port, line):]

    async def plug(self, _):
        transport = await open_transport("vhci")
        controller = Controller("adapter", host_source=transport.source, host_sink=transport.sink, link=self.link,
                                public_address="00:AA:01:02:03:04")
        # With these the kernel waits for an enhanced event that a connection is there. bumble sends the plain one, and each
        # connection would be cancelled after 4 s.
        controller.le_features &= ~(LeFeatureMask.LL_PRIVACY | LeFeatureMask.LE_EXTENDED_ADVERTISING)
        # BlueZ sends as much at once as the controller takes.
        controller.le_acl_data_packet_length = controller.acl_data_packet_length = 251
        self.adapter = (transport, controller)
        self.tell("adapter", "plugged")

    async def unplug(self, _):
        transport, controller = self.adapter
        self.adapter = None
        self.link.controllers.discard(controller)
        for _, device in self.devices.values():
            for connection in list(device.le_connections.values()):
                device.on_le_disconnected(connection, 0x08)
        await transport.close()
        self.tell("adapter", "unplugged")

    def characteristic(self, who, name, text):
        def read(_):
            self.tell(who, f"read {name}")
            return text.encode()

        return Characteristic(uuid(name), Characteristic.Properties.READ, Characteristic.READABLE, CharacteristicValue(read=read))

    async def appear(self, order):
        who, public = order["who"], order.get("public", False)
        kind = Address.PUBLIC_DEVICE_ADDRESS if public else Address.RANDOM_DEVICE_ADDRESS
        address = Address(order["address"], kind)
        controller = Controller(who, link=self.link, public_address=order["address"] if public else "00:00:00:00:00:00")
        # The name that it tells over a connection; BlueZ knows only one.
        name = order.get("gap", order.get("name", who))
        device = Device(name=name, address=address, host=Host(controller, AsyncPipeSink(controller)))
        device.own_type = OwnAddressType.PUBLIC if public else OwnAddressType.RANDOM
        for service, values in order.get("gatt", {}).items():
            device.add_service(Service(uuid(service), [self.characteristic(who, *value) for value in values.items()]))

        def connected(connection):
            self.tell(who, "connected")
            connection.on("disconnection", lambda _: self.tell(who, "disconnected"))

        device.on("connection", connected)
        device.advertising_data = advertised(order)
        await device.power_on()
        self.devices[who] = (device, controller)
        await self.sound(order)

    async def say(self, order):
        device, _ = self.devices[order["who"]]
        device.advertising_data = advertised(order)
        await device.stop_advertising()
        await self.sound(order)

    async def sound(self, order):
        device, controller = self.devices[order["who"]]
        self.link.controllers.add(controller)
        await device.start_advertising(auto_restart=True, own_address_type=device.own_type,
                                       advertising_interval_min=INTERVAL, advertising_interval_max=INTERVAL)
        self.tell(order["who"], "there")

    async def silence(self, order):
        device, controller = self.devices[order["who"]]
        await device.stop_advertising()
        self.link.controllers.discard(controller)
        asyncio.ensure_future(self.supervise(str(device.random_address)))
        self.tell(order["who"], "silent")

    async def supervise(self, address):
        await asyncio.sleep(SUPERVISION)
        if self.adapter:
            _, adapter = self.adapter
            for connection in list(adapter.le_connections.values()):
                if str(connection.peer_address) == address:
                    adapter.on_le_disconnected(connection, 0x08)

    async def drop(self, order):
        device, _ = self.devices[order["who"]]
        for connection in list(device.connections.values()):
            await connection.disconnect()
        self.tell(order["who"], "dropped")

    async def crowd(self, order):
        if self.crowd_task:
            self.crowd_task.cancel()
        self.crowd_task = asyncio.ensure_future(self.strangers(order["count"])) if order["count"] else None
        self.tell("crowd", str(order["count"]))

    async def strangers(self, count):
        stranger = [(Address(f"C0:00:00:00:{number >> 8:02X}:{number & 255:02X}"), number) for number in range(count)]
        while True:
            for address, number in stranger:
                data = advertised({"name": f"stranger {number}", "maker": ["004c", "0215"]})
                self.link.send_advertising_pdu(None, ll.AdvInd(advertiser_address=address, data=data))
                await asyncio.sleep(1.0 / count)

    async def act(self, order):
        try:
            await getattr(self, order["do"])(order)
        except Exception as error:  # the test outside has to know, whatever it is
            self.tell(order.get("who", "adapter"), f"error {error!r}")


def listen(port, loop, orders):
    buffer = b""
    while True:
        data = os.read(port, 65536)
        if not data:
            # Nobody is connected outside.
            time.sleep(0.2)
            continue
        *lines, buffer = (buffer + data).split(b"\n")
        for line in lines:
            loop.call_soon_threadsafe(orders.put_nowait, json.loads(line))


async def main():
    port = os.open(PORT, os.O_RDWR)
    world, orders = World(port), asyncio.Queue()
    threading.Thread(target=listen, args=(port, asyncio.get_running_loop(), orders), daemon=True).start()
    print("ready", flush=True)
    while True:
        await world.act(await orders.get())


asyncio.run(main())
