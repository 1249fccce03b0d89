#!/usr/bin/env python3
"""Makes the images that must be refused, out of good ones.   usage: spoil.py hex GOOD OUTDIR | esp GOOD OUTDIR"""
import sys
from pathlib import Path


def record(address, kind, data):
    body = bytes([len(data), address >> 8 & 0xFF, address & 0xFF, kind]) + data
    return ":%s%02X\n" % (body.hex().upper(), -sum(body) & 0xFF)


def ihex(size):
    """A flawless HEX of `size` bytes from address 0."""
    data = bytes(0x5A for _ in range(size))
    lines = [record(at, 0, data[at : at + 16]) for at in range(0, size, 16)]
    return "".join(lines) + record(0, 1, b"")


def spoil_hex(good, out):
    lines = good.read_text().splitlines(keepends=True)
    middle = len(lines) // 2
    wrong = lines[middle][:9] + ("0" if lines[middle][9] != "0" else "1") + lines[middle][10:]
    texts = {
        "wrong-checksum": "".join(lines[:middle] + [wrong] + lines[middle + 1 :]),
        "cut-off": "".join(lines[:middle]) + lines[middle][:15],
        "no-end": "".join(line for line in lines if line[7:9] != "01"),
        "empty": "",
        "text": "this is no firmware\n",
        "too-large": ihex(33000),  # past the end of the ATmega328P's flash
        "over-bootloader": ihex(32500),  # inside the flash, past 0x7e00
    }
    for name, text in texts.items():
        (out / f"{good.name.split('-')[0]}-{name}.hex").write_text(text)


def spoil_esp(good, out):
    image = good.read_bytes()
    flipped = bytearray(image)
    flipped[len(image) // 2] ^= 0x10
    chip = good.name.split("-")[0]
    (out / f"{chip}-cut-off.bin").write_bytes(image[: len(image) * 2 // 3])
    (out / f"{chip}-flipped.bin").write_bytes(flipped)
    (out / f"{chip}-text.bin").write_bytes(b"this is no firmware\n")


{"hex": spoil_hex, "esp": spoil_esp}[sys.argv[1]](Path(sys.argv[2]), Path(sys.argv[3]))
