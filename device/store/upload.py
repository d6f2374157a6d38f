"""The upload of files to a phone's store: verified by content, continued when cut off, never sent twice."""

from __future__ import annotations

import hashlib
import logging
import random
import re
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from smoothdroid.device.common.errors import BadInput, CommandFailed, PhoneBusy, SmoothdroidError, TargetLost
from smoothdroid.device.common.file_hash import sha256_of
from smoothdroid.device.info import required_tools
from smoothdroid.device.store import inventory
from smoothdroid.device.transport.target import Progress, Target, remove

LOG = logging.getLogger("smoothdroid")
RESERVE_BYTES = 256 << 20  # left free on the phone: Android starts to complain and to kill below about that
CHUNK = 32 << 20  # bytes; a damaged file is sent again from the beginning of the first damaged chunk
MOST_TRIES = 3  # of a file that arrives damaged: a cable that damages more than that is broken
SETTLED_S = 10.0  # bytes that have not arrived this long after they were sent are lost
TAKE_OVER_S = 15.0  # a sender without progress for this long has lost its connection, and has not noticed
MOST_WAITS = 5  # for another sender of the same file
POLL_S = 0.05
BLOCK = 64 << 10
SAMPLES = 32  # blocks that are compared of a sampled file: each takes a process on the phone, some milliseconds
NOTHING = -1  # the size of a file that is not there
SLOWEST_HASH = 20e6  # bytes in a second, on a little core without instructions for it

# FOLDER NAME PART ALONE TOOLS: prints the state of a file in one line, `whole NAME`, `part SIZE` or `busy`, or nothing
# where it is absent. A file is whole when its size and time are those recorded when it was verified; otherwise it is
# treated as a part. With ALONE, the folder's only file may have another name. For each missing tool the only output is
# a line `lacks TOOL`.
_LOOK = f"""
folder=$1 name=$2 part=$3 alone=$4
set -- $5
lacking=$({required_tools.LOOK})
[ "$lacking" ] && echo "$lacking" && exit
cd "$folder" 2>/dev/null || exit 0
chmod go-rwx . .. ../.. ./* 2>/dev/null # an earlier version let other users read
if [ "$alone" ] && [ ! -f "$name" ]; then
  for name in *; do [ -f "$name" ] && break; done
fi
if [ -f "$name" ]; then
  if [ "$(stat -c '%s %Y' "$name")" = "$(cat ".$name.whole" 2>/dev/null)" ]; then
    touch ".$name.whole"
    echo "whole $name"
    exit
  fi
  mv "$name" "$part"
fi
[ -f "$part" ] || exit 0
{{
  if command -v flock >/dev/null && ! flock -n 9; then echo busy; exit; fi
}} 9>>"$part.lock"
echo "part $(stat -c %s "$part")"
"""
# FOLDER PART NAME MODE: publishes a part under its name, once it is on flash, so that a phone that loses power has no
# file of zeros. It waits for the shell that received the last bytes: a file that is open for writing cannot be run.
_PUBLISH = """
cd "$1" || exit
waited=0
while read -r group _ <"$2.holder" && kill -0 "-$group" && [ $waited -lt 100 ]; do
  sleep 0.05
  waited=$((waited + 1))
done 2>/dev/null
chmod "$4" "$2" && { fsync "$2" || sync "$2" || sync || :; } 2>/dev/null && mv "$2" "$3" ||
  { [ -f "$3" ]; exit; } # somebody else was faster
stat -c '%s %Y' "$3" >".$3.new" && mv ".$3.new" ".$3.whole" && rm -f "$2".*
"""
# FILE MIB COUNT: prints the sha256 of each chunk of MIB MiB. It uses dd: Android 8.0's toybox has no `head -c`.
_CHUNKS = """
i=0
while [ $i -lt "$3" ]; do
  dd bs=1048576 count="$2" 2>/dev/null | sha256sum
  i=$((i + 1))
done <"$1"
"""
# FILE SIZE NUMBER...: prints the sha256 of the concatenated blocks of this size with these numbers.
_BLOCKS = """
file=$1 size=$2
shift 2
for number; do
  dd if="$file" bs="$size" skip="$number" count=1 2>/dev/null
done | sha256sum
"""
# FOLDER NAME PART: makes a whole file a part.
_TAKE_BACK = 'cd "$1" && rm -f ".$2.whole" && mv "$2" "$3"'
# PART: kills the receiver of a part, with its children.
_TAKE_OVER = 'read -r group _ <"$1.holder" && kill -9 "-$group"'


def ensure(
    target: Target,
    source: Path,
    sha256: str,
    *,
    executable: bool = False,
    progress: Progress | None = None,
    group: str | None = None,
    sampled: bool = False,
) -> str:
    """Put `source`, whose hash is `sha256`, on the phone unless it is there; return its path on the phone.

    The file's folder is named by its hash, and the file appears there only when complete and verified. An upload that
    was cut off is continued. `group`, the hash of several files, puts them all into one folder, by their names. A file
    that is there is hashed again: flash loses bytes, and a file system repaired after a power loss may keep size and
    time but lose the content. With `sampled`, SAMPLES random blocks are compared first, and the whole file when they
    differ. Damaged chunks are sent again, with a warning.

    Raises BadInput when the phone has too little space or the file changed, PhoneBusy when another process sends it,
    CommandFailed when it arrives damaged, NoPhone when the phone lacks a tool (device/info/required_tools.py).
    """
    folder = f"{target.root}/store/{(group or sha256)[: inventory.ID_LENGTH]}"
    sending = _Sending(target, source, sha256, folder, f".{sha256[: inventory.ID_LENGTH]}.part", progress)
    for waited in range(MOST_WAITS):
        try:
            whole, arrived = sending.look(alone=group is None)
            if whole is not None:
                if sending.is_intact(whole, sampled=sampled):
                    return f"{folder}/{whole}"
                arrived = sending.take_back(whole)
            sending.send(arrived)
            break
        except PhoneBusy:
            if waited == MOST_WAITS - 1:
                raise
            sending.wait()
    mode = "700" if executable else "600"
    target.run(
        ["sh", "-c", _PUBLISH, "publish", folder, sending.part, source.name, mode], timeout_s=hashing_s(sending.total)
    )
    return f"{folder}/{source.name}"


@dataclass(frozen=True)
class _Sending:
    """The upload of one file to a folder on the phone."""

    target: Target
    source: Path
    sha256: str
    folder: str
    part: str
    """The name of the file while it is not whole."""
    progress: Progress | None

    @property
    def total(self) -> int:
        return self.source.stat().st_size

    @property
    def _path(self) -> str:
        return f"{self.folder}/{self.part}"

    def look(self, *, alone: bool) -> tuple[str | None, int]:
        """Return the name of the whole file, or else None and the size of its part; NOTHING without a part."""
        argv = ["sh", "-c", _LOOK, "look", self.folder, self.source.name, self.part, "alone" if alone else ""]
        argv.append(" ".join(tool.name for tool in required_tools.TOOLS))
        answer = self.target.run(argv).stdout.removesuffix("\n")
        state, _, rest = answer.partition(" ")
        if state == "whole" and rest and "/" not in rest and "\n" not in rest:
            return rest, 0
        if state == "part" and re.fullmatch(r"\d{1,18}", rest):
            return None, int(rest)
        if state == "busy":
            raise PhoneBusy(f"{self.target.name}: another process is sending {self.source.name}")
        if state == "lacks":
            required_tools.refuse(self.target, answer)
        if answer:
            raise self._failed(f"the phone reported {answer[:80]!r} as the state of the file")
        self.target.run(["mkdir", "-p", self.folder])
        return None, NOTHING

    def is_intact(self, name: str, *, sampled: bool) -> bool:
        """Return whether the whole file on the phone still has the content that it was verified with."""
        path, count = f"{self.folder}/{name}", -(-self.total // BLOCK)
        if sampled and count > SAMPLES:
            numbers = [0, *sorted(random.sample(range(1, count - 1), SAMPLES - 2)), count - 1]
            argv = ["sh", "-c", _BLOCKS, "blocks", path, str(BLOCK), *map(str, numbers)]
            if self.target.run(argv, check=False).stdout[:64] == self._hash_of_blocks(numbers):
                return True
        # A file that cannot be read, because flash failed or it was removed, has no hash.
        hashed = self.target.run(["sha256sum", path], check=False, timeout_s=hashing_s(self.total))
        return hashed.stdout[:64] == self.sha256

    def take_back(self, name: str) -> int:
        """Make the changed file `name` a part, so that its good chunks are kept; return its size, or NOTHING."""
        LOG.warning(
            "%s: %s changed on the phone since it was verified there: its damaged chunks are sent again",
            self.target.name,
            name,
        )
        self.target.run(["sh", "-c", _TAKE_BACK, "take-back", self.folder, name, self.part], check=False)
        return self._size()

    def _hash_of_blocks(self, numbers: Sequence[int]) -> str:
        hashed = hashlib.sha256()
        with self.source.open("rb") as file:
            for number in numbers:
                file.seek(number * BLOCK)
                hashed.update(file.read(BLOCK))
        return hashed.hexdigest()

    def send(self, arrived: int) -> None:
        """Send the bytes after the first `arrived` ones, until the hash that the phone computes is the file's."""
        for _ in range(MOST_TRIES):
            right = self._right(min(arrived, self.total)) if arrived > 0 else 0
            if right < arrived:
                self.target.run(["truncate", "-s", str(right), self._path])
            if right < self.total or arrived == NOTHING:
                self._check_room(self.total - right)
                self.target.append(self.source, self._path, right, progress=self.progress)
                arrived = self._settled()
            if self._hashes(["sha256sum", self._path], arrived) == [self.sha256]:
                return
            if sha256_of(self.source) != self.sha256:
                raise BadInput(f"{self.source} changed while it was sent: run the command again")
        remove(self.target, self._path)
        raise self._failed(f"it arrived damaged {MOST_TRIES} times: try another cable")

    def wait(self) -> None:
        """Wait until the other sender of the file has finished, or makes no more progress and is ended."""
        seen, since = -1, time.monotonic()
        while (size := self._size()) != seen or time.monotonic() - since < TAKE_OVER_S:
            if size != seen:
                seen, since = size, time.monotonic()
            if size < 0 or size >= self.total:
                return
            if self.progress:
                self.progress(size, self.total)
            time.sleep(10 * POLL_S)
        # On the phone a shell still waits for the rest of a file from a dead connection.
        self.target.run(["sh", "-c", _TAKE_OVER, "take-over", self._path], check=False)

    def _right(self, arrived: int) -> int:
        """Return how many of the bytes on the phone, from the first on, are the file's."""
        count = -(-arrived // CHUNK)
        argv = ["sh", "-c", _CHUNKS, "chunks", self._path, str(CHUNK >> 20), str(count)]
        there = self._hashes(argv, arrived)
        right = 0
        with self.source.open("rb") as file:
            for hashed in there:
                chunk = file.read(min(CHUNK, arrived - right))
                if hashed != hashlib.sha256(chunk).hexdigest():
                    break
                right += len(chunk)
        return right

    def _hashes(self, argv: Sequence[str], size: int) -> list[str]:
        """Return the hashes that a command prints of a part of `size` bytes. Raises PhoneBusy when the part is gone."""
        try:
            done = self.target.run(argv, timeout_s=hashing_s(size))
        except CommandFailed as error:
            if self._size() < 0:
                raise PhoneBusy(f"{self.target.name}: another process has sent {self.source.name}") from error
            raise
        return [line[:64] for line in done.stdout.splitlines()]

    def _full(self) -> bool:
        try:
            return free_bytes(self.target, self.folder) < 1 << 20
        except SmoothdroidError:
            return False

    def _settled(self) -> int:
        """Wait until everything sent is written, and return the size. Raises TargetLost when bytes are missing."""
        size, since = self._size(), time.monotonic()
        while size < self.total:
            if (now := self._size()) > size:
                size, since = now, time.monotonic()
            elif self._full():
                raise self._too_little(self.total - size)
            elif time.monotonic() - since > SETTLED_S:
                raise TargetLost(f"{self.target.name}: {size} bytes arrived of {self.total}; run the command again")
            else:
                time.sleep(POLL_S)
        return size

    def _size(self) -> int:
        """Return the size of the part; NOTHING where there is none."""
        size = self.target.run(["stat", "-c", "%s", self._path], check=False).stdout.strip()
        return int(size) if re.fullmatch(r"\d{1,18}", size) else NOTHING

    def _check_room(self, missing: int) -> None:
        if free_bytes(self.target, self.folder) < missing + RESERVE_BYTES:
            raise self._too_little(missing)

    def _too_little(self, missing: int) -> BadInput:
        free, idle = (
            free_bytes(self.target, self.folder),
            [entry for entry in inventory.listing(self.target) if not entry.busy],
        )
        largest = sorted(idle, key=lambda entry: -entry.size_bytes)[:3]
        shown = ", ".join(f"{entry.name} ({entry.size_bytes >> 20} MiB)" for entry in largest)
        room = f"`smoothdroid phone clean` can remove {shown}" if shown else "there is nothing that could be removed"
        return BadInput(
            f"{self.target.name} has {free >> 20} MiB free where {self.source.name} ({missing >> 20} MiB to send) "
            f"should go, and {RESERVE_BYTES >> 20} MiB should stay free. Remove files on the phone; in "
            f"{self.target.root}/store {room}. The part that was sent is kept"
        )

    def _failed(self, why: str) -> CommandFailed:
        return CommandFailed(self.target.name, ["push", str(self.source)], 1, stderr=why)


def hashing_s(size: int) -> float:
    """Return the seconds that a phone may take to hash `size` bytes, or to write them to its flash."""
    return 60 + size / SLOWEST_HASH


def free_bytes(target: Target, folder: str) -> int:
    """Return the free space of the file system that holds `folder`, in bytes, as `df` reports it."""
    lines = target.run(["df", "-k", folder]).stdout.splitlines()
    # Fields are counted from the end: the device's name may stand on a line of its own, and a mount point has no space.
    words = lines[-1].split() if lines else []
    if len(words) < 4 or not words[-3].isdigit():
        raise CommandFailed(target.name, ["df", "-k", folder], 0, stderr=f"no free space in: {lines}")
    return int(words[-3]) * 1024
