"""What a phone has and lacks, and whether this is the moment to measure on it."""

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
"""A sensor of a phone at rest in a warm room stays below (host/results/throttling_checks.py)."""

LOW_BATTERY_PERCENT = 20
"""Where Android offers its battery saver, which slows CPUs down."""

READ_AGAIN_S = 1.0

LITTLE_SPACE_MB = 8 << 10  # a 7B model in Q8_0 takes 7 GB

ASK = """
echo "low_power $(settings get global low_power 2>/dev/null)"
echo "screen $(dumpsys power 2>/dev/null | grep -o 'mWakefulness=[A-Za-z]*')"
echo "taskset $(command -v taskset)"
"""
"""What `describe` does not ask: it changes too soon to be a phone's fact."""


def examine_phone(on: str, ssh: SshOptions) -> list[Check]:
    """Look at a phone. Raises BadInput where `on` names no way."""
    try:
        with closing(open_target(on, ssh)) as target:
            phone = describe(target)
            said = target.run(["sh", "-c", ASK]).stdout
            found = checks(target, phone, said, stuck_sensors(target, phone))
            return [*found, _tools(required_tools.missing(target))]
    except BadInput:
        raise
    except SmoothdroidError as error:
        return [Check(on, "missing", "-", str(error))]


def stuck_sensors(target: Target, phone: Phone) -> dict[str, float]:
    """The sensors that are stuck, and where. When one may be, as far as one reading says, all are read again."""
    readings = [_sensors(phone)]
    while stuck({zone: [celsius] * STUCK_READINGS for zone, celsius in readings[-1].items()}):
        if len(readings) == STUCK_READINGS:
            shared = set.intersection(*(set(reading) for reading in readings))
            return stuck({zone: [reading[zone] for reading in readings] for zone in shared})
        time.sleep(READ_AGAIN_S)
        readings.append(_sensors(describe(target)))
    return {}


def _sensors(phone: Phone) -> dict[str, float]:
    return phone.celsius | ({"battery": phone.battery.celsius} if phone.battery.celsius is not None else {})


def checks(target: Target, phone: Phone, said: str, dead: Mapping[str, float] | None = None) -> list[Check]:
    """A phone, what it answers to ASK, and its sensors that are stuck -> what there is to say about it."""
    emulated = " (emulated)" if phone.emulated else ""
    found = [
        Check(target.name, "ok", f"{phone.model}{emulated}, authorised"),
        _space(phone, target.root),
        _temperature(phone, dead or {}),
        _battery(phone),
        _battery_saver(said),
        _screen(said, over_ssh=target.kind == "ssh"),
        _taskset(said),
        _level(phone),
    ]
    return [check for check in found if check]


def _space(phone: Phone, root: str) -> Check:
    found = f"{phone.free_mb / 1024:.1f} GiB free for {root}"
    if phone.free_mb < LITTLE_SPACE_MB:
        return Check("space", "warning", found, "`smoothdroid phone clean` removes what smoothdroid sent, or make room")
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
        return Check("battery", "warning", found, "charge it: low, a phone slows itself down")
    return Check("battery", "ok", found)


def _battery_saver(said: str) -> Check | None:
    answer = re.search(r"^low_power ([01])\r?$", said, re.MULTILINE)
    if not answer:
        return None
    if answer[1] == "1":
        return Check("battery saver", "warning", "on", "switch it off: it slows CPUs down")
    return Check("battery saver", "ok", "off")


def _screen(said: str, *, over_ssh: bool) -> Check | None:
    """Only apps, Termux among them, are slowed down with the screen off; adb's shell is not."""
    answer = re.search(r"mWakefulness=(\w+)", said)
    if not answer:
        return None
    if answer[1] != "Awake" and over_ssh:
        return Check("screen", "warning", "off", "`termux-wake-lock`, or keep it on: Android holds apps back")
    return Check("screen", "ok", "on" if answer[1] == "Awake" else "off")


def _taskset(said: str) -> Check:
    if re.search(r"^taskset \S", said, re.MULTILINE):
        return Check("taskset", "ok", "there", "", ("bench",))
    mend = "in Termux: `pkg install util-linux`; else measure without --cpus"
    return Check("taskset", "warning", "not there: --cpus cannot hold threads to cores", mend, ("bench",))


def _tools(lack: required_tools.Lack | None) -> Check:
    if lack:
        return Check("tools", "missing", str(lack), lack.fix)
    return Check("tools", "ok", "all that smoothdroid needs")


def _level(phone: Phone) -> Check:
    chosen = variants.explain(phone)
    if chosen.level is None:
        return Check("ISA level", "missing", "none", chosen.reason)
    return Check("ISA level", "ok", f"{chosen.level.isa}: {chosen.reason}")
