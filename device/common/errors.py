"""The errors that smoothdroid raises, each with an exit status; host/cli/command.py prints them."""

from __future__ import annotations

from collections.abc import Sequence


class SmoothdroidError(Exception):
    """A problem that the message explains to the user."""

    exit_status = 1


class BadInput(SmoothdroidError):
    """A mistake in the user's model, plan, file or options; the message says what, where and what to do."""

    exit_status = 2


class NoPhone(SmoothdroidError):
    """A phone that is missing or refuses the connection; the message says what to do."""

    exit_status = 3


class Unreachable(NoPhone):
    """A phone that does not answer now and may come back: the connection is retried while a lost phone is awaited.

    A plain NoPhone is final: it is raised at once, also during such a wait.
    """


class NotRunning(BadInput, Unreachable):
    """An emulated phone that is switched off: an error at the start of a command, awaited during a campaign."""

    exit_status = 2


class PhoneBusy(SmoothdroidError):
    """A phone that is busy with another job or transfer."""

    exit_status = 3


class TargetLost(SmoothdroidError):
    """A connection that broke. Work on the phone may still be running; the command can be repeated."""

    exit_status = 3


class TargetTimeout(SmoothdroidError):
    """A missing answer within the time limit. The phone's state is unknown, so this is not a TargetLost."""

    exit_status = 3


class CommandFailed(SmoothdroidError):
    """A command on the phone that failed."""

    def __init__(self, target: str, argv: Sequence[str], exit_status: int, stdout: str = "", stderr: str = "") -> None:
        """Describe the failure by the last lines of the error output, or else of the output."""
        self.target = target
        self.argv = list(argv)
        self.status = exit_status
        self.stdout = stdout
        self.stderr = stderr
        lines = (stderr.strip() or stdout.strip() or "it printed nothing").splitlines()
        super().__init__(f"{target}: `{' '.join(argv)}` ended with status {exit_status}: " + "\n  ".join(lines[-5:]))


class Damaged(CommandFailed):
    """Files on the phone that are not what was written there."""

    def __init__(self, target: str, what: str) -> None:
        """Name the files, and what is lost, by `what`."""
        super().__init__(target, [], 0, stderr=what)
        self.what = what

    def __str__(self) -> str:
        """Return the message without a command and a status."""
        return f"{self.target}: {self.what}"
