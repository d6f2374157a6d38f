"""The errors that smoothdroid raises on purpose. Only host/cli/command.py turns them into messages."""

from __future__ import annotations

from collections.abc import Sequence


class SmoothdroidError(Exception):
    """Anything that went wrong and that the message explains to the user."""

    exit_status = 1


class BadInput(SmoothdroidError):
    """The user's model, plan or file is wrong; the message says what, where, and what to do."""

    exit_status = 2


class NoPhone(SmoothdroidError):
    """No phone is there, or the one that is there refuses to talk; the message says what to do."""

    exit_status = 3


class Unreachable(NoPhone):
    """The phone does not answer now, and may come back: it is tried again while a lost phone is waited for.

    A plain NoPhone is final: it is raised at once, also while waiting.
    """


class NotRunning(BadInput, Unreachable):
    """An emulated phone is switched off: a mistake at the start of a command; in mid-campaign it is waited for."""

    exit_status = 2


class PhoneBusy(SmoothdroidError):
    """The phone is there, and is measuring something else."""

    exit_status = 3


class TargetLost(SmoothdroidError):
    """The way to the phone broke. The work may go on over there; try again."""

    exit_status = 3


class TargetTimeout(SmoothdroidError):
    """No answer in time. The state of the phone is not known, so this is not a kind of TargetLost."""

    exit_status = 3


class CommandFailed(SmoothdroidError):
    """The phone answered, and the answer was no."""

    def __init__(self, target: str, argv: Sequence[str], exit_status: int, stdout: str = "", stderr: str = "") -> None:
        self.target = target
        self.argv = list(argv)
        self.status = exit_status
        self.stdout = stdout
        self.stderr = stderr
        said = (stderr.strip() or stdout.strip() or "it printed nothing").splitlines()
        super().__init__(f"{target}: `{' '.join(argv)}` ended with status {exit_status}: " + "\n  ".join(said[-5:]))


class Damaged(CommandFailed):
    """The phone answered, and what it kept is not what was written there."""

    def __init__(self, target: str, what: str) -> None:
        """`what` names the files and what is lost."""
        super().__init__(target, [], 0, stderr=what)
        self.what = what

    def __str__(self) -> str:
        return f"{self.target}: {self.what}"
