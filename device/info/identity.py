"""The identity of a phone: from its serial number, or from a random mark that smoothdroid writes on it."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from itertools import pairwise

from smoothdroid.device.common.errors import CommandFailed

MARK = re.compile(r"[0-9a-f-]{16,64}")
"""The form of the random number that device/info/describe.sh writes on the phone."""

_DIGITS = "0123456789abcdef"
# The text that a maker without serial numbers writes instead; letters and digits only.
_WORDS = {"unknown", "none", "null", "nil", "na", "default", "undefined", "invalid", "empty", "test", "serial", "sn"}
_WORDS |= {"serialno", "serialnumber", "android", "generic", "unset", "notset", "nosn", "tbd", "deadbeef"}
# Digits that count up; images that many devices share: Google's emulator, early boards of Allwinner and Rockchip.
_SHARED = re.compile(r"0?12345678.*|emulator\d+x\d+x\d+x\d+|20080411|c3d9b8674f4b94f6", re.ASCII)


def is_placeholder(serial: str) -> bool:
    """Return whether many phones have this serial number: `0123456789ABCDEF`, `unknown`, `0`, or the empty text."""
    text = re.sub(r"[^0-9a-z]", "", serial.lower())
    number = text.lstrip("0")
    if not number or text in _WORDS or _SHARED.fullmatch(text):
        return True
    if len(set(number)) == 1 and (number.isdigit() or len(number) > 2):
        return True
    return len(text) >= 4 and (_counts(text, 1) or _counts(text, -1))


def _counts(text: str, step: int) -> bool:
    """Return whether each digit is the previous one plus `step`, as in 1234567890 and fedcba."""
    if any(digit not in _DIGITS for digit in text):
        return False
    return any(
        all((_DIGITS.index(b) - _DIGITS.index(a) - step) % base == 0 for a, b in pairwise(text)) for base in (10, 16)
    )


def phone_id(properties: Mapping[str, str], mark: str, target: str, transport: str) -> str:
    """Return an id that is stable over reboots, and over transports where the serial number can be read.

    The id of a phone whose serial number is a placeholder comes from its mark, which differs for each user on the
    phone. Where no serial number can be read, as in Termux, it comes from the target. Raises CommandFailed when a
    phone with a placeholder has no mark.
    """
    serials = [serial for name in ("ro.serialno", "ro.boot.serialno") if (serial := properties.get(name, ""))]
    marked = MARK.fullmatch(mark) is not None
    if real := next((serial for serial in serials if not is_placeholder(serial)), None):
        facts = real
    elif marked and (serials or transport == "adb"):
        facts = f"mark {mark}"
    elif serials:
        message = (
            f"many phones have the serial number {serials[0]}, and smoothdroid could not write a mark of its own "
            "into its folder on this one. Free some storage on the phone, or let its user write there"
        )
        raise CommandFailed(target, ["describe"], 0, stderr=message)
    else:
        facts = f"{target} {properties.get('ro.build.fingerprint', '')}"
    return hashlib.sha256(facts.encode("utf-8", "replace")).hexdigest()[:12]
