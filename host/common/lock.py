"""One process at a time on a file or folder, also where its file system has no locks."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path

from smoothdroid.device.common.errors import BadInput

# What flock answers where another process holds the file; EACCES comes from CIFS.
HELD = (errno.EWOULDBLOCK, errno.EACCES)
LOOK_AGAIN_S = 0.2


@contextmanager
def exclusive(path: Path, *, wait: bool = False, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold `path`, a folder or a file (made where there is none), until the context ends or the process dies.

    Some file systems have no locks (NFS without lockd, some CIFS and FUSE mounts). On Linux the processes of this
    machine are kept apart there too, by the name of a socket; processes of other machines are not. No file has to
    be deleted by hand after a crash.

    Raises BadInput where another process holds `path`; with `wait`, waits for that process and calls `on_wait` once
    before. Raises OSError where `path` cannot be opened.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY if path.is_dir() else os.O_RDWR | os.O_CREAT
    with ExitStack() as held:
        descriptor = os.open(path, flags, 0o666)
        held.callback(os.close, descriptor)
        while not _hold(descriptor, path, held):
            if not wait:
                folder = path if path.is_dir() else path.parent
                raise BadInput(
                    f"{folder}: another smoothdroid is at work there. Wait until it has ended, or name another folder."
                )
            if on_wait:
                on_wait()
                on_wait = None
            time.sleep(LOOK_AGAIN_S)
        yield


def _hold(descriptor: int, path: Path, held: ExitStack) -> bool:
    """Lock the open file until `held` ends; False where another process holds it."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        return error.errno not in HELD and _hold_name(path, held)
    return True


def _hold_name(path: Path, held: ExitStack) -> bool:
    """Take the name of an abstract socket, which one process of a machine can have; False where another has it."""
    if sys.platform != "linux":
        return True
    name = f"\0smoothdroid-{os.getuid()}-{sha256(os.fsencode(path.resolve())).hexdigest()}"
    with ExitStack() as unused:
        own = unused.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
        try:
            own.bind(name)
        except OSError as error:
            return error.errno != errno.EADDRINUSE
        held.push(unused.pop_all())
    return True
