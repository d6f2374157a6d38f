"""Tests of opening a target by its name, and of adding a transport."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import pytest

from smoothdroid.device import virtual
from smoothdroid.device.common.errors import BadInput, CommandFailed, NoPhone, TargetTimeout
from smoothdroid.device.transport import resolve
from smoothdroid.device.transport.local import ChildProcess, LocalTarget
from smoothdroid.device.transport.resolve import choose, open_target
from smoothdroid.device.transport.shell_target import Command, ShellTarget


@pytest.mark.parametrize("on", ["local:", "local"])
def test_this_machine(on: str) -> None:
    assert isinstance(open_target(on), LocalTarget)


@pytest.mark.parametrize(
    ("on", "said"),
    [
        ("", "unknown kind of target"),
        ("usb", "unknown kind of target"),
        ("R58M12ABCDE", r"unknown kind of target.*adb:SERIAL"),
        ("adb", "unknown kind of target"),
        ("adb:", "unknown kind of target"),
        ("virtual:", "unknown kind of target"),
        ("ssh:phone", "unknown kind of target"),
        ("adb:R58M@farm:usb", "`usb` is not a port"),
        ("virtual:phone/usb", "virtual:phone/ssh"),
        ("virtual:No Name", "cannot be a phone's name"),
        ("virtual:nobody-here", "`smoothdroid phone start nobody-here`"),
        ("ssh://", "ssh://user@"),
        ("ssh://user@host:99999", "Port out of range"),
    ],
)
def test_what_names_no_target_is_refused(on: str, said: str) -> None:
    with pytest.raises(BadInput, match=said):
        open_target(on)


def test_without_a_choice_the_one_phone_is_taken() -> None:
    assert choose(["R58M"], {}) == "adb:R58M"
    assert choose([], {"127.0.0.1:20123": "desk"}) == "virtual:desk"
    assert choose(["127.0.0.1:20123"], {"127.0.0.1:20123": "desk"}) == "virtual:desk"
    assert choose(["192.168.1.5:5555"], {}) == "adb:192.168.1.5:5555"


def test_without_a_phone_it_says_what_to_do() -> None:
    with pytest.raises(NoPhone) as error:
        choose([], {})
    _, cable, network, none = str(error.value).splitlines()
    assert "7 times" in cable
    assert "USB debugging" in cable
    assert "`pkg install openssh`" in network
    assert "--on ssh://ADDRESS:8022" in network
    assert "`smoothdroid phone start`" in none


def test_several_phones_are_named() -> None:
    with pytest.raises(BadInput, match=r"^3 phones .* --on: adb:A, adb:B, virtual:desk$"):
        choose(["B", "A", "127.0.0.1:20123"], {"127.0.0.1:20123": "desk"})


@pytest.mark.e2e
@pytest.mark.parametrize("suffix", ["", "/adb", "/ssh"])
def test_an_emulated_phone_by_its_name(phone: virtual.VirtualPhone, suffix: str) -> None:
    target = open_target(f"virtual:{phone.name}{suffix}")
    assert target.name == (phone.ssh_url if suffix == "/ssh" else f"adb:{phone.adb_address}")
    assert target.run(["getprop", "ro.product.model"]).stdout == "Pixel 8\n"
    target.close()


@pytest.mark.e2e
@pytest.mark.usefixtures("adb_target")
@pytest.mark.parametrize("server", ["", "@", "@127.0.0.1", "@127.0.0.1:5037"])
def test_a_phone_of_an_adb_server(phone: virtual.VirtualPhone, server: str) -> None:
    target = open_target(f"adb:{phone.adb_address}{server}")
    assert target.name == f"adb:{phone.adb_address}"
    assert target.run(["echo", "here"]).stdout == "here\n"


class EnvTarget(ShellTarget):
    """A transport of the test's own: a shell of this machine that `env` starts."""

    kind = "env"
    pattern = r"env:\w+"
    forms = "env:VALUE"
    longest_command = 100_000

    def __init__(self, value: str, root: Path) -> None:
        self.name, self.root = f"env:{value}", str(root)
        self._value = value

    @classmethod
    def open(cls, on: str, _ssh: object = None) -> EnvTarget:
        return cls(on.partition(":")[2], Path("/"))

    @contextmanager
    def _start(self, argv: Sequence[str], line: str, timeout_s: float, *, tied: bool) -> Iterator[Command]:
        self._check_length(argv, line)
        with ChildProcess(["env", f"REACHED={self._value}", "sh", "-c", line], self.name, argv).running() as command:
            yield command


def test_a_new_transport_is_a_class_and_a_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resolve, "TRANSPORTS", (*resolve.TRANSPORTS, EnvTarget))
    with pytest.raises(BadInput, match=r"local: or env:VALUE$"):
        open_target("nosuch:")
    target = open_target("env:here")
    assert (target.kind, target.name, target.run(["printenv", "REACHED"]).stdout) == ("env", "env:here", "here\n")
    (tmp_path / "source").write_text("it's 텍스트")
    target.push(tmp_path / "source", f"{tmp_path}/pushed", mode=0o640)
    target.append(tmp_path / "source", f"{tmp_path}/appended", 0)
    target.pull(f"{tmp_path}/appended", tmp_path / "pulled")
    assert (tmp_path / "pushed").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "pulled").read_text() == "it's 텍스트"
    with pytest.raises(CommandFailed, match="status 3"):
        target.run(["sh", "-c", "exit 3"])
    with pytest.raises(TargetTimeout, match=r"env:here: no answer within 0\.2 s to `sleep 9`"):
        target.run(["sleep", "9"], timeout_s=0.2)
