"""The phones that a command line selects: those of --on, those attached, those of a farm."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from smoothdroid.device import virtual
from smoothdroid.device.common.errors import NoPhone, SmoothdroidError
from smoothdroid.device.info import required_tools
from smoothdroid.device.info.phone import Phone, describe
from smoothdroid.device.transport import adb
from smoothdroid.device.transport.resolve import no_phone, open_target, the_only_one
from smoothdroid.device.transport.ssh import SshOptions
from smoothdroid.device.transport.target import Target
from smoothdroid.host.common.optional_packages import need_dask
from smoothdroid.host.farm import inventory
from smoothdroid.host.farm.health import HealthRecords
from smoothdroid.host.farm.member import Member, PhoneResult

Warn = Callable[[str], None]
"""Receives a sentence that the user must know."""

SCHEDULERS = ("tcp://", "tls://")


@dataclass(frozen=True)
class Selection:
    """The phones of a benchmark."""

    members: Sequence[Member]
    health: HealthRecords | None = None
    """The health records of the phones' inventory, where they come from one."""
    single: bool = False
    """True where the command line names one phone, so that its results are the command's."""

    def note(self, results: Sequence[PhoneResult]) -> list[str]:
        """Record the results in the phones' health records; return a sentence for each phone put in quarantine."""
        return self.health.note_all(results) if self.health else []


@contextmanager
def selected(on: Sequence[str], farm: str | None, ssh: SshOptions, warn: Warn, *, share: bool) -> Iterator[Selection]:
    """Yield the phones of `--on`, `--farm` and `--share`.

    Raises NoPhone when there is none, BadInput for a name that a farm does not have.
    """
    if farm and farm.startswith(SCHEDULERS):
        need_dask()
        from smoothdroid.host.farm.remote import Farm

        with closing(Farm(farm)) as lent:
            yield Selection(lent.members(on))
    elif farm:
        members, health = fit_for_work(Path(farm), on, ssh, warn)
        yield Selection(members, health)
    else:
        names = list(dict.fromkeys(on or [the_only_one()]))
        single = len(names) == 1 and "all" not in names and not share
        yield Selection(members_of(targets_of(names, warn), ssh), single=single)


def members_of(targets: Sequence[str], ssh: SshOptions) -> list[Member]:
    """Return the phones of these targets. Raises NoPhone when there is none."""
    if not targets:
        raise no_phone()
    return [Member(target, target, partial(open_target, target, ssh)) for target in targets]


def targets_of(names: Sequence[str], warn: Warn) -> list[str]:
    """Return each target once; `all` stands for those that are attached."""
    return list(dict.fromkeys(target for name in names for target in (all_attached(warn) if name == "all" else [name])))


def all_attached(warn: Warn) -> list[str]:
    """Return the targets of all phones attached, and of the emulated ones that run."""
    emulated = {phone.adb_address: phone.name for phone in virtual.running()}
    attached = adb.attached()
    if any(serial.startswith("transport:") for serial in attached):
        for sentence in adb.twins().values():
            warn(sentence)
    serials = [serial for serial in attached if serial not in emulated]
    return [f"adb:{serial}" for serial in serials] + [f"virtual:{name}" for name in emulated.values()]


def look_at(targets: Sequence[str], ssh: SshOptions, warn: Warn) -> tuple[dict[str, Phone], list[SmoothdroidError]]:
    """Return the description of each phone by its target, and the errors of those that cannot be reached."""
    phones: dict[str, Phone] = {}
    errors: list[SmoothdroidError] = []
    for name in targets:
        try:
            with reached(name, ssh) as (target, phone):
                phones[name] = phone
                if lack := required_tools.missing(target):
                    warn(f"{name}: {lack}: nothing can be measured there. {lack.fix}")
        except SmoothdroidError as error:
            errors.append(error)
    return phones, errors


def fit_for_work(farm: Path, names: Sequence[str], ssh: SshOptions, warn: Warn) -> tuple[list[Member], HealthRecords]:
    """Return the phones of an inventory that are not in quarantine. Raises NoPhone where none is left."""
    listed = inventory.read(farm)
    records = HealthRecords(farm, listed.quarantine_after)
    fit, left_out = records.fit_for_work(listed.members(partial(open_target, ssh=ssh), names))
    for sentence in left_out:
        warn(sentence)
    if not fit:
        raise NoPhone("every phone is in quarantine; nothing is left to measure on")
    return fit, records


@contextmanager
def reached(on: str | None, ssh: SshOptions) -> Iterator[tuple[Target, Phone]]:
    """Yield a connection to the phone of `--on`, or to the only one attached, and its description."""
    with closing(open_target(on or the_only_one(), ssh)) as target:
        yield target, describe(target)
