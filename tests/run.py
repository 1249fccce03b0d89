#!/usr/bin/env python3
"""Builds all tests of the workspace and runs several test programs at once, since most of them wait for most of their time.

    tests/run.py [--at-once N] [NAME]...     all, or the test programs whose name holds one of these

What a program prints comes in one piece, when it has ended; none is left out because another one failed. The documentation's
tests follow. Exits with 1 where anything failed.
"""

import argparse
import collections
import json
import os
import pathlib
import queue
import re
import signal
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
CARGO = os.environ.get("CARGO", "cargo")
COMMON = ["--locked", "--workspace"]
# They take longest: begun last, one of them would run alone at the end.
LONGEST = ["e2e_disaster", "e2e_avr", "e2e_builtin", "e2e_identify", "e2e_leshan", "e2e_cycles", "e2e_servers"]
COUNTS = re.compile(r"^test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored", re.MULTILINE)

Program = collections.namedtuple("Program", "name folder file")


def built():
    """The test programs, and the folder that each runs in: that of its package, as under cargo."""
    command = [CARGO, "test", *COMMON, "--no-run", "--message-format=json-render-diagnostics"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as cargo:
        messages = [json.loads(line) for line in cargo.stdout if line.startswith("{")]
    if cargo.returncode:
        sys.exit(cargo.returncode)
    programs = []
    for message in messages:
        if message["reason"] == "compiler-artifact" and message["profile"]["test"] and message["executable"]:
            target = message["target"]
            folder = pathlib.Path(message["manifest_path"]).parent
            name = target["name"] if target["kind"] == ["test"] else f'{folder.name}-{target["name"]}'
            programs.append(Program(name, folder, message["executable"]))
    return programs


def place(program):
    rank = LONGEST.index(program.name) if program.name in LONGEST else len(LONGEST)
    return rank, program.name


class Run:
    """All that is under way, and what came of it."""

    def __init__(self, programs):
        self.waiting = queue.SimpleQueue()
        for program in programs:
            self.waiting.put(program)
        self.all = len(programs)
        self.lock = threading.Lock()
        self.children = set()
        self.stopped = False
        self.took = []
        self.failed = []
        self.counts = [0, 0, 0]

    def work(self):
        while not self.stopped:
            try:
                program = self.waiting.get_nowait()
            except queue.Empty:
                return
            began = time.monotonic()
            # A group of its own: whatever it started is ended with it.
            child = subprocess.Popen(
                [program.file],
                cwd=program.folder,
                env=os.environ | {"CARGO_MANIFEST_DIR": str(program.folder)},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            with self.lock:
                self.children.add(child)
                if self.stopped:
                    end(child)
            printed, _ = child.communicate()
            self.note(program, child, printed.decode(errors="replace"), time.monotonic() - began)

    def note(self, program, child, printed, seconds):
        with self.lock:
            self.children.discard(child)
            self.took.append((seconds, program.name))
            for found in COUNTS.findall(printed):
                self.counts = [have + int(new) for have, new in zip(self.counts, found)]
            if child.returncode:
                self.failed.append(program.name)
            word = "passed" if child.returncode == 0 else f"FAILED ({child.returncode})"
            print(f"\n== {program.name}: {word} in {seconds:.0f} s ({len(self.took)} of {self.all})", flush=True)
            print(printed.strip("\n"), flush=True)

    def stop(self, *_):
        self.stopped = True
        for child in list(self.children):
            end(child)


def end(child):
    try:
        os.killpg(child.pid, signal.SIGTERM)
    except ProcessLookupError:
        pass


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--at-once", type=int, default=(os.cpu_count() or 1) + 1, metavar="N", help="test programs at once")
    parser.add_argument("name", nargs="*", help="a part of the name of a test program")
    chosen = parser.parse_args()

    programs = [one for one in built() if not chosen.name or any(name in one.name for name in chosen.name)]
    if not programs:
        parser.error("there is no such test program")
    began = time.monotonic()
    run = Run(sorted(programs, key=place))
    signal.signal(signal.SIGTERM, run.stop)
    signal.signal(signal.SIGINT, run.stop)
    workers = [threading.Thread(target=run.work) for _ in range(max(1, chosen.at_once))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    if run.stopped:
        sys.exit("tests/run.py: stopped")
    if not chosen.name and subprocess.run([CARGO, "test", *COMMON, "--doc"], cwd=ROOT, check=False).returncode:
        run.failed.append("documentation")
    slowest = ", ".join(f"{name} {seconds:.0f}" for seconds, name in sorted(run.took, reverse=True)[:12])
    print(f"\n== {len(programs)} test programs, {chosen.at_once} at once, in {time.monotonic() - began:.0f} s")
    print(f"== the slowest, in seconds: {slowest}")
    passed, failed, ignored = run.counts
    print(f"== {passed} passed, {failed} failed, {ignored} ignored")
    if run.failed:
        sys.exit(f"tests/run.py: failed: {', '.join(run.failed)}")


if __name__ == "__main__":
    main()
