"""The health records of an inventory's phones: failures in a row, and quarantine after too many.

They are kept beside `farm.toml`, in `farm.health.json`.
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
    """The result of a phone's last benchmarks."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    failures: int = Field(default=0, ge=0)
    """Failures in a row."""
    last: str = ""
    at: datetime | None = None
    quarantined: bool = False

    @property
    def why(self) -> str:
        """The reason of a quarantine."""
        return f"{self.failures} failures in a row, the last: {self.last.rstrip('.')}."


class _Records(RootModel[dict[str, HealthRecord]]):
    pass


class HealthRecords:
    """The file of health records of an inventory; several processes may write it."""

    def __init__(self, inventory: Path, quarantine_after: int) -> None:
        """Take the file beside `inventory`; a phone is in quarantine after that many failures in a row."""
        self._inventory, self._after = inventory, quarantine_after
        self.path = inventory.with_suffix(".health.json")

    def read(self) -> dict[str, HealthRecord]:
        """Return the records by the phones' names. Raises BadInput for a damaged file."""
        try:
            return _Records.model_validate_json(self.path.read_bytes()).root
        except FileNotFoundError:
            return {}
        except ValidationError as error:
            raise BadInput(f"{self.path} is damaged: repair it, or remove it to start over") from error

    def note_all(self, results: Sequence[PhoneResult]) -> list[str]:
        """Record the phones' results; return a sentence for each phone that goes into quarantine."""
        sentences = []
        for result in results:
            if verdict := verdict_on(result):
                record = self.note(result.member.name, verdict[0], failed=verdict[1])
                if record.quarantined:
                    sentences.append(f"{result.member.name} goes into quarantine: {record.why}")
        return sentences

    def note(self, name: str, text: str, *, failed: bool) -> HealthRecord:
        """Record a phone's result and return its health record."""
        with self._alone() as records:
            before = records.get(name, HealthRecord())
            failures = before.failures + 1 if failed else 0
            records[name] = HealthRecord(
                failures=failures,
                last=text[:LONGEST_REASON].encode("utf-8", "replace").decode(),
                at=datetime.now(UTC),
                quarantined=failures >= self._after,
            )
            return records[name]

    def release(self, name: str) -> None:
        """End a phone's quarantine. Raises BadInput when it is not in quarantine."""
        with self._alone() as records:
            if not records.get(name, HealthRecord()).quarantined:
                raise BadInput(f"{name} is not in quarantine")
            records[name] = records[name].model_copy(update={"failures": 0, "quarantined": False})

    def fit_for_work(self, members: Sequence[Member]) -> tuple[list[Member], list[str]]:
        """Return the phones that are not in quarantine, and a sentence for each one that is."""
        records = self.read()
        away = [member for member in members if records.get(member.name, HealthRecord()).quarantined]
        return [member for member in members if member not in away], [
            f"{member.name} is in quarantine and left out. {records[member.name].why} When it works again: "
            f"`smoothdroid devices --farm {self._inventory} --release {member.name}`"
            for member in away
        ]

    @contextmanager
    def _alone(self) -> Iterator[dict[str, HealthRecord]]:
        with exclusive(self.path.with_name(f".{self.path.name}.lock"), wait=True):
            records = self.read()
            yield records
            write_atomically(self.path, _Records(records).model_dump_json(indent=2) + "\n")


def verdict_on(result: PhoneResult) -> tuple[str, bool] | None:
    """Return the text for a phone's record, and True if the phone failed; None when the result does not show it."""
    if result.error:
        return None if isinstance(result.error, NO_FAULT_OF_THE_PHONE) else (str(result.error), True)
    failures = [run.failure for run in result.runs if run.failure]
    if not result.runs:
        return None
    if len(failures) == len(result.runs):
        return f"all of {len(failures)} runs failed, the last: {failures[-1]}", True
    return f"{len(result.runs) - len(failures)} of {len(result.runs)} runs measured", False


@dataclass(frozen=True)
class Health:
    """The current state of a phone of the inventory."""

    member: Member
    record: HealthRecord
    phone: Phone | None
    error: SmoothdroidError | None
    """The reason why it cannot be reached."""

    def cells(self) -> list[str]:
        """Return the row's text for each of COLUMNS."""
        phone, record = self.phone, self.record
        charge = phone.battery.level_percent if phone else None
        hottest = max(phone.celsius.values(), default=None) if phone else None
        state = "quarantine" if record.quarantined else "unreachable" if self.error else "ok"
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
        """Return the phone's state for `--json`."""
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
    """Return the state of every phone, read from all at once; one that does not answer delays no other."""

    def state_of(member: Member) -> Health:
        record = records.get(member.name, HealthRecord())
        try:
            with closing(member.open()) as target:
                return Health(member, record, describe(target), None)
        except SmoothdroidError as error:
            return Health(member, record, None, error)
        except Exception as error:  # one phone's odd description must not hide the others
            return Health(member, record, None, Unexpected(error))

    with ThreadPoolExecutor(AT_A_TIME) as pool:
        return list(pool.map(state_of, members))
