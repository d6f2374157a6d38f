"""The state of emulated phones: their folders, whether each one runs, and its processes."""

from __future__ import annotations

import contextlib
import json
import os
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from smoothdroid.device.common.cache_folder import cache_root
from smoothdroid.device.common.errors import BadInput, SmoothdroidError
from smoothdroid.device.virtual import render
from smoothdroid.device.virtual.host import kill_as_root

INIT = Path(__file__).parent / "init.py"
"""The script of a phone's first process."""

STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class VirtualPhone:
    """A running emulated phone."""

    name: str
    profile: str
    """A shipped profile's name, or the path of a TOML file."""
    pid: int
    """The phone's first process, by this machine's number; killing it ends the whole phone."""
    adb_port: int
    ssh_port: int
    ssh_user: str
    folder: Path
    """The folder of the phone's files. A file below `sys/` that is changed in place changes on the phone."""

    @property
    def adb_address(self) -> str:
        """The argument of `adb connect`."""
        return f"127.0.0.1:{self.adb_port}"

    @property
    def ssh_url(self) -> str:
        """The target that `--on` takes."""
        return f"ssh://{self.ssh_user}@127.0.0.1:{self.ssh_port}"

    @property
    def ssh_key(self) -> Path:
        """The private key that logs in."""
        return self.folder / "ssh_key"

    @property
    def known_hosts(self) -> Path:
        """The phone's host key, in OpenSSH's form."""
        return self.folder / "known_hosts"


def phones_folder() -> Path:
    """Return the folder that holds each phone's folder; absolute, because processes with other folders get it."""
    return cache_root().resolve() / "phones"


def folder_of(name: str) -> Path:
    """Return the folder of the phone by this name. Raises BadInput for text that cannot be a name."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,30}", name):
        raise BadInput(f"{name!r} cannot be a phone's name: at most 31 of a-z, 0-9 and '-', not starting with '-'")
    return phones_folder() / name


def read(folder: Path) -> VirtualPhone | None:
    """Return the phone of this folder; None when it does not run."""
    try:
        state = json.loads((folder / "running.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    # Process ids are reused; the id and the start time together identify a process.
    if _start_ticks(state["pid"]) != state["start_ticks"]:
        return None
    return VirtualPhone(
        name=folder.name,
        profile=state["profile"],
        pid=state["pid"],
        adb_port=state["adb_port"],
        ssh_port=state["ssh_port"],
        ssh_user=render.TERMUX_USER,
        folder=folder,
    )


def _start_ticks(pid: int) -> int | None:
    """Return the start time of a process in clock ticks since boot (proc(5), field 22); None when it is dead."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def kill(folder: Path) -> None:
    """Kill the phone's first process, which ends them all, and wait until it and its starter are gone.

    Raises SmoothdroidError when they do not end.
    """
    deadline = time.monotonic() + STOP_TIMEOUT_S
    while pids := processes(folder):
        if time.monotonic() > deadline:
            raise SmoothdroidError(f"the phone {folder.name!r} does not end: processes {pids} are still there")
        # A process that ended meanwhile makes kill fail; the loop checks which are left.
        subprocess.run(kill_as_root(pids), capture_output=True, check=False)
        time.sleep(0.02)


def processes(folder: Path) -> list[int]:
    """List the processes that run this phone: its first one, and unshare and sudo above it."""
    folder_option = os.fsencode(f"--folder={folder}")
    # Only the end of the path is compared: another checkout of smoothdroid may have started the phone.
    init_path = os.fsencode("/".join(INIT.parts[-3:]))
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            arguments = path.read_bytes().split(b"\0")
            if folder_option in arguments and any(argument.endswith(init_path) for argument in arguments):
                found.append(int(path.parent.name))
    return found
