"""Tests of known_hosts files, which are read as OpenSSH reads them."""

from __future__ import annotations

import subprocess
import tempfile
from contextlib import nullcontext as does_not_raise
from pathlib import Path

import paramiko
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from smoothdroid.device.common.errors import BadInput, NoPhone
from smoothdroid.device.transport.known_hosts import KnownHosts, fingerprint

KEY, OTHER = paramiko.ECDSAKey.generate(), paramiko.ECDSAKey.generate()
LINE = f"ecdsa-sha2-nistp256 {KEY.get_base64()}"
HOST = "192.168.1.5"


def check(tmp_path: Path, text: str | bytes, *, port: int = 8022, accepted: str | None = None) -> None:
    """Look for KEY, shown by HOST, in a file. Raises NoPhone when it is not the host's."""
    file = tmp_path / "known_hosts"
    file.write_bytes(text if isinstance(text, bytes) else text.encode())
    KnownHosts([file], accepted).check(HOST, port, KEY)


@pytest.mark.parametrize(
    "hosts",
    [
        f"[{HOST}]:8022",
        f"other,[{HOST}]:8022",
        HOST,  # OpenSSH looks without the port, too
        "[192.168.1.*]:8022",
        "[192.168.?.5]:80*",
        "*",
    ],
)
def test_a_known_host_is_found(tmp_path: Path, hosts: str) -> None:
    with does_not_raise():
        check(tmp_path, f"# phones\n\n{hosts} {LINE} comment\n")


def test_a_hashed_name_is_found(tmp_path: Path) -> None:
    (tmp_path / "known_hosts").write_text(f"[{HOST}]:8022 {LINE}\n", encoding="utf-8")
    subprocess.run(["ssh-keygen", "-q", "-H", "-f", str(tmp_path / "known_hosts")], check=True, capture_output=True)
    text = (tmp_path / "known_hosts").read_text(encoding="utf-8")
    assert HOST not in text
    check(tmp_path, text)


@pytest.mark.parametrize("hosts", [f"!{HOST},[{HOST}]:22", f"*,![{HOST}]:8022,!{HOST}", f"[{HOST}]:22", "[192]:8022"])
def test_a_line_for_other_hosts_is_not_taken(tmp_path: Path, hosts: str) -> None:
    with pytest.raises(NoPhone, match=r"is not in .*--accept-host-key SHA256:"):
        check(tmp_path, f"{hosts} {LINE}\n")


KEY_BYTES = KEY.get_base64()


@pytest.mark.parametrize(
    "line",
    [
        f"@cert-authority *.corp.example {LINE}",
        f"@cert-authority * {LINE}",
        f"@unknown-marker * {LINE}",
        f"[{HOST}]:8022 ecdsa-sha2-nistp256 {KEY_BYTES[:40]}",
        f"[{HOST}]:8022 ecdsa-sha2-nistp256 {KEY_BYTES[:41]}",
        f"[{HOST}]:8022 ssh-rsa {KEY_BYTES}",
        f"[{HOST}]:8022 ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA/////w==",
        f"[{HOST}]:8022 ssh-ed25519 AAAA",
        f"[{HOST}]:8022 ssh-dss AAAAB3NzaC1kc3MAAACBAP",
        f"[{HOST}]:8022 ecdsa-sha2-nistp256 한글",
        f"[{HOST}]:8022 ecdsa-sha2-nistp256",
        f"[{HOST}]:8022",
        f"|1|AAAA|BBBB {LINE}",
        f"|1|%%%|= {LINE}",
        f"|1 {LINE}",
        "@",
        "@revoked",
        b"\xff\xfe[\0 ssh-ed25519 AAAA",
        b"\0" * 5000,
        b"x" * 100_000,
        f"{HOST} 1024 35 1234567890",  # of SSH 1
    ],
)
@pytest.mark.fault(
    "known_hosts has a line with another marker (@cert-authority), a cut key, or bytes that are no text",
    transport="ssh",
    outcome="the line is skipped, as OpenSSH does; the others count",
)
def test_what_is_no_line_for_a_key_is_skipped(tmp_path: Path, line: str | bytes) -> None:
    raw = line if isinstance(line, bytes) else line.encode()
    check(tmp_path, raw + f"\n[{HOST}]:8022 {LINE}\n".encode())
    with pytest.raises(NoPhone, match="is not in"):
        check(tmp_path, raw + b"\n")


WHOLE = f"[{HOST}]:8022 {LINE}\n".encode()


@given(
    st.integers(0, len(WHOLE)), st.integers(0, 60), st.binary(max_size=80), st.sampled_from([b"", b"@revoked ", b"|1|"])
)
@settings(max_examples=300)
def test_no_damage_to_a_line_hurts_another(start: int, cut: int, put: bytes, before: bytes) -> None:
    damaged = before + WHOLE[:start] + put.replace(b"@revoked", b"") + WHOLE[start + cut :]
    assume(not damaged.startswith(b"@revoked ") or WHOLE[:60] not in damaged)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "known_hosts")
        file.write_bytes(damaged + b"\n" + WHOLE)
        with does_not_raise():
            KnownHosts([file]).check(HOST, 8022, KEY)


@pytest.mark.parametrize("hosts", [f"[{HOST}]:8022", HOST, "*"])
@pytest.mark.parametrize("also_known", [False, True])
@pytest.mark.fault(
    "the phone shows a host key that known_hosts marks as @revoked",
    transport="ssh",
    outcome="refused, also where it is known or --accept-host-key names it",
)
def test_a_revoked_key_is_refused_whatever_else_is_said(tmp_path: Path, hosts: str, also_known: bool) -> None:
    text = f"@revoked {hosts} {LINE}\n" + (f"[{HOST}]:8022 {LINE}\n" if also_known else "")
    for accepted in (None, fingerprint(KEY)):
        with pytest.raises(NoPhone, match=r"marked as @revoked .*not connecting") as error:
            check(tmp_path, text, accepted=accepted)
        assert type(error.value) is NoPhone


def test_what_is_revoked_for_another_host_or_key_is_not_refused(tmp_path: Path) -> None:
    revoked = f"@revoked other {LINE}\n@revoked * ecdsa-sha2-nistp256 {OTHER.get_base64()}\n"
    with does_not_raise():
        check(tmp_path, f"{revoked}[{HOST}]:8022 {LINE}\n")


@pytest.mark.fault(
    "the phone shows another host key than before",
    transport="ssh",
    outcome="refused at once, with the command that forgets the old one",
)
@pytest.mark.parametrize(("port", "name"), [(8022, f"'[{HOST}]:8022'"), (22, HOST)])
def test_a_changed_key_is_refused_with_the_command_that_forgets_it(tmp_path: Path, port: int, name: str) -> None:
    known = f"{name.strip(chr(39))} ecdsa-sha2-nistp256 {OTHER.get_base64()}\n"
    with pytest.raises(NoPhone, match="this may be a man-in-the-middle attack") as error:
        check(tmp_path, known, port=port, accepted=fingerprint(KEY))
    assert f"`ssh-keygen -R {name} -f {tmp_path}/known_hosts`" in str(error.value)
    assert type(error.value) is NoPhone
    # One of several keys is enough.
    check(tmp_path, f"{known}{name.strip(chr(39))} {LINE}\n", port=port)


def test_an_accepted_key_is_added_behind_whatever_is_there(tmp_path: Path) -> None:
    for before in (b"", b"\xff no text", b"other ssh-ed25519 AAAA\n"):
        check(tmp_path, before, accepted=fingerprint(KEY))
        added = (tmp_path / "known_hosts").read_bytes().removeprefix(before)
        assert added.strip().decode() == f"[{HOST}]:8022 {LINE}"
        check(tmp_path, before + added)


def test_a_file_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"known_hosts cannot be written.*--known-hosts"):
        KnownHosts([Path("/proc/known_hosts")], fingerprint(KEY)).check(HOST, 22, KEY)


def test_files_that_are_not_there_or_are_folders_know_nobody(tmp_path: Path) -> None:
    with pytest.raises(NoPhone, match="is not in"):
        KnownHosts([tmp_path / "missing", tmp_path]).check(HOST, 22, KEY)


def test_another_name_is_looked_for_where_the_configuration_gives_one(tmp_path: Path) -> None:
    (tmp_path / "known_hosts").write_text(f"my-pixel {LINE}\n", encoding="utf-8")
    with does_not_raise():
        KnownHosts([tmp_path / "known_hosts"]).check(HOST, 8022, KEY, "my-pixel")
