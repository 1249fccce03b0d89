"""An ESPHome device whose native API is encrypted, in as little as one needs: Noise by noiseprotocol, messages by aioesphomeapi.

Real firmware with encryption needs a C library of PlatformIO's. Neither the cipher nor the encoding of messages is ours here;
that frames and handshake are right is what ESPHome's own client has to say: `check` runs it against this server.

usage: noise_server.py serve PORT KEY      prints `listening`
       noise_server.py check PORT KEY      connects with aioesphomeapi, prints what it was told as JSON
"""

import asyncio
import base64
import json
import sys

from aioesphomeapi import APIClient, api_pb2
from aioesphomeapi.core import MESSAGE_TYPE_TO_PROTO
from noise.connection import NoiseConnection

NUMBER_OF = {message: number for number, message in MESSAGE_TYPE_TO_PROTO.items()}
MAC = "02:00:5E:00:53:02"


class Connection:
    def __init__(self, reader, writer, key):
        self.reader, self.writer = reader, writer
        self.noise = NoiseConnection.from_name(b"Noise_NNpsk0_25519_ChaChaPoly_SHA256")
        self.noise.set_as_responder()
        self.noise.set_psks(key)
        self.noise.set_prologue(b"NoiseAPIInit\x00\x00")
        self.noise.start_handshake()
        self.relay = False

    async def frame(self):
        head = await self.reader.readexactly(3)
        if head[0] != 1:
            # As api_frame_helper_noise.cpp refuses who speaks in the clear.
            self.write(b"\x01Bad indicator byte")
            await self.writer.drain()
            raise ConnectionError("in the clear")
        return await self.reader.readexactly(head[1] << 8 | head[2])

    def write(self, data):
        self.writer.write(bytes([1, len(data) >> 8, len(data) & 255]) + data)

    async def shake_hands(self):
        await self.frame()
        self.write(b"\x01vault\x00" + MAC.replace(":", "").lower().encode() + b"\x00")
        hello = await self.frame()
        try:
            self.noise.read_message(hello[1:])
        except Exception:
            self.write(b"\x01Handshake MAC failure")
            return False
        self.write(b"\x00" + self.noise.write_message())
        return True

    def send(self, message):
        body = message.SerializeToString()
        number = NUMBER_OF[type(message)]
        self.write(self.noise.encrypt(number.to_bytes(2, "big") + len(body).to_bytes(2, "big") + body))

    async def receive(self):
        plain = self.noise.decrypt(await self.frame())
        number = int.from_bytes(plain[:2], "big")
        message = MESSAGE_TYPE_TO_PROTO[number]()
        message.ParseFromString(bytes(plain[4:]))
        return message

    async def talk(self):
        if not await self.shake_hands():
            return
        while True:
            message = await self.receive()
            match type(message).__name__:
                case "HelloRequest":
                    self.send(api_pb2.HelloResponse(api_version_major=1, api_version_minor=14, name="vault"))
                case "PingRequest":
                    self.send(api_pb2.PingResponse())
                case "DisconnectRequest":
                    self.send(api_pb2.DisconnectResponse())
                    return
                case "DeviceInfoRequest":
                    self.send(
                        api_pb2.DeviceInfoResponse(
                            name="vault", mac_address=MAC, esphome_version="2026.6.5", model="host", manufacturer="Acme",
                            project_name="acme.vault", project_version="3.1.4", api_encryption_supported=True,
                        )
                    )
                case "ListEntitiesRequest":
                    self.send(api_pb2.ListEntitiesSwitchResponse(object_id="relay", key=1, name="Relay"))
                    self.send(
                        api_pb2.ListEntitiesSensorResponse(
                            object_id="wifi_signal", key=2, name="WiFi signal", unit_of_measurement="dBm",
                            device_class="signal_strength",
                        )
                    )
                    self.send(api_pb2.ListEntitiesDoneResponse())
                case "SubscribeStatesRequest":
                    self.send(api_pb2.SwitchStateResponse(key=1, state=self.relay))
                    self.send(api_pb2.SensorStateResponse(key=2, state=-63.0))
                case "SwitchCommandRequest":
                    self.relay = message.state
                    self.send(api_pb2.SwitchStateResponse(key=1, state=self.relay))
            await self.writer.drain()


async def serve(port, key):
    async def talk(reader, writer):
        try:
            await Connection(reader, writer, key).talk()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(talk, None, port)
    print("listening", flush=True)
    await server.serve_forever()


async def check(port, key):
    client = APIClient("127.0.0.1", port, None, noise_psk=base64.b64encode(key).decode())
    await client.connect(login=True)
    info = await client.device_info()
    entities, _ = await client.list_entities_services()
    await client.disconnect()
    print(json.dumps({"name": info.name, "project_version": info.project_version, "mac": info.mac_address,
                      "entities": [entity.object_id for entity in entities]}))


what, port, key = sys.argv[1:]
asyncio.run({"serve": serve, "check": check}[what](int(port), base64.b64decode(key)))
