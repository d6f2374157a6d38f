"""The inventory of a lab's phones: the file `farm.toml`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Callable, Collection
from functools import partial
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.transport.target import Target
from smoothdroid.host.bench.phone_filter import Texts
from smoothdroid.host.common.suggest import did_you_mean
from smoothdroid.host.farm.member import Member

LARGEST_FILE = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


class Listed(BaseModel):
    """One phone of the inventory."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    on: str = Field(min_length=1)
    """The phone's target, as for `--on`."""
    labels: Texts = Field(default_factory=list)
    models: Texts = Field(default_factory=lambda: ["*"], min_length=1)
    """Patterns of the names of models that it may run."""


class Inventory(BaseModel):
    """The content of `farm.toml`."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    quarantine_after: int = Field(default=3, ge=1)
    """Failures in a row after which a phone is left out."""
    phones: dict[str, Listed] = Field(min_length=1)

    @field_validator("phones")
    @classmethod
    def _names(cls, phones: dict[str, Listed]) -> dict[str, Listed]:
        if wrong := [name for name in phones if not _NAME.fullmatch(name)]:
            raise ValueError(f"{wrong[0]!r} is not a name: use up to 40 letters, digits, `.`, `_` and `-`")
        targets = [phone.on for phone in phones.values()]
        if twice := [target for target in targets if targets.count(target) > 1]:
            raise ValueError(f"{twice[0]} is listed twice")
        return phones

    def members(self, open_target: Callable[[str], Target], names: Collection[str] = ()) -> list[Member]:
        """Return the phones of these names, or all. Raises BadInput for an unknown name."""
        if unknown := [name for name in names if name not in self.phones]:
            raise BadInput(f"the inventory has no phone {unknown[0]}; {did_you_mean(unknown[0], self.phones)}")
        return [
            Member(name, phone.on, partial(open_target, phone.on), phone.labels, phone.models)
            for name, phone in self.phones.items()
            if not names or name in names
        ]


def read(path: Path) -> Inventory:
    """Read `farm.toml`. Raises BadInput that names the key."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise BadInput(f"{path} is not an inventory: it is larger than {LARGEST_FILE >> 20} MiB")
        return Inventory.model_validate(tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"the inventory {path} cannot be read: {error}") from error
    except ValidationError as error:
        problems = (
            f"{path}: `{'.'.join(map(str, detail['loc']))}`: {detail['msg'].removeprefix('Value error, ')}"
            for detail in error.errors()
        )
        raise BadInput(
            "\n".join(problems) + '\nWrite a phone as: [phones.NAME], on = "adb:SERIAL", and optionally the lists '
            "labels and models"
        ) from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, and a number of 5,000 digits
        raise BadInput(f"{path} is not valid TOML: {error}") from error
