"""This machine as a target: what is its own. What every target promises is in test_target.py."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from smoothdroid.device.common.errors import TargetTimeout
from smoothdroid.device.transport.local import LocalTarget


def test_its_files_are_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMOOTHDROID_CACHE", str(tmp_path))
    assert LocalTarget().root == str(tmp_path / "local")


def alive(pid: int) -> bool:
    """A zombie is dead: only its parent has not looked yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_after_a_timeout_nothing_goes_on(tmp_path: Path) -> None:
    script = f"sleep 20 & echo $! $$ >{tmp_path}/pids; wait"
    began = time.monotonic()
    with pytest.raises(TargetTimeout, match="no answer within 1 s"):
        LocalTarget().run(["sh", "-c", script], timeout_s=1)
    assert time.monotonic() - began < 5
    pids = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(pids) == 2
    deadline = time.monotonic() + 5
    while any(map(alive, pids)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_after_an_error_in_a_listener_nothing_goes_on(tmp_path: Path) -> None:
    """As after Ctrl-C."""

    def interrupt(piece: str) -> None:
        raise KeyboardInterrupt

    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        LocalTarget().run(["sh", "-c", f"echo $$ >{tmp_path}/pid; echo; sleep 20"], on_output=interrupt)
    assert time.monotonic() - began < 5
    pid = int((tmp_path / "pid").read_text())
    assert pid != os.getpid()
    deadline = time.monotonic() + 5
    while alive(pid):
        assert time.monotonic() < deadline
        time.sleep(0.01)
