"""A way to a phone. Everything that reaches a phone goes through a Target."""

from __future__ import annotations

import codecs
import re
import shlex
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from smoothdroid.device.common.errors import CommandFailed

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
    """A way to a phone.

    Every method raises TargetLost when the way broke and TargetTimeout when no answer came in time.
    """

    kind: str
    """The transport: `adb`, `ssh` or `local`."""

    name: str
    """How the user names it: `adb:SERIAL`, `ssh://user@host:8022`, `local:`, `virtual:NAME`."""

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

        `tied`: it dies with the connection. After Ctrl-C here or a pulled cable nothing goes on over there.
        """
        ...

    def push(self, source: Path, remote: str, *, mode: int = 0o600, progress: Progress | None = None) -> None:
        """Copy a file of this machine to the phone, where it has exactly this mode; the folder must exist."""
        ...

    def append(self, source: Path, remote: str, start: int, *, progress: Progress | None = None) -> None:
        """Send `source` from byte `start` on to the end of `remote`, which must have just so many bytes.

        What has arrived stays when the way breaks. Whether all has is for the caller to ask: a phone that is full ends
        it early. Raises PhoneBusy when somebody else is sending to the same file.
        """
        ...

    def pull(self, remote: str, destination: Path, *, progress: Progress | None = None) -> None:
        """Copy a file of the phone to this machine."""
        ...

    def close(self) -> None:
        """Give the connection back."""
        ...


# llama.cpp takes options from the environment too (LLAMA_ARG_CACHE_TYPE_K, GGML_OP_OFFLOAD_MIN_BATCH, ...): what the
# phone's shell or its sshd exports must not decide what is measured. Builtins only: a phone may lack `env` and `sed`.
# `set -f`: a value may hold a `*`. A word that is no name, out of some value, would make `unset` end the shell.
_CLEAN = (
    "set -f; for _name in $(export -p); do _name=${_name%%=*}; "
    'case $_name in *[!A-Za-z0-9_]*) ;; LLAMA_*|GGML_*) unset "$_name" ;; esac; done; set +f; '
)
# The umask: models, prompts and results on a phone are its user's alone, also where the shell's own mask is 000.
# A watcher reads the connection's input, which ends when the connection does, and then ends the whole process
# group: neither adbd nor sshd does that to a command without a terminal. The watcher reads with the shell's own
# `read`: a `cat` would outlive it and hold the connection open. It is ended with -9: Android's shell, just started,
# loses any milder signal.
_WATCHER = "while read -r _ <&3; do :; done; kill -9 -$$"
_TIED = f"umask 077; exec 3<&0; {{{{ {_WATCHER}; }}}} >/dev/null 2>&1 & {{command}} 3<&-; s=$?; kill -9 $!; exit $s"
# The last `exit` keeps the shell from becoming the command: so a death by signal is told as 128 + signal everywhere.
_FREE = "umask 077; {command}; exit $?"


def command_line(
    argv: Sequence[str], env: Mapping[str, str] | None = None, *, tied: bool = False, fed: bool = False
) -> str:
    """One line for a POSIX shell that runs `argv` with `env` added: the one place where arguments are quoted.

    The phone's own variables for llama.cpp are unset first; those in `env` are set. Standard input is closed, unless
    the command is `fed`: a tool that waits for a key would hang where nobody can press it.
    """
    words = [f"{name}={shlex.quote(value)}" for name, value in (env or {}).items()]
    words += [shlex.quote(word) for word in argv]
    return _CLEAN + (_TIED if tied else _FREE).format(command=" ".join(words) + ("" if fed else " </dev/null"))


# Written as itself to every shell; anything else is given to printf in octal.
_PLAIN = re.compile(rb"[^A-Za-z0-9 _.,:;=/<>&|(){}\[\]#+@^-]")


# A watcher ends a process group, so the shell must lead one. OpenSSH and adbd see to that, dropbear does not.
_LEADER = (
    "read -r _ _ _ _ _group _ </proc/$$/stat; "
    '[ "$_group" = $$ ] || ! command -v setsid >/dev/null || exec setsid sh -c "$_line"; '
)


def for_any_shell(line: str) -> str:
    """A line that any login shell understands, fish and csh among them: become `sh`, and run `line`.

    In octal is what shells disagree about within single quotes: quotes, backslashes, `!`, line ends, letters beyond
    ASCII.
    """
    octal = _PLAIN.sub(lambda found: b"\\0%03o" % found[0][0], (_LEADER + line).encode())
    return f"""exec sh -c '_line=$(printf %b "{octal.decode()}"); eval "$_line"'"""


def script(argv: Sequence[str], env: Mapping[str, str] | None = None) -> str:
    """Lines of a POSIX shell script that becomes the command: quoted as in `command_line`, under its process number."""
    exports = [f"export {name}={shlex.quote(value)}" for name, value in (env or {}).items()]
    return "\n".join([*exports, f"exec {shlex.join(argv)}"])


MOST_OUTPUT = 64 << 20  # of a command, in bytes: the longest log of llama.cpp has a tenth


class Output:
    """What a command says, decoded and kept: so much and no more, whatever the phone is."""

    def __init__(self, target: str, argv: Sequence[str], on_output: OnOutput | None = None) -> None:
        """`on_output` gets each piece as it arrives."""
        self._target, self._argv, self._on_output = target, argv, on_output
        self._bytes = bytearray()
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def add(self, data: bytes) -> None:
        """Take the next piece. Raises CommandFailed when it becomes too much."""
        self._bytes += data
        if len(self._bytes) > MOST_OUTPUT:
            said = f"it says more than {MOST_OUTPUT >> 20} MiB"
            raise CommandFailed(self._target, self._argv[:4], 0, stderr=said)
        if self._on_output:
            self._on_output(self._decoder.decode(data))

    def __str__(self) -> str:
        return self._bytes.decode("utf-8", "replace")


def read(target: Target, path: str) -> str:
    """The text of a small file on the phone. Raises CommandFailed when it cannot be read."""
    return target.run(["cat", path]).stdout


def remove(target: Target, path: str) -> None:
    """Remove a file or a folder on the phone; nothing there is fine too."""
    target.run(["rm", "-rf", path])
