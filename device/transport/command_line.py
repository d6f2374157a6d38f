"""Command lines for the phone's shell: the one place where arguments are quoted and the environment is cleaned."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence

# llama.cpp also takes options from the environment (LLAMA_ARG_CACHE_TYPE_K, GGML_OP_OFFLOAD_MIN_BATCH, ...): what the
# phone's shell or its sshd exports must not change what is measured. Only builtins are used, because a phone may lack
# `env` and `sed`. `set -f`: a value may contain a `*`. A word that is not a name, from a value of several lines, would
# make `unset` end the shell.
_CLEAN = (
    "set -f; for _name in $(export -p); do _name=${_name%%=*}; "
    'case $_name in *[!A-Za-z0-9_]*) ;; LLAMA_*|GGML_*) unset "$_name" ;; esac; done; set +f; '
)
# The umask: only their user may read models, prompts and results on a phone, also where the shell's own mask is 000.
# A watcher reads the connection's input, which ends when the connection does, and then kills the whole process group:
# neither adbd nor sshd does that to a command without a terminal. The watcher uses the shell's own `read`, because a
# `cat` would outlive it and hold the connection open. It is killed with -9: Android's shell loses other signals when it
# has only just started.
_WATCHER = "while read -r _ <&3; do :; done; kill -9 -$$"
_TIED = f"umask 077; exec 3<&0; {{{{ {_WATCHER}; }}}} >/dev/null 2>&1 & {{command}} 3<&-; s=$?; kill -9 $!; exit $s"
# The last `exit` keeps the shell from becoming the command, so that death by a signal is reported as 128 + signal.
_FREE = "umask 077; {command}; exit $?"


def command_line(
    argv: Sequence[str], env: Mapping[str, str] | None = None, *, tied: bool = False, fed: bool = False
) -> str:
    """Return one line for a POSIX shell that runs `argv` with `env` added to the environment.

    The phone's own variables for llama.cpp are unset first. With `tied`, the command is killed when the connection
    ends. Standard input is closed unless the command is `fed` with data: a tool that waits for a key would hang.
    """
    words = [f"{name}={shlex.quote(value)}" for name, value in (env or {}).items()]
    words += [shlex.quote(word) for word in argv]
    return _CLEAN + (_TIED if tied else _FREE).format(command=" ".join(words) + ("" if fed else " </dev/null"))


# These bytes mean themselves to every shell; all others are given to printf in octal.
_PLAIN = re.compile(rb"[^A-Za-z0-9 _.,:;=/<>&|(){}\[\]#+@^-]")


# The watcher kills a process group, so the shell must lead one. OpenSSH and adbd make it the leader, dropbear does not.
_LEADER = (
    "read -r _ _ _ _ _group _ </proc/$$/stat; "
    '[ "$_group" = $$ ] || ! command -v setsid >/dev/null || exec setsid sh -c "$_line"; '
)


def for_any_shell(line: str) -> str:
    """Return a line with which any login shell, also fish and csh, becomes `sh` and runs `line`.

    What shells treat differently within single quotes is written in octal: quotes, backslashes, `!`, line ends and
    letters beyond ASCII.
    """
    octal = _PLAIN.sub(lambda byte: b"\\0%03o" % byte[0][0], (_LEADER + line).encode())
    return f"""exec sh -c '_line=$(printf %b "{octal.decode()}"); eval "$_line"'"""


def script(argv: Sequence[str], env: Mapping[str, str] | None = None) -> str:
    """Return a POSIX shell script that sets `env` and then becomes the command, keeping its process ID."""
    exports = [f"export {name}={shlex.quote(value)}" for name, value in (env or {}).items()]
    return "\n".join([*exports, f"exec {shlex.join(argv)}"])
