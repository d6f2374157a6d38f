"""Fetching with the real pip, from a folder in the package index's place."""

from __future__ import annotations

import hashlib
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from smoothdroid.device.common.cache_folder import cache_root
from smoothdroid.device.common.errors import SmoothdroidError
from smoothdroid.device.common.file_hash import sha256_of
from smoothdroid.host.common.pypi import Pin, fetch

WHEEL = "tiny_model-1.0-py3-none-any.whl"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with one wheel, which is all that pip may look at; an empty cache."""
    folder = tmp_path / "index"
    folder.mkdir()
    with zipfile.ZipFile(folder / WHEEL, "w") as wheel:
        information = "tiny_model-1.0.dist-info"
        wheel.writestr(f"{information}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n")
        wheel.writestr(f"{information}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{information}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("SMOOTHDROID_CACHE", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def pin(index: Path) -> Pin:
    return Pin("tiny-model", "1.0", WHEEL, sha256_of(index / WHEEL))


def downloads() -> list[str]:
    return [path.name for path in (cache_root() / "downloads").iterdir()]


def test_a_file_is_fetched_once(index: Path, pin: Pin) -> None:
    fetched = fetch(pin)
    assert fetched.read_bytes() == (index / WHEEL).read_bytes()
    assert downloads() == [WHEEL]
    (index / WHEEL).unlink()
    assert fetch(pin) == fetched


def test_a_damaged_download_is_fetched_again(index: Path, pin: Pin) -> None:
    fetch(pin).write_bytes(b"half of it")
    assert sha256_of(fetch(pin)) == pin.sha256


def test_a_file_of_another_hash_is_refused(pin: Pin) -> None:
    with pytest.raises(SmoothdroidError, match=r"(?s)could not download tiny-model 1\.0.*hash"):
        fetch(Pin(pin.package, pin.version, pin.filename, "0" * 64))
    assert downloads() == []


def test_what_the_index_does_not_have_is_named(pin: Pin) -> None:
    with pytest.raises(SmoothdroidError, match=r"(?s)could not download nosuch 1\.0.*Is the package index reachable"):
        fetch(Pin("nosuch", "1.0", "nosuch-1.0.whl", pin.sha256))
    assert downloads() == []


def test_a_full_disk_is_told_as_one(index: Path) -> None:
    with zipfile.ZipFile(index / WHEEL, "a") as wheel:
        wheel.writestr("large", bytes(1 << 16))
    full = f'mount -t tmpfs -o size=16k none {cache_root()} && exec {sys.executable} -c "$0"'
    pinned = ("tiny-model", "1.0", WHEEL, sha256_of(index / WHEEL))
    code = f"from smoothdroid.host.common.pypi import Pin, fetch; fetch(Pin{pinned})"
    cache_root().mkdir()
    command = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", full, code]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert f"BadInput: the disk is full: there is no room for {WHEEL} in {cache_root()}/downloads" in done.stderr


def test_hashes_what_a_file_holds(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"content")
    assert sha256_of(tmp_path / "x") == hashlib.sha256(b"content").hexdigest()
