from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from smoothdroid.device.common.atomic_file import publish, replacing, replacing_folder, write_atomically

KILLED_WHILE_WRITING = """
import os, signal, sys
from pathlib import Path
from smoothdroid.device.common.atomic_file import replacing
with replacing(Path(sys.argv[1])) as new:
    new.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def content(folder: Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


def fail_halfway(file: Path) -> None:
    file.write_text("half")
    raise ValueError("no")


@pytest.mark.parametrize("durable", [False, True])
def test_a_file_is_replaced(tmp_path: Path, durable: bool) -> None:
    for text in ("a longer text", "짧다\n"):
        write_atomically(tmp_path / "file", text, durable=durable)
        assert content(tmp_path) == {"file": text}
    write_atomically(tmp_path / "file", b"\r\n", durable=durable)
    assert (tmp_path / "file").read_bytes() == b"\r\n"


def test_after_an_error_the_old_file_stays(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with pytest.raises(ValueError, match="no"), replacing(tmp_path / "file") as new:
        fail_halfway(new)
    assert content(tmp_path) == {"file": "old"}


@pytest.mark.fault(
    "smoothdroid is killed while it writes a file",
    transport="workstation",
    outcome="the old file stays; the next write succeeds and leaves nothing else behind",
)
def test_after_a_kill_the_old_file_stays(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    subprocess.run([sys.executable, "-c", KILLED_WHILE_WRITING, str(tmp_path / "file")], check=False)
    assert (tmp_path / "file").read_text() == "old"
    write_atomically(tmp_path / "file", "new")
    assert content(tmp_path) == {"file": "new"}


def test_a_finished_file_is_published(tmp_path: Path) -> None:
    (tmp_path / "new").write_text("new")
    (tmp_path / "final").write_text("old")
    publish(tmp_path / "new", tmp_path / "final")
    assert content(tmp_path) == {"final": "new"}


def test_a_folder_is_replaced_whole(tmp_path: Path) -> None:
    for text in ("old", "new"):
        with replacing_folder(tmp_path / "folder") as new:
            (new / text).write_text(text)
        assert content(tmp_path) == {f"folder/{text}": text}
    with pytest.raises(ValueError, match="no"), replacing_folder(tmp_path / "folder") as new:
        fail_halfway(new / "half")
    assert content(tmp_path) == {"folder/new": "new"}
