"""What ~/.ssh/config says of a host: read by paramiko, with what paramiko leaves out of OpenSSH's format."""

from __future__ import annotations

import getpass
import glob
import re
import shlex
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import paramiko

from smoothdroid.device.common.errors import BadInput

SYSTEM_CONFIG = Path("/etc/ssh/ssh_config")
SYSTEM_KNOWN_HOSTS = Path("/etc/ssh/ssh_known_hosts")
SSH_PORT = 22
MOST_INCLUDES = 16  # within each other, as in OpenSSH
DEFAULT_KEYS = ("id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk")
WHOLE_LINE = ("proxycommand", "localcommand", "remotecommand", "knownhostscommand")  # a `#` in these is no comment

UNREADABLE = (paramiko.SSHException, OSError, ValueError, LookupError, RuntimeError)
"""What paramiko raises for a configuration that it cannot read; RuntimeError for the home folder of nobody."""


@dataclass(frozen=True)
class Host:
    """Where a host is and how to log in there."""

    alias: str
    """As the user wrote it."""
    hostname: str
    port: int
    user: str
    identity_files: tuple[Path, ...]
    identities_named: bool
    """Whether the configuration names the identity files; else they are OpenSSH's defaults."""
    identities_only: bool
    proxy_command: str | None
    jumps: tuple[str, ...]
    """The hosts to go through, the first one first, each as `[user@]host[:port]`."""
    known_as: str | None
    """HostKeyAlias: the name to look for in known_hosts."""
    known_hosts: tuple[Path, ...]

    @property
    def name(self) -> str:
        """The URL as --on takes it, `ssh://user@host:port`, with the alias for the host."""
        host = f"[{self.alias}]" if ":" in self.alias else self.alias
        return f"ssh://{self.user}@{host}:{self.port}"


def parse(url: str) -> tuple[str | None, str, int | None]:
    """The user, host and port of an `ssh://` URL; None for what it leaves out. Raises BadInput."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadInput(f"{url} cannot be read: {error}") from error
    if parts.scheme != "ssh" or not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
        raise BadInput(f"{url} is no SSH target; it looks like ssh://user@192.168.1.20:8022")
    if port == 0 or parts.password is not None:
        raise BadInput(f"{parts.hostname}: " + ("port 0 is none" if port == 0 else "log in with a key, not a password"))
    # urlsplit makes the host lower case, and an alias in ~/.ssh/config may have capitals.
    address = parts.netloc.rpartition("@")[2]
    host = re.split(r"[\[\]]", address)[1] if "[" in address else address.partition(":")[0]
    return parts.username or None, host, port


def look_up(user: str | None, host: str, port: int | None, default_port: int = SSH_PORT) -> Host:
    """Read what ~/.ssh/config and the system's configuration say of a host; `user` and `port` win over both.

    Raises BadInput for a configuration that cannot be read.
    """
    folder = Path.home() / ".ssh"
    try:
        # The first value counts, so what the user wrote stands first and the defaults last.
        lines = [f"User {user}"] * (user is not None) + [f"Port {port}"] * (port is not None)
        lines += [*_lines(folder / "config", folder), "Host *", *_lines(SYSTEM_CONFIG, SYSTEM_CONFIG.parent)]
        lines += ["Host *", f"Port {default_port}", f"User {getpass.getuser()}"]
        config = _Config()
        config.parse(lines)
        return _host(host, config.lookup(host), folder)
    except UNREADABLE as error:
        raise BadInput(f"{folder / 'config'}: {error}. `ssh -G {host}` may tell more") from error


class _Config(paramiko.SSHConfig):
    """SSHConfig whose `Match exec` leaves the terminal alone: paramiko's reads from it meanwhile."""

    def _does_match(
        self,
        match_list: list[dict[str, Any]],
        target_hostname: str,
        canonical: bool,
        final: bool,
        options: paramiko.SSHConfigDict,
    ) -> bool:
        others = [one for one in match_list if one["type"] != "exec"]
        matches = super()._does_match  # type: ignore[misc] # not among its types
        if others and not matches(others, target_hostname, canonical, final, options):
            return False
        for one in match_list:
            if one["type"] == "exec":
                command = self._tokenize(options, target_hostname, "match-exec", one["param"])  # type: ignore[attr-defined]
                # As ssh does: a shell reads it.
                done = subprocess.run(["sh", "-c", command], check=False, capture_output=True, stdin=subprocess.DEVNULL)
                if (done.returncode == 0) == one["negate"]:
                    return False
        return bool(match_list)


def _lines(path: Path, folder: Path, depth: int = 0) -> list[str]:
    """The lines of a configuration file, those of the files that it includes in their place."""
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError:  # OpenSSH passes over what it cannot read, too
        return []
    if depth > MOST_INCLUDES:
        raise BadInput(f"{path}: more than {MOST_INCLUDES} files include each other")
    lines, block = [], "Host *"
    for line in text.splitlines():
        keyword, _, value = re.sub(r"^\s*(\w+)\s*[=\s]\s*", r"\1 ", line).partition(" ")
        if keyword.lower() not in WHOLE_LINE and '"' not in line:
            line, value = (re.sub(r"\s#.*$", "", one) for one in (line, value))
        if keyword.lower() == "include":
            for pattern in shlex.split(value):
                for included in sorted(glob.glob(str(folder / Path(pattern).expanduser()))):
                    lines += _lines(Path(included), folder, depth + 1)
            line = block  # a block that the included file began ends with that file
        elif keyword.lower() in ("host", "match"):
            block = line
        lines.append(line)
    return lines


def _host(alias: str, found: paramiko.SSHConfigDict, folder: Path) -> Host:
    said = str(found["port"])
    if not (said.isdecimal() and 0 < int(said) < 1 << 16):
        raise BadInput(f"{folder / 'config'}: {said!r} is no port for {alias}")
    files = [Path(one).expanduser() for one in found.get("identityfile", []) if one.lower() != "none"]
    known_hosts = [Path(one).expanduser() for one in shlex.split(found.get("userknownhostsfile", ""))]
    # Of ProxyJump and ProxyCommand the one that comes first counts.
    proxy = next((key for key in found if key in ("proxyjump", "proxycommand")), "")
    way = found.get(proxy) or "none"
    return Host(
        alias=alias,
        hostname=found["hostname"],
        port=int(said),
        user=found["user"],
        identity_files=tuple(files or [folder / name for name in DEFAULT_KEYS]),
        identities_named=bool(files),
        identities_only=found.get("identitiesonly", "no").lower() == "yes",
        proxy_command=way if proxy == "proxycommand" and way.lower() != "none" else None,
        jumps=tuple(one.strip() for one in way.split(",")) if proxy == "proxyjump" and way.lower() != "none" else (),
        known_as=found.get("hostkeyalias"),
        known_hosts=(
            *(known_hosts or [folder / "known_hosts", folder / "known_hosts2"]),
            SYSTEM_KNOWN_HOSTS,
        ),
    )
