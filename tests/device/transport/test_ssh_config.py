"""Tests of ~/.ssh/config, which is read as ssh reads it."""

from __future__ import annotations

import getpass
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.transport.ssh_config import look_up, parse


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty ~/.ssh."""
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / ".ssh").mkdir()
    return tmp_path / ".ssh"


def test_without_a_configuration_the_defaults_are_openssh_s(folder: Path) -> None:
    host = look_up(None, "192.168.1.5", None, 8022)
    assert (host.user, host.hostname, host.port) == (getpass.getuser(), "192.168.1.5", 8022)
    assert host.identity_files[0] == folder / "id_rsa"
    assert folder / "id_ed25519" in host.identity_files
    assert host.known_hosts[0] == folder / "known_hosts"
    assert (host.identities_named, host.identities_only) == (False, False)
    assert (host.jumps, host.proxy_command, host.known_as) == ((), None, None)


CONFIG = """\
# a comment
Include more/*.conf
Host pixel Fold*
    HostName=192.168.1.5   # termux
    User u0_a217
    Port 8022
    IdentityFile ~/.ssh/one
    IdentityFile "~/.ssh/two keys"
    IdentitiesOnly yes
    HostKeyAlias my-pixel
    UserKnownHostsFile ~/.ssh/phones /dev/null
Host far
    ProxyJump me@gate:2222,inner
Host not-far
    ProxyJump none
Host piped
    ProxyCommand nc -X 5 %h %p # not a comment
Match host matched user someone
    Port 2
Host *
    User anyone
    Port 22
"""


def test_all_that_says_how_to_log_in_is_taken(folder: Path) -> None:
    (folder / "config").write_text("﻿" + CONFIG, encoding="utf-8")  # from an editor that writes a BOM
    for alias in ("pixel", "Fold7"):
        host = look_up(None, alias, None, 8022)
        assert (host.hostname, host.user, host.port, host.known_as) == ("192.168.1.5", "u0_a217", 8022, "my-pixel")
        assert host.identity_files == (folder / "one", folder / "two keys")
        assert (host.identities_named, host.identities_only) == (True, True)
        assert host.known_hosts[:2] == (folder / "phones", Path("/dev/null"))
        assert host.name == f"ssh://u0_a217@{alias}:8022"
    assert look_up(None, "elsewhere", None, 8022).port == 22
    assert look_up(None, "far", None).jumps == ("me@gate:2222", "inner")
    assert look_up(None, "not-far", None).jumps == ()
    assert look_up(None, "piped", None).proxy_command == "nc -X 5 piped 22 # not a comment"
    assert look_up("someone", "matched", None).port == 2
    assert look_up("another", "matched", None).port == 22


def test_the_url_wins_over_the_configuration(folder: Path) -> None:
    (folder / "config").write_text(CONFIG, encoding="utf-8")
    host = look_up("me", "pixel", 9022, 8022)
    assert (host.hostname, host.user, host.port) == ("192.168.1.5", "me", 9022)
    assert look_up("me", "piped", 9022).proxy_command == "nc -X 5 piped 9022 # not a comment"


def test_included_files_stand_in_their_place(folder: Path) -> None:
    (folder / "more").mkdir()
    (folder / "more/a.conf").write_text("Host pixel\n  Port 1\nHost inner\n  HostName 10.0.0.1\n", encoding="utf-8")
    (folder / "config").write_text(
        f"{CONFIG}\nHost pixel\n  Include {folder}/more/b.inner\n  HostKeyAlgorithms ssh-ed25519\n", encoding="utf-8"
    )
    (folder / "more/b.inner").write_text("IdentityFile /three\n", encoding="utf-8")
    host = look_up(None, "pixel", None)
    assert (host.port, host.user) == (1, "u0_a217")
    assert Path("/three") in host.identity_files
    assert Path("/three") not in look_up(None, "inner", None).identity_files
    assert look_up(None, "inner", None).hostname == "10.0.0.1"


def test_a_command_decides_with_match_exec(folder: Path) -> None:
    (folder / "config").write_text(
        'Match exec "test %h = yes"\n  Port 1\nMatch host no !exec "true"\n  Port 2\n', encoding="utf-8"
    )
    assert look_up(None, "yes", None).port == 1
    assert look_up(None, "no", None).port == 22


def test_it_says_what_ssh_says(folder: Path) -> None:
    """The expected values are those that OpenSSH reads from the same file."""
    (folder / "config").write_text(CONFIG, encoding="utf-8")
    for alias in ("pixel", "Fold7", "elsewhere"):
        command = ["ssh", "-G", "-F", str(folder / "config"), alias]
        printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout
        theirs = dict(line.split(" ", 1) for line in printed.splitlines() if " " in line)
        host = look_up(None, alias, None)
        assert (host.hostname.lower(), host.user, str(host.port)) == (
            theirs["hostname"],
            theirs["user"],
            theirs["port"],
        )
        assert host.identities_only == (theirs["identitiesonly"] == "yes")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("Host pixel\n  Port many\n", "'many' is not a port for pixel"),
        ("Host pixel\n  Port 70000\n", "'70000' is not a port"),
        ("Host 'pixel\n  Port 1\n", "Unparsable host"),
        ("Nonsense\n", "Unparsable line Nonsense"),
        ("Include config\n", "include each other"),
    ],
)
@pytest.mark.fault(
    "~/.ssh/config cannot be read as OpenSSH's",
    transport="ssh",
    outcome="refused before anything is connected, with the file and the line",
)
def test_a_configuration_that_cannot_be_read_is_named(folder: Path, text: str, said: str) -> None:
    (folder / "config").write_text(text, encoding="utf-8")
    with pytest.raises(BadInput, match=said) as error:
        look_up(None, "pixel", None)
    assert str(folder / "config") in str(error.value)


@pytest.mark.parametrize("raw", [b"\xff\xfe\0", b"Host \xff\n  Port 1\n", b"\n\n# nothing\n"])
def test_bytes_that_are_no_text_hurt_no_other_host(folder: Path, raw: bytes) -> None:
    (folder / "config").write_bytes(b"Host pixel\n  Port 1\nHost x\n  User x" + raw)
    assert look_up(None, "pixel", None).port == 1


WORDS = ["Host", "Match", "exec", "final", "all", "canonical", "host", "user", "!host", "pixel", "*", "!pixel", "yes"]
WORDS += ["Port", "User", "HostName", "%h", "%%", "IdentityFile", "~", '"', "'", "=", "#", "\\", "ProxyJump", "a@b:1,c"]
WORDS += ["CanonicalizeHostname", "CanonicalizeMaxDots", "CanonicalDomains", "AddressFamily", "UserKnownHostsFile"]
WORDS += ["ProxyCommand", "none", "22", "x", "\n", "\n", "\n", "\0", "한", "Include", "true"]


@given(st.lists(st.sampled_from(WORDS), max_size=30))
@settings(max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
def test_any_configuration_is_read_or_refused(folder: Path, words: list[str]) -> None:
    (folder / "config").write_text(" ".join(words), encoding="utf-8")
    with suppress(BadInput):
        assert look_up(None, "pixel", None).port in (22, 1)


def test_an_alias_keeps_its_capitals() -> None:
    assert parse("ssh://Pixel") == (None, "Pixel", None)
