"""Tests of the choice of an adb server and of its list of phones."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

import adbutils
import pytest

from smoothdroid.device.common.errors import BadInput, NoPhone, SmoothdroidError, Unreachable
from smoothdroid.device.transport import adb, adb_server
from smoothdroid.device.transport.adb_server import Attached, default, read_listing
from smoothdroid.device.transport.resolve import open_target, the_only_one
from tests.device.fake_adb import FakeServer, Listed, fake_server
from tests.ports import free_port


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide the environment of whoever runs the tests, and the emulated phones of other tests."""
    monkeypatch.setenv("SMOOTHDROID_CACHE", str(tmp_path / "cache"))
    for name in ("ADB_SERVER_SOCKET", "ANDROID_ADB_SERVER_ADDRESS", "ANDROID_ADB_SERVER_PORT", "ANDROID_SERIAL"):
        monkeypatch.delenv(name, raising=False)


SOCKET = {"ADB_SERVER_SOCKET": "tcp:127.0.0.1:15037"}
PORT = {"ANDROID_ADB_SERVER_PORT": "15038"}
ADDRESS = {"ANDROID_ADB_SERVER_ADDRESS": "farm"}


@pytest.mark.parametrize(
    ("environ", "spec", "shown", "is_local"),
    [
        ({}, "tcp:5037", "127.0.0.1:5037", True),
        (SOCKET, "tcp:127.0.0.1:15037", "127.0.0.1:15037", False),
        (PORT, "tcp:15038", "127.0.0.1:15038", True),
        ({"ANDROID_ADB_SERVER_PORT": ""}, "tcp:5037", "127.0.0.1:5037", True),
        (ADDRESS, "tcp:farm:5037", "farm:5037", False),
        (ADDRESS | PORT, "tcp:farm:15038", "farm:15038", False),
        (ADDRESS | PORT | SOCKET, "tcp:127.0.0.1:15037", "127.0.0.1:15037", False),
        ({"ADB_SERVER_SOCKET": "tcp:15037"}, "tcp:15037", "127.0.0.1:15037", True),
        ({"ADB_SERVER_SOCKET": "tcp:localhost:15037"}, "tcp:localhost:15037", "localhost:15037", True),
        ({"ADB_SERVER_SOCKET": "tcp:farm"}, "tcp:farm:5555", "farm:5555", False),
        ({"ADB_SERVER_SOCKET": "tcp:[::1]:15037"}, "tcp:[::1]:15037", "[::1]:15037", False),
        ({"ANDROID_ADB_SERVER_ADDRESS": "fe80::1"}, "tcp:[fe80::1]:5037", "[fe80::1]:5037", False),
        ({"ADB_SERVER_SOCKET": "localfilesystem:/x"}, "localfilesystem:/x", "localfilesystem:/x", True),
        ({"ADB_SERVER_SOCKET": "localabstract:x"}, "localabstract:x", "localabstract:x", True),
    ],
)
def test_the_server_is_the_one_that_adb_uses(environ: Mapping[str, str], spec: str, shown: str, is_local: bool) -> None:
    """The order, the forms and what counts as local are those of commandline.cpp and socket_spec.cpp."""
    server = default(environ)
    assert (server.spec, server.shown, server.is_local) == (spec, shown, is_local)
    assert adb_server.at(server.spec) == server


@pytest.mark.fault(
    "ADB_SERVER_SOCKET or ANDROID_ADB_SERVER_PORT holds something that is no address",
    transport="adb",
    outcome="an error that names the variable, its value and the forms it can have",
)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("ADB_SERVER_SOCKET", ""),
        ("ADB_SERVER_SOCKET", "15037"),
        ("ADB_SERVER_SOCKET", "127.0.0.1:15037"),
        ("ADB_SERVER_SOCKET", "tcp:"),
        ("ADB_SERVER_SOCKET", "tcp:farm:usb"),
        ("ADB_SERVER_SOCKET", "tcp:farm:0"),
        ("ADB_SERVER_SOCKET", "tcp:70000"),
        ("ADB_SERVER_SOCKET", "vsock:3:5555"),
        ("ADB_SERVER_SOCKET", "localfilesystem:"),
        ("ANDROID_ADB_SERVER_PORT", "usb"),
        ("ANDROID_ADB_SERVER_PORT", "0"),
        ("ANDROID_ADB_SERVER_PORT", "65536"),
        ("ANDROID_ADB_SERVER_PORT", "-1"),
        ("ANDROID_ADB_SERVER_PORT", "5037 "),
        ("ANDROID_ADB_SERVER_PORT", "²"),
        ("ANDROID_ADB_SERVER_PORT", "9" * 400),
        ("ANDROID_ADB_SERVER_ADDRESS", ""),
        ("ANDROID_ADB_SERVER_ADDRESS", "a b"),
        ("ANDROID_ADB_SERVER_ADDRESS", "http://farm"),
    ],
)
def test_a_variable_that_names_no_server_is_named(name: str, value: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(BadInput, match=rf"\${name}: "):
        adb.attached()


def name_of(fake: FakeServer) -> dict[str, dict[str, str]]:
    """The ways to tell adb of a server."""
    return {
        "socket": {"ADB_SERVER_SOCKET": f"tcp:127.0.0.1:{fake.port}"},
        "short socket": {"ADB_SERVER_SOCKET": f"tcp:{fake.port}"},
        "port": {"ANDROID_ADB_SERVER_PORT": str(fake.port)},
        "both": {"ANDROID_ADB_SERVER_ADDRESS": "localhost", "ANDROID_ADB_SERVER_PORT": str(fake.port)},
    }


@pytest.mark.parametrize("way", ["socket", "short socket", "port", "both"])
def test_a_server_of_the_environment_is_asked(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_server([Listed("R58M")]) as fake:
        for name, value in name_of(fake)[way].items():
            monkeypatch.setenv(name, value)
        assert adb.attached() == adb.attached_already() == {"R58M": "device"}
        assert the_only_one() == "adb:R58M"
        target = open_target("adb:R58M")
        assert target.name.endswith(f":{fake.port}"), "a name means the same phone in any environment"


def test_a_server_that_is_named_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_server([Listed("MINE")]) as fake, fake_server([Listed("OTHER")]) as other:
        monkeypatch.setenv("ADB_SERVER_SOCKET", f"tcp:127.0.0.1:{other.port}")
        monkeypatch.setenv("ANDROID_SERIAL", "OTHER")
        for server in (f"127.0.0.1:{fake.port}", f"localhost:{fake.port}", f"tcp:{fake.port}"):
            assert open_target(f"adb:MINE@{server}").name.startswith("adb:MINE@")
        assert other.asked == []


@pytest.mark.parametrize("server", ["[::1", "farm:", "farm:usb", "farm:5037:1", "tcp:", "localfilesystem:"])
def test_a_server_that_cannot_be_is_refused(server: str) -> None:
    with pytest.raises(BadInput, match="adb server"):
        open_target(f"adb:R58M@{server}")


def test_the_variable_chooses_among_several_phones(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_server([Listed("A", transport=1), Listed("B", transport=2)]) as fake:
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(fake.port))
        with pytest.raises(BadInput, match="2 phones are attached"):
            the_only_one()
        monkeypatch.setenv("ANDROID_SERIAL", "B")
        assert the_only_one() == "adb:B"
        assert list(adb.attached()) == ["A", "B"], "a list is of all"
        monkeypatch.setenv("ANDROID_SERIAL", "")
        with pytest.raises(BadInput, match="2 phones are attached"):
            the_only_one()


@pytest.mark.fault(
    "ANDROID_SERIAL names a phone that is not attached",
    transport="adb",
    outcome="an error that names the variable and the phones that are there",
)
def test_the_variable_names_a_phone_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    with fake_server([Listed("A")]) as fake:
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(fake.port))
        monkeypatch.setenv("ANDROID_SERIAL", "GONE")
        with pytest.raises(Unreachable, match=r"\$ANDROID_SERIAL names the phone GONE: .* it has: A\."):
            the_only_one()


@pytest.mark.fault(
    "no adb server runs at an address of another machine",
    transport="adb",
    outcome="none is started; the message names the address",
)
def test_only_a_local_server_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    monkeypatch.setenv("ADB_SERVER_SOCKET", f"tcp:127.0.0.1:{port}")
    with pytest.raises(Unreachable, match=f"no adb server at 127.0.0.1:{port}, and adb starts one only for"):
        adb.attached()
    assert adb.attached_already() == {}
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


@contextlib.contextmanager
def stopped(spec: str) -> Iterator[None]:
    try:
        yield
    finally:
        subprocess.run([adbutils.adb_path(), "-L", spec, "kill-server"], check=False, capture_output=True)


@pytest.mark.e2e
@pytest.mark.parametrize("form", ["port", "localhost", "unix"])
def test_a_local_server_is_started_where_it_was_asked_for(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """The real adb is started at that address only, and prints nothing, because standard output is for facts."""
    port = free_port()
    forms = {
        "port": f"tcp:{port}",
        "localhost": f"tcp:localhost:{port}",
        "unix": f"localfilesystem:{tmp_path}/s",
    }
    monkeypatch.setenv("ADB_SERVER_SOCKET", forms[form])
    with stopped(forms[form]):
        assert adb.attached_already() == {}
        assert isinstance(adb.attached(), dict)
        assert isinstance(adb.attached_already(), dict)
        assert adb_server.runs(default())
    assert capfd.readouterr().out == ""


@contextlib.contextmanager
def saying(data: bytes) -> Iterator[int]:
    """A port where something else answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = listener.accept()
                    with connection:
                        connection.recv(100)
                        connection.sendall(data)

        threading.Thread(target=serve, daemon=True).start()
        yield listener.getsockname()[1]
        listener.shutdown(socket.SHUT_RDWR)


@pytest.mark.fault(
    "something else than an adb server answers at its port",
    transport="adb",
    outcome="an error that names the address, within seconds",
)
@pytest.mark.parametrize(
    "data", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"OKAY", b"OKAYzzzz", b"FAIL0003abc", b"OKAY-001"]
)
def test_something_else_answers(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    with saying(data) as port:
        monkeypatch.setenv("ADB_SERVER_SOCKET", f"tcp:127.0.0.1:{port}")
        with pytest.raises(SmoothdroidError, match=f"no adb server at 127.0.0.1:{port}"):
            adb.attached()


@pytest.mark.fault(
    "two phones have the same serial number (0123456789ABCDEF)",
    transport="adb",
    outcome="both are listed, with their transport ids, and can be opened by them; the serial alone is refused",
)
def test_two_phones_of_one_serial(monkeypatch: pytest.MonkeyPatch) -> None:
    twin = "0123456789ABCDEF"
    phones = [Listed(twin, more="usb:1-2 model:a", transport=3), Listed("R58M", transport=4)]
    phones.append(Listed(twin, "offline", more="usb:1-4 model:a", transport=7))
    with fake_server(phones) as fake:
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(fake.port))
        assert adb.attached() == {"transport:3": "device", "R58M": "device", "transport:7": "offline"}
        for name in (twin, f"{twin}@127.0.0.1:{fake.port}"):
            with pytest.raises(
                NoPhone, match=f"two phones with the serial {twin}: transport ids 3, 7.*adb:transport:3"
            ) as error:
                open_target(f"adb:{name}")
            assert not isinstance(error.value, Unreachable), "waiting does not help"
        assert open_target("adb:transport:3").name == f"adb:transport:3@127.0.0.1:{fake.port}"
        open_target("adb:usb:1-2")
        for gone in ("transport:7", "usb:1-4"):
            with pytest.raises(Unreachable, match="offline"):
                open_target(f"adb:{gone}")
        with pytest.raises(Unreachable, match="adb has no phone transport:9"):
            open_target("adb:transport:9")


def test_a_server_that_does_not_tell_twins_apart() -> None:
    listed = "X\tdevice\nX\tdevice\n"
    assert read_listing(listed) == [Attached("X", "device", shared=True)] * 2


def test_a_server_that_numbers_no_transports() -> None:
    """An adb before 1.0.41 is such a server."""
    listed = Listed("X", more="usb:1-2 product:a")
    with fake_server([listed]) as fake:
        fake.no_transports = True
        assert open_target(f"adb:usb:1-2@127.0.0.1:{fake.port}").name.startswith("adb:usb:1-2@")
        with pytest.raises(Unreachable, match="adb has no phone transport:1"):
            open_target(f"adb:transport:1@127.0.0.1:{fake.port}")


def test_serials_and_states_of_several_words() -> None:
    """The long form alone cannot be split at spaces: mDNS names (scrcpy #6289), `no permissions (...)`."""
    name, state = "adb-4c75-aaa (2)._adb-tls-connect._tcp", "no permissions (user in plugdev group; see [http://x])"
    short = f"{name}\tdevice\nadb-4c75-aaa\t{state}\nadb-4c75-aaa\toffline\n"
    long = f"{name} device product:p model:M device:d transport_id:5\n"
    long += f"adb-4c75-aaa           {state} usb:3-1 transport_id:6\n"
    long += "adb-4c75-aaa           offline usb:3-2 transport_id:8\n"
    first, second, third = read_listing(short, long)
    assert (first.serial, first.transport, first.address) == (name, "5", name)
    assert (second.state, second.plug, second.address) == (state, "usb:3-1", "transport:6")
    assert (third.state, third.plug, third.address) == ("offline", "usb:3-2", "transport:8")


def test_a_phone_by_its_mdns_name(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "adb-4c75-aaa (2)._adb-tls-connect._tcp"
    with fake_server([Listed(name)]) as fake:
        monkeypatch.setenv("ANDROID_ADB_SERVER_PORT", str(fake.port))
        assert the_only_one() == f"adb:{name}"
        assert open_target(f"adb:{name}").name == f"adb:{name}@127.0.0.1:{fake.port}"


ADDRESS_THERE = "192.168.1.5:5555"


@pytest.mark.fault(
    "adb over Wi-Fi: the adb server has forgotten the phone's address",
    transport="adb",
    outcome="`adb connect` is tried before a run and while the phone is waited for",
)
@pytest.mark.parametrize("name", [ADDRESS_THERE, "phone.lan:41234", "[fe80::1]:5555", "adb-4c75._adb-tls-connect._tcp"])
def test_a_phone_on_the_network_is_connected_to(name: str) -> None:
    with fake_server() as fake:

        def connects(request: str) -> str | None:
            if request != f"host:connect:{name}":
                return None
            fake.phones.append(Listed(name))
            return f"connected to {name}"

        fake.answer = connects
        assert open_target(f"adb:{name}@127.0.0.1:{fake.port}").name == f"adb:{name}@127.0.0.1:{fake.port}"


def test_what_is_left_of_an_old_connection_is_dropped_first() -> None:
    with fake_server([Listed(ADDRESS_THERE, "offline")]) as fake:

        def answer(request: str) -> str | None:
            if request == f"host:disconnect:{ADDRESS_THERE}":
                fake.phones.clear()
                return "disconnected"
            if fake.phones:
                return f"already connected to {ADDRESS_THERE}"
            fake.phones.append(Listed(ADDRESS_THERE))
            return f"connected to {ADDRESS_THERE}"

        fake.answer = answer
        open_target(f"adb:{ADDRESS_THERE}@127.0.0.1:{fake.port}")
        assert f"host:disconnect:{ADDRESS_THERE}" in fake.asked


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("failed to connect to '192.168.1.5:5555': Connection refused", "Connection refused.*adb tcpip 5555"),
        ("failed to authenticate to 192.168.1.5:5555", "accept this computer's key"),
        (None, "unknown host service"),
    ],
)
def test_a_phone_on_the_network_that_does_not_answer(answer: str | None, said: str) -> None:
    with (
        fake_server(answer=lambda request: answer) as fake,
        pytest.raises(Unreachable, match=f"(?s)could not connect to {ADDRESS_THERE}.*{said}"),
    ):
        open_target(f"adb:{ADDRESS_THERE}@127.0.0.1:{fake.port}")


@pytest.mark.parametrize("serial", ["R58M", "emulator-5554", "transport:3", "usb:1-2"])
def test_a_phone_at_a_cable_is_not_connected_to(serial: str) -> None:
    with fake_server() as fake, pytest.raises(Unreachable, match=f"adb has no phone {serial}"):
        open_target(f"adb:{serial}@127.0.0.1:{fake.port}")
    assert not any("connect" in request for request in fake.asked)


def test_a_second_phone_of_the_same_serial_comes_in_the_middle() -> None:
    """The message is adb's answer to every command in this case, so a retry would be in vain."""
    with fake_server([Listed("X")]) as fake:
        target = open_target(f"adb:X@127.0.0.1:{fake.port}")
        fake.refusal = "more than one device/emulator"
        with pytest.raises(NoPhone, match="transport ids") as error:
            target.run(["true"])
        assert not isinstance(error.value, Unreachable)
