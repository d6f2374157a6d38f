"""What `Target.append` runs on the phone, and says to it: the rest of a file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from smoothdroid.device.common.errors import CommandFailed, PhoneBusy
from smoothdroid.device.transport.target import Progress, command_line

# Takes standard input to the end of a file that is known to end there. The lock goes with the shell and what it
# started; a phone too old for flock has none.
_RECEIVE = """
{
  if command -v flock >/dev/null && ! flock -n 9; then echo busy; exit; fi
  read -r stat </proc/$$/stat && set -- "$@" ${stat##*) } && echo "$5 $$" >"$1.holder" # its process group, and it
  size=$(stat -c %s "$1" 2>/dev/null)
  if [ "${size:-0}" != "$2" ]; then echo "changed ${size:-0}"; exit; fi
  echo ready
  { dd bs=262144 2>/dev/null >&8; } 8>>"$1"
} 9>>"$1.lock"
"""
# Answers each line with the size of the file: how far the receiver has written it, told without starting a program.
_TELL = """
read -r _ receiver <"$1.holder"
while read -r _; do
  read -r _ size </proc/$receiver/fdinfo/8 || size=$(stat -c %s "$1")
  echo "${size:-0}"
done 2>/dev/null
"""
PIECE = 1 << 20  # sent at once
LONGEST_WORD = 64


def receiver(remote: str, start: int) -> str:
    """The command line, for `append`, of what takes the rest of a file; says `ready` before it does."""
    return command_line(["sh", "-c", _RECEIVE, "receive", remote, str(start)], fed=True)


def teller(remote: str) -> str:
    """The command line of what says, whenever it is sent a line, how much of the file is there."""
    return command_line(["sh", "-c", _TELL, "teller", remote], fed=True)


def is_ready(said: bytes, target: str, remote: str) -> bool:
    """Whether the receiver has said that it is ready; False while its line is not whole. Raises what else it said."""
    line, whole, _ = said.partition(b"\n")
    if not whole and len(line) < LONGEST_WORD:
        return False
    if line == b"busy" or line.startswith(b"changed "):
        raise PhoneBusy(f"{target}: somebody else is sending the same file; try again when that is done")
    if line != b"ready":
        shown = line[:LONGEST_WORD].decode("utf-8", "replace")
        raise CommandFailed(target, ["append", remote], 1, stderr=f"the phone said {shown!r}")
    return True


def pieces(source: Path, start: int, progress: Progress | None) -> Iterator[bytes]:
    """The rest of a file, and how far it is."""
    total = source.stat().st_size
    with source.open("rb") as file:
        done = file.seek(start)
        while piece := file.read(PIECE):
            yield piece
            done += len(piece)
            if progress:
                progress(done, total)
