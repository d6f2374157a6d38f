"""The throughput of a file to the emulated phone, relative to `adb push` and scp, interleaved.

    python -m benchmarks.push [--mib 1024] [--rounds 5]

`adb` and `ssh` are ratios of throughput, ours over theirs, from the first byte sent until the last one is in the
phone's file. `verified_*` count the phone's own sha256sum too, which neither of the others asks for; that of the
emulated phone is plain C, where Android's uses the CPU's instructions. `again_*`: the second deploy of the same model,
as seconds and as bytes of it that were sent. `resent_*`: the phone dies at a random
point of the transfer and comes back; so many chunks were sent again.
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

from smoothdroid.device import virtual
from smoothdroid.device.common.errors import SmoothdroidError
from smoothdroid.device.common.file_hash import sha256_of
from smoothdroid.device.store import upload
from smoothdroid.device.transport import file_transfer
from smoothdroid.device.transport.resolve import open_target
from smoothdroid.device.transport.target import Progress, Target, remove
from smoothdroid.device.virtual import VirtualPhone
from smoothdroid.host.results.statistics import interval


def timed(what: Callable[[], object]) -> float:
    """Return the seconds that a call takes."""
    began = time.monotonic()
    what()
    return time.monotonic() - began


def native_adb(phone: VirtualPhone, source: Path, remote: str) -> None:
    """Send a file with `adb push`."""
    adb = shutil.which("adb") or str(Path(adbutils.__file__).parent / "binaries/adb")
    command = [adb, "-s", phone.adb_address, "push", str(source), remote]
    subprocess.run(command, check=True, capture_output=True)


def native_scp(phone: VirtualPhone, source: Path, remote: str) -> None:
    """Send a file with scp."""
    options = ["-P", str(phone.ssh_port), "-i", str(phone.ssh_key), "-o", f"UserKnownHostsFile={phone.known_hosts}"]
    command = ["scp", "-q", *options, str(source), f"{phone.ssh_user}@127.0.0.1:{remote}"]
    subprocess.run(command, check=True, capture_output=True)


def figure(name: str, values: list[float], unit: str, against: str) -> None:
    """Print one figure as JSON."""
    found = interval(values)
    facts = {"name": name, "value": found.mean, "low": found.low, "high": found.high, "unit": unit, "against": against}
    print(json.dumps(facts))


class _Sent:
    """The bytes that one attempt sent, as its progress reports them."""

    def __init__(self, cut: Callable[[], object] | None = None, at: int = 0) -> None:
        self.first, self.last = -1, 0
        self._cut, self._at = cut, at

    def __call__(self, done: int, total: int) -> None:
        if self.first < 0:
            self.first = max(done - file_transfer.PIECE, 0)
        self.last = done
        if self._cut and done >= self._at:
            self._cut()
            self._cut = None


def resent(phone: VirtualPhone, way: str, source: Path, sha256: str, at: int) -> float:
    """Return the number of chunks sent twice when the phone dies at a byte, returns, and receives the rest."""
    first, second = _Sent(partial(virtual.stop, phone.name), at), _Sent()
    with closing(open_target(way)) as target:
        remove(target, f"{target.root}/store")
        with suppress(SmoothdroidError):
            upload.ensure(target, source, sha256, progress=first)
    virtual.start(phone.name)
    with closing(open_target(way)) as target:
        upload.ensure(target, source, sha256, progress=second)
    return (first.last - second.first) / upload.CHUNK


def main() -> None:
    """Measure, and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mib", type=int, default=1024, help="Size of the file.")
    parser.add_argument("--rounds", type=int, default=5)
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
        with closing(open_target(on := f"virtual:{phone.name}{suffix}")) as target:
            target.run(["mkdir", "-p", target.root])
            way = _Way(target, source, partial(native, phone))
            turns = [way.turn(number % 2 == 0) for number in range(rounds + 1)][1:]  # the first fills caches
            remove(target, way.alone)
        chance = random.Random(7)  # noqa: S311 (the same cuts in each run)
        cuts = [chance.randrange(way.size // 10, way.size * 9 // 10) for _ in range(5)]
        twice = [resent(phone, on, source, way.sha256, at) for at in cuts]
        theirs, mine, verified, again, sent = map(list, zip(*turns, strict=True))
        print(f"{name}: theirs {[round(way.size / s / 1e6) for s in theirs]} MB/s", file=sys.stderr)
        figure(name, [one / other for one, other in zip(theirs, mine, strict=True)], "ratio of throughput", against)
        ratios = [one / other for one, other in zip(theirs, verified, strict=True)]
        figure(f"verified_{name}", ratios, "ratio of throughput", against)
        figure(f"again_{name}", again, "s", "a second deploy of the same model")
        figure(f"again_bytes_{name}", sent, "bytes", "a second deploy of the same model")
        figure(f"resent_{name}", twice, "chunks", "a phone that died at a random point")


class _Way:
    """One file, one transport, and another tool that sends over it."""

    def __init__(self, target: Target, source: Path, native: Callable[[Path, str], object]) -> None:
        self.target, self.source, self.native = target, source, native
        self.sha256, self.size = sha256_of(source), source.stat().st_size
        self.alone, self.store = f"{target.root}/alone", f"{target.root}/store"

    def turn(self, native_first: bool) -> tuple[float, float, float, float, float]:
        """Return the seconds of the other tool, ours, ours verified and a second deploy, and its bytes."""
        both = [lambda: self.native(self.source, self.alone), lambda: self.target.append(self.source, self.alone, 0)]
        theirs, ours = map(self.seconds, both) if native_first else reversed([*map(self.seconds, reversed(both))])
        verified = self.seconds(self.ensure)
        sent: list[int] = []
        again = timed(lambda: self.ensure(lambda done, _: sent.append(done)))
        return theirs, ours, verified, again, float(max(sent, default=0))

    def ensure(self, progress: Progress | None = None) -> str:
        """Deploy a file as `smoothdroid deploy` does, and return its path on the phone."""
        return upload.ensure(self.target, self.source, self.sha256, progress=progress, sampled=True)

    def seconds(self, send: Callable[[], object]) -> float:
        """Return the seconds of a transfer to a phone that has no part of the file and no pending writes."""
        for path in (self.alone, self.store):
            remove(self.target, path)
        os.sync()
        taken = timed(send)
        said = self.target.run(
            ["sh", "-c", 'stat -c %s "$1" "$2"/*/*.gguf', "sizes", self.alone, self.store], check=False
        )
        if said.stdout.strip() != str(self.size):
            raise SystemExit(f"{said.stdout.strip()} bytes arrived of {self.size}")
        return taken


if __name__ == "__main__":
    main()
