from __future__ import annotations

from pathlib import Path

import pytest

from host import doctor
from host.doctor import Check


def examine() -> dict[str, Check]:
    return {check.what: check for check in doctor.examine()}


def test_every_check_says_what_was_found() -> None:
    found = examine()
    assert found["Python 3.10 or newer"].ok
    assert found["cmake"].ok
    assert {check.needed_for for check in found.values()} >= {"all", "build", "prepare", "phone"}
    assert all(check.detail for check in found.values())


def test_a_machine_that_lacks_things_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "nosuchcompiler")
    monkeypatch.setenv("ANDROID_NDK", str(tmp_path))
    found = examine()
    here, phones = found["compiler for this machine"], found["compiler for phones"]
    assert (here.ok, phones.ok) == (False, False)
    assert "build-essential" in here.detail
    assert "unset it to build with zig" in phones.detail


def test_looks_at_the_disk_of_the_cache_and_makes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "not" / "yet"
    monkeypatch.setenv("SMOOTHDROID_CACHE", str(cache))
    disk = examine()["disk"]
    assert f"GiB free for {cache}" in disk.detail
    assert disk.ok == ("set SMOOTHDROID_CACHE" not in disk.detail)
    assert list(tmp_path.iterdir()) == []
