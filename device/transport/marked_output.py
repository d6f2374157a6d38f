"""Command output between marks, so that what a login shell prints before and after it is ignored."""

from __future__ import annotations

import re
import secrets

from smoothdroid.device.transport.command_line import for_any_shell

MOST_NOISE = 1 << 20  # bytes that a login shell may print before the command; a long greeting has a thousandth of that
SHOWN_NOISE = 200


class MarkedLine:
    """A command line for a login shell that marks the beginning and the end of the command's output."""

    def __init__(self, line: str) -> None:
        """Enclose `line` in marks."""
        mark = secrets.token_hex(16)
        marked = f"echo {mark}; echo {mark} >&2; ({line}); s=$?; echo {mark}=$s; echo {mark}=$s >&2; exit $s"
        self.command = for_any_shell(marked)
        self.stdout, self.stderr = Between(mark.encode()), Between(mark.encode())

    @property
    def complete(self) -> bool:
        """True if the end mark of both outputs has arrived; what follows is not the command's."""
        return self.stdout.status is not None and self.stderr.status is not None


class Between:
    """A filter for a stream of bytes that keeps those between two marks."""

    def __init__(self, mark: bytes) -> None:
        """Look for `mark`."""
        self.begun = False
        self.status: int | None = None
        """The command's exit status, which follows the second mark."""
        self._noise, self._skipped = b"", 0
        self._held = b""
        self._begin = mark + b"\n"
        self._end = re.compile(re.escape(mark) + rb"=(\d{1,3})\n")
        self._end_sign = mark + b"="

    @property
    def too_noisy(self) -> bool:
        """True if more than MOST_NOISE bytes arrived without a mark."""
        return not self.begun and self._skipped > MOST_NOISE

    @property
    def noise(self) -> bytes:
        """The beginning of what arrived before the first mark."""
        return (self._noise + (b"" if self.begun else self._held))[:SHOWN_NOISE]

    def add(self, data: bytes) -> bytes:
        """Add the next bytes of the stream and return those that are known to be between the marks."""
        if self.status is not None:
            return b""
        self._held += data
        if not self.begun and not self._find_begin():
            return b""
        if ended := self._end.search(self._held):
            self.status = int(ended[1])
            content, self._held = self._held[: ended.start()], b""
            return content
        certain = len(self._held) - self._possible_mark()
        content, self._held = self._held[:certain], self._held[certain:]
        return content

    def rest(self) -> bytes:
        """Return the bytes held back when the stream ended without a second mark: the last ones of the command."""
        if not self.begun:
            return b""
        content, self._held = self._held, b""
        return content

    def _find_begin(self) -> bool:
        before, mark, after = self._held.partition(self._begin)
        kept = b"" if mark else before[-(len(self._begin) - 1) :]
        skipped = before[: len(before) - len(kept)]
        self._skipped += len(skipped)
        self._noise = (self._noise + skipped)[:SHOWN_NOISE]
        self.begun = bool(mark)
        self._held = after if mark else kept
        return self.begun

    def _possible_mark(self) -> int:
        """Return how many of the last bytes may be the beginning of the second mark."""
        longest = len(self._end_sign) + 3
        start = max(len(self._held) - longest, 0)
        while (start := self._held.find(self._end_sign[:1], start)) >= 0:
            tail = self._held[start:]
            digits = tail[len(self._end_sign) :]
            if self._end_sign.startswith(tail) or (tail.startswith(self._end_sign) and digits.isdigit()):
                return len(tail)
            start += 1
        return 0
