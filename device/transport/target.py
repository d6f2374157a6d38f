"""The interface through which a phone is reached, whatever the transport."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

Progress = Callable[[int, int], None]
"""Called with (bytes done, bytes in all)."""

OnOutput = Callable[[str], None]
"""Called with each piece of standard output as it arrives."""


@dataclass(frozen=True)
class Completed:
    """A command that ran to its end on the phone."""

    exit_status: int
    stdout: str
    stderr: str


class Target(Protocol):
    """A phone that is reached over some transport.

    Every method raises TargetLost when the connection broke and TargetTimeout when no answer came in time.
    """

    kind: str
    """The transport: `adb`, `ssh` or `local`."""

    name: str
    """The name that the user gives it: `adb:SERIAL`, `ssh://user@host:8022`, `local:`, `virtual:NAME`."""

    root: str
    """The folder on the phone under which smoothdroid keeps its files; executables may run from it."""

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
        """Run a command to its end. With `check`, a non-zero exit status raises CommandFailed.

        With `tied`, the command is killed when the connection ends, so that nothing keeps running on the phone after
        Ctrl-C on the workstation or a pulled cable.
        """
        ...

    def push(self, source: Path, remote: str, *, mode: int = 0o600, progress: Progress | None = None) -> None:
        """Copy a file of the workstation to an existing folder on the phone, where it has exactly this mode."""
        ...

    def append(self, source: Path, remote: str, start: int, *, progress: Progress | None = None) -> None:
        """Send `source` from byte `start` on to the end of `remote`, which must have exactly that many bytes.

        What has arrived stays when the connection breaks. The caller must check that everything arrived: a full disk
        on the phone ends the transfer without an error. Raises PhoneBusy when another process sends the same file.
        """
        ...

    def pull(self, remote: str, destination: Path, *, progress: Progress | None = None) -> None:
        """Copy a file of the phone to the workstation."""
        ...

    def close(self) -> None:
        """Close the connection."""
        ...


def read(target: Target, path: str) -> str:
    """Return the text of a small file on the phone. Raises CommandFailed when it cannot be read."""
    return target.run(["cat", path]).stdout


def remove(target: Target, path: str) -> None:
    """Remove a file or a folder from the phone if it is there."""
    target.run(["rm", "-rf", path])
