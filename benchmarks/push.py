"""How fast a file reaches the emulated phone, against `adb push` and scp: the same file, the same phone, in turns.

    python -m benchmarks.push [--mib 256] [--rounds 7]

`adb` and `ssh` are ratios of throughput, ours over theirs, from the first byte sent until the last one is in the
phone's file. `verified_*` count the phone's own sha256sum too, which neither of the others asks for; that of the
emulated phone is plain C, where Android's uses the CPU's instructions. `again_*`: the second deploy of the same model,
as seconds and as bytes of it that were sent. `resent_*`: after a cut at a random point, so many chunks were sent again.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import closing, suppress
from functools import partial
from pathlib import Path

import adbutils

from device import store, virtual
from device.sha256 import sha256_of
from device.target import Target, remove
from device.targets import open_target
from device.virtual import VirtualPhone
from host.bench.stats import interval


class Cut(Exception):
    """By the progress callback."""


def timed(what: Callable[[], object]) -> float:
    began = time.monotonic()
    what()
    return time.monotonic() - began


def native_adb(phone: VirtualPhone, source: Path) -> None:
    adb = shutil.which("adb") or str(Path(adbutils.__file__).parent / "binaries/adb")
    command = [adb, "-s", phone.adb_address, "push", str(source), "/data/local/tmp/native"]
    subprocess.run(command, check=True, capture_output=True)


def native_scp(phone: VirtualPhone, source: Path) -> None:
    options = ["-P", str(phone.ssh_port), "-i", str(phone.ssh_key), "-o", f"UserKnownHostsFile={phone.known_hosts}"]
    command = ["scp", "-q", *options, str(source), f"{phone.ssh_user}@127.0.0.1:native"]
    subprocess.run(command, check=True, capture_output=True)


def ours(target: Target, source: Path) -> None:
    remote = f"{target.root}/ours"
    remove(target, remote)
    target.append(source, remote, 0)
    size, since = "", time.monotonic()
    while size != str(source.stat().st_size):  # over adb, the phone still writes what is on its way
        if time.monotonic() - since > store.SETTLED_S:
            raise SystemExit(f"{size} bytes arrived of {source.stat().st_size}")
        size = target.run(["stat", "-c", "%s", remote]).stdout.strip()


def figure(name: str, values: list[float], unit: str, against: str) -> None:
    found = interval(values)
    facts = {"name": name, "value": found.mean, "low": found.low, "high": found.high, "unit": unit, "against": against}
    print(json.dumps(facts))


def resent(target: Target, source: Path, sha256: str, at: int) -> float:
    """Cut at a byte, go on: how many chunks' worth of bytes went twice."""
    remove(target, f"{target.root}/store")
    sent = {"first": 0, "second_from": -1}

    def until(done: int, total: int) -> None:
        sent["first"] = done
        if done >= at:
            raise Cut

    def begins(done: int, total: int) -> None:
        if sent["second_from"] < 0:
            sent["second_from"] = done

    with suppress(Cut):
        store.ensure(target, source, sha256, progress=until)
    store.ensure(target, source, sha256, progress=begins)
    return (sent["first"] - sent["second_from"]) / store.CHUNK


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=256, help="Size of the file.")
    parser.add_argument("--rounds", type=int, default=7)
    asked = parser.parse_args()
    phone = virtual.start(f"push-{os.getpid()}")
    try:
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "model.gguf"
            with source.open("wb") as file:
                for _ in range(asked.mib):
                    file.write(os.urandom(1 << 20))
            _measure(phone, source, asked.rounds)
    finally:
        virtual.stop(phone.name, erase=True)


def _measure(phone: VirtualPhone, source: Path, rounds: int) -> None:
    for name, suffix, native, against in (("adb", "", native_adb, "adb push"), ("ssh", "/ssh", native_scp, "scp")):
        with closing(open_target(f"virtual:{phone.name}{suffix}")) as target:
            target.run(["mkdir", "-p", target.root])
            way = _Way(target, source, partial(native, phone, source))
            turns = [way.turn(number % 2 == 0) for number in range(rounds + 1)][1:]  # the first fills caches
            remove(target, f"{target.root}/ours")
            chance = random.Random(7)  # noqa: S311 (the same cuts in each run)
            cuts = [chance.randrange(way.size // 10, way.size) for _ in range(3)]
            twice = [resent(target, source, way.sha256, at) for at in cuts]
        theirs, mine, verified, again, sent = map(list, zip(*turns, strict=True))
        print(f"{name}: theirs {[round(way.size / s / 1e6) for s in theirs]} MB/s", file=sys.stderr)
        figure(name, [one / other for one, other in zip(theirs, mine, strict=True)], "ratio of throughput", against)
        ratios = [one / other for one, other in zip(theirs, verified, strict=True)]
        figure(f"verified_{name}", ratios, "ratio of throughput", against)
        figure(f"again_{name}", again, "s", "a second deploy of the same model")
        figure(f"again_bytes_{name}", sent, "bytes", "a second deploy of the same model")
        figure(f"resent_{name}", twice, "chunks", "a cut at a random point")


class _Way:
    def __init__(self, target: Target, source: Path, native: Callable[[], object]) -> None:
        self.target, self.source, self.native = target, source, native
        self.sha256, self.size = sha256_of(source), source.stat().st_size

    def turn(self, native_first: bool) -> tuple[float, float, float, float, float]:
        """Seconds of theirs, of ours, of ours verified, of ours when it is there, and the bytes that this one sent."""
        both: list[Callable[[], object]] = [self.native, lambda: ours(self.target, self.source)]
        if native_first:
            theirs, mine = timed(both[0]), timed(both[1])
        else:
            mine, theirs = timed(both[1]), timed(both[0])
        remove(self.target, f"{self.target.root}/store")
        verified = timed(lambda: store.ensure(self.target, self.source, self.sha256))
        sent: list[int] = []
        again = timed(
            lambda: store.ensure(self.target, self.source, self.sha256, progress=lambda done, _: sent.append(done))
        )
        return theirs, mine, verified, again, float(max(sent, default=0))


if __name__ == "__main__":
    main()
