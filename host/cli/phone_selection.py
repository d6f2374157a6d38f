"""Phones: those of --on, those attached, those of a farm."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from smoothdroid.device import virtual
from smoothdroid.device.common.errors import NoPhone, SmoothdroidError
from smoothdroid.device.info import required_tools
from smoothdroid.device.info.phone import Phone, describe
from smoothdroid.device.transport import adb
from smoothdroid.device.transport.resolve import open_target, the_only_one
from smoothdroid.device.transport.ssh import SshOptions
from smoothdroid.device.transport.target import Target
from smoothdroid.host.common import console
from smoothdroid.host.farm import health, inventory
from smoothdroid.host.farm.coordinator import Member


def ways_of(named: Sequence[str]) -> list[str]:
    """Each once, and for `all` those that are attached."""
    return list(dict.fromkeys(name for way in named for name in (all_attached() if way == "all" else [way])))


def all_attached() -> list[str]:
    """The targets of all phones attached, the emulated ones that run among them."""
    emulated = {phone.adb_address: phone.name for phone in virtual.running()}
    attached = adb.attached()
    if any(serial.startswith("transport:") for serial in attached):
        for sentence in adb.twins().values():
            console.warning(sentence)
    serials = [serial for serial in attached if serial not in emulated]
    return [f"adb:{serial}" for serial in serials] + [f"virtual:{name}" for name in emulated.values()]


def look_at(names: Sequence[str], ssh: SshOptions) -> tuple[dict[str, Phone], list[SmoothdroidError]]:
    """What each is, by its target, and what keeps others from being reached."""
    found: dict[str, Phone] = {}
    problems: list[SmoothdroidError] = []
    for name in names:
        try:
            with reached(name, ssh) as (target, phone):
                found[name] = phone
                if lack := required_tools.missing(target):
                    console.warning(f"{name}: {lack}: nothing can be measured there. {lack.fix}")
        except SmoothdroidError as error:
            problems.append(error)
    return found, problems


def fit_for_work(farm: Path, names: Sequence[str], options: SshOptions) -> tuple[list[Member], health.HealthRecords]:
    """The phones of an inventory that are not in quarantine. Raises NoPhone where none is left."""
    listed = inventory.read(farm)
    ledger = health.HealthRecords(farm, listed.quarantine_after)
    fit, said = ledger.fit_for_work(listed.members(partial(open_target, ssh=options), names))
    for reason in said:
        console.warning(reason)
    if not fit:
        raise NoPhone("no phone is left to work on")
    return fit, ledger


@contextmanager
def reached(on: str | None, ssh: SshOptions) -> Iterator[tuple[Target, Phone]]:
    """The phone of --on, or the only one attached."""
    with closing(open_target(on or the_only_one(), ssh)) as target:
        yield target, describe(target)
