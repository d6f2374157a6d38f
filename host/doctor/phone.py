"""What a phone has and lacks, and whether this is the moment to measure on it."""

from __future__ import annotations

import re
from contextlib import closing

from device import tools
from device.errors import BadInput, SmoothdroidError
from device.phone import Phone, describe
from device.ssh import SshOptions
from device.target import Target
from device.targets import open_target
from host.build import variants
from host.doctor.check import Check

WARM_CELSIUS = 40.0
"""A sensor of a phone at rest in a warm room stays below (host/bench/throttling.py)."""

LOW_BATTERY_PERCENT = 20
"""Where Android offers its battery saver, which slows CPUs down."""

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
            return [*checks(target, phone, said), _tools(tools.missing(target))]
    except BadInput:
        raise
    except SmoothdroidError as error:
        return [Check(on, "missing", "-", str(error))]


def checks(target: Target, phone: Phone, said: str) -> list[Check]:
    """A phone and what it answers to ASK -> what there is to say about it."""
    emulated = " (emulated)" if phone.emulated else ""
    found = [
        Check(target.name, "ok", f"{phone.model}{emulated}, authorised"),
        _space(phone, target.root),
        _temperature(phone),
        _battery(phone),
        _battery_saver(said),
        _screen(said, over_ssh=target.name.startswith("ssh://")),
        _taskset(said),
        _level(phone),
    ]
    return [check for check in found if check]


def _space(phone: Phone, root: str) -> Check:
    found = f"{phone.free_mb / 1024:.1f} GiB free for {root}"
    if phone.free_mb < LITTLE_SPACE_MB:
        return Check("space", "warning", found, "`smoothdroid phone clean` removes what smoothdroid sent, or make room")
    return Check("space", "ok", found)


def _temperature(phone: Phone) -> Check | None:
    sensors = phone.celsius | ({"battery": phone.battery.celsius} if phone.battery.celsius is not None else {})
    if not sensors:
        return None
    zone, celsius = max(sensors.items(), key=lambda sensor: sensor[1])
    found = f"{celsius:.0f} °C at most ({zone})"
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


def _tools(lack: tools.Lack | None) -> Check:
    if lack:
        return Check("tools", "missing", str(lack), lack.fix)
    return Check("tools", "ok", "all that smoothdroid needs")


def _level(phone: Phone) -> Check:
    chosen = variants.explain(phone)
    if chosen.level is None:
        return Check("ISA level", "missing", "none", chosen.reason)
    return Check("ISA level", "ok", f"{chosen.level.isa}: {chosen.reason}")
