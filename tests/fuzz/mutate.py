"""Real inputs, damaged as storage, transfers, firmware and people damage them. Equal seeds damage alike."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence

MOST_CHANGES = 4
NUMBERS = (
    b"0",
    b"-1",
    b"-127000",
    b"65535",
    b"-2147483648",
    b"18446744073709551615",
    b"1152921504606846976",
    b"9" * 400,
    b"9" * 5000,
    b"1e999",
    b"-1e999",
    b"NaN",
    b"Infinity",
    b"0.0",
    b"null",
    b"[]",
    "²".encode(),
    "٣".encode(),
    "１２".encode(),
    b"0-9999",
    b"0-9999," * 200 + b"1",
    b"",
)
INSERTED = (
    b"\x00",
    b"\x00" * 4096,
    b"\xff",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\r",
    b"\n",
    b"\n\n",
    b"\t",
    b" ",
    b":",
    b"-",
    b"\x1b[2J",
    "\u202e".encode(),
    "\u2028".encode(),
    b"\xed\xb0\x80",
    b"[" * 3000,
    b"{" * 3000,
    b"a" * 20_000,
)


def mutated(content: bytes, others: Sequence[bytes], chance: random.Random) -> bytes:
    """`content` with some changes; some of them bring pieces of `others`."""
    for _ in range(chance.randint(1, MOST_CHANGES)):
        content = chance.choice(CHANGES)(content, chance, others)
    return content


def _place(content: bytes, chance: random.Random) -> int:
    return chance.randint(0, len(content))


def _piece(content: bytes, chance: random.Random) -> tuple[int, int]:
    start = _place(content, chance)
    return start, min(len(content), start + int(chance.paretovariate(0.7)))


def _flip(content: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    if not content:
        return content
    at = chance.randrange(len(content))
    return content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :]


def _any_byte(content: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    at = _place(content, chance)
    return content[:at] + bytes([chance.randrange(256)]) + content[at + 1 :]


def _cut(content: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    return content[: _place(content, chance)]


def _behead(content: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    return content[_place(content, chance) // 8 :]


def _drop(content: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    start, end = _piece(content, chance)
    return content[:start] + content[end:]


def _blank(content: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    """NUL bytes in place of what was there, as f2fs and ext4 leave after a power failure."""
    start, end = _piece(content, chance)
    return content[:start] + bytes(end - start) + content[end:]


def _repeat(content: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    start, end = _piece(content, chance)
    return content[:end] + content[start:end] + content[end:]


def _insert(content: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    at = _place(content, chance)
    return content[:at] + chance.choice(INSERTED) + content[at:]


def _number(content: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    found = [match.span() for match in re.finditer(rb"-?\d+(?:\.\d+)?", content)]
    if not found:
        return content
    start, end = chance.choice(found)
    return content[:start] + chance.choice(NUMBERS) + content[end:]


def _wide_number(content: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    """A binary number in place of what was there."""
    at, width = _place(content, chance), chance.choice((1, 2, 4, 8))
    value = chance.choice((0, 1, 1 << 31, 1 << 60, (1 << 64) - 1, chance.randrange(1 << 16)))
    return content[:at] + (value % (1 << 8 * width)).to_bytes(width, "little") + content[at + width :]


def _lines(change: Callable[[list[bytes], random.Random], None]) -> Callable[..., bytes]:
    def changed(content: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
        lines = content.splitlines(keepends=True)
        if lines:
            change(lines, chance)
        return b"".join(lines)

    return changed


def _drop_line(lines: list[bytes], chance: random.Random) -> None:
    del lines[chance.randrange(len(lines))]


def _repeat_line(lines: list[bytes], chance: random.Random) -> None:
    lines.insert(chance.randrange(len(lines) + 1), chance.choice(lines))


def _swap_lines(lines: list[bytes], chance: random.Random) -> None:
    one, two = chance.randrange(len(lines)), chance.randrange(len(lines))
    lines[one], lines[two] = lines[two], lines[one]


def _splice(content: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    other = chance.choice(others)
    start, end = _piece(other, chance)
    at = _place(content, chance)
    return content[:at] + other[start : max(end, start + 200)] + content[at:]


def _join(content: bytes, chance: random.Random, others: Sequence[bytes]) -> bytes:
    """The beginning of one, the end of another."""
    other = chance.choice(others)
    return content[: _place(content, chance)] + other[_place(other, chance) :]


CHANGES: tuple[Callable[..., bytes], ...] = (
    _flip,
    _any_byte,
    _cut,
    _behead,
    _drop,
    _blank,
    _repeat,
    _insert,
    _number,
    _number,
    _wide_number,
    _lines(_drop_line),
    _lines(_repeat_line),
    _lines(_swap_lines),
    _splice,
    _join,
)
