"""File systems that lack something, on any machine: the kernel refuses the system calls of one process.

    python -m tests.host.without ENOLCK flock -- PROGRAM ARGUMENTS...

A seccomp filter, kept by all that the process starts. exFAT refuses links with EPERM, NFS without lockd refuses locks
with ENOLCK.
"""

from __future__ import annotations

import ctypes
import errno
import os
import platform
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

# The numbers of system calls: x86-64's and arm64's. A library may use either call of a pair.
NUMBERS: dict[str, dict[str, tuple[int, ...]]] = {
    "flock": {"x86_64": (73,), "aarch64": (32,)},
    "symlink": {"x86_64": (88, 266), "aarch64": (36,)},
    "link": {"x86_64": (86, 265), "aarch64": (37,)},
}
ROOT = Path(__file__).parents[2]

PR_SET_SECCOMP, PR_SET_NO_NEW_PRIVS, SECCOMP_MODE_FILTER = 22, 38, 2
LOAD, EQUALS, RETURN = 0x20, 0x15, 0x06  # BPF: load a word; jump if equal; return
REFUSE, ALLOW = 0x00050000, 0x7FFF0000


class _Program(ctypes.Structure):
    _fields_ = (("length", ctypes.c_ushort), ("filter", ctypes.c_char_p))


def command(refusals: dict[str, str], argv: Sequence[str]) -> list[str]:
    """The command line that runs `argv` with these system calls refused: {"flock": "ENOLCK"}."""
    words = [word for call, error in refusals.items() for word in (error, call)]
    return [sys.executable, str(Path(__file__)), *words, "--", *argv]


def refuse(refusals: dict[str, str]) -> None:
    """Refuse these system calls to this process, which cannot be undone."""
    code = struct.pack("HBBI", LOAD, 0, 0, 0)  # the number of the system call
    for call, error in refusals.items():
        for number in NUMBERS[call][platform.machine()]:
            code += struct.pack("HBBI", EQUALS, 0, 1, number)
            code += struct.pack("HBBI", RETURN, 0, 0, REFUSE | getattr(errno, error))
    code += struct.pack("HBBI", RETURN, 0, 0, ALLOW)
    libc = ctypes.CDLL(None, use_errno=True)
    program = _Program(len(code) // 8, code)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or libc.prctl(
        PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.byref(program)
    ):
        raise OSError(ctypes.get_errno(), "prctl")


if __name__ == "__main__":
    end = sys.argv.index("--")
    refuse(dict(zip(sys.argv[2:end:2], sys.argv[1:end:2], strict=True)))
    os.execvp(sys.argv[end + 1], sys.argv[end + 1 :])  # noqa: S606 - no shell is what is wanted
