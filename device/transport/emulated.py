"""Emulated phones, reached by name over adb or SSH."""

from __future__ import annotations

from smoothdroid.device import virtual
from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.transport import adb, adb_server
from smoothdroid.device.transport.adb import AdbTarget
from smoothdroid.device.transport.ssh import SshOptions, SshTarget
from smoothdroid.device.transport.target import Target


class EmulatedPhone:
    """The names of emulated phones. A target that is opened is an adb or an SSH target."""

    pattern = "virtual:.+"
    forms = "virtual:NAME, virtual:NAME/ssh"

    @classmethod
    def open(cls, on: str, _ssh: object = None) -> Target:
        """Open a running phone. Raises BadInput for a malformed name, NotRunning for a phone that is switched off."""
        name, _, transport = on.removeprefix("virtual:").partition("/")
        if transport not in ("", "adb", "ssh"):
            raise BadInput(f"{on}: an emulated phone is reached as virtual:{name} (adb) or virtual:{name}/ssh")
        phone = virtual.get(name)
        if transport == "ssh":
            return SshTarget(phone.ssh_url, SshOptions(key=phone.ssh_key, known_hosts=phone.known_hosts))
        server = adb_server.default()
        if not server.is_here:  # it cannot reach the phone's port
            server = adb_server.at(port=adb_server.DEFAULT_PORT)
        adb.connect(phone.adb_address, server=server)
        return AdbTarget(phone.adb_address, server.spec)
