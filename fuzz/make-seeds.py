#!/usr/bin/env python3
"""Writes fuzz/seeds: what LwM2M clients and servers really sent (captured from Anjay, Leshan, lwm2m-node-lib), and small
packets that open each branch of the CoAP endpoint. Run it again after a change of the inputs' layout."""
import shutil
from pathlib import Path

ROOT = Path(__file__).parent / "seeds"
BASES = ["/3", "/3/0", "/3/0/0", "/3/0/6", "/3/0/13", "/5/0", "/5/0/0", "/5/0/1", "/1", "/1/1", "/33605/1", "/"]

TLV = [
    ("/1/1", "c40100015180"),
    ("/1/1", "c10001c40100015180c10601c10755c10e00c11001c11105c1123cc41300015180c11401c11700"),
    ("/3/0", "8306410000"),
    ("/5/0", "c001c10300c10500880812410000410101410202410303410404410505c10902c10b01c10c00c10d00"),
    ("/3", "080075c500416e6a6179c8010b64656d6f2d636c69656e74c50270726f6265c603332e31342e308306410000840742007ccc830841000ac10900c10a00830b"
     "410000c40d6b00205ac60e2b30313a3030c80f0d4575726f70652f576172736177c2105551c011c012c013c11400c115008616440083460000"),
    ("/33605/1", "c4006b002041c1010080038004c005c10600c20703e8c00a800bc10c00c10d00c40e00000000c00fc41000000000c11101c41200000000c11300c1140080"
     "16"),
    ("/5/0/0", "d0000568656c6c6f"),
    ("/5/0/0", "c50068656c6c6f"),
    ("/5/0/0", "c8000568656c6c6f"),
    ("/33605/1", "e415e100000000e815e208404ef70a3d70a3d8e816440840413eb851eb851ee816760853656e736f722030"),
]
JSON = [
    ("/1/1", '[{"bn":"/1/1/1","v":86400}]'),
    ("/1/1", '[{"bn":"/1/1","n":"/0","v":1},{"n":"/1","v":86400},{"n":"/6","vb":true},{"n":"/7","vs":"U"},{"n":"/23","vb":false}]'),
    ("/3/0/6", '[{"bn":"/3/0/6","n":"/0","v":0}]'),
    ("/5/0", '[{"bn":"/5/0","n":"/1","vs":""},{"n":"/3","v":0},{"n":"/5","v":0},{"n":"/8/0","v":0},{"n":"/8/1","v":1},{"n":"/13","v":0}]'),
    ("/33605/1", '[{"bn":"/33605/1","n":"/3","v":1.5e3},{"n":"/5","vd":"AAEC"},{"n":"/7","vlo":"0:0"},{"n":"/8","vs":"</3>"}]'),
    ("/", '[{"n":"/3/0/0","vs":"Anjay"},{"n":"/1/1/1","v":86400}]'),
    ("/3/0", '[{"bn":"/3/","bt":1.3e9,"n":"0/0","vs":"\\u00fc\\ud83d\\ude00"}]'),
    ("/", '[{"n":"/3/0"},{"n":"/1/1/1"}]'),
]
CBOR = [
    ("/1/1", "81a221662f312f312f31021a00015180"),
    ("/1/1", "8ba321642f312f3100622f300201a200622f31021a00015180a200622f3604f5a200622f37036155a200632f31340200a200632f313604f5a200632f3137"
     "0205a200632f313802183ca200632f3139021a00015180a200632f32300201a200632f323304f4"),
    ("/3/0/6", "81a321662f332f302f3600622f300200"),
    ("/5/0", "8da321642f352f3000622f310360a200622f330200a200622f350200a200642f382f300200a200642f382f310201a200642f382f320202a200642f382f3302"
     "03a200642f382f340204a200642f382f350205a200622f390202a200632f31310201a200632f31320200a200632f31330200"),
    ("/33605/1", "8fa321682f33333630352f3100622f30021a6b002041a200622f310200a200622f350840a200622f360200a200622f37021903e8a200632f31300840a200"
     "632f31320200a200632f313304f4a200632f313402fa00000000a200632f31350360a200632f313663766c6f63303a30a200632f313704f5a200632f313802fa00000000a20063"
     "2f31390200a200632f32300200"),
    ("/", "82a100662f332f302f30a100662f312f312f31"),
    ("/", "82a300662f312f312f3122fb41dac00811ce062a021a00015b38a200672f332f302f3133021a6b002047"),
    ("/3/0", "9fbf21662f332f302f30026161ffff"),
]
LINKS = [
    '</1/1>,</2>,</3/0>,</4/0>,</5/0>,</6/0>,</7/0>,</9/0>,</9/1>,</10>;ver=1.1,</10/0>,</11>,</16>,</19>,</20/0>,</3303/0>',
    '</>;rt="oma.lwm2m";ct="60 110 112 11542 11543",</1/0>,</3/0>,</5>;ver=1.1,</5/0>',
    "</5/0>,</5/0/0>,</5/0/1>,</5/0/2>,</5/0/3>,</5/0/5>,</5/0/8>;dim=6,</5/0/9>",
    "</3/0>;pmin=5;pmax=60,</3/0/0>,</3/0/6>;dim=1,</3/0/7>;gt=1.5;lt=-2;st=0.25",
    '</d01/3/0>,</fwup>;if="a,b;c\\"d";sz=12',
    '</10>;ver="1.1"',
]


def option(previous, number, value):
    """One CoAP option with its delta."""
    def nibble(n):
        return (n, b"") if n < 13 else (13, bytes([n - 13])) if n < 269 else (14, (n - 269).to_bytes(2, "big"))
    (delta, delta_more), (length, length_more) = nibble(number - previous), nibble(len(value))
    return bytes([delta << 4 | length]) + delta_more + length_more + value


def message(kind, code, mid, token=b"", options=(), payload=b""):
    out, previous = bytes([0x40 | kind << 4 | len(token), code]) + mid.to_bytes(2, "big") + token, 0
    for number, value in sorted(options, key=lambda pair: pair[0]):
        out, previous = out + option(previous, number, value), number
    return out + (b"\xff" + payload if payload else b"")


def path(text):
    return [(11, part.encode()) for part in text.split("/") if part]


CON, NON, ACK, RST, OURS = 0, 1, 2, 3, 0xFFFF
TOKEN = b"\x01\x02\x03\x04\x05\x06\x07\x08"
COAP = {
    "ping": [message(CON, 0, 7)],
    "read": [message(CON, 1, 7, TOKEN, path("3/0/0"))],
    "read-twice": [message(CON, 1, 7, TOKEN, path("3/0/0"))] * 2,
    "read-block2": [message(CON, 1, 7 + n, TOKEN, path("33605/1") + [(23, bytes([n << 4 | 2]))]) for n in range(4)],
    "read-early-block2": [message(CON, 1, 7, TOKEN, path("33605") + [(23, b"\x00")])],
    "observe": [message(CON, 1, 7, TOKEN, path("5/0/3") + [(6, b"")]), message(ACK, 0, OURS), message(RST, 0, OURS)],
    "observe-end": [message(CON, 1, 7, TOKEN, path("5/0/3") + [(6, b"")]), message(CON, 1, 8, TOKEN, path("5/0/3") + [(6, b"\x01")])],
    "push": [message(CON, 3, 7 + n, TOKEN, path("5/0/0") + [(12, b"\x2a"), (27, bytes([n << 4 | 8 * (n < 2)])), (60, b"\x2a")], b"z" * 16) for n in range(3)],
    "push-again": [message(CON, 3, 7 + n, TOKEN, path("5/0/0") + [(27, bytes([(n % 2) << 4 | 8]))], b"z" * 16) for n in range(4)],
    "block1": [message(CON, 3, 7 + n, TOKEN, path("1/1") + [(12, b"\x2d\x16"), (27, bytes([n << 4 | 8 * (n < 2)]))], b"z" * 16) for n in range(3)],
    "block1-gap": [message(CON, 3, 7 + n, TOKEN, path("1/1") + [(27, bytes([2 * n << 4 | 8]))], b"z" * 16) for n in range(2)],
    "block1-far": [message(CON, 3, 7, TOKEN, path("1/1") + [(27, b"\xff\xff\xfe")], b"z" * 16)],
    "critical": [message(CON, 1, 7, TOKEN, path("3/0/0") + [(9, b"x")]), message(NON, 1, 8, TOKEN, path("3") + [(2049, b"")])],
    "created": [message(ACK, 65, OURS, TOKEN, [(8, b"rd"), (8, b"5a3f")])],
    "continue": [message(ACK, 95, OURS, TOKEN, [(27, bytes([n << 4 | 8 | 6]))]) for n in range(3)],
    "continue-smaller": [message(ACK, 95, OURS, TOKEN, [(27, b"\x08")])] * 2,
    "too-large": [message(ACK, 141, OURS, TOKEN, [(60, b"\x04\x00")])],
    "separate": [message(ACK, 0, OURS), message(CON, 69, 9, TOKEN, [(12, b"")], b"hello"), message(CON, 69, 10, b"abc", [], b"who")],
    "content-block2": [message(ACK, 65, OURS, TOKEN), message(ACK, 69, OURS, TOKEN, [(6, b"\x01"), (4, b"e"), (23, b"\x0a")], b"c" * 64), message(ACK, 69, OURS, TOKEN, [(4, b"e"), (23, b"\x12")], b"c" * 64)],
    "reset": [message(RST, 0, OURS)] * 3,
    "execute": [message(CON, 2, 7, TOKEN, path("5/0/2") + [(12, b"\x06\x05")], b"0")],
    "fetch": [message(CON, 5, 7, TOKEN, [(12, b"\x70"), (17, b"\x6e")], bytes.fromhex("82a100662f332f302f30a100662f312f312f31"))],
    "broken": [b"\x40", b"\x49\x01\x00\x01", b"\x40\x01\x00\x01\xff", b"\x40\x01\x00\x01\xf0", b"\x80\x01\x00\x01", b""],
}


def write(target, name, data):
    folder = ROOT / target
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(data)


shutil.rmtree(ROOT, ignore_errors=True)
for target, vectors, encode in [("tlv", TLV, bytes.fromhex), ("senml_json", JSON, str.encode), ("senml_cbor", CBOR, bytes.fromhex)]:
    for number, (base, payload) in enumerate(vectors):
        write(target, f"{number:02}", bytes([BASES.index(base)]) + encode(payload))
for number, text in enumerate(LINKS):
    write("link_format", f"{number:02}", text.encode())
for name, datagrams in COAP.items():
    write("coap", name, b"".join(bytes([len(datagram), 3]) + datagram for datagram in datagrams))
