"""Tests of what only the local transport does; test_target.py has those of all transports."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from smoothdroid.device.common.errors import TargetTimeout
from smoothdroid.device.transport.local import LocalTarget
from tests.processes import is_alive
from tests.waiting import eventually


def test_its_files_are_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMOOTHDROID_CACHE", str(tmp_path))
    assert LocalTarget().root == str(tmp_path / "local")


def test_after_a_timeout_nothing_goes_on(tmp_path: Path) -> None:
    script = f"sleep 3600 & echo $! $$ >{tmp_path}/pids; wait"
    with pytest.raises(TargetTimeout, match="no answer within 1 s"):
        LocalTarget().run(["sh", "-c", script], timeout_s=1)
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    eventually(lambda: not any(map(is_alive, pids)))


def test_after_an_error_in_a_listener_nothing_goes_on(tmp_path: Path) -> None:
    """Ctrl-C is such an error."""

    def interrupt(piece: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        LocalTarget().run(["sh", "-c", f"echo $$ >{tmp_path}/pid; echo; sleep 3600"], on_output=interrupt)
    pid = int((tmp_path / "pid").read_text())
    assert pid != os.getpid()
    eventually(lambda: not is_alive(pid))
