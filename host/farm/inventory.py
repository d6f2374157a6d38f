"""A lab's phones, by name: `farm.toml`."""

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
from smoothdroid.host.farm.member import Member

LARGEST_FILE = 1 << 20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,39}")


class Listed(BaseModel):
    """A phone of the inventory."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    on: str = Field(min_length=1)
    """Its target."""
    labels: Texts = Field(default_factory=list)
    models: Texts = Field(default_factory=lambda: ["*"], min_length=1)
    """Patterns of the names of models that it may run."""


class Inventory(BaseModel):
    """What `farm.toml` says."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    quarantine_after: int = Field(default=3, ge=1)
    """Failures in a row."""
    phones: dict[str, Listed] = Field(min_length=1)

    @field_validator("phones")
    @classmethod
    def _names(cls, phones: dict[str, Listed]) -> dict[str, Listed]:
        if wrong := [name for name in phones if not _NAME.fullmatch(name)]:
            raise ValueError(f"{wrong[0]!r} is no name: up to 40 letters, digits, `.`, `_` and `-`")
        ways = [phone.on for phone in phones.values()]
        if twice := [on for on in ways if ways.count(on) > 1]:
            raise ValueError(f"{twice[0]} stands there twice")
        return phones

    def members(self, open_target: Callable[[str], Target], names: Collection[str] = ()) -> list[Member]:
        """The phones of these names, or all. Raises BadInput for a name that is not there."""
        if unknown := [name for name in names if name not in self.phones]:
            raise BadInput(f"the inventory has no phone {unknown[0]}; it has {', '.join(self.phones)}")
        return [
            Member(name, phone.on, partial(open_target, phone.on), phone.labels, phone.models)
            for name, phone in self.phones.items()
            if not names or name in names
        ]


def read(path: Path) -> Inventory:
    """Read `farm.toml`. Raises BadInput that names the key."""
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise BadInput(f"{path} is no inventory: it is larger than {LARGEST_FILE >> 20} MiB")
        return Inventory.model_validate(tomllib.loads(path.read_text(encoding="utf-8-sig")))
    except (OSError, UnicodeDecodeError) as error:
        raise BadInput(f"the inventory {path} cannot be read: {error}") from error
    except ValidationError as error:
        problems = (
            f"{path}: `{'.'.join(map(str, one['loc']))}`: {one['msg'].removeprefix('Value error, ')}"
            for one in error.errors()
        )
        raise BadInput(
            "\n".join(problems) + '\nA phone is written as: [phones.NAME], on = "adb:SERIAL", and if wanted labels and '
            "models, lists of texts"
        ) from error
    except (ValueError, RecursionError) as error:  # TOMLDecodeError, and a number of 5,000 digits
        raise BadInput(f"{path} is not valid TOML: {error}") from error
