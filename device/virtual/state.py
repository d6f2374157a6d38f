"""Which emulated phones there are: their folders, what says that one runs, and its processes."""

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
"""What a phone's first process runs."""

STOP_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class VirtualPhone:
    """A running emulated phone."""

    name: str
    profile: str
    """A shipped profile's name, or the path of a TOML file."""
    pid: int
    """Its first process, as this machine numbers it. Kill it, and the whole phone is gone."""
    adb_port: int
    ssh_port: int
    ssh_user: str
    folder: Path
    """Its files. What is changed below `sys/` there, in place, changes on the phone."""

    @property
    def adb_address(self) -> str:
        """What `adb connect` takes."""
        return f"127.0.0.1:{self.adb_port}"

    @property
    def ssh_url(self) -> str:
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
    """Where each phone has its folder; absolute, because it is handed to processes that run elsewhere."""
    return cache_root().resolve() / "phones"


def folder_of(name: str) -> Path:
    """The folder of the phone by this name. Raises BadInput for what cannot be a name."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,30}", name):
        raise BadInput(f"{name!r} cannot be a phone's name: at most 31 of a-z, 0-9 and '-', not starting with '-'")
    return phones_folder() / name


def read(folder: Path) -> VirtualPhone | None:
    """The phone of this folder, when it is alive."""
    try:
        state = json.loads((folder / "running.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    # Process ids are used again; with the time of its start, this one is meant and no other.
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
    """When the process started, in clock ticks since boot (proc(5), field 22); None when it is dead."""
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
        # A process that ended meanwhile makes kill fail; the next look says who is left.
        subprocess.run(kill_as_root(pids), capture_output=True, check=False)
        time.sleep(0.02)


def processes(folder: Path) -> list[int]:
    """The processes that were started to be this phone: its first one, and unshare and sudo above it."""
    its_folder = os.fsencode(f"--folder={folder}")
    # The end of its path only: another checkout of smoothdroid may have started it.
    its_init = os.fsencode("/".join(INIT.parts[-3:]))
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            arguments = path.read_bytes().split(b"\0")
            if its_folder in arguments and any(argument.endswith(its_init) for argument in arguments):
                found.append(int(path.parent.name))
    return found
