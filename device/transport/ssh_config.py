"""The settings of ~/.ssh/config for a host: paramiko's parser, extended by what it lacks of OpenSSH's format."""

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
MOST_INCLUDES = 16  # nesting depth, as in OpenSSH
DEFAULT_KEYS = ("id_rsa", "id_ecdsa", "id_ecdsa_sk", "id_ed25519", "id_ed25519_sk")
WHOLE_LINE = (
    "proxycommand",
    "localcommand",
    "remotecommand",
    "knownhostscommand",
)  # a `#` in these does not begin a comment

UNREADABLE = (paramiko.SSHException, OSError, ValueError, LookupError, RuntimeError)
"""The exceptions of paramiko for an unreadable configuration; RuntimeError for an unknown user's home folder."""


@dataclass(frozen=True)
class Host:
    """The address of a host and the settings for logging in."""

    alias: str
    """The name as the user wrote it."""
    hostname: str
    port: int
    user: str
    identity_files: tuple[Path, ...]
    identities_named: bool
    """Whether the configuration names the identity files; otherwise they are OpenSSH's defaults."""
    identities_only: bool
    proxy_command: str | None
    jumps: tuple[str, ...]
    """The hosts to go through in order, each as `[user@]host[:port]`."""
    known_as: str | None
    """The HostKeyAlias: the name to look for in known_hosts."""
    known_hosts: tuple[Path, ...]

    @property
    def name(self) -> str:
        """The URL as --on takes it, `ssh://user@host:port`, with the alias for the host."""
        host = f"[{self.alias}]" if ":" in self.alias else self.alias
        return f"ssh://{self.user}@{host}:{self.port}"


def parse(url: str) -> tuple[str | None, str, int | None]:
    """Return the user, host and port of an `ssh://` URL, None for what it leaves out. Raises BadInput."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise BadInput(f"{url} cannot be read: {error}") from error
    if parts.scheme != "ssh" or not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
        raise BadInput(f"{url} is not an SSH target; one looks like ssh://user@192.168.1.20:8022")
    if port == 0 or parts.password is not None:
        raise BadInput(
            f"{parts.hostname}: " + ("0 is not a port" if port == 0 else "log in with a key, not a password")
        )
    # urlsplit converts the host to lower case, but an alias in ~/.ssh/config may have capitals.
    address = parts.netloc.rpartition("@")[2]
    host = re.split(r"[\[\]]", address)[1] if "[" in address else address.partition(":")[0]
    return parts.username or None, host, port


def look_up(user: str | None, host: str, port: int | None, default_port: int = SSH_PORT) -> Host:
    """Read the settings for a host from ~/.ssh/config and the system's file; `user` and `port` override both.

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
        raise BadInput(f"{folder / 'config'}: {error}. `ssh -G {host}` may show more") from error


class _Config(paramiko.SSHConfig):
    """A parser whose `Match exec` does not read from the terminal, as paramiko's does."""

    def _does_match(
        self,
        match_list: list[dict[str, Any]],
        target_hostname: str,
        canonical: bool,
        final: bool,
        options: paramiko.SSHConfigDict,
    ) -> bool:
        others = [rule for rule in match_list if rule["type"] != "exec"]
        matches = super()._does_match  # type: ignore[misc] # not among its types
        if others and not matches(others, target_hostname, canonical, final, options):
            return False
        for rule in match_list:
            if rule["type"] == "exec":
                command = self._tokenize(options, target_hostname, "match-exec", rule["param"])  # type: ignore[attr-defined]
                # As in ssh, a shell runs it.
                done = subprocess.run(["sh", "-c", command], check=False, capture_output=True, stdin=subprocess.DEVNULL)
                if (done.returncode == 0) == rule["negate"]:
                    return False
        return bool(match_list)


def _lines(path: Path, folder: Path, depth: int = 0) -> list[str]:
    """Return the lines of a configuration file, with those of included files in their place."""
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError:  # OpenSSH also skips what it cannot read
        return []
    if depth > MOST_INCLUDES:
        raise BadInput(f"{path}: more than {MOST_INCLUDES} files include each other")
    lines, block = [], "Host *"
    for line in text.splitlines():
        keyword, _, value = re.sub(r"^\s*(\w+)\s*[=\s]\s*", r"\1 ", line).partition(" ")
        if keyword.lower() not in WHOLE_LINE and '"' not in line:
            line, value = (re.sub(r"\s#.*$", "", text) for text in (line, value))
        if keyword.lower() == "include":
            for pattern in shlex.split(value):
                for included in sorted(glob.glob(str(folder / Path(pattern).expanduser()))):
                    lines += _lines(Path(included), folder, depth + 1)
            line = block  # a block that begins in the included file ends with that file
        elif keyword.lower() in ("host", "match"):
            block = line
        lines.append(line)
    return lines


def _host(alias: str, settings: paramiko.SSHConfigDict, folder: Path) -> Host:
    port = str(settings["port"])
    if not (port.isdecimal() and 0 < int(port) < 1 << 16):
        raise BadInput(f"{folder / 'config'}: {port!r} is not a port for {alias}")
    files = [Path(name).expanduser() for name in settings.get("identityfile", []) if name.lower() != "none"]
    known_hosts = [Path(name).expanduser() for name in shlex.split(settings.get("userknownhostsfile", ""))]
    # The first of ProxyJump and ProxyCommand counts.
    proxy = next((key for key in settings if key in ("proxyjump", "proxycommand")), "")
    value = settings.get(proxy) or "none"
    return Host(
        alias=alias,
        hostname=settings["hostname"],
        port=int(port),
        user=settings["user"],
        identity_files=tuple(files or [folder / name for name in DEFAULT_KEYS]),
        identities_named=bool(files),
        identities_only=settings.get("identitiesonly", "no").lower() == "yes",
        proxy_command=value if proxy == "proxycommand" and value.lower() != "none" else None,
        jumps=tuple(jump.strip() for jump in value.split(","))
        if proxy == "proxyjump" and value.lower() != "none"
        else (),
        known_as=settings.get("hostkeyalias"),
        known_hosts=(
            *(known_hosts or [folder / "known_hosts", folder / "known_hosts2"]),
            SYSTEM_KNOWN_HOSTS,
        ),
    )
