"""Which way to which phone: from what the user wrote after --on to an open Target."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from smoothdroid.device import virtual
from smoothdroid.device.common.errors import BadInput, NoPhone
from smoothdroid.device.transport import adb, adb_server
from smoothdroid.device.transport.local import LocalTarget
from smoothdroid.device.transport.ssh import SshOptions, SshTarget
from smoothdroid.device.transport.target import Target

FORMS = "adb:SERIAL, adb:SERIAL@HOST:PORT, ssh://user@host:8022, virtual:NAME, virtual:NAME/ssh or local:"
SERIAL = "ANDROID_SERIAL"

FIRST_PHONE = (
    'by cable: on the phone tap Settings > About phone > "Build number" 7 times, then switch on Developer options > '
    '"USB debugging", plug it in, and accept this computer\'s key on its screen',
    "by network: in Termux `pkg install openssh`, `passwd` and `sshd`; here `ssh-copy-id -p 8022 ADDRESS`, then --on "
    "ssh://ADDRESS:8022",
    "none at hand: `smoothdroid phone start` emulates one",
)
"""The three ways to a first phone, a line each."""


def no_phone() -> NoPhone:
    """What to say where no phone is attached."""
    return NoPhone("\n  ".join(["no phone is attached; name one with --on, or", *FIRST_PHONE]))


def open_target(on: str, ssh: SshOptions | None = None) -> Target:
    """Open the way that `on` names. Raises BadInput for a name of no known form, NoPhone when the way is shut."""
    if on in ("local:", "local"):
        return LocalTarget()
    if on.startswith("ssh://"):
        return SshTarget(on, ssh)
    kind, _, rest = on.partition(":")
    if kind == "adb" and rest:
        serial, _, server = rest.partition("@")
        return adb.AdbTarget(serial, _server(on, server))
    if kind == "virtual" and rest:
        name, _, way = rest.partition("/")
        if way not in ("", "adb", "ssh"):
            raise BadInput(f"{on}: an emulated phone is reached as virtual:{name} (adb) or virtual:{name}/ssh")
        return _open_virtual(name, way)
    raise BadInput(f"--on {on}: no such kind of target. It can be {FORMS}")


def _server(on: str, said: str) -> str | None:
    """The adb server after the `@` of a target: a socket, HOST or HOST:PORT; None for the default one."""
    if not said:
        return None
    if not said.startswith(("tcp:", "local:", "localfilesystem:", "localabstract:")):
        with_port = ":" in said and not said.endswith("]")
        said = f"tcp:{said}" if with_port else f"tcp:{said}:{adb_server.DEFAULT_PORT}"
    return adb_server.parse(said, on).spec


def _open_virtual(name: str, way: str) -> Target:
    phone = virtual.get(name)
    if way == "ssh":
        return SshTarget(phone.ssh_url, SshOptions(key=phone.ssh_key, known_hosts=phone.known_hosts))
    server = adb_server.default()
    if not server.is_here:  # it cannot reach the phone's port
        server = adb_server.at(port=adb_server.DEFAULT_PORT)
    adb.connect(phone.adb_address, server=server)
    return adb.AdbTarget(phone.adb_address, server.spec)


def the_only_one() -> str:
    """The target to use when --on is left out: that of $ANDROID_SERIAL, or the one phone that is attached.

    Raises NoPhone when it is not there, BadInput when there is a choice to make.
    """
    emulated = {phone.adb_address: phone.name for phone in virtual.running()}
    if serial := os.environ.get(SERIAL):
        try:
            adb.find(serial, adb_server.default())
        except NoPhone as error:
            raise type(error)(f"${SERIAL} names the phone {serial}: {error}") from error
        return choose([serial], {address: name for address, name in emulated.items() if address == serial})
    return choose(adb.attached(), emulated)


def choose(serials: Iterable[str], emulated: Mapping[str, str]) -> str:
    """The only phone among those that adb has and the emulated ones (address for adb -> name)."""
    names = {f"adb:{serial}" for serial in serials if serial not in emulated}
    names |= {f"virtual:{name}" for name in emulated.values()}
    if not names:
        raise no_phone()
    if len(names) > 1:
        raise BadInput(f"{len(names)} phones are attached; say which with --on: {', '.join(sorted(names))}")
    return names.pop()
