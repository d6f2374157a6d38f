"""Tests of what only the SSH transport does; test_target.py has those of all transports."""

from __future__ import annotations

import subprocess
from pathlib import Path

import paramiko
import pytest

from smoothdroid.device import virtual
from smoothdroid.device.common.errors import BadInput, NoPhone
from smoothdroid.device.transport import ssh_config
from smoothdroid.device.transport.ssh import SshOptions, SshTarget
from tests.ports import free_port


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("ssh://u0_a217@192.168.1.20:8022", ("u0_a217", "192.168.1.20", 8022)),
        ("ssh://u0_a217@192.168.1.20", ("u0_a217", "192.168.1.20", None)),
        ("ssh://phone.local:22/", (None, "phone.local", 22)),
        ("ssh://me@[fe80::1]:22", ("me", "fe80::1", 22)),
        ("ssh://Pixel", (None, "Pixel", None)),
    ],
)
def test_an_url_is_taken_apart(url: str, parts: tuple[str | None, str, int | None]) -> None:
    assert ssh_config.parse(url) == parts


@pytest.mark.parametrize(
    "url",
    [
        *["", "phone", "ssh:", "ssh://", "ssh://:8022", "ssh://user@", "http://phone:8022"],
        *["ssh://u@phone:port", "ssh://u@phone:0", "ssh://u@phone:65536", "ssh://u@phone:-1"],
        *["ssh://u@phone/folder", "ssh://u@phone?x=1", "ssh://u@phone#x", "ssh://u:secret@phone", "ssh://u@[fe80::1"],
    ],
)
def test_what_is_no_url_of_a_phone_is_refused(url: str) -> None:
    with pytest.raises(BadInput):
        ssh_config.parse(url)


# --- with an emulated phone ---------------------------------------------------------------------------------


def host_fingerprint(phone: virtual.VirtualPhone) -> str:
    """Return the fingerprint as OpenSSH computes it."""
    printed = subprocess.run(
        ["ssh-keygen", "-lf", str(phone.known_hosts)], check=True, capture_output=True, text=True
    ).stdout
    return printed.split()[1]


@pytest.mark.e2e
def test_an_unknown_host_is_refused_with_its_fingerprint(phone: virtual.VirtualPhone, tmp_path: Path) -> None:
    known_hosts = tmp_path / "known_hosts"
    with pytest.raises(NoPhone) as error:
        SshTarget(phone.ssh_url, SshOptions(phone.ssh_key, known_hosts))
    assert f"--accept-host-key {host_fingerprint(phone)}" in str(error.value)
    assert not known_hosts.exists()


@pytest.mark.e2e
def test_an_accepted_host_is_remembered(phone: virtual.VirtualPhone, tmp_path: Path) -> None:
    known_hosts = tmp_path / "new/known_hosts"
    SshTarget(phone.ssh_url, SshOptions(phone.ssh_key, known_hosts, host_fingerprint(phone))).close()
    assert known_hosts.read_text() == phone.known_hosts.read_text()
    SshTarget(phone.ssh_url, SshOptions(phone.ssh_key, known_hosts)).close()


@pytest.mark.e2e
def test_the_hosts_that_were_known_stay_known(phone: virtual.VirtualPhone, tmp_path: Path) -> None:
    known_hosts = tmp_path / "known_hosts"
    other = f"other.example ecdsa-sha2-nistp256 {paramiko.ECDSAKey.generate().get_base64()}"
    known_hosts.write_text(other)  # an editor left out the last newline
    SshTarget(phone.ssh_url, SshOptions(phone.ssh_key, known_hosts, host_fingerprint(phone))).close()
    assert known_hosts.read_text() == f"{other}\n{phone.known_hosts.read_text()}"


@pytest.mark.e2e
def test_another_fingerprint_than_the_accepted_is_refused(phone: virtual.VirtualPhone, tmp_path: Path) -> None:
    known_hosts = tmp_path / "known_hosts"
    with pytest.raises(NoPhone, match=r"not SHA256:nonsense.*not connecting"):
        SshTarget(phone.ssh_url, SshOptions(phone.ssh_key, known_hosts, "SHA256:nonsense"))
    assert not known_hosts.exists()


@pytest.mark.e2e
def test_a_changed_host_key_is_refused_whatever_is_accepted(phone: virtual.VirtualPhone, tmp_path: Path) -> None:
    host, kind, _ = phone.known_hosts.read_text().split()
    known_hosts = tmp_path / "known_hosts"
    assert kind == "ecdsa-sha2-nistp256"
    before = f"{host} {kind} {paramiko.ECDSAKey.generate().get_base64()}\n"
    known_hosts.write_text(before)
    with pytest.raises(NoPhone, match="this may be a man-in-the-middle attack") as error:
        SshTarget(phone.ssh_url, SshOptions(phone.ssh_key, known_hosts, host_fingerprint(phone)))
    assert host_fingerprint(phone) in str(error.value)
    assert f"ssh-keygen -R '{host}'" in str(error.value)
    assert known_hosts.read_text() == before


@pytest.mark.e2e
def test_another_key_is_refused_with_advice(phone: virtual.VirtualPhone, tmp_path: Path) -> None:
    key = tmp_path / "key"
    paramiko.ECDSAKey.generate().write_private_key_file(str(key))
    with pytest.raises(NoPhone, match=r"refused the login.*authorized_keys.*--ssh-key"):
        SshTarget(phone.ssh_url, SshOptions(key, phone.known_hosts))


def test_a_key_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"no SSH key .*/missing"):
        SshTarget("ssh://user@127.0.0.1:1", SshOptions(tmp_path / "missing"))


@pytest.mark.e2e
def test_a_key_that_is_no_key_is_named(phone: virtual.VirtualPhone, tmp_path: Path) -> None:
    key = tmp_path / "key"
    key.write_text("not a key\n")
    with pytest.raises(BadInput, match=f"{key} cannot be used"):
        SshTarget(phone.ssh_url, SshOptions(key, phone.known_hosts))


@pytest.mark.e2e
def test_a_key_with_a_passphrase_is_the_agents(phone: virtual.VirtualPhone, tmp_path: Path) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "secret", "-f", str(key)], check=True)
    with pytest.raises(BadInput, match="ssh-agent"):
        SshTarget(phone.ssh_url, SshOptions(key, phone.known_hosts))


@pytest.mark.e2e
@pytest.mark.parametrize("kind", ["ed25519", "ecdsa", "rsa"])
def test_a_key_of_any_kind_is_refused_the_same(phone: virtual.VirtualPhone, tmp_path: Path, kind: str) -> None:
    key = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", kind, "-N", "", "-f", str(key)], check=True)
    with pytest.raises(NoPhone, match="refused the login"):
        SshTarget(phone.ssh_url, SshOptions(key, phone.known_hosts))


def test_nothing_listens_there(tmp_path: Path) -> None:
    with pytest.raises(NoPhone, match=r"cannot be reached.*sshd"):
        SshTarget(f"ssh://user@127.0.0.1:{free_port()}", SshOptions(known_hosts=tmp_path / "known_hosts"))


@pytest.mark.e2e
def test_its_files_are_in_the_home_folder(ssh_target: SshTarget) -> None:
    assert ssh_target.root == "/data/data/com.termux/files/home/.smoothdroid"
