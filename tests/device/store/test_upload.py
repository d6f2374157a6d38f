"""Files on the phone by content, in this machine's folders, with what goes wrong on phones put in between."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import pytest

from smoothdroid.device.common.errors import BadInput, CommandFailed, TargetLost
from smoothdroid.device.store import upload
from smoothdroid.device.store.upload import CHUNK, RESERVE_BYTES, ensure, free_bytes
from smoothdroid.device.transport import file_transfer
from smoothdroid.device.transport.local import LocalTarget
from smoothdroid.device.transport.target import Completed, OnOutput, Progress


class Watched(LocalTarget):
    """This machine; counts what is sent, and can spoil it or say another `df`."""

    def __init__(self, root: Path) -> None:
        self.root = str(root)
        self.sent: list[tuple[str, int]] = []
        """Where to, and how many bytes."""
        self.spoil: Callable[[Path], object] = lambda arrived: None
        self.df: str | None = None
        self.look = ""
        self.before: dict[str, Callable[[], object]] = {}
        """What happens, once, before a command with this word in it."""

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
        for word in set(self.before).intersection(argv):
            self.before.pop(word)()
        if self.look and "look" in argv:
            return Completed(0, self.look, "")
        if argv[0] == "df" and self.df is not None:
            return Completed(0, self.df, "")
        return super().run(argv, env=env, timeout_s=timeout_s, check=check, on_output=on_output, tied=tied)

    def append(self, source: Path, remote: str, start: int, *, progress: Progress | None = None) -> None:
        self.sent.append((Path(remote).name, source.stat().st_size - start))
        super().append(source, remote, start, progress=progress)
        self.spoil(Path(remote))


@pytest.fixture
def target(tmp_path: Path) -> Watched:
    return Watched(tmp_path / "phone")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    file = tmp_path / "model q8.gguf"
    file.write_bytes(random.Random(0).randbytes(2 * CHUNK + 1234))  # noqa: S311
    return file


def sha256(file: Path) -> str:
    return hashlib.sha256(file.read_bytes()).hexdigest()


def files(target: Watched) -> list[str]:
    return sorted(path.name for path in Path(target.root).rglob("*") if path.is_file())


def test_it_lies_under_its_hash_with_its_name(target: Watched, source: Path) -> None:
    remote = ensure(target, source, sha256(source))
    assert remote == f"{target.root}/store/{sha256(source)[:16]}/{source.name}"
    assert Path(remote).read_bytes() == source.read_bytes()
    assert files(target) == [f".{source.name}.whole", source.name]


def test_an_empty_file_is_a_file(target: Watched, source: Path) -> None:
    source.write_bytes(b"")
    assert Path(ensure(target, source, sha256(source))).read_bytes() == b""


def test_what_is_there_is_not_sent_again(target: Watched, source: Path) -> None:
    told: list[tuple[int, int]] = []
    first = ensure(target, source, sha256(source), progress=lambda *now: told.append(now))
    assert told[-1] == (source.stat().st_size, source.stat().st_size)
    assert ensure(target, source, sha256(source)) == first
    assert len(target.sent) == 1


def test_nor_under_another_name(target: Watched, source: Path) -> None:
    first = ensure(target, source, sha256(source))
    assert ensure(target, source.rename(source.with_name("other.gguf")), sha256(Path(first))) == first
    assert len(target.sent) == 1


def test_files_of_one_group_lie_together_under_their_names(target: Watched, source: Path) -> None:
    twin = source.with_name("twin")
    twin.write_bytes(source.read_bytes())
    remote = [ensure(target, file, sha256(file), group="ab" * 32) for file in (source, twin)]
    assert remote == [f"{target.root}/store/{'ab' * 8}/{name}" for name in (source.name, "twin")]
    assert all(Path(path).read_bytes() == source.read_bytes() for path in remote)


def test_another_content_of_the_same_name_is_another_file(target: Watched, source: Path) -> None:
    before = source.read_bytes()
    first = ensure(target, source, sha256(source))
    source.write_bytes(b"others")
    second = ensure(target, source, sha256(source))
    assert first != second
    assert Path(first).read_bytes() == before


@pytest.mark.parametrize(("executable", "mode"), [(False, 0o600), (True, 0o700)])
def test_a_program_can_be_run(target: Watched, source: Path, executable: bool, mode: int) -> None:
    remote = ensure(target, source, sha256(source), executable=executable)
    assert Path(remote).stat().st_mode & 0o777 == mode


@pytest.mark.parametrize("arrived", [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK])
def test_what_was_cut_off_is_gone_on_with(target: Watched, source: Path, arrived: int) -> None:
    def cut(part: Path) -> None:
        os.truncate(part, arrived)
        raise TargetLost("the cable")

    size = source.stat().st_size
    target.spoil = cut
    with pytest.raises(TargetLost):
        ensure(target, source, sha256(source))
    assert source.name not in files(target)
    target.spoil = lambda part: None
    remote = ensure(target, source, sha256(source))
    assert Path(remote).read_bytes() == source.read_bytes()
    assert [sent for _, sent in target.sent] == [size, size - arrived]
    assert files(target) == [f".{source.name}.whole", source.name]


def flip(file: Path, at: int) -> None:
    with file.open("r+b") as opened:
        opened.seek(at)
        byte = opened.read(1)[0]
        opened.seek(at)
        opened.write(bytes([byte ^ 1]))


@pytest.mark.fault(
    "a bit of a model flips on its way to the phone",
    transport="any",
    outcome="the phone's own hash finds it; only what follows the last right 32 MiB is sent again",
)
def test_a_chunk_that_was_flipped_on_the_way_is_sent_again(target: Watched, source: Path) -> None:
    size = source.stat().st_size

    def once(part: Path) -> None:
        if len(target.sent) == 1:
            flip(part, CHUNK + 5)

    target.spoil = once
    remote = ensure(target, source, sha256(source))
    assert Path(remote).read_bytes() == source.read_bytes()
    assert [sent for _, sent in target.sent] == [size, size - CHUNK]


@pytest.mark.fault(
    "a cable spoils whatever is sent",
    transport="any",
    outcome="given up after three tries with an error that says so; nothing wrong is left in the store",
)
def test_a_cable_that_spoils_everything_is_given_up_and_leaves_nothing(target: Watched, source: Path) -> None:
    target.spoil = lambda part: flip(part, 0)
    with pytest.raises(CommandFailed, match="arrived damaged 3 times"):
        ensure(target, source, sha256(source))
    assert len(target.sent) == 3
    assert [name for name in files(target) if not name.endswith((".lock", ".holder"))] == []


@pytest.mark.fault(
    "a model on the workstation changes while it is sent",
    transport="any",
    outcome="an error says so, and no such file is seen on the phone",
)
def test_a_file_that_changed_since_it_was_hashed_is_not_there(target: Watched, source: Path) -> None:
    with pytest.raises(BadInput, match="changed while it was sent"):
        ensure(target, source, "0" * 64)
    assert source.name not in files(target)


@pytest.mark.fault(
    "a file in the phone's store was changed, and its time with it",
    transport="any",
    outcome="what is wrong is sent again",
)
def test_a_file_that_was_damaged_over_there_is_found_and_mended(target: Watched, source: Path) -> None:
    remote = Path(ensure(target, source, sha256(source)))
    flip(remote, 2 * CHUNK)
    os.utime(remote, (1, 1))
    assert ensure(target, source, sha256(source)) == str(remote)
    assert remote.read_bytes() == source.read_bytes()
    assert [sent for _, sent in target.sent] == [source.stat().st_size, source.stat().st_size - 2 * CHUNK]


def test_a_file_that_was_only_touched_is_not_sent_again(target: Watched, source: Path) -> None:
    remote = Path(ensure(target, source, sha256(source)))
    os.utime(remote, (1, 1))
    assert ensure(target, source, sha256(source)) == str(remote)
    assert len(target.sent) == 1


@pytest.mark.fault(
    "bytes of a model in the phone's store changed, its size and time did not",
    transport="any",
    outcome="a campaign or a quality figure finds it by the whole hash; what is wrong is sent again, with a warning",
)
def test_a_file_that_changed_under_the_same_size_and_time_is_found(
    target: Watched, source: Path, caplog: pytest.LogCaptureFixture
) -> None:
    remote = Path(ensure(target, source, sha256(source)))
    status = remote.stat()
    flip(remote, CHUNK + 77)
    os.utime(remote, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert ensure(target, source, sha256(source)) == str(remote)
    assert remote.read_bytes() == source.read_bytes()
    assert [sent for _, sent in target.sent] == [source.stat().st_size, source.stat().st_size - CHUNK]
    (warning,) = caplog.messages
    assert "model q8.gguf changed on the phone" in warning
    ensure(target, source, sha256(source))
    assert len(target.sent) == 2


@pytest.mark.fault(
    "a power loss leaves zeros in a model in the phone's store",
    transport="any",
    outcome="a prompt or a deploy finds them by sampled blocks, without reading the whole model",
)
def test_zeros_are_found_by_samples(target: Watched, source: Path) -> None:
    remote = Path(ensure(target, source, sha256(source)))
    status = remote.stat()
    with remote.open("r+b") as file:
        file.seek(CHUNK)
        file.write(bytes(CHUNK))
    os.utime(remote, ns=(status.st_atime_ns, status.st_mtime_ns))
    # Half of it is wrong: 30 samples miss that once in 10^9 times.
    assert ensure(target, source, sha256(source), sampled=True) == str(remote)
    assert remote.read_bytes() == source.read_bytes()


def test_samples_of_an_intact_file_are_all_that_is_read(target: Watched, source: Path) -> None:
    ensure(target, source, sha256(source))
    hashed: list[str] = []
    target.before = {"sha256sum": lambda: hashed.append("all of it")}
    ensure(target, source, sha256(source), sampled=True)
    assert hashed == []
    ensure(target, source, sha256(source))
    assert hashed == ["all of it"]


def test_a_program_that_changed_stays_executable(target: Watched, source: Path) -> None:
    remote = Path(ensure(target, source, sha256(source), executable=True))
    status = remote.stat()
    flip(remote, 0)
    os.utime(remote, ns=(status.st_atime_ns, status.st_mtime_ns))
    ensure(target, source, sha256(source), executable=True)
    assert remote.stat().st_mode & 0o777 == 0o700


@pytest.mark.fault(
    "the phone's shell creates files that everybody may read",
    transport="any",
    outcome="folders are 0700, files 0600, programs 0700; those of an earlier version are closed to others",
)
def test_what_is_stored_is_its_users_alone(target: Watched, source: Path) -> None:
    before = os.umask(0)
    try:
        remote = Path(ensure(target, source, sha256(source)))
    finally:
        os.umask(before)
    for path in (remote.parent, remote.parent.parent, Path(target.root)):
        assert path.stat().st_mode & 0o777 == 0o700, path
        path.chmod(0o755)
    for path in remote.parent.iterdir():
        assert path.stat().st_mode & 0o777 == 0o600, path
    remote.chmod(0o644)
    ensure(target, source, sha256(source))
    assert remote.stat().st_mode & 0o777 == 0o600
    for path in (remote.parent, remote.parent.parent, Path(target.root)):
        assert path.stat().st_mode & 0o777 == 0o700, path


@pytest.mark.parametrize("said", ["whole ../../etc/passwd\n", "whole a\nwhole b\n", "part 1e9\n", "\x1b[2J\n"])
def test_a_hostile_answer_is_refused(target: Watched, source: Path, said: str) -> None:
    target.look = said
    with pytest.raises(CommandFailed, match="as the state of the file"):
        ensure(target, source, sha256(source))


@pytest.mark.fault(
    "two commands send the same model to a phone",
    transport="any",
    outcome="one sends, the other waits for it and sends nothing",
)
def test_two_that_send_the_same_file(target: Watched, source: Path) -> None:
    """The second one waits for the first one, and sends nothing."""
    other, began = Watched(Path(target.root)), threading.Event()
    part = Path(f"{target.root}/store/{sha256(source)[:16]}/.{sha256(source)[:16]}.part")

    def slowly(done: int, total: int) -> None:
        began.set()
        time.sleep(0.02)

    first = threading.Thread(target=ensure, args=(target, source, sha256(source)), kwargs={"progress": slowly})
    first.start()
    began.wait()
    remote = ensure(other, source, sha256(source))
    first.join()
    assert Path(remote).read_bytes() == source.read_bytes()
    assert not part.exists()
    assert sum(sent for _, sent in target.sent) == source.stat().st_size
    assert other.sent == []


@pytest.mark.parametrize("moment", ["chunks", "stat", "sha256sum"])
def test_what_somebody_else_ends_while_it_is_looked_at_is_taken(target: Watched, source: Path, moment: str) -> None:
    """Both find a part with all bytes in it, and the other one is faster."""
    folder = Path(target.root, "store", sha256(source)[:16])
    folder.mkdir(parents=True)
    (folder / f".{folder.name}.part").write_bytes(source.read_bytes())
    other = Watched(Path(target.root))
    target.before = {moment: lambda: ensure(other, source, sha256(source))}
    assert Path(ensure(target, source, sha256(source))).read_bytes() == source.read_bytes()
    assert (target.sent, other.sent) == ([], [])


def test_a_program_runs_though_the_shell_that_took_it_is_still_at_its_end(target: Watched, tmp_path: Path) -> None:
    """As over adb, where the connection is closed before that shell has read all of it."""
    program = tmp_path / "true"
    program.write_bytes(Path("/bin/true").read_bytes())

    def stays(part: Path) -> None:
        shell = ["sh", "-c", 'exec 9>>"$0" && echo $$ >"$0.holder" && echo ready && sleep 0.5', str(part)]
        staying = subprocess.Popen(shell, stdout=subprocess.PIPE, start_new_session=True)
        assert staying.stdout
        assert staying.stdout.readline() == b"ready\n"
        threading.Thread(target=staying.communicate).start()

    target.spoil = stays
    target.run([ensure(target, program, sha256(program), executable=True)])


@pytest.mark.fault(
    "a shell on the phone still waits for the rest of a model from a dead connection",
    transport="any",
    outcome="it is ended, and the transfer goes on",
)
def test_a_receiver_that_a_dead_connection_left_is_ended(
    target: Watched, source: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upload, "TAKE_OVER_S", 0.5)
    folder = Path(f"{target.root}/store/{sha256(source)[:16]}")
    folder.mkdir(parents=True)
    part = folder / f".{sha256(source)[:16]}.part"
    left = subprocess.Popen(
        ["sh", "-c", file_transfer.append(str(part), 0)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,
    )
    assert left.stdin
    assert left.stdout
    assert left.stdout.readline() == b"ready\n"
    left.stdin.write(source.read_bytes()[:1000])
    left.stdin.flush()
    remote = ensure(target, source, sha256(source))
    assert Path(remote).read_bytes() == source.read_bytes()
    assert left.wait() == -9
    left.stdin.close()
    left.stdout.close()


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


RESERVE_KB = RESERVE_BYTES // 1024
NEEDED_KB = RESERVE_KB + 2 * CHUNK // 1024 + 2


@pytest.mark.parametrize(("free_kb", "fits"), [(RESERVE_KB, False), (NEEDED_KB - 1, False), (NEEDED_KB, True)])
def test_a_phone_is_not_filled_up(target: Watched, source: Path, free_kb: int, fits: bool) -> None:
    target.df = TOYBOX.format(total=20_000_000, used=1, free=free_kb)
    if fits:
        ensure(target, source, sha256(source))
        return
    with pytest.raises(BadInput, match=r"\d+ MiB free .* 256 MiB should stay free.*/store"):
        ensure(target, source, sha256(source))
    assert target.sent == []
