"""The registry of transports: from what the user gives as --on to an open target."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from typing import Protocol

from smoothdroid.device import virtual
from smoothdroid.device.common.errors import BadInput, NoPhone
from smoothdroid.device.transport import adb, adb_server
from smoothdroid.device.transport.adb import AdbTarget
from smoothdroid.device.transport.emulated import EmulatedPhone
from smoothdroid.device.transport.local import LocalTarget
from smoothdroid.device.transport.ssh import SshOptions, SshTarget
from smoothdroid.device.transport.target import Target

SERIAL = "ANDROID_SERIAL"


class Transport(Protocol):
    """A way to open targets whose names match `pattern`."""

    pattern: str
    """A regular expression for the whole name."""
    forms: str
    """The forms of such a name, separated by commas, as --help shows them."""

    def open(self, on: str, ssh: SshOptions | None, /) -> Target:
        """Open a target by its name; transports other than SSH ignore `ssh`."""
        ...


TRANSPORTS: tuple[Transport, ...] = (AdbTarget, SshTarget, EmulatedPhone, LocalTarget)


def forms() -> str:
    """Return the forms of a target's name, as --help shows them."""
    *others, last = [transport.forms for transport in TRANSPORTS]
    return f"{', '.join(others)} or {last}"


FORMS = forms()

FIRST_PHONE = (
    'by cable: on the phone tap Settings > About phone > "Build number" 7 times, then switch on Developer options > '
    '"USB debugging", plug it in, and accept this computer\'s key on its screen',
    "by network: in Termux `pkg install openssh`, `passwd` and `sshd`; here `ssh-copy-id -p 8022 ADDRESS`, then --on "
    "ssh://ADDRESS:8022",
    "none at hand: `smoothdroid phone start` emulates one",
)
"""Instructions for reaching a first phone, one per transport."""


def no_phone() -> NoPhone:
    """Return the error for the case that no phone is attached."""
    return NoPhone("\n  ".join(["no phone is attached; name one with --on, or", *FIRST_PHONE]))


def open_target(on: str, ssh: SshOptions | None = None) -> Target:
    """Open a target by its name. Raises BadInput for a name of unknown form, NoPhone for an unreachable phone."""
    for transport in TRANSPORTS:
        if re.fullmatch(transport.pattern, on, re.DOTALL):
            return transport.open(on, ssh)
    raise BadInput(f"--on {on}: unknown kind of target. It can be {forms()}")


def the_only_one() -> str:
    """Return the name of the target without --on: that of $ANDROID_SERIAL, or the only phone that is attached.

    Raises NoPhone when there is none, BadInput when several are attached.
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
    """Return the name of the only phone, given the serials that adb lists and the emulated phones' names by serial.

    Raises as `the_only_one`.
    """
    names = {f"adb:{serial}" for serial in serials if serial not in emulated}
    names |= {f"virtual:{name}" for name in emulated.values()}
    if not names:
        raise no_phone()
    if len(names) > 1:
        raise BadInput(f"{len(names)} phones are attached; say which with --on: {', '.join(sorted(names))}")
    return names.pop()
