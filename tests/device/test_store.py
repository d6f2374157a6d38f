"""Files on the phone by content, in this machine's folders, with what goes wrong on phones put in between."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from device.errors import BadInput, CommandFailed, TargetLost
from device.local import LocalTarget
from device.store import ensure, free_bytes
from device.target import Completed, OnOutput, Progress


class Watched(LocalTarget):
    """This machine; counts what is sent, and can spoil it or say another `df`."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.sent: list[str] = []
        self.spoil: Callable[[Path], object] = lambda arrived: None
        self.df: str | None = None

    def run(
        self,
        argv: Sequence[str],
        *,
        env: Mapping[str, str] | None = None,
        timeout_s: float = 60.0,
        check: bool = True,
        on_output: OnOutput | None = None,
        tied: bool = False,
    ) -> Completed:
        if argv[0] == "df" and self.df is not None:
            return Completed(0, self.df, "")
        return super().run(argv, env=env, timeout_s=timeout_s, check=check, on_output=on_output, tied=tied)

    def push(self, source: Path, remote: str, *, mode: int = 0o644, progress: Progress | None = None) -> None:
        self.sent.append(remote)
        super().push(source, remote, mode=mode, progress=progress)
        self.spoil(Path(remote))


@pytest.fixture
def target(tmp_path: Path) -> Watched:
    return Watched(tmp_path / "phone")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "model q8.gguf"
    file.write_bytes(b"weights" * 1000)
    return file


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def files(target: Watched) -> list[str]:
    return sorted(path.name for path in Path(target.root).rglob("*") if path.is_file())


def test_it_lies_under_its_hash_with_its_name(target: Watched, source: Path) -> None:
    remote = ensure(target, source, sha256(source))
    assert remote == f"{target.root}/store/{sha256(source)[:16]}/{source.name}"
    assert Path(remote).read_bytes() == source.read_bytes()
    assert files(target) == [source.name]


def test_what_is_there_is_not_sent_again(target: Watched, source: Path) -> None:
    told: list[tuple[int, int]] = []
    first = ensure(target, source, sha256(source), progress=lambda *now: told.append(now))
    assert told[-1] == (7000, 7000)
    assert ensure(target, source, sha256(source)) == first
    assert len(target.sent) == 1


def test_another_content_of_the_same_name_is_another_file(target: Watched, source: Path) -> None:
    first = ensure(target, source, sha256(source))
    source.write_bytes(b"others")
    second = ensure(target, source, sha256(source))
    assert first != second
    assert Path(first).read_bytes() == b"weights" * 1000


@pytest.mark.parametrize(("executable", "mode"), [(False, 0o644), (True, 0o755)])
def test_a_program_can_be_run(target: Watched, source: Path, executable: bool, mode: int) -> None:
    remote = ensure(target, source, sha256(source), executable=executable)
    assert Path(remote).stat().st_mode & 0o777 == mode


def test_an_interrupted_push_does_not_count(target: Watched, source: Path) -> None:
    def interrupt(arrived: Path) -> None:
        arrived.write_bytes(b"wei")
        raise TargetLost("the cable")

    target.spoil = interrupt
    with pytest.raises(TargetLost):
        ensure(target, source, sha256(source))
    assert files(target) == [f"{source.name}.part"]
    target.spoil = lambda arrived: None
    remote = ensure(target, source, sha256(source))
    assert Path(remote).read_bytes() == source.read_bytes()
    assert len(target.sent) == 2
    assert files(target) == [source.name]


@pytest.mark.parametrize("arrived", [b"", b"weights" * 999, b"weighty" * 1000])
def test_what_arrives_wrong_is_refused_and_gone(target: Watched, source: Path, arrived: bytes) -> None:
    target.spoil = lambda path: path.write_bytes(arrived)
    with pytest.raises(CommandFailed, match="not what was sent"):
        ensure(target, source, sha256(source))
    assert files(target) == []


TOYBOX = """Filesystem      1K-blocks     Used Available Use% Mounted on
/dev/block/dm-5 {total} {used} {free} 50% /data/user/0
"""
COREUTILS = """Filesystem     1K-blocks      Used Available Use% Mounted on
/dev/sda1      {total} {used} {free}  50% /
"""
WRAPPED = """Filesystem           1K-blocks      Used Available Use% Mounted on
/dev/block/platform/soc/1d84000.ufshc/by-name/userdata
                     {total} {used} {free}  50% /data
"""
FUSE = """Filesystem     1K-blocks     Used Available Use% Mounted on
/dev/fuse      {total} {used} {free}  50% /storage/emulated
"""


@pytest.mark.parametrize("df", [TOYBOX, COREUTILS, WRAPPED, FUSE])
def test_the_free_space_is_read_from_every_df(target: Watched, df: str) -> None:
    target.df = df.format(total=20_000_000, used=10_000_000, free=9_000_000)
    assert free_bytes(target, "/data") == 9_000_000 * 1024


@pytest.mark.parametrize(
    "df",
    [
        "",
        "Filesystem     1K-blocks     Used Available Use% Mounted on\n",
        # Android 5 and older: toolbox, which knows no -k.
        "Filesystem               Size     Used     Free   Blksize\n/data   12.1G     3.5G     8.6G   4096\n",
        "df: /data: Permission denied\n",
    ],
)
def test_no_free_space_is_made_up(target: Watched, df: str) -> None:
    target.df = df
    with pytest.raises(CommandFailed, match="no free space in"):
        free_bytes(target, "/data")


@pytest.mark.parametrize(("free_kb", "fits"), [(262_144, False), (262_144 + 6, False), (262_144 + 7, True)])
def test_a_phone_is_not_filled_up(target: Watched, source: Path, free_kb: int, fits: bool) -> None:
    target.df = TOYBOX.format(total=20_000_000, used=1, free=free_kb)
    if fits:
        ensure(target, source, sha256(source))
        return
    with pytest.raises(BadInput, match=r"256 MiB free .* 256 MiB should stay free.*/store"):
        ensure(target, source, sha256(source))
    assert target.sent == []
