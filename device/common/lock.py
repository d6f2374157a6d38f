"""Locks on files and folders between processes, also where the file system has no locks."""

from __future__ import annotations

import errno
import os
import socket
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from hashlib import sha256
from pathlib import Path

from filelock import lock_descriptor

from smoothdroid.device.common.errors import BadInput

POLL_S = 0.2


@contextmanager
def exclusive(path: Path, *, wait: bool = False, on_wait: Callable[[], None] | None = None) -> Iterator[None]:
    """Hold a lock on `path`, a folder or a file (created if missing), until the block ends or the process dies.

    Some file systems have no locks (NFS without lockd, some CIFS and FUSE mounts). On Linux the processes of this
    machine exclude each other there too, by the name of a socket; processes of other machines do not. Nothing has to
    be deleted by hand after a crash.

    Raises BadInput where another process holds the lock; with `wait`, calls `on_wait` once and waits for that process.
    Raises OSError where `path` cannot be opened.
    """
    folder = path if path.is_dir() else path.parent
    if path.is_dir() and not hasattr(os, "O_DIRECTORY"):  # Windows opens no folders
        path /= ".lock"
    with ExitStack() as held:
        descriptor = os.open(path, os.O_RDONLY if path.is_dir() else os.O_RDWR | os.O_CREAT, 0o666)
        held.callback(os.close, descriptor)
        while not _acquire(descriptor, path, held):
            if not wait:
                raise BadInput(
                    f"{folder}: another smoothdroid is using this folder. Wait until it has ended, or choose another "
                    "folder."
                )
            if on_wait:
                on_wait()
                on_wait = None
            time.sleep(POLL_S)
        yield


def _acquire(descriptor: int, path: Path, held: ExitStack) -> bool:
    """Lock the open file until `held` closes; return False where another process holds it."""
    try:
        return lock_descriptor(descriptor, blocking=False)
    except OSError:
        return _acquire_name(path, held)


def _acquire_name(path: Path, held: ExitStack) -> bool:
    """Bind an abstract socket named after `path`; return False where another process of this machine has done so."""
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
