"""Parse the values of options: lists, temperatures, percentages and durations."""

from __future__ import annotations

import re
from collections.abc import Sequence

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.job.task import Cooling
from smoothdroid.host.common.suggest import did_you_mean
from smoothdroid.host.llamacpp.settings import Setting, Value

_RANGE = re.compile(r"(\d+)(?:-(\d+)(?:([+*])(\d+))?)?", re.ASCII)
_COOLING = re.compile(r"(?:(start)(?:\+(?=\d)|$)|(?=\d))(\d{1,3}(?:\.\d{1,3})?)?", re.ASCII)
_SHARE = re.compile(r"(\d{1,2}(?:\.\d{1,9})?)%", re.ASCII)
_DURATION = re.compile(r"(\d{1,6})(s|m|h|d)", re.ASCII)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
MOST_DIGITS = 9  # llama-bench keeps these numbers in an int
MOST_VALUES = 1000  # of one list: a typing error must not become a plan that runs for weeks


def numbers(text: str, option: str, *, least: int = 1) -> list[int]:
    """Return the numbers of a list as llama-bench writes it (`1,2,4`, `1-8`, `2-8+2`, `1-8*2`), in order, each once.

    Raises BadInput when it is empty, malformed, holds a number below `least`, or a range that never ends.
    """
    values: dict[int, None] = {}
    for item in text.split(","):
        match = _RANGE.fullmatch(item.strip())
        if not match:
            raise BadInput(
                f"{option} {text!r}: `{item}` is neither a number nor a range; write 1,2,4 or 1-8 or 2-8+2 or 1-8*2"
            )
        if max(len(number or "") for number in match.group(1, 2, 4)) > MOST_DIGITS:
            raise BadInput(f"{option} {text[:40]!r}: a number of more than {MOST_DIGITS} digits is too large")
        first = int(match[1])
        last, operator, step = int(match[2] or first), match[3] or "+", int(match[4] or 1)
        if last < first:
            raise BadInput(f"{option} {text!r}: the range {item} is empty, {last} is below {first}")
        value = first
        while value <= last:
            if value < least:
                raise BadInput(f"{option} {text!r}: {value} is below {least}")
            values[value] = None
            following = value + step if operator == "+" else value * step
            if following <= value:
                raise BadInput(f"{option} {text!r}: the range {item} never ends")
            value = following
            if len(values) > MOST_VALUES:
                raise BadInput(f"{option} {text!r}: more than {MOST_VALUES} values")
    return list(values)


def of_setting(setting: Setting, text: str) -> Sequence[Value | None]:
    """Return the values of a llama.cpp setting; its default where there is no text. Raises BadInput as its parser."""
    if not text:
        return [setting.default]
    if setting.choices:
        return choices(text, setting.option, setting.choices)
    return numbers(text, setting.option, least=setting.least)


def choices(text: str, option: str, allowed: tuple[str, ...]) -> list[str]:
    """Return the values of a list such as `f16,q8_0`, each once. Raises BadInput for one that is not `allowed`."""
    values = [value.strip() for value in text.split(",")]
    if unknown := [value for value in values if value not in allowed]:
        raise BadInput(f"{option} {text!r}: unknown value `{unknown[0]}`; {did_you_mean(unknown[0], allowed)}")
    return list(dict.fromkeys(values))


def cooling(text: str, within_s: int) -> Cooling:
    """Return the limit of `40` (°C) or `start+2` (above the temperature at the start). Raises BadInput for others."""
    match = _COOLING.fullmatch(text.replace(" ", ""))
    if not match:
        raise BadInput(
            f"--cool {text!r}: write a temperature in °C, such as 40, or one above the start, such as start+2"
        )
    above, degrees = match[1], float(match[2] or 0)
    return Cooling(above_start=degrees, within_s=within_s) if above else Cooling(celsius=degrees, within_s=within_s)


def share(text: str, option: str) -> float:
    """Return 0.05 for `5%`. Raises BadInput for anything else, also for `5`, which could mean 5 % or 500 %."""
    match = _SHARE.fullmatch(text)
    if not match:
        raise BadInput(f"{option} {text[:40]!r}: write a percentage from 0% to below 100%, such as 5%")
    return float(match[1]) / 100


def seconds(text: str, option: str) -> int:
    """Return the seconds of `90s`, `10m`, `1h` or `7d`. Raises BadInput for anything else, also without a unit."""
    match = _DURATION.fullmatch(text)
    if not match:
        raise BadInput(f"{option} {text[:40]!r}: write a time with its unit, such as 90s, 10m or 1h")
    return int(match[1]) * _SECONDS[match[2]]
