from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.common.lock import exclusive
from tests.host import without

HOLD = """
import sys
from pathlib import Path
from smoothdroid.device.common.lock import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""
TRY = """
import sys
from pathlib import Path
from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.common.lock import exclusive
try:
    with exclusive(Path(sys.argv[1])):
        print("held")
except BadInput as error:
    print(error)
"""
NO_LOCKS = [{"flock": "ENOLCK"}, {"flock": "EOPNOTSUPP"}, {"flock": "ENOSYS"}, {"flock": "EBADF"}]


def python(code: str, path: Path, refusals: dict[str, str]) -> list[str]:
    argv = [sys.executable, "-c", code, str(path)]
    return without.command(refusals, argv) if refusals else argv


@contextmanager
def holder(path: Path, refusals: dict[str, str]) -> Iterator[subprocess.Popen[str]]:
    argv = python(HOLD, path, refusals)
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=without.ROOT) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"
        try:
            yield process
        finally:
            process.kill()


def attempt(path: Path, refusals: dict[str, str]) -> str:
    argv = python(TRY, path, refusals)
    done = subprocess.run(argv, check=True, capture_output=True, text=True, cwd=without.ROOT)
    return done.stdout.strip()


@pytest.mark.fault(
    "another smoothdroid writes to the same folder",
    transport="workstation",
    outcome="refused in one line; free again as soon as the other has ended, however it ended",
)
@pytest.mark.parametrize("what", [".", "lock"])
def test_a_second_process_is_refused_until_the_first_is_dead(tmp_path: Path, what: str) -> None:
    path = tmp_path / what
    with (
        holder(path, {}),
        pytest.raises(BadInput, match=f"{tmp_path}: another smoothdroid is using this folder"),
        exclusive(path),
    ):
        pass
    with exclusive(path):
        pass


@pytest.mark.fault(
    "a folder on NFS without locks, or on another file system that has none",
    transport="workstation",
    outcome="the work goes on, and a second process of this machine is still refused",
)
@pytest.mark.parametrize("refusals", NO_LOCKS, ids=lambda refusals: refusals["flock"])
@pytest.mark.parametrize("what", [".", "lock"])
def test_a_file_system_without_locks(tmp_path: Path, refusals: dict[str, str], what: str) -> None:
    path = tmp_path / what
    with holder(path, refusals) as first:
        assert "another smoothdroid is using this folder" in attempt(path, refusals)
        assert attempt(tmp_path / "other", refusals) == "held"
        first.kill()
        first.wait()
        assert attempt(path, refusals) == "held"


def test_cifs_answers_eacces_for_a_file_that_is_held(tmp_path: Path) -> None:
    assert "another smoothdroid is using this folder" in attempt(tmp_path, {"flock": "EACCES"})


def test_waiting_until_the_other_has_ended(tmp_path: Path) -> None:
    waiting = threading.Event()
    with holder(tmp_path, {}) as first:

        def end_when_waited_for() -> None:
            waiting.wait()
            first.kill()

        ends = threading.Thread(target=end_when_waited_for)
        ends.start()
        with exclusive(tmp_path, wait=True, on_wait=waiting.set):
            assert waiting.is_set()
        ends.join()


def test_what_cannot_be_opened_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), exclusive(tmp_path / "nowhere" / "lock"):
        pass
