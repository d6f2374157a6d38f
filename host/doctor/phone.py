"""Checks of a phone: tools, space, temperature, battery, and whether now is a good time to measure."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping
from contextlib import closing

from smoothdroid.device.common.errors import BadInput, SmoothdroidError
from smoothdroid.device.info import required_tools
from smoothdroid.device.info.phone import Phone, describe
from smoothdroid.device.info.thermal import STUCK_READINGS, stuck
from smoothdroid.device.transport.resolve import open_target
from smoothdroid.device.transport.ssh import SshOptions
from smoothdroid.device.transport.target import Target
from smoothdroid.host.doctor.check import Check
from smoothdroid.host.llamacpp import variants

WARM_CELSIUS = 40.0
"""The sensors of an idle phone in a warm room stay below this (host/results/throttling_checks.py)."""

LOW_BATTERY_PERCENT = 20
"""The level at which Android offers its battery saver, which slows CPUs down."""

READING_INTERVAL_S = 1.0

LOW_SPACE_MB = 8 << 10  # a 7B model in Q8_0 takes 7 GB

STATE_SCRIPT = """
echo "low_power $(settings get global low_power 2>/dev/null)"
echo "screen $(dumpsys power 2>/dev/null | grep -o 'mWakefulness=[A-Za-z]*')"
echo "taskset $(command -v taskset)"
"""
"""A script that prints the short-lived state of a phone, which `describe` does not read."""


def examine_phone(on: str, ssh: SshOptions) -> list[Check]:
    """Return the checks of the phone at the target `on`. Raises BadInput for a malformed target."""
    try:
        with closing(open_target(on, ssh)) as target:
            phone = describe(target)
            state = target.run(["sh", "-c", STATE_SCRIPT]).stdout
            return [*checks(target, phone, state, stuck_sensors(target, phone)), _tools(required_tools.missing(target))]
    except BadInput:
        raise
    except SmoothdroidError as error:
        return [Check(on, "missing", "-", str(error))]


def stuck_sensors(target: Target, phone: Phone) -> dict[str, float]:
    """Return the value of each stuck sensor. If the first reading suggests one, all sensors are read repeatedly."""
    readings = [_sensors(phone)]
    while stuck({zone: [celsius] * STUCK_READINGS for zone, celsius in readings[-1].items()}):
        if len(readings) == STUCK_READINGS:
            shared = set.intersection(*(set(reading) for reading in readings))
            return stuck({zone: [reading[zone] for reading in readings] for zone in shared})
        time.sleep(READING_INTERVAL_S)
        readings.append(_sensors(describe(target)))
    return {}


def _sensors(phone: Phone) -> dict[str, float]:
    return phone.celsius | ({"battery": phone.battery.celsius} if phone.battery.celsius is not None else {})


def checks(target: Target, phone: Phone, state: str, dead: Mapping[str, float] | None = None) -> list[Check]:
    """Return the checks of a phone from its description, the output of STATE_SCRIPT, and its stuck sensors."""
    emulated = " (emulated)" if phone.emulated else ""
    found = [
        Check(target.name, "ok", f"{phone.model}{emulated}, authorised"),
        _space(phone, target.root),
        _temperature(phone, dead or {}),
        _battery(phone),
        _battery_saver(state),
        _screen(state, over_ssh=target.kind == "ssh"),
        _taskset(state),
        _level(phone),
    ]
    return [check for check in found if check]


def _space(phone: Phone, root: str) -> Check:
    found = f"{phone.free_mb / 1024:.1f} GiB free for {root}"
    if phone.free_mb < LOW_SPACE_MB:
        return Check(
            "space", "warning", found, "`smoothdroid phone clean` removes what smoothdroid sent; or free some space"
        )
    return Check("space", "ok", found)


def _temperature(phone: Phone, dead: Mapping[str, float]) -> Check | None:
    sensors = {zone: celsius for zone, celsius in _sensors(phone).items() if zone not in dead}
    if not sensors:
        return None
    zone, celsius = max(sensors.items(), key=lambda sensor: sensor[1])
    found = f"{celsius:.0f} °C at most ({zone})"
    found += "".join(f"; {zone} is stuck at {celsius:.0f} °C and left out" for zone, celsius in dead.items())
    if celsius >= WARM_CELSIUS:
        return Check("cool", "warning", found, "let it cool, out of its cover; `bench --cool start+2` waits for it")
    return Check("cool", "ok", found)


def _battery(phone: Phone) -> Check | None:
    level = phone.battery.level_percent
    if level is None:
        return None
    found = f"{level} %" + (", charging" if phone.battery.charging else "")
    if level < LOW_BATTERY_PERCENT:
        return Check("battery", "warning", found, "charge it: a phone with a low battery slows itself down")
    return Check("battery", "ok", found)


def _battery_saver(state: str) -> Check | None:
    answer = re.search(r"^low_power ([01])\r?$", state, re.MULTILINE)
    if not answer:
        return None
    if answer[1] == "1":
        return Check("battery saver", "warning", "on", "switch it off: it slows CPUs down")
    return Check("battery saver", "ok", "off")


def _screen(state: str, *, over_ssh: bool) -> Check | None:
    """Return the check of the screen: with it off, Android slows down apps such as Termux, but not adb's shell."""
    answer = re.search(r"mWakefulness=(\w+)", state)
    if not answer:
        return None
    if answer[1] != "Awake" and over_ssh:
        return Check(
            "screen", "warning", "off", "run `termux-wake-lock` or keep the screen on: Android slows down apps"
        )
    return Check("screen", "ok", "on" if answer[1] == "Awake" else "off")


def _taskset(state: str) -> Check:
    if re.search(r"^taskset \S", state, re.MULTILINE):
        return Check("taskset", "ok", "installed", "", ("bench",))
    fix = "in Termux: `pkg install util-linux`; otherwise measure without --cpus"
    return Check("taskset", "warning", "missing: --cpus cannot bind threads to CPUs", fix, ("bench",))


def _tools(lack: required_tools.Lack | None) -> Check:
    if lack:
        return Check("tools", "missing", str(lack), lack.fix)
    return Check("tools", "ok", "all that smoothdroid needs")


def _level(phone: Phone) -> Check:
    chosen = variants.explain(phone)
    if chosen.level is None:
        return Check("ISA level", "missing", "none", chosen.reason)
    return Check("ISA level", "ok", f"{chosen.level.isa}: {chosen.reason}")
