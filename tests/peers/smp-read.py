#!/usr/bin/env python3
"""Reads images and application of an SMP server by the real smpclient, as one line of JSON: smp-read.py PORT"""
import asyncio
import json
import sys

from smpclient import SMPClient
from smpclient.generics import success
from smpclient.requests.image_management import ImageStatesRead
from smpclient.requests.os_management import OSApplicationInfoRead
from smpclient.transport.serial import SMPSerialTransport


async def main():
    async with SMPClient(SMPSerialTransport(), sys.argv[1]) as client:
        images = await client.request(ImageStatesRead())
        assert success(images), images
        info = await client.request(OSApplicationInfoRead(format="a"))
        slots = [
            {
                "image": one.image or 0,
                "slot": one.slot,
                "version": one.version,
                "hash": one.hash.hex(),
                "active": bool(one.active),
                "pending": bool(one.pending),
                "confirmed": bool(one.confirmed),
            }
            for one in images.images
        ]
        print(json.dumps({"slots": slots, "info": info.output if success(info) else None}))


asyncio.run(main())
