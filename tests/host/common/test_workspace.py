from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.common.workspace import require_space, workspace
from tests.host import without


def test_the_workspace_is_gone_however_it_ends(tmp_path: Path) -> None:
    with workspace(tmp_path / "new", "it") as partial:
        assert partial.parent == tmp_path / "new"
        (partial / "half").write_text("half")
    with pytest.raises(IsADirectoryError), workspace(tmp_path / "new", "it") as partial:
        partial.write_text("this cannot be")
    assert list((tmp_path / "new").iterdir()) == []


@pytest.mark.fault(
    "a killed run left its half-made files",
    transport="workstation",
    outcome="removed by the next run",
)
def test_what_a_killed_run_left_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".it.partial" / "deep").mkdir(parents=True)
    with workspace(tmp_path, "it") as partial:
        assert list(partial.iterdir()) == []


def test_a_second_run_in_the_same_folder_is_refused(tmp_path: Path) -> None:
    other = (
        "import sys; from pathlib import Path; from smoothdroid.host.common.workspace import workspace\n"
        "with workspace(Path(sys.argv[1]), 'it'):\n    print('in', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", other, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    with holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"in\n"
        with pytest.raises(BadInput, match="another smoothdroid is using this folder"), workspace(tmp_path, "it"):
            pass
        assert (tmp_path / ".it.partial").is_dir(), "the other's work is not touched"
    with workspace(tmp_path, "it"):
        pass


def test_an_output_that_is_a_file_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot be used as an output folder"), workspace(tmp_path / "file", "it"):
        pass


@pytest.mark.fault(
    "too little space on the disk of the output folder",
    transport="workstation",
    outcome="refused before anything is written: how much is missing",
)
def test_space_says_how_much_is_missing(tmp_path: Path) -> None:
    require_space(tmp_path, 1)
    require_space(tmp_path, 10**9, free_bytes=10**9)
    with pytest.raises(BadInput, match=r"2\.50 GB are needed and 1\.00 GB are free: 1\.50 GB are missing"):
        require_space(tmp_path, 2_500_000_000, free_bytes=10**9)
    with pytest.raises(BadInput, match="are missing"):
        require_space(tmp_path, 10**18)


@pytest.mark.parametrize("error", ["ENOLCK", "EOPNOTSUPP"])
def test_a_file_system_without_locks(tmp_path: Path, error: str) -> None:
    """NFS without lockd. Two runs of this machine are kept apart there too: see tests/host/common/test_lock.py."""
    code = (
        "import sys; from pathlib import Path; from smoothdroid.host.common.workspace import workspace\n"
        "with workspace(Path(sys.argv[1]), 'it') as partial:\n    print(partial.is_dir())"
    )
    argv = without.command({"flock": error}, [sys.executable, "-c", code, str(tmp_path)])
    done = subprocess.run(argv, check=True, capture_output=True, text=True, cwd=without.ROOT)
    assert done.stdout == "True\n"
    assert list(tmp_path.iterdir()) == []
