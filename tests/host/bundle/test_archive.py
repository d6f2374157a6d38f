from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from smoothdroid.device.common.errors import BadInput, SmoothdroidError
from smoothdroid.host.bundle import archive
from smoothdroid.host.bundle.archive import Entry, check_output, stem, write

BYTES = bytes(range(256)) * 5000


@pytest.fixture
def big(tmp_path: Path) -> Path:
    """A file of more than one piece."""
    path = tmp_path / "big"
    path.write_bytes(BYTES)
    return path


def unpacked(output: Path, into: Path) -> Path:
    """What the machine's own tools make of an archive."""
    into.mkdir()
    program = {".zst": ["zstd", "-dc"], ".gz": ["gzip", "-dc"], ".tar": ["cat"]}[output.suffix]
    if shutil.which(program[0]) is None:
        pytest.skip(f"{program[0]} is not installed")
    plain = subprocess.run([*program, str(output)], check=True, stdout=subprocess.PIPE).stdout
    subprocess.run(["tar", "-xf", "-", "-C", str(into)], input=plain, check=True)
    return into / stem(output)


@pytest.mark.parametrize("suffix", archive.SUFFIXES)
def test_what_comes_out_is_what_went_in(tmp_path: Path, big: Path, suffix: str) -> None:
    output = tmp_path / f"모델{suffix}"
    write([Entry("sub/run.sh", b"#!", executable=True), Entry(f"{'long ' * 30}한국어", big)], output)
    folder = unpacked(output, tmp_path / "into")
    assert (folder / f"{'long ' * 30}한국어").read_bytes() == BYTES
    assert (folder / "sub/run.sh").read_bytes() == b"#!"
    assert [os.access(path, os.X_OK) for path in sorted(folder.rglob("*")) if path.is_file()] == [False, True]


@pytest.mark.parametrize("suffix", archive.SUFFIXES)
def test_the_same_files_make_the_same_bytes(tmp_path: Path, big: Path, suffix: str) -> None:
    """Whatever their order, their dates, their modes, and the name of the folder that they came from."""
    first, second = tmp_path / "one" / f"out{suffix}", tmp_path / "two" / f"out{suffix}"
    first.parent.mkdir()
    second.parent.mkdir()
    write([Entry("a", big), Entry("b", b"x")], first)
    copy = tmp_path / "other name"
    shutil.copyfile(big, copy)
    os.utime(copy, (1, 1))
    copy.chmod(0o600)
    write([Entry("b", b"x"), Entry("a", copy)], second)
    assert first.read_bytes() == second.read_bytes()


def test_members_tell_no_date_and_no_owner(tmp_path: Path, big: Path) -> None:
    write([Entry("b", big), Entry("a", b"")], tmp_path / "x.tar")
    with tarfile.open(tmp_path / "x.tar") as tar:
        found = [(m.name, m.mtime, m.uid, m.gid, m.uname, m.gname) for m in tar]
    assert found == [(name, archive.DATE, 0, 0, "", "") for name in ("x/a", "x/b")]


def test_gzips_own_header_tells_no_date_and_no_name(tmp_path: Path) -> None:
    write([Entry("a", b"")], tmp_path / "x.tar.gz")
    flags, date = (tmp_path / "x.tar.gz").read_bytes()[3:4], (tmp_path / "x.tar.gz").read_bytes()[4:8]
    assert (flags, date) == (b"\0", b"\0" * 4)


def test_a_file_beyond_8_gib_has_a_header_that_tar_reads(tmp_path: Path) -> None:
    """A 7B model as f16 is one. A header says so; the file need not be written for that."""
    member = tarfile.TarInfo("x/model.gguf")
    member.size = 13_500_000_000
    header = tmp_path / "header.tar"
    header.write_bytes(member.tobuf(tarfile.GNU_FORMAT))
    listed = subprocess.run(["tar", "-tvf", str(header)], capture_output=True, text=True, check=False).stdout
    assert "13500000000" in listed


def test_progress_goes_up_to_all(tmp_path: Path, big: Path) -> None:
    told: list[tuple[int, int]] = []
    write([Entry("a", big), Entry("b", b"123")], tmp_path / "x.tar.gz", on_progress=lambda *now: told.append(now))
    assert told == sorted(told)
    assert told[-1] == (len(BYTES) + 3, len(BYTES) + 3)
    assert len(told) >= 3


@pytest.mark.parametrize("how", ["other", "shorter"])
def test_a_file_that_changes_meanwhile_is_refused(tmp_path: Path, big: Path, how: str) -> None:
    """A model that is still being written, or copied over: the checksums in the bundle would not fit."""
    good = Entry("a", big, sha256=hashlib.sha256(BYTES).hexdigest())

    def change(done: int, _total: int) -> None:
        if done == 3:  # after the first file, before the model
            big.write_bytes(b"y" * len(BYTES))

    if how == "other":
        entries = [Entry("0", b"123"), good]
        with pytest.raises(SmoothdroidError, match="big changed while it was packed"):
            write(entries, tmp_path / "x.tar", on_progress=change)
    else:

        def cut(done: int, _total: int) -> None:
            if done == archive.CHUNK:
                os.truncate(big, archive.CHUNK)

        with pytest.raises(SmoothdroidError, match="big changed while it was packed"):
            write([good], tmp_path / "x.tar", on_progress=cut)
    assert [path.name for path in tmp_path.iterdir()] == ["big"]


@pytest.mark.parametrize("before", [None, b"what was there"])
@pytest.mark.parametrize("suffix", archive.SUFFIXES)
def test_ctrl_c_leaves_what_was_there(tmp_path: Path, big: Path, before: bytes | None, suffix: str) -> None:
    output = tmp_path / f"x{suffix}"
    if before:
        output.write_bytes(before)

    def stop(done: int, _total: int) -> None:
        if done > archive.CHUNK:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write([Entry("a", big)], output, on_progress=stop)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(["big", *([output.name] if before else [])])
    assert not before or output.read_bytes() == before


def test_no_room_is_told_beforehand(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, big: Path) -> None:
    usage = shutil.disk_usage(tmp_path)
    free = len(BYTES) + archive.SPARE_BYTES
    for left, enough in ((free, True), (free - 1, False)):
        monkeypatch.setattr(shutil, "disk_usage", lambda _, left=left: usage._replace(free=left))
        output = tmp_path / f"{enough}.tar"
        if enough:
            write([Entry("a", big)], output)
        else:
            with pytest.raises(BadInput, match=r"has 17 MiB free, and the bundle may take 17 MiB"):
                write([Entry("a", big)], output)
        assert output.exists() == enough


@pytest.mark.parametrize("name", ["x.zip", "x", ".tar.zst", "x.tar.xz", "x.zst"])
def test_a_kind_that_there_is_not_is_bad_input(name: str) -> None:
    with pytest.raises(BadInput, match=r"must be \.tar\.zst, \.tar\.gz or \.tar"):
        stem(Path(name))


def test_what_is_there_is_replaced_when_asked(tmp_path: Path) -> None:
    output = tmp_path / "x.tar.zst"
    check_output(output, replace=False)
    output.touch()
    with pytest.raises(BadInput, match="replace it with --force"):
        check_output(output, replace=False)
    check_output(output, replace=True)
    with pytest.raises(BadInput, match="does not exist: create it first"):
        check_output(tmp_path / "nosuch" / "x.tar", replace=True)
    (tmp_path / "y.tar").mkdir()
    with pytest.raises(BadInput, match="is a folder"):
        check_output(tmp_path / "y.tar", replace=True)
