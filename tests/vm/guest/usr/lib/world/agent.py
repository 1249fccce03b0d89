"""Runs in the guest and does what the test outside says, over a virtio port.

One JSON object a line. In: {"id": N, "sh": "...", "timeout": SECONDS}; out: {"id": N, "rc": CODE, "out": "..."}, where
124 is what ran out of time. Commands run side by side, each in a thread. {"ready": SECONDS} comes once, at the start.
"""

import json
import os
import subprocess
import threading
import time

PORT = "/dev/virtio-ports/agent"
LOCK = threading.Lock()


def send(port, answer):
    data = (json.dumps(answer) + "\n").encode()
    with LOCK:
        while data:
            data = data[os.write(port, data):]


def run(port, request):
    limit = request.get("timeout", 60)
    command = ["/bin/bash", "-c", request["sh"]]
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=limit)
        code, output = done.returncode, done.stdout
    except subprocess.TimeoutExpired as error:
        code, output = 124, error.stdout or b""
    send(port, {"id": request["id"], "rc": code, "out": output.decode(errors="replace")})


def main():
    while not os.path.exists(PORT):
        time.sleep(0.01)
    port = os.open(PORT, os.O_RDWR)
    send(port, {"ready": time.clock_gettime(time.CLOCK_BOOTTIME)})
    buffer = b""
    while True:
        data = os.read(port, 65536)
        if not data:
            time.sleep(0.02)
            continue
        *lines, buffer = (buffer + data).split(b"\n")
        for line in lines:
            threading.Thread(target=run, args=(port, json.loads(line)), daemon=True).start()


main()
