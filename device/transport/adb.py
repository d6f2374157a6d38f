"""The adb transport: phones behind the adb server that adb itself would use."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from smoothdroid.device.common import system
from smoothdroid.device.common.errors import NoPhone, SmoothdroidError, Unreachable
from smoothdroid.device.transport import adb_server, file_transfer
from smoothdroid.device.transport.adb_library import AdbError, AdbTimeout, adbutils
from smoothdroid.device.transport.adb_server import Attached, Server
from smoothdroid.device.transport.adb_shell import AdbCommand, FlowControl, shell
from smoothdroid.device.transport.shell_target import TRANSFER_TIMEOUT_S, Command, ShellTarget

ROOT = "/data/local/tmp/smoothdroid"
CONNECT_S = 20.0  # adb itself gives up on an address after about 10 s
MORE_THAN_ONE = "more than one device"  # an adb server's reply for a serial that two phones have

_ON_A_NETWORK = r"(\[[0-9A-Fa-f:.%\w]+\]|[^:\s]+):\d{1,5}|\S.*\._adb(-tls-connect)?\._tcp"
"""The serials of phones on a network, as `adb connect` takes them: HOST:PORT or an mDNS name."""

BACK_TO_ANDROID = "let it start Android: choose `Reboot system now` in its menu, or hold the power key for 15 s"
WHAT_TO_DO = {
    "unauthorized": 'unlock the phone and accept this computer\'s key ("Allow USB debugging?"), then try again',
    "authorizing": "the phone has not accepted this computer's key yet: look at its screen, then try again",
    "connecting": "adb is still connecting to it: try again in a few seconds; if that does not help, reconnect it",
    "detached": "it was released with `adb detach`: run `adb attach`, or reconnect it",
    "bootloader": f"the phone is in its bootloader: {BACK_TO_ANDROID}",
    "recovery": f"the phone is in recovery: {BACK_TO_ANDROID}",
    "sideload": f"the phone is waiting for an update (`adb sideload`): {BACK_TO_ANDROID}",
    "rescue": f"the phone is in rescue mode: {BACK_TO_ANDROID}",
    "host": "the adb of another computer answers there, not a phone: give the address of the phone itself",
}
"""Advice by the state in an adb server's list (AOSP, packages/modules/adb/adb.h, ConnectionState)."""


class AdbTarget(ShellTarget):
    """A phone behind an adb server."""

    kind = "adb"
    pattern = "adb:.+"
    forms = "adb:SERIAL, adb:SERIAL@HOST:PORT"
    longest_command = 0xFFFF - len("shell,v2,raw:")  # adb sends the length in four hexadecimal digits
    library_errors = (AdbError, ValueError)
    root = ROOT

    def __init__(self, serial: str, host: str | None = None, port: int | None = None) -> None:
        """Open the phone `serial`, which can also be `transport:ID` or `usb:PORT`, of the server adb_server.at.

        A phone on a network is connected to if necessary. Raises Unreachable unless adb has it ready, NoPhone where
        several phones have the serial.
        """
        server = adb_server.at(host, port)
        phone = find(serial, server)
        self.name = f"adb:{serial}{server.suffix}"
        check_ready(serial, phone.state)
        # When a phone reconnects, its serial stays and its transport ID changes.
        by_transport = serial != phone.serial and phone.transport
        known = {"transport_id": int(phone.transport)} if by_transport else {"serial": phone.serial}
        self._device = adbutils.AdbDevice(adb_server.Client(server), **known)

    @classmethod
    def open(cls, on: str, _ssh: object = None) -> AdbTarget:
        """Open `adb:SERIAL` or `adb:SERIAL@SERVER`. Raises as the constructor, and BadInput for a malformed server."""
        serial, _, server = on.removeprefix("adb:").partition("@")
        return cls(serial, adb_server.parse_suffix(server, on).spec if server else None)

    @contextmanager
    def _start(self, argv: Sequence[str], line: str, timeout_s: float, *, tied: bool) -> Iterator[AdbCommand]:
        """See ShellTarget._start."""
        self._check_length(argv, line)
        try:
            with shell(self._device, line, timeout_s, self.name, argv) as command:
                yield command
        except AdbTimeout as error:
            raise TimeoutError from error

    @contextmanager
    def _pacing(self, command: Command, remote: str, start: int) -> Iterator[Callable[[int], None]]:
        """See ShellTarget._pacing. Limits what adbd keeps in memory, which is lost when the connection breaks."""
        assert isinstance(command, AdbCommand)  # noqa: S101 (made by _start)
        line, argv = file_transfer.report_size(remote), ["append", remote]
        with shell(self._device, line, TRANSFER_TIMEOUT_S, self.name, argv) as reporter:
            yield FlowControl(command, reporter, start, TRANSFER_TIMEOUT_S).wait_for_room

    def _lost(self, argv: Sequence[str], error: Exception) -> SmoothdroidError:
        """See ShellTarget._lost."""
        if MORE_THAN_ONE in str(error):
            return NoPhone(f"{self.name}: a second phone with the same serial was connected. {TWINS}")
        return super()._lost(argv, error)


TWINS = "`smoothdroid devices` lists them by their transport ids, as adb:transport:ID"


def attached(host: str | None = None, port: int | None = None) -> dict[str, str]:
    """Return the state (`device`, `offline`, ...) of each phone of an adb server, by what follows `adb:` in its name.

    That is its serial, or `transport:ID` where several phones share a serial. Raises Unreachable when there is no
    server and none can be started, BadInput when the environment names no valid server.
    """
    return {phone.address: phone.state for phone in _listing(adb_server.at(host, port))}


def attached_already(port: int | None = None) -> dict[str, str]:
    """Return what `attached` returns, or nothing where no server runs: none is started. Raises as `attached`."""
    return attached(port=port) if adb_server.runs(adb_server.at(port=port)) else {}


def twins() -> dict[str, str]:
    """Return a message about each serial that several phones of the default server share. Raises as `attached`."""
    phones = [phone for phone in _listing(adb_server.default()) if phone.shared]
    return {phone.serial: _twins(phone.serial, phones) for phone in phones}


def find(wanted: str, server: Server) -> Attached:
    """Return the phone with this serial, `transport:ID` or `usb:PORT`, after connecting to one on a network.

    Raises Unreachable where there is none, NoPhone where there are several.
    """
    phones = _listing(server, detailed=wanted.startswith(("transport:", "usb:")))
    phone = _pick(wanted, phones)
    if (phone is None or phone.state == "offline") and is_on_a_network(wanted):
        connect(wanted, server=server)
        phones = _listing(server)
        phone = _pick(wanted, phones)
    if phone is None:
        listed = ", ".join(sorted(phone.address for phone in phones)) or "none"
        raise Unreachable(f"adb has no phone {wanted}; it has: {listed}. `smoothdroid devices` lists them")
    return phone


def is_on_a_network(serial: str) -> bool:
    """Return whether a phone with this serial is reached by `adb connect`."""
    return not serial.startswith("transport:") and re.fullmatch(_ON_A_NETWORK, serial) is not None


def _pick(wanted: str, phones: Sequence[Attached]) -> Attached | None:
    matches = [phone for phone in phones if wanted in (phone.serial, phone.plug, f"transport:{phone.transport}")]
    if len(matches) > 1:
        raise NoPhone(_twins(wanted, matches))
    return matches[0] if matches else None


def _twins(serial: str, phones: Sequence[Attached]) -> str:
    twins = [phone for phone in phones if phone.serial == serial]
    count = {2: "two", 3: "three"}.get(len(twins), str(len(twins)))
    message = f"adb has {count} phones with the serial {serial}"
    if not all(phone.transport for phone in twins):
        return f"{message}, and this adb server cannot tell them apart: unplug all but one, or update adb"
    message += f": transport ids {', '.join(phone.transport for phone in twins)}. Name one with --on: "
    message += ", ".join(f"adb:{phone.address}" + (f" (at adb:{phone.plug})" if phone.plug else "") for phone in twins)
    return f"{message}. An id changes when the phone is reconnected" + (
        ", its USB port does not" if any(phone.plug for phone in twins) else ""
    )


def check_ready(serial: str, state: str) -> None:
    """Raise Unreachable with advice unless `state` is one in which a phone can be used."""
    if state != "device":
        raise Unreachable(f"the phone {serial} is attached, but adb lists it as `{state}`: {what_to_do(state, serial)}")


def what_to_do(state: str, serial: str = "") -> str:
    """Return advice about a phone that adb lists in this state."""
    by_network = is_on_a_network(serial)
    if "no permissions" in state:
        return f"this user may not open the USB device: {system.this().fix('udev')}, then plug it back in"
    if state in WHAT_TO_DO:
        return WHAT_TO_DO[state]
    reconnect = (
        f"`adb disconnect {serial}`, then `adb connect {serial}`" if by_network else "unplug it and plug it back in"
    )
    if state == "offline":
        return f"{reconnect}; if that is not enough, turn {'wireless' if by_network else 'USB'} debugging off and on"
    return f"smoothdroid does not know this state: let the phone start Android, {reconnect}"


def connect(address: str, port: int | None = None, *, server: Server | None = None) -> None:
    """Connect an adb server to a phone at HOST:PORT: `server`, or this machine's at `port`, or the default one.

    Raises Unreachable when that fails.
    """
    server = server or adb_server.at(port=port)
    client = adb_server.Client(server)
    try:
        answer = client.connect(address, timeout=CONNECT_S)
        if "already" in answer and _state(address, server) == "offline":
            # A stale connection to a phone that disappeared and came back.
            client.disconnect(address)
            answer = client.connect(address, timeout=CONNECT_S)
    except (AdbError, OSError, ValueError) as error:
        raise Unreachable(f"adb could not connect to {address}: {error or 'no answer'}") from error
    if "connected to" not in answer:
        raise Unreachable(f"adb could not connect to {address}: {answer}. {_how_to_reach(answer)}")


def disconnect(address: str) -> None:
    """Disconnect the default adb server from one phone at HOST:PORT."""
    adb_server.Client(adb_server.default()).disconnect(address)


def _state(address: str, server: Server) -> str:
    """Return the state of a phone by its address; empty where it is not listed."""
    return next((phone.state for phone in _listing(server) if phone.serial == address), "")


def _how_to_reach(answer: str) -> str:
    if "authenticate" in answer:
        return WHAT_TO_DO["unauthorized"]
    return (
        "Is the phone on, on the same network, and listening there? Wireless debugging shows its address, and the port "
        "changes whenever it is switched on; by cable, `adb tcpip 5555` has it listen at port 5555 until it restarts"
    )


def _listing(server: Server, *, detailed: bool = False) -> list[Attached]:
    try:
        return adb_server.listing(server, detailed=detailed)
    except (AdbError, OSError) as error:
        reason = "and none could be started" if server.is_local else "and adb starts one only for `localhost`"
        raise Unreachable(f"no adb server at {server.shown}, {reason}: {error}") from error
