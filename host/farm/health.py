"""How the phones of an inventory are, and which of them are in quarantine after repeated failures.

What became of each phone's last parts is kept beside `farm.toml`, in `farm.health.json`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError

from smoothdroid.device.common.atomic_file import write_atomically
from smoothdroid.device.common.errors import BadInput, PhoneBusy, SmoothdroidError
from smoothdroid.device.common.lock import exclusive
from smoothdroid.device.info.phone import Phone, describe
from smoothdroid.host.farm.member import Member, PhoneResult
from smoothdroid.host.farm.phone_work import Unexpected

LONGEST_REASON = 300
AT_A_TIME = 32  # connections that are being made
COLUMNS = ["name", "target", "phone", "labels", "state", "free", "battery", "hottest", "last result"]
NO_FAULT_OF_THE_PHONE = (BadInput, PhoneBusy)


class HealthRecord(BaseModel):
    """What became of a phone's last parts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    failures: int = Field(default=0, ge=0)
    """In a row."""
    last: str = ""
    at: datetime | None = None
    quarantined: bool = False

    @property
    def why(self) -> str:
        """Of a quarantine, in words."""
        return f"{self.failures} failures in a row, the last: {self.last.rstrip('.')}."


class _Records(RootModel[dict[str, HealthRecord]]):
    pass


class HealthRecords:
    """The records of an inventory's phones; several processes may write them."""

    def __init__(self, inventory: Path, quarantine_after: int) -> None:
        self._inventory, self._after = inventory, quarantine_after
        self.path = inventory.with_suffix(".health.json")

    def read(self) -> dict[str, HealthRecord]:
        """By the phones' names; those of which nothing is known are not there. Raises BadInput for a damaged file."""
        try:
            return _Records.model_validate_json(self.path.read_bytes()).root
        except FileNotFoundError:
            return {}
        except ValidationError as error:
            raise BadInput(f"{self.path} is damaged: repair it, or remove it to begin anew") from error

    def note_all(self, parts: Sequence[PhoneResult]) -> list[str]:
        """What became of the phones' parts; returns, in words, which phones go into quarantine by it."""
        said = []
        for part in parts:
            if noted := judge(part):
                record = self.note(part.member.name, noted[0], failed=noted[1])
                if record.quarantined:
                    said.append(f"{part.member.name} goes into quarantine: {record.why}")
        return said

    def note(self, name: str, said: str, *, failed: bool) -> HealthRecord:
        """What became of a phone's part; returns what is known of the phone now."""
        with self._alone() as records:
            before = records.get(name, HealthRecord())
            failures = before.failures + 1 if failed else 0
            records[name] = HealthRecord(
                failures=failures,
                last=said[:LONGEST_REASON].encode("utf-8", "replace").decode(),
                at=datetime.now(UTC),
                quarantined=failures >= self._after,
            )
            return records[name]

    def release(self, name: str) -> None:
        """End a phone's quarantine. Raises BadInput when it is in none."""
        with self._alone() as records:
            if not records.get(name, HealthRecord()).quarantined:
                raise BadInput(f"{name} is not in quarantine")
            records[name] = records[name].model_copy(update={"failures": 0, "quarantined": False})

    def fit_for_work(self, members: Sequence[Member]) -> tuple[list[Member], list[str]]:
        """Those that are not in quarantine; and of each other one, why it is, in words."""
        records = self.read()
        away = [member for member in members if records.get(member.name, HealthRecord()).quarantined]
        return [member for member in members if member not in away], [
            f"{member.name} is in quarantine and left out. {records[member.name].why} When it is well again: "
            f"`smoothdroid devices --farm {self._inventory} --release {member.name}`"
            for member in away
        ]

    @contextmanager
    def _alone(self) -> Iterator[dict[str, HealthRecord]]:
        with exclusive(self.path.with_name(f".{self.path.name}.lock"), wait=True):
            records = self.read()
            yield records
            write_atomically(self.path, _Records(records).model_dump_json(indent=2) + "\n")


def judge(ended: PhoneResult) -> tuple[str, bool] | None:
    """What to note of a phone's part, and whether the phone failed; None when its part tells nothing of it."""
    if ended.error:
        return None if isinstance(ended.error, NO_FAULT_OF_THE_PHONE) else (str(ended.error), True)
    failures = [run.failure for run in ended.runs if run.failure]
    if not ended.runs:
        return None
    if len(failures) == len(ended.runs):
        return f"all of {len(failures)} runs failed, the last: {failures[-1]}", True
    return f"{len(ended.runs) - len(failures)} of {len(ended.runs)} runs measured", False


@dataclass(frozen=True)
class Health:
    """A phone of the inventory, as it is now."""

    member: Member
    record: HealthRecord
    phone: Phone | None
    error: SmoothdroidError | None
    """Why it cannot be reached."""

    def cells(self) -> list[str]:
        """For COLUMNS."""
        phone, record = self.phone, self.record
        charge = phone.battery.level_percent if phone else None
        hottest = max(phone.celsius.values(), default=None) if phone else None
        state = "quarantine" if record.quarantined else "not reachable" if self.error else "ok"
        return [
            self.member.name,
            self.member.on,
            phone.model if phone else "-",
            ", ".join(self.member.labels),
            state,
            f"{phone.free_mb / 1024:.1f} GiB" if phone else "-",
            "-" if charge is None else f"{charge} %",
            "-" if hottest is None else f"{hottest:.0f} °C",
            f"{record.at:%Y-%m-%d %H:%M} UTC: {record.last}" if record.at else "-",
        ]

    def facts(self) -> dict[str, object]:
        """For --json."""
        return {
            "name": self.member.name,
            "target": self.member.on,
            "labels": list(self.member.labels),
            "models": list(self.member.models),
            "reachable": self.phone is not None,
            "error": str(self.error) if self.error else None,
            "phone": self.phone.model_dump() if self.phone else None,
            **self.record.model_dump(mode="json"),
        }


def look(members: Sequence[Member], records: dict[str, HealthRecord]) -> list[Health]:
    """Ask every phone how it is; those that do not answer keep the others from nothing."""

    def one(member: Member) -> Health:
        record = records.get(member.name, HealthRecord())
        try:
            with closing(member.open()) as target:
                return Health(member, record, describe(target), None)
        except SmoothdroidError as error:
            return Health(member, record, None, error)
        except Exception as error:  # what one phone says of itself must not hide the others
            return Health(member, record, None, Unexpected(error))

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        return list(pool.map(one, members))
