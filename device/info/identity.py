"""What tells one phone from all others: its serial number, or a mark that smoothdroid leaves on it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from itertools import pairwise

from smoothdroid.device.common.errors import CommandFailed

MARK = re.compile(r"[0-9a-f-]{16,64}")
"""The phone's own random number, as device/info/describe.sh makes it."""

_DIGITS = "0123456789abcdef"
# What a maker who writes no serial number leaves in its place; letters and digits only.
_WORDS = {"unknown", "none", "null", "nil", "na", "default", "undefined", "invalid", "empty", "test", "serial", "sn"}
_WORDS |= {"serialno", "serialnumber", "android", "generic", "unset", "notset", "nosn", "tbd", "deadbeef"}
# Counting up; images that many devices share: Google's emulator, boards with Allwinner's and Rockchip's first software.
_SHARED = re.compile(r"0?12345678.*|emulator\d+x\d+x\d+x\d+|20080411|c3d9b8674f4b94f6", re.ASCII)


def is_placeholder(serial: str) -> bool:
    """Whether many phones have this serial number: `0123456789ABCDEF`, `unknown`, `0`, nothing at all."""
    text = re.sub(r"[^0-9a-z]", "", serial.lower())
    number = text.lstrip("0")
    if not number or text in _WORDS or _SHARED.fullmatch(text):
        return True
    if len(set(number)) == 1 and (number.isdigit() or len(number) > 2):
        return True
    return len(text) >= 4 and (_counts(text, 1) or _counts(text, -1))


def _counts(text: str, step: int) -> bool:
    """Whether each digit is the one before plus `step`, as in 1234567890 and fedcba."""
    if any(digit not in _DIGITS for digit in text):
        return False
    return any(
        all((_DIGITS.index(b) - _DIGITS.index(a) - step) % base == 0 for a, b in pairwise(text)) for base in (10, 16)
    )


def phone_id(properties: Mapping[str, str], mark: str, target: str, transport: str) -> str:
    """An id that is stable over reboots, and over ways where the serial number may be read.

    A phone whose serial number is a placeholder has its id from its mark, which is another one for each user on the
    phone. Where no serial number may be read, as in Termux, the way tells phones apart. Raises CommandFailed when a
    phone with a placeholder has no mark.
    """
    serials = [serial for name in ("ro.serialno", "ro.boot.serialno") if (serial := properties.get(name, ""))]
    marked = MARK.fullmatch(mark) is not None
    if real := next((serial for serial in serials if not is_placeholder(serial)), None):
        facts = real
    elif marked and (serials or transport == "adb"):
        facts = f"mark {mark}"
    elif serials:
        said = f"many phones have the serial number {serials[0]}, and smoothdroid could not write a mark of its own "
        said += "into its folder on this one. Free some storage on the phone, or let its user write there"
        raise CommandFailed(target, ["describe"], 0, stderr=said)
    else:
        facts = f"{target} {properties.get('ro.build.fingerprint', '')}"
    return hashlib.sha256(facts.encode("utf-8", "replace")).hexdigest()[:12]
