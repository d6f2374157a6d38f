"""Tests of what only the adb transport does; test_target.py has those of all transports."""

from __future__ import annotations

import socket
from contextlib import nullcontext as does_not_raise
from pathlib import Path

import pytest

from smoothdroid.device import virtual
from smoothdroid.device.common.errors import CommandFailed, NoPhone
from smoothdroid.device.transport import adb, adb_server
from smoothdroid.device.transport.adb import AdbTarget
from tests.ports import free_port


def test_the_states_of_a_listing() -> None:
    no_permissions = "no permissions (user in plugdev group; are your udev rules wrong?)"
    listing = f"R58M\tdevice\n127.0.0.1:20123\toffline\nHT4\t{no_permissions}\n"
    states = {phone.address: phone.state for phone in adb_server.read_listing(listing)}
    assert states == {"R58M": "device", "127.0.0.1:20123": "offline", "HT4": no_permissions}
    assert adb_server.read_listing("") == []


@pytest.mark.parametrize(
    ("state", "advice"),
    [
        ("unauthorized", "accept this computer's key"),
        ("authorizing", "look at its screen"),
        ("offline", "unplug it and plug it back in"),
        ("no permissions (user in plugdev group; are your udev rules wrong?)", "udev"),
        ("recovery", "let it start Android"),
        ("bootloader", "let it start Android"),
        ("sideload", "is waiting for an update.*let it start Android"),
        ("rescue", "rescue mode.*let it start Android"),
        ("host", "give the address of the phone itself"),
        ("connecting", "still connecting.*try again"),
        ("detached", "run `adb attach`"),
        ("no permissions", "may not open the USB device"),
        ("unheard-of", "does not know this state.*unplug it and plug it back in"),
    ],
)
@pytest.mark.fault(
    "a phone is in a state in which it cannot work: unauthorized, offline, sideload, recovery, detached, ...",
    transport="adb",
    outcome="the message names the state and says what to do about it",
)
def test_a_phone_that_is_not_ready_comes_with_advice(state: str, advice: str) -> None:
    with pytest.raises(NoPhone, match=advice) as error:
        adb.check_ready("R58M", state)
    assert "R58M" in str(error.value)
    assert f"`{state}`" in str(error.value)


def test_a_phone_on_the_network_is_not_at_a_cable() -> None:
    assert "adb connect 192.168.1.5:5555" in adb.what_to_do("offline", "192.168.1.5:5555")
    assert "plug" not in adb.what_to_do("offline", "192.168.1.5:5555")


def test_a_ready_phone_is_ready() -> None:
    with does_not_raise():
        adb.check_ready("R58M", "device")


@pytest.mark.e2e
def test_no_such_serial(phone: virtual.VirtualPhone, adb_target: AdbTarget) -> None:
    with pytest.raises(NoPhone, match="adb has no phone NO-SUCH") as error:
        AdbTarget("NO-SUCH")
    assert phone.adb_address in str(error.value)


@pytest.mark.e2e
def test_nothing_listens_at_the_address() -> None:
    address = f"127.0.0.1:{free_port()}"
    with pytest.raises(NoPhone, match=f"could not connect to {address}"):
        adb.connect(address)
    assert address not in adb.attached()


@pytest.mark.e2e
def test_no_server_there() -> None:
    port = free_port()
    with pytest.raises(NoPhone, match=f"no adb server at 127.0.0.1:{port}"):
        AdbTarget("R58M", "127.0.0.1", port)


@pytest.mark.e2e
def test_who_only_looks_starts_no_server(phone: virtual.VirtualPhone, adb_target: AdbTarget) -> None:
    assert adb.attached_already()[phone.adb_address] == "device"
    port = free_port()
    assert adb.attached_already(port) == {}
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


@pytest.mark.e2e
def test_connecting_again_changes_nothing(phone: virtual.VirtualPhone, adb_target: AdbTarget) -> None:
    adb.connect(phone.adb_address)
    assert adb.attached()[phone.adb_address] == "device"
    assert adb_target.run(["echo", "here"]).stdout == "here\n"


@pytest.mark.e2e
@pytest.mark.fault(
    "a command is longer than adb's 64 KiB",
    transport="adb",
    outcome="refused with its length before it is sent",
)
def test_a_command_longer_than_adb_takes_says_so(adb_target: AdbTarget) -> None:
    assert len(adb_target.run(["echo", "x" * 60_000]).stdout) == 60_001
    with pytest.raises(CommandFailed, match="too long"):
        adb_target.run(["echo", "x" * 70_000])


@pytest.mark.e2e
def test_a_refused_push_says_what_the_phones_shell_said(adb_target: AdbTarget) -> None:
    with pytest.raises(CommandFailed, match=r"(?i)is a directory"):
        adb_target.push(Path(__file__), "/data/local/tmp")
