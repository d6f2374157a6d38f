"""Command lines for the phone's shell that receive and send files."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from smoothdroid.device.common.errors import CommandFailed, PhoneBusy
from smoothdroid.device.transport.command_line import command_line
from smoothdroid.device.transport.target import Progress

# FILE MODE: writes standard input to the file and prints its size. Shared storage has no modes.
_RECEIVE = 'cat >"$1" && { chmod "$2" "$1" 2>/dev/null; stat -L -c %s "$1"; }'
# FILE: prints its size on a line, then its content.
_SEND = """
[ ! -e "$1" ] || [ -f "$1" ] || { echo "$1 is not a regular file; is it a directory?" >&2; exit 1; }
exec <"$1" && stat -L -c %s "$1" && cat
"""
# FILE SIZE BLOCK: appends standard input, in blocks, to a file that must have this size. The lock is released when the
# shell and all that it started have ended; a phone too old for flock has no lock. FILE.holder has the shell's process
# group and ID.
_APPEND = """
{
  if command -v flock >/dev/null && ! flock -n 9; then echo busy; exit; fi
  read -r stat </proc/$$/stat && set -- "$@" ${stat##*) } && echo "$6 $$" >"$1.holder"
  size=$(stat -c %s "$1" 2>/dev/null)
  if [ "${size:-0}" != "$2" ]; then echo "changed ${size:-0}"; exit; fi
  echo ready
  { dd bs=$3 2>/dev/null >&8; } 8>>"$1"
} 9>>"$1.lock"
"""
# FILE: answers each line of standard input with how many bytes _APPEND has written, without starting a program.
_REPORT_SIZE = """
read -r _ receiver <"$1.holder"
while read -r _; do
  read -r _ size </proc/$receiver/fdinfo/8 || size=$(stat -c %s "$1")
  echo "${size:-0}"
done 2>/dev/null
"""
PIECE = 1 << 20  # bytes sent at once
BLOCK_BYTES = 1 << 18  # that the phone writes at once
LONGEST_WORD = 64  # bytes


def receive(remote: str, mode: int) -> str:
    """Return the command line that writes its input to a file with this mode and prints how many bytes it has."""
    return _line(_RECEIVE, remote, f"{mode:o}")


def send(remote: str) -> str:
    """Return the command line that prints the size of a file on a line, then its content."""
    return _line(_SEND, remote)


def append(remote: str, start: int) -> str:
    """Return the command line that prints `ready` and appends its input to a file of `start` bytes."""
    return _line(_APPEND, remote, str(start), str(BLOCK_BYTES))


def report_size(remote: str) -> str:
    """Return the command line that answers each line of input with the size of a file that is being appended to."""
    return _line(_REPORT_SIZE, remote)


def is_ready(reply: bytes, target: str, remote: str) -> bool:
    """Return whether `append` is ready for input; False while its first line is incomplete.

    Raises PhoneBusy or CommandFailed when it printed something else.
    """
    line, newline, _ = reply.partition(b"\n")
    if not newline and len(line) < LONGEST_WORD:
        return False
    if line == b"busy" or line.startswith(b"changed "):
        raise PhoneBusy(f"{target}: another process is sending the same file; try again when it has ended")
    if line != b"ready":
        shown = line[:LONGEST_WORD].decode("utf-8", "replace")
        raise CommandFailed(target, ["append", remote], 1, stderr=f"the phone printed {shown!r}")
    return True


def pieces(source: Path, start: int, progress: Progress | None) -> Iterator[bytes]:
    """Yield a file from byte `start` on in pieces, and report each one when the next is asked for."""
    total = source.stat().st_size
    with source.open("rb") as file:
        done = file.seek(start)
        while piece := file.read(PIECE):
            yield piece
            done += len(piece)
            if progress:
                progress(done, total)


def _line(text: str, *arguments: str) -> str:
    return command_line(["sh", "-c", text, "smoothdroid", *arguments], fed=True)
