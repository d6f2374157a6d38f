"""Emulated phones: started, stopped, rebooted and listed. Their files are in the cache, below phones/NAME/."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from smoothdroid.device.common.cache_folder import cache_root
from smoothdroid.device.common.errors import BadInput, NotRunning
from smoothdroid.device.common.lock import exclusive
from smoothdroid.device.virtual import tree
from smoothdroid.device.virtual.boot import boot, prepare
from smoothdroid.device.virtual.host import as_root, require_all
from smoothdroid.device.virtual.profile import load
from smoothdroid.device.virtual.state import VirtualPhone, folder_of, kill, phones_folder, read


def start(
    name: str = "phone", profile: str = "pixel-8", *, on_step: Callable[[str], None] | None = None
) -> VirtualPhone:
    """Start a phone and wait until its adbd and its sshd answer; a running one is returned as it is.

    Files stored earlier on a phone by this name are kept. Raises BadInput for a wrong name or profile, for a
    phone that runs with another profile, and on a machine that cannot run one; SmoothdroidError when the start
    fails. A start that fails or is interrupted leaves no process and no mount.
    """
    folder = folder_of(name)
    facts = load(profile)
    if profile.endswith(".toml"):
        profile = str(Path(profile).resolve())
    require_all()
    say = on_step or (lambda step: None)
    with _lock():
        if phone := read(folder):
            if phone.profile != profile:
                raise BadInput(
                    f"the phone {name!r} runs already, as {phone.profile}: "
                    f"`smoothdroid phone stop {name}` first, or choose another name"
                )
            return phone
        kill(folder)  # a start that was killed may have left processes
        root_tree = tree.ensure(say)
        say(f"starting the phone {name!r} ({facts.model})")
        prepare(folder, facts)
        return boot(name, profile, facts, folder, root_tree)


def stop(name: str, *, erase: bool = False) -> bool:
    """End a phone, with all its processes and mounts; return whether one by that name ran.

    Its stored files stay for its next start, unless `erase`.
    """
    folder = folder_of(name)
    with _lock():
        phone = read(folder)
        kill(folder)
        (folder / "running.json").unlink(missing_ok=True)
        if erase and folder.exists():
            # The phone's users own the files below data/, so only root can remove them; mounts are never crossed.
            subprocess.run(as_root(["rm", "-rf", "--one-file-system", "--", str(folder)]), check=True)
    return phone is not None


def reboot(name: str) -> VirtualPhone:
    """End a running phone like a loss of power, and start it again: same storage and ports, new boot id.

    Raises NotRunning when no phone by that name runs.
    """
    phone = get(name)
    with _lock():
        kill(phone.folder)
        facts = load(phone.profile)
        prepare(phone.folder, facts)
        return boot(name, phone.profile, facts, phone.folder, tree.ensure(lambda step: None))


def running() -> list[VirtualPhone]:
    """List the running phones, by name."""
    phones = (read(path.parent) for path in sorted(phones_folder().glob("*/running.json")))
    return [phone for phone in phones if phone]


def get(name: str) -> VirtualPhone:
    """Return a running phone. Raises NotRunning when it is stopped, BadInput when there never was one by that name."""
    folder = folder_of(name)
    if phone := read(folder):
        return phone
    kind = NotRunning if folder.exists() else BadInput
    raise kind(f"no phone {name!r} is running: `smoothdroid phone start {name}` starts it")


@contextmanager
def _lock() -> Iterator[None]:
    """Hold the lock that lets only one process start or stop phones at a time."""
    cache_root().mkdir(parents=True, exist_ok=True)
    with exclusive(cache_root() / "phones.lock", wait=True):
        yield
