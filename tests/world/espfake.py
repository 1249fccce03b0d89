#!/usr/bin/env python3
"""espfake - protocol-level fake of an Espressif ROM serial loader.

Real esptool (4.x, 5.x) and espflash talk to it over
  --pty LINK          a pty (symlinked at LINK); DTR/RTS arrive as datagrams
                      "D<0|1> R<0|1>" on --ctl (sent by dtrshim.so)
  --tcp PORT          raw TCP  (esptool --port socket://127.0.0.1:PORT)
  --rfc2217 PORT      RFC 2217 (esptool --port rfc2217://127.0.0.1:PORT), with DTR/RTS

It models: the two-transistor auto-reset circuit, the boot log, the ROM loader
(SLIP commands, ESP32 status length), the RAM stub upload (any stub is accepted
and "run": it answers OHAI and the protocol switches to the stub's), a flash
chip (NOR semantics: erase to 0xff, program ANDs), line speed (--throttle), and a
boot of the flashed app: it validates the image as the 2nd stage bootloader does
(magic, segments, checksum, SHA-256) and prints version and project name from
esp_app_desc_t as "ID board=<chip> fw=<version> project=<name>".

Faults (--fault, repeatable, or "fault X" on --ctl): mute, mute-at:N (after N
data blocks), badmd5, flip:ADDR (bad flash cell), wrong-boot (never enters
download mode), status:OP:ERR (answer op with error).
"""
import argparse, fcntl, hashlib, os, pty, select, signal, socket, struct, sys, termios, time, tty, zlib

CHIPS = {  # name: magic reg value, chip id, status bytes, spi base, w0, usr, usr2, bootloader offset
    "esp8266": dict(magic=0xFFF0C101, id=None, status=2, spi=0x60000200, w0=0x40, usr=0x1C, usr2=0x24, boot=0x0),
    "esp32": dict(magic=0x00F01D83, id=None, status=4, spi=0x3FF42000, w0=0x80, usr=0x1C, usr2=0x24, boot=0x1000),
    "esp32c3": dict(magic=0x1B31506F, id=5, status=4, spi=0x60002000, w0=0x58, usr=0x18, usr2=0x20, boot=0x0),
    "esp32s3": dict(magic=0x00000009, id=9, status=4, spi=0x60002000, w0=0x58, usr=0x18, usr2=0x20, boot=0x0),
    "esp32c6": dict(magic=0x2CE0806F, id=13, status=4, spi=0x60003000, w0=0x58, usr=0x18, usr2=0x20, boot=0x0),
}
IMG_ID = {"esp32": 0, "esp32c3": 5, "esp32s3": 9, "esp32c6": 13}
T0 = time.time()


def log(*a):
    print("[%8.3f]" % (time.time() - T0), *a, file=sys.stderr, flush=True)


def slip(b):
    return b"\xc0" + b.replace(b"\xdb", b"\xdb\xdd").replace(b"\xc0", b"\xdb\xdc") + b"\xc0"


class Pty:
    """A pty whose slave the harness also holds open, to flush it as a tty would."""

    def __init__(self, link):
        self.link, self.master = link, -1
        self.plug()

    def plug(self):
        self.master, self.slave = pty.openpty()
        tty.setraw(self.slave)
        os.set_blocking(self.master, False)
        tmp = self.link + ".%d" % os.getpid()
        os.symlink(os.ttyname(self.slave), tmp)
        os.replace(tmp, self.link)
        log("pty", os.ttyname(self.slave))

    def hangup(self):
        os.unlink(self.link)
        os.close(self.master)
        os.close(self.slave)
        self.master = -1

    def fileno(self):
        return self.master

    def baud(self):
        code = termios.tcgetattr(self.slave)[5]
        for n in (9600, 57600, 115200, 230400, 460800, 500000, 921600, 1000000, 1500000, 2000000):
            if getattr(termios, "B%d" % n, None) == code:
                return n
        return 115200

    def read(self, n):
        try:
            return os.read(self.master, n)
        except (BlockingIOError, OSError):
            return b""

    def write(self, b):
        while b and self.master >= 0:
            try:
                b = b[os.write(self.master, b):]
            except BlockingIOError:
                time.sleep(0.001)


class Tcp:
    """Raw TCP, or RFC 2217 when rfc=True. One client at a time."""

    IAC, DONT, DO, WONT, WILL, SB, SE, COM = 255, 254, 253, 252, 251, 250, 240, 44

    def __init__(self, port, rfc, on_lines):
        self.srv = socket.create_server(("127.0.0.1", port))
        self.rfc, self.on_lines, self.c, self._baud = rfc, on_lines, None, 115200
        self.dtr = self.rts = 0
        self.st, self.sb = "data", b""

    def fileno(self):
        return (self.c or self.srv).fileno()

    def baud(self):
        return self._baud

    def read(self, n):
        if self.c is None:
            self.c, _ = self.srv.accept()
            self.c.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.seen = set()
            log("tcp client")
            return b""
        try:
            b = self.c.recv(n)
        except OSError:
            b = b""
        if not b:
            self.c.close()
            self.c = None
            log("tcp client gone")
        return self.telnet(b) if self.rfc else b

    def write(self, b):
        if self.c:
            try:
                self.c.sendall(b.replace(b"\xff", b"\xff\xff") if self.rfc else b)
            except OSError:
                pass

    def telnet(self, b):
        out = bytearray()
        for x in b:
            if self.st == "data":
                if x == self.IAC:
                    self.st = "iac"
                else:
                    out.append(x)
            elif self.st == "iac":
                if x == self.IAC:
                    out.append(x)
                    self.st = "data"
                elif x == self.SB:
                    self.st, self.sb = "sb", b""
                elif x in (self.DO, self.DONT, self.WILL, self.WONT):
                    self.st = x
                else:
                    self.st = "data"
            elif self.st == "sb":
                if x == self.IAC:
                    self.st = "sbiac"
                else:
                    self.sb += bytes([x])
            elif self.st == "sbiac":
                if x == self.SE:
                    self.sub(self.sb)
                    self.st = "data"
                else:
                    self.sb += bytes([x])
                    self.st = "sb"
            else:  # option byte after DO/WILL/...; agree to binary, SGA, com-port
                cmd, self.st = self.st, "data"
                if (cmd, x) not in self.seen:
                    self.seen.add((cmd, x))
                    ok = x in (0, 3, self.COM)
                    if cmd == self.DO:
                        self.c.sendall(bytes([self.IAC, self.WILL if ok else self.WONT, x]))
                    elif cmd == self.WILL:
                        self.c.sendall(bytes([self.IAC, self.DO if ok else self.DONT, x]))
        return bytes(out)

    def sub(self, s):
        if len(s) < 2 or s[0] != self.COM:
            return
        cmd, val = s[1], s[2:]
        if cmd == 1 and len(val) == 4:
            self._baud = struct.unpack(">I", val)[0] or self._baud
            val = struct.pack(">I", self._baud)
        elif cmd == 5 and val:
            v = val[0]
            if v in (8, 9):
                self.dtr = int(v == 8)
            elif v in (11, 12):
                self.rts = int(v == 11)
            if v in (8, 9, 11, 12):
                self.on_lines(self.dtr, self.rts)
        body = bytes([self.COM, cmd + 100]) + val
        self.c.sendall(bytes([self.IAC, self.SB]) + body.replace(b"\xff", b"\xff\xff") + bytes([self.IAC, self.SE]))


class Board:
    def __init__(self, a):
        self.a, self.chip = a, CHIPS[a.chip]
        self.flash = bytearray(b"\xff" * a.flash_size)
        if a.image and os.path.exists(a.image):
            d = open(a.image, "rb").read()
            self.flash[: len(d)] = d
        self.faults = set(a.fault)
        self.en, self.io0, self.dtr, self.rts, self.sample_at = 1, 1, 0, 0, None
        self.port, self.stat, self.ops = None, {}, []
        self.power_on()

    # ---- reset circuit -------------------------------------------------
    def lines(self, dtr, rts):
        """DTR drives IO0, RTS drives EN, crossed by two transistors."""
        self.dtr, self.rts = dtr, rts
        en, self.io0 = int(not (rts and not dtr)), int(not (dtr and not rts))
        if not en and self.en:
            self.mode, self.sample_at = "reset", None
        elif en and not self.en:
            self.sample_at = time.time() + self.a.en_ms / 1000  # the capacitor on EN
        self.en = en

    def power_on(self):
        self.mode, self.sample_at = "reset", time.time()
        self.io0 = int(not self.a.download)

    def tick(self):
        if self.sample_at is not None and time.time() >= self.sample_at:
            self.sample_at = None
            self.start(download=not self.io0 and "wrong-boot" not in self.faults)

    def start(self, download):
        self.rx, self.in_frame, self.frame = b"", False, b""
        self.stub, self.regs, self.mem, self.dl, self.last = False, {}, [], None, (0, 0)
        self.blocks = 0
        if download:
            self.mode = "loader"
            self.say("ets Jul 29 2019 12:21:46\r\n\r\nrst:0x1 (POWERON_RESET),boot:0x3 (DOWNLOAD_BOOT(UART0/UART1/SDIO_REI_REO_V2))\r\nwaiting for download\r\n")
        else:
            self.mode = "app"
            self.say("ets Jul 29 2019 12:21:46\r\n\r\nrst:0x1 (POWERON_RESET),boot:0x13 (SPI_FAST_FLASH_BOOT)\r\n")
            self.boot()
        log("start", self.mode)

    def say(self, s):
        if self.port:
            self.port.write(s.encode() if isinstance(s, str) else s)

    # ---- 2nd stage bootloader ---------------------------------------------
    def check_image(self, off):
        """-> (error or None, length)  Same checks as esp_image_verify()."""
        f = self.flash
        magic, nseg = f[off], f[off + 1]
        if magic != 0xE9:
            return "invalid header: 0x%08x" % struct.unpack_from("<I", f, off)[0], 0
        if self.a.chip != "esp8266" and struct.unpack_from("<H", f, off + 12)[0] != IMG_ID[self.a.chip]:
            return "mismatch chip ID, expected %d, found %d" % (IMG_ID[self.a.chip], struct.unpack_from("<H", f, off + 12)[0]), 0
        p, x = off + (8 if self.a.chip == "esp8266" else 24), 0xEF
        for _ in range(nseg):
            if p + 8 > len(f):
                return "segment beyond flash", 0
            addr, n = struct.unpack_from("<II", f, p)
            p += 8
            if n > 0x1000000 or p + n > len(f):
                return "segment length 0x%x is invalid" % n, 0
            for b in f[p : p + n]:
                x ^= b
            p += n
        end = off + ((p - off) | 15)
        if f[end] != x:
            return "Checksum failed. Calculated 0x%x read 0x%x" % (x, f[end]), 0
        end += 1
        if self.a.chip != "esp8266" and f[off + 23] == 1:
            if hashlib.sha256(f[off:end]).digest() != bytes(f[end : end + 32]):
                return "Image hash failed - image is corrupt", 0
            end += 32
        return None, end - off

    def boot(self):
        f, app = self.flash, 0 if self.a.chip == "esp8266" else 0x10000
        err, _ = self.check_image(self.chip["boot"]) if not self.a.app_only else (None, 0)
        if err:
            self.say(err + "\r\n")
            self.app = None
            return
        pt = 0x8000
        while app and f[pt : pt + 2] == b"\xaa\x50":  # partition table: first app wins
            if f[pt + 2] == 0:
                app = struct.unpack_from("<I", f, pt + 4)[0]
                break
            pt += 32
        err, n = self.check_image(app)
        if err:
            self.say("E (57) %s: %s\r\nE (60) boot: Factory app partition is not bootable\r\nE (65) boot: No bootable app partitions in the partition table\r\n" % ("boot_comm" if "chip ID" in err else "esp_image", err))
            self.app = None
            return
        d = f[app + 0x20 : app + 0x20 + 256]
        if app and struct.unpack_from("<I", d)[0] == 0xABCD5432:
            z = lambda b: bytes(b).split(b"\0")[0].decode("ascii", "replace")
            self.app = "ID board=%s fw=%s project=%s idf=%s" % (self.a.chip, z(d[16:48]), z(d[48:80]), z(d[112:144]))
        else:  # no descriptor: the line that the program itself holds
            at = f.find(b"ID board=", app, app + n)
            line = bytes(f[at : f.find(b"\0", at)]).decode("ascii", "replace") if at >= 0 else ""
            self.app = line or "ID board=%s fw=unknown" % self.a.chip
        self.say("I (%d) boot: Loaded app from partition at offset 0x%x\r\n%s\r\n" % (90, app, self.app))

    # ---- byte stream --------------------------------------------------------
    def feed(self, data):
        if self.mode == "app":
            if b"?" in data and getattr(self, "app", None):
                self.say(self.app + "\r\n")
            return
        if self.mode != "loader" or "mute" in self.faults:
            return
        for i, x in enumerate(data):
            if x == 0xC0:
                if self.in_frame and self.frame:
                    fr = self.frame.replace(b"\xdb\xdc", b"\xc0").replace(b"\xdb\xdd", b"\xdb")
                    self.in_frame, self.frame = False, b""
                    self.packet(fr)
                    if self.mode != "loader":
                        return
                else:
                    self.in_frame, self.frame = True, b""
            elif self.in_frame:
                self.frame += bytes([x])

    def reply(self, op, val=None, data=b"", err=0):
        if val is None:  # the ROM leaves the last value in the field, the stub sends 0
            val = 0 if self.stub else self.last[1]
        if not err:
            self.last = (op, val)
        st = bytes([1 if err else 0, err])
        if not self.stub and self.chip["status"] == 4:
            st += b"\0\0"
        body = data + st
        self.say(slip(struct.pack("<BBHI", 1, op, len(body), val) + body))

    def packet(self, p):
        if self.mode == "reading":
            return
        if len(p) < 8 or p[0] != 0:
            if self.reading:
                return self.read_ack(p)
            return
        op, size, chk = struct.unpack_from("<xBHI", p)
        d = p[8:]
        self.stat[op] = self.stat.get(op, 0) + 1
        if self.a.trace and (op not in (0x03, 0x07, 0x11) or self.stat[op] < 3):
            log("op 0x%02x len %d chk %08x data %s%s" % (op, size, chk, d[:32].hex(), "..." if len(d) > 32 else ""))
        for f in self.faults:
            if f.startswith("status:") and int(f.split(":")[1], 0) == op:
                return self.reply(op, err=int(f.split(":")[2], 0))
        h = getattr(self, "op_%02x" % op, None)
        if h is None or len(d) != size:
            return self.bad(op)
        h(op, d, chk)

    def bad(self, op):
        # seen on the real ESP32 ROM: an unknown command is answered with the op and
        # value of the last good one and error 0x05 (8 copies if that was SYNC)
        if self.stub:
            return self.reply(op, err=0xFF)
        for _ in range(8 if self.last[0] == 0x08 else 1):
            self.reply(self.last[0], err=0x05)

    reading = None

    # ---- commands --------------------------------------------------------
    def op_08(self, op, d, chk):  # SYNC: eight replies, non-zero value from ROM
        for _ in range(8):
            self.reply(op, 0 if self.stub else 0x20120707)

    def op_0a(self, op, d, chk):  # READ_REG
        self.reply(op, self.reg(struct.unpack("<I", d[:4])[0]))

    def op_09(self, op, d, chk):  # WRITE_REG
        for i in range(0, len(d) - 15, 16):
            a, v, m, _ = struct.unpack_from("<IIII", d, i)
            self.regs[a] = (self.regs.get(a, 0) & ~m) | (v & m)
            if a == self.chip["spi"] and v & (1 << 18):
                self.spi_user()
        self.reply(op)

    def spi_user(self):
        c, b = self.chip, self.chip["spi"]
        cmd = self.regs.get(b + c["usr2"], 0) & 0xFF
        size = (len(self.flash) - 1).bit_length()
        ans = {0x9F: 0xEF | 0x40 << 8 | size << 16}.get(cmd, 0)  # Winbond W25Qxx
        self.regs[b + c["w0"]] = ans
        self.regs[b] = 0

    def reg(self, a):
        if a == 0x40001000:
            return self.chip["magic"]
        if a in (0x3FF40014, 0x60000014):
            return 347  # UART divider of 115200 Bd at a 40 MHz crystal
        mac = bytes.fromhex(self.a.mac)
        if self.a.chip == "esp32":
            e = 0x3FF5A000
            if a == e + 4:
                return int.from_bytes(mac[2:], "big")
            if a == e + 8:
                return int.from_bytes(mac[:2], "big")
            if a == e + 12:
                return 1 << 15 | 1 << 9  # rev bit 0, package D0WD
            if a == e + 20:
                return 1 << 20
            if a == 0x3FF6607C:
                return 1 << 31
        elif a in (0x60008844, 0x60007044, 0x600B0844):  # efuse MAC low word of c3 / s3 / c6
            return int.from_bytes(mac[2:], "big")
        elif a in (0x60008848, 0x60007048, 0x600B0848):
            return int.from_bytes(mac[:2], "big")
        return self.regs.get(a, 0)

    def op_0b(self, op, d, chk):  # SPI_SET_PARAMS
        self.reply(op)

    def op_0d(self, op, d, chk):  # SPI_ATTACH
        if self.a.chip == "esp8266" and not self.stub:
            return self.bad(op)
        self.reply(op)

    def op_14(self, op, d, chk):  # GET_SECURITY_INFO
        if self.chip["id"] is None:
            return self.bad(op)
        self.reply(op, 0, struct.pack("<IB7sII", 0, 0, b"\0" * 7, self.chip["id"], 0))

    def op_0f(self, op, d, chk):  # CHANGE_BAUDRATE
        self.reply(op)

    def op_05(self, op, d, chk):  # MEM_BEGIN
        self.reply(op)

    def op_07(self, op, d, chk):  # MEM_DATA
        n = struct.unpack_from("<I", d)[0]
        x = 0xEF
        for b in d[16:]:
            x ^= b
        self.reply(op, err=0 if (x == chk & 0xFF and n == len(d) - 16) else 0x07)

    def op_06(self, op, d, chk):  # MEM_END: (flag 1 = do not run, entry)
        flag, entry = struct.unpack_from("<II", d)
        self.reply(op)
        if entry and not flag:
            self.stub = True
            self.say(slip(b"OHAI"))

    def erase(self, off, size):
        a, b = off & ~0xFFF, min((off + size + 0xFFF) & ~0xFFF, len(self.flash))
        self.flash[a:b] = b"\xff" * (b - a)
        if self.a.throttle:
            time.sleep((b - a) / 4096 * 0.045)  # typical 45 ms per 4 KiB sector

    def begin(self, op, d, deflate):
        size, nblk, blk, off = struct.unpack_from("<IIII", d)
        if off + size > len(self.flash):
            return self.reply(op, err=0x06)
        self.erase(off, size)
        self.dl = dict(off=off, end=off + size, z=zlib.decompressobj() if deflate else None, seq=0)
        self.reply(op)

    def op_02(self, op, d, chk):
        self.begin(op, d, False)

    def op_10(self, op, d, chk):
        self.begin(op, d, True)

    def data(self, op, d, chk):
        n, seq = struct.unpack_from("<II", d)
        body, x = d[16:], 0xEF
        for b in body:
            x ^= b
        if n != len(body) or x != chk & 0xFF:
            return self.reply(op, err=0x07)
        self.blocks += 1
        for f in list(self.faults):
            if f.startswith("mute-at:") and self.blocks >= int(f.split(":")[1]):
                self.faults.add("mute")
        if "mute" in self.faults:
            return
        if self.dl is None:
            return self.reply(op, err=0x06)
        if self.dl["z"]:
            try:
                body = self.dl["z"].decompress(body)
            except zlib.error:
                return self.reply(op, err=0x0B)
        off = self.dl["off"]
        body = body[: max(0, len(self.flash) - off)]
        self.flash[off : off + len(body)] = bytes(x & y for x, y in zip(self.flash[off : off + len(body)], body))
        for f in self.faults:
            if f.startswith("flip:"):
                self.flash[int(f[5:], 0)] ^= 1
        self.dl["off"] += len(body)
        self.reply(op)

    op_03 = op_11 = data

    def op_04(self, op, d, chk):  # FLASH_END: 0 = reboot, 1 = stay
        self.reply(op)
        self.save()
        if struct.unpack_from("<I", d)[0] == 0:
            self.io0 = 1
            self.start(False)

    op_12 = op_04

    def op_13(self, op, d, chk):  # SPI_FLASH_MD5
        a, n = struct.unpack_from("<II", d)
        m = hashlib.md5(self.flash[a : a + n])
        if "badmd5" in self.faults:
            m.update(b"x")
        self.save()
        self.reply(op, None, m.digest() if self.stub else m.hexdigest().encode())

    def op_0e(self, op, d, chk):  # READ_FLASH_SLOW (ROM): 64-byte answers
        a, n = struct.unpack_from("<II", d)
        self.reply(op, None, bytes(self.flash[a : a + min(n, 64)]).ljust(64, b"\0"))

    def op_d0(self, op, d, chk):  # ERASE_FLASH (stub)
        if not self.stub:
            return self.bad(op)
        self.erase(0, len(self.flash))
        self.reply(op)

    def op_d1(self, op, d, chk):  # ERASE_REGION (stub)
        if not self.stub:
            return self.bad(op)
        self.erase(*struct.unpack_from("<II", d))
        self.reply(op)

    def op_d2(self, op, d, chk):  # READ_FLASH (stub): raw SLIP frames, host acks byte counts
        if not self.stub:
            return self.bad(op)
        a, n, blk, inflight = struct.unpack_from("<IIII", d)
        self.reply(op)
        self.reading = dict(a=a, end=a + n, blk=blk, infl=inflight, sent=0, acked=0, n=n, start=a)
        self.read_more()

    def read_more(self):
        r = self.reading
        while r["sent"] < r["n"] and r["sent"] - r["acked"] < r["infl"] * r["blk"]:
            o = r["start"] + r["sent"]
            b = bytes(self.flash[o : min(o + r["blk"], r["end"])])
            self.say(slip(b))
            r["sent"] += len(b)

    def read_ack(self, p):
        r = self.reading
        r["acked"] = struct.unpack("<I", p[:4])[0]
        if r["acked"] >= r["n"]:
            self.say(slip(hashlib.md5(self.flash[r["start"] : r["end"]]).digest()))
            self.reading = None
        else:
            self.read_more()

    def op_d3(self, op, d, chk):  # RUN_USER_CODE (stub)
        self.save()
        self.start(False)

    def save(self, path=None):
        path = path or self.a.image
        if path:
            with open(path + ".tmp", "wb") as f:
                f.write(self.flash)
            os.replace(path + ".tmp", path)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--chip", default="esp32", choices=CHIPS)
    ap.add_argument("--flash-size", type=lambda s: int(s, 0), default=4 << 20)
    ap.add_argument("--image", help="file that keeps the flash contents")
    ap.add_argument("--mac", default="24:6f:28:aa:bb:cc".replace(":", ""), type=lambda s: s.replace(":", ""))
    ap.add_argument("--pty")
    ap.add_argument("--ctl")
    ap.add_argument("--tcp", type=int)
    ap.add_argument("--rfc2217", type=int)
    ap.add_argument("--download", action="store_true", help="strapped into download mode at power-on")
    ap.add_argument("--app-only", action="store_true", help="boot the app without a bootloader in flash")
    ap.add_argument("--throttle", action="store_true", help="honour the line speed and erase times")
    ap.add_argument("--en-ms", type=float, help="delay of the EN pin (3; 100 over RFC 2217, where each line change takes a 50 ms round trip)")
    ap.add_argument("--fault", action="append", default=[])
    ap.add_argument("--trace", action="store_true")
    a = ap.parse_args()
    a.en_ms = a.en_ms or (100 if a.rfc2217 else 3)
    b = Board(a)
    port = b.port = Pty(a.pty) if a.pty else Tcp(a.tcp or a.rfc2217, bool(a.rfc2217), b.lines)
    ctl = None
    if a.ctl:
        if os.path.exists(a.ctl):
            os.unlink(a.ctl)
        ctl = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        ctl.bind(a.ctl)
    stop = []
    signal.signal(signal.SIGTERM, lambda *_: stop.append(1))
    credit, last = 0.0, time.time()
    while not stop:
        fds = ([port] if port.fileno() >= 0 else []) + ([ctl] if ctl else [])
        r, _, _ = select.select(fds, [], [], 0.002 if b.sample_at is not None else 0.05)
        # modem lines first: they precede the bytes sent after them
        if ctl and ctl in r:
            m = ctl.recv(512).decode()
            if m[0] == "D":
                b.lines(int(m[1]), int(m[4]))
            elif m == "quit":
                break
            elif m.startswith("fault "):
                b.faults.add(m[6:])
            elif m == "clear":
                b.faults.clear()
            elif m == "hangup":
                port.hangup()
            elif m == "plug":
                port.plug()
            elif m.startswith("dump "):
                b.save(m[5:])
            elif m == "power":
                b.power_on()
            continue
        b.tick()
        if port in r:
            n = 4096
            if a.throttle:
                now = time.time()
                credit = min(credit + (now - last) * port.baud() / 10, port.baud() / 100)
                last = now
                n = int(credit)
                if n < 1:
                    time.sleep(0.001)
                    continue
            d = port.read(n)
            if a.throttle:
                credit -= len(d)
            b.feed(d)
    b.save()
    if a.pty and port.fileno() >= 0:
        port.hangup()


main()
