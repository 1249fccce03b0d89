#!/usr/bin/env python3
"""A device with MCUmgr's SMP server, as a console on a pty or on a UDP port: tells its images and what it is, changes nothing.

  smpfake.py --pty LINK | --udp ADDRESS:PORT  [--version X] [--info TEXT] [--prompt]

Prints "ready" when it can be asked. --prompt: the console prints a shell's prompt and log lines in between. Held to real
clients by tests/serial_peers.rs. Needs cbor2, which comes with the peer smpclient."""
import argparse
import base64
import binascii
import hashlib
import os
import pty
import socket
import struct
import tty

import cbor2

parser = argparse.ArgumentParser()
parser.add_argument("--pty")
parser.add_argument("--udp")
parser.add_argument("--version", default="1.2.3")
parser.add_argument("--info")
parser.add_argument("--prompt", action="store_true")
args = parser.parse_args()


def images():
    def slot(number, version, **marks):
        flags = {"bootable": True, "pending": False, "confirmed": False, "active": False, "permanent": False, **marks}
        return {"slot": number, "version": version, "hash": hashlib.sha256(version.encode()).digest(), **flags}

    first = slot(0, args.version, active=True, confirmed=True)
    return {"images": [first, slot(1, "9.9.9", pending=True)], "splitStatus": 0}


def handle(message):
    operation, _, _, group, sequence, command = struct.unpack(">BBHHBB", message[:8])
    kind = (group, command, operation & 7)
    if kind == (1, 0, 0):
        body = images()
    elif kind == (0, 7, 0) and args.info:
        body = {"output": args.info}
    elif kind == (0, 6, 0):
        body = {"buf_size": 2475, "buf_count": 4}
    elif operation & 0x18:
        body = {"err": {"group": group, "rc": 2}}
    else:
        body = {"rc": 8}
    body = cbor2.dumps(body)
    return struct.pack(">BBHHBB", operation | 1, 0, len(body), group, sequence, command) + body


def console(link):
    master, slave = pty.openpty()
    tty.setraw(slave)
    os.symlink(os.ttyname(slave), link)
    print("ready", flush=True)
    buffered, inside = b"", None
    while True:
        buffered += os.read(master, 4096)
        while b"\n" in buffered:
            line, buffered = buffered.split(b"\n", 1)
            if line[:2] == b"\x06\x09":
                inside = base64.b64decode(line[2:])
            elif line[:2] == b"\x04\x14" and inside is not None:
                inside += base64.b64decode(line[2:])
            else:
                continue
            (length,) = struct.unpack(">H", inside[:2])
            if len(inside) < length + 2:
                continue
            message, inside = inside[2:], None
            if binascii.crc_hqx(message, 0) != 0:
                continue
            answer = handle(message[:-2])
            answer += struct.pack(">H", binascii.crc_hqx(answer, 0))
            answer = struct.pack(">H", len(answer)) + answer
            mark = b"\x06\x09"
            while answer:
                # 127 bytes a line at most, as Zephyr's console has them.
                said = mark + base64.b64encode(answer[:90]) + b"\n"
                if args.prompt:
                    said = b"[00:00:01.000] <inf> main: tick\r\nuart:~$ " + said
                os.write(master, said)
                answer, mark = answer[90:], b"\x04\x14"


def datagrams(where):
    host, port = where.rsplit(":", 1)
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((host, int(port)))
    print("ready", flush=True)
    while True:
        message, sender = server.recvfrom(65535)
        server.sendto(handle(message), sender)


if args.udp:
    datagrams(args.udp)
else:
    console(args.pty)
