"""Tests of appending a file on a phone that writes slowly or not at all."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from smoothdroid.device import virtual
from smoothdroid.device.common.errors import TargetLost, TargetTimeout
from smoothdroid.device.store import upload
from smoothdroid.device.transport import file_transfer
from smoothdroid.device.transport.adb_shell import MOST_IN_TRANSIT
from smoothdroid.device.transport.resolve import open_target
from smoothdroid.device.transport.target import Target

SIZE = 200 << 20
STOP_AT = 64 << 20


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "long"
    path.touch()
    os.truncate(path, SIZE)
    return path


def test_no_more_than_a_chunk_is_in_transit_to_a_phone_that_writes_slowly(
    phone: virtual.VirtualPhone, adb_target: Target, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(file_transfer, "BLOCK_BYTES", 1024)
    remote = f"{adb_target.root}/append-slow"
    there = phone.folder / remote.lstrip("/")  # asking the phone would give it time
    in_transit: list[int] = []
    adb_target.run(["mkdir", "-p", adb_target.root])
    try:
        adb_target.append(source, remote, 0, progress=lambda sent, _: in_transit.append(sent - size_of(there)))
        assert size_of(there) == SIZE
    finally:
        adb_target.run(["sh", "-c", f"rm -f {remote}*"])
    assert max(in_transit) <= MOST_IN_TRANSIT + file_transfer.PIECE
    assert MOST_IN_TRANSIT + file_transfer.PIECE <= upload.CHUNK


def size_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


@pytest.mark.fault(
    "the phone's storage stands still while a model is sent",
    transport="adb",
    outcome="given up with an error after a minute; what arrived is kept",
)
def test_a_phone_that_writes_nothing_more_is_not_waited_for(
    adb_target: Target, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("adb", "adb_shell"):
        monkeypatch.setattr(f"smoothdroid.device.transport.{module}.TRANSFER_TIMEOUT_S", 1.0)
    remote = f"{adb_target.root}/append-stuck"

    def progress(sent: int, total: int) -> None:
        if sent == STOP_AT:
            adb_target.run(["pkill", "-STOP", "-x", "dd"])

    adb_target.run(["mkdir", "-p", adb_target.root])
    try:
        with pytest.raises(TargetTimeout, match="append"):
            adb_target.append(source, remote, 0, progress=progress)
    finally:
        adb_target.run(["pkill", "-CONT", "-x", "dd"], check=False)
        adb_target.run(["sh", "-c", f"rm -f {remote}*"])


@pytest.mark.parametrize("transport", ["adb", "ssh"])
@pytest.mark.fault(
    "the phone dies while a model is sent, and the adb server goes on taking it",
    transport="any",
    outcome="noticed within the 24 MiB that are in transit",
)
def test_nothing_goes_on_being_sent_to_a_phone_that_died(transport: str, source: Path) -> None:
    phone = virtual.start(f"append-{os.getpid()}")
    done = [0]

    def progress(sent: int, total: int) -> None:
        done[0] = sent
        if sent == STOP_AT:
            virtual.stop(phone.name)

    try:
        target = open_target(f"virtual:{phone.name}/{transport}")
        target.run(["mkdir", "-p", target.root])
        with pytest.raises(TargetLost):
            upload.ensure(target, source, "0" * 64, progress=progress)
        assert STOP_AT <= done[0] < SIZE
        target.close()
    finally:
        virtual.stop(phone.name, erase=True)
