"""Known and revoked host keys: `known_hosts` files, read as OpenSSH reads them."""

from __future__ import annotations

import base64
import hashlib
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import paramiko
from paramiko.hostkeys import HostKeyEntry

from smoothdroid.device.common.errors import BadInput, NoPhone

SSH_PORT = 22


@dataclass(frozen=True)
class _Line:
    """A valid line of a known_hosts file."""

    marker: str
    """The marker: `@revoked` or empty."""
    hosts: Sequence[str]
    key: paramiko.PKey


class KnownHosts:
    """The known_hosts files. A host whose key the user accepts is added to the first."""

    def __init__(self, files: Sequence[Path], accepted: str | None = None) -> None:
        """Read the files. `accepted` is the fingerprint, `SHA256:...`, of a key that the user trusts."""
        self._files, self._accepted = files, accepted
        self._lines = [line for file in files for line in _read(file)]

    def kinds(self, name: str) -> list[str]:
        """Return the kinds of keys by which a host is known; it should show one of those."""
        return [line.key.get_name() for line in self._of(name)]

    def check(self, host: str, port: int, key: paramiko.PKey, known_as: str | None = None) -> None:
        """Raise NoPhone unless the host's key is known or accepted by the user; an accepted key is added to the files.

        `known_as` is the host's name in the files if it has another one there.
        """
        name = known_as or name_of(host, port)
        seen = fingerprint(key)
        if any(key == line.key for line in self._lines if line.marker and _is_for(line, [name, host])):
            raise NoPhone(
                f"{name} shows the key {seen}, which is marked as @revoked in {self._shown()}: not connecting. Whoever "
                "owns the phone should make a new key (`ssh-keygen -A` there); remove the line only if it is wrong"
            )
        known = [line.key for line in self._of(name)]
        # As in OpenSSH, the same key under the host's bare name counts, and another one there does not.
        if key in known or key in [line.key for line in self._of(host)]:
            return
        if known:
            raise NoPhone(
                f"{name} shows the key {seen}, but {self._shown()} has another: this may be a man-in-the-middle "
                f"attack. If the phone was reinstalled, run `ssh-keygen -R {shlex.quote(name)}{self._option()}` and "
                "try again"
            )
        if self._accepted is None:
            raise NoPhone(
                f"{name} is not in {self._shown()}. It shows the {key.get_name()} key {seen}. Compare that with what "
                "`ssh-keygen -lf $PREFIX/etc/ssh/ssh_host_*_key.pub` prints on the phone; if it is the same, add "
                f"`--accept-host-key {seen}`"
            )
        if seen != self._accepted:
            raise NoPhone(
                f"{name} shows the key {seen}, not {self._accepted}, which --accept-host-key names: not connecting"
            )
        self._add(f"{name} {key.get_name()} {key.get_base64()}\n")

    def _of(self, name: str) -> list[_Line]:
        return [line for line in self._lines if not line.marker and _is_for(line, [name])]

    def _shown(self) -> str:
        return str(self._files[0])

    def _option(self) -> str:
        """Return the option that names the file to ssh-keygen; empty for its default file."""
        default = Path.home() / ".ssh/known_hosts"
        return "" if self._files[0] == default else f" -f {shlex.quote(self._shown())}"

    def _add(self, line: str) -> None:
        file = self._files[0]
        try:
            file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            known = file.read_bytes() if file.exists() else b""
            separator = b"" if known.endswith(b"\n") or not known else b"\n"  # some editors leave out the last line end
            with file.open("ab") as out:
                out.write(separator + line.encode())
        except OSError as error:
            raise BadInput(f"{file} cannot be written: {error}. Choose another file with --known-hosts") from error


def fingerprint(key: paramiko.PKey) -> str:
    """Return a host key's fingerprint as OpenSSH prints it, `SHA256:...`."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")


def name_of(host: str, port: int) -> str:
    """Return a host's name in known_hosts."""
    return host.lower() if port == SSH_PORT else f"[{host.lower()}]:{port}"


def _read(file: Path) -> Iterator[_Line]:
    """Yield the lines of a file. As in OpenSSH, lines with other markers and damaged lines are skipped."""
    try:
        raw = file.read_bytes()
    except OSError:
        return
    for number, line in enumerate(raw.split(b"\n"), 1):
        words = line.split()
        marker = words.pop(0) if words and words[0].startswith(b"@") else b""
        if len(words) < 3 or words[0].startswith(b"#") or marker not in (b"", b"@revoked"):
            continue
        try:
            entry = HostKeyEntry.from_line(b" ".join(words).decode(), number)
        except Exception:  # noqa: S112 (paramiko's parser raises any exception for damaged lines)
            continue
        if entry is not None and entry.key is not None and entry.hostnames:
            yield _Line(marker.decode(), entry.hostnames, entry.key)


def _is_for(line: _Line, names: Sequence[str]) -> bool:
    """Return whether the line lists one of the names and excludes none."""
    patterns = [(host.removeprefix("!"), host.startswith("!")) for host in line.hosts]
    matching = [excluded for pattern, excluded in patterns if any(_matches(pattern, name) for name in names)]
    return bool(matching) and not any(matching)


def _matches(pattern: str, name: str) -> bool:
    if pattern.startswith("|1|"):
        try:
            return paramiko.HostKeys.hash_host(name, pattern) == pattern
        except Exception:  # a damaged hash
            return False
    wanted = re.escape(pattern).replace(r"\*", ".*").replace(r"\?", ".")
    return re.fullmatch(wanted, name, re.IGNORECASE | re.DOTALL) is not None
