"""The setting in which two sides of one results folder differ: `--by threads=4,8`, `--models plain,smooth`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.common.suggest import closest
from smoothdroid.host.llamacpp.settings import SETTINGS, Setting
from smoothdroid.host.results import cpu_masks
from smoothdroid.host.results.cell import Cell
from smoothdroid.host.results.record import Campaign

DEFAULT = "default"
"""The name of the value of a setting that was left to llama.cpp."""


@dataclass(frozen=True)
class Field:
    """A setting of a cell, or the build that measured it."""

    name: str
    """The name of its option in `smoothdroid bench`, where it has one."""
    value: Callable[[Campaign, Cell], str]
    """Returns the value that a cell has, as tables show it."""
    inside: Any
    """The place of the field in a cell's JSON, in the form of pydantic's `exclude`."""
    by_part: bool = False
    """Whether an unambiguous part of a value is accepted for it."""
    spelled: Callable[[Campaign, str], str] = lambda campaign, text: text
    """Converts a user's spelling to the value, as tables show it."""


@dataclass(frozen=True)
class By:
    """A field and its two values."""

    field: Field
    a: str
    b: str


def _spelled_cpus(campaign: Campaign, text: str) -> str:
    try:
        return cpu_masks.label(cpu_masks.cpus_of(text, campaign.phone.clusters), campaign.phone.clusters)
    except BadInput:
        return text


def _setting(setting: Setting) -> Field:
    def value(_: Campaign, cell: Cell) -> str:
        chosen = getattr(cell.options, setting.name)
        return DEFAULT if chosen is None else str(chosen)

    return Field(setting.option.removeprefix("--"), value, {"options": {setting.name: True}})


_FIELDS = (
    Field(
        "model",
        lambda _, cell: cell.model,
        {"model": True, "model_sha256": True},
        by_part=True,
        spelled=lambda _, text: PurePath(text).name.removesuffix(".gguf"),  # a model is named after its file
    ),
    Field("test", lambda _, cell: cell.test.name, {"test": True}),
    Field("threads", lambda _, cell: str(cell.threads), {"threads": True}),
    Field(
        "cpus",
        lambda campaign, cell: cpu_masks.label(cell.cpus, campaign.phone.clusters),
        {"cpus": True},
        spelled=_spelled_cpus,
    ),
    *map(_setting, SETTINGS),
    Field("build", lambda c, _: f"{c.build_id} ({c.build_isa}, llama.cpp {c.build_commit})", {}, by_part=True),
)
FIELDS = {field.name: field for field in _FIELDS}
"""Every field that two sides may differ in, by its name."""


def parse(text: str) -> tuple[Field, str]:
    """Split `threads=4,8` into the field and the text of its values. Raises BadInput for an unknown field."""
    name, equals, values = text.partition("=")
    name = name.strip().replace("_", "-")
    if not equals:
        raise BadInput(f"--by {text}: write FIELD=A,B, as in threads=4,8; FIELD is one of {', '.join(FIELDS)}")
    if name not in FIELDS:
        raise BadInput(f"--by {text}: unknown field `{name}`; {_meant(name, list(FIELDS))}")
    return FIELDS[name], values


def choose(field: Field, text: str, cells: Iterable[tuple[Campaign, Cell]]) -> By:
    """Find the two values that `text` names among those that cells have.

    Raises BadInput, with the existing values, unless exactly two different values are named.
    """
    measured = list(cells)
    values = list(dict.fromkeys(field.value(campaign, cell) for campaign, cell in measured))
    campaigns = list({id(campaign): campaign for campaign, _ in measured}.values())

    def matches(half: str) -> list[str]:
        return _matches([half, *(field.spelled(campaign, half) for campaign in campaigns)], values, field.by_part)

    option = f"--models {text}" if field.name == "model" else f"--by {field.name}={text}"
    if not values:
        raise BadInput(f"{option}: these results have no cell yet")
    halves = _halves(text)
    clear = [pair for pair in ((matches(a), matches(b)) for a, b in halves) if list(map(len, pair)) == [1, 1]]
    if len(clear) == 1:
        (a,), (b,) = clear[0]
        if a == b:
            raise BadInput(f"{option}: both are {a}; {_listed(values)}")
        return By(field, a, b)
    if len(halves) != 1 or not all(halves[0]):
        raise BadInput(f"{option}: name two values, with one comma between them; {_listed(values)}")
    half = next(half for half in halves[0] if len(matches(half)) != 1)
    if ambiguous := matches(half):
        raise BadInput(f"{option}: `{half}` matches {' and '.join(ambiguous)}; write more of the value")
    raise BadInput(f"{option}: no cell has {field.name} `{half}`; {_meant(half, values)}")


def _matches(spelled: Sequence[str], values: Sequence[str], by_part: bool) -> list[str]:
    """Return the values that equal a text; without one, those that differ in case; without one, those that hold it."""
    texts = {text.casefold() for text in spelled}
    same = [value for value in values if value in spelled]
    alike = [value for value in values if value.casefold() in texts]
    if same or alike or not by_part:
        return same or alike
    return [value for value in values if any(text and text in value.casefold() for text in texts)]


def _halves(text: str) -> list[tuple[str, str]]:
    """Return every way to read a text as two values: a comma may also stand inside one, as in `0-3,7`."""
    return [(text[:at].strip(), text[at + 1 :].strip()) for at, letter in enumerate(text) if letter == ","]


def _meant(text: str, known: Sequence[str]) -> str:
    meant = closest(text, known)
    return (f"did you mean `{meant}`? " if meant else "") + _listed(known)


def _listed(values: Sequence[str]) -> str:
    return f"there {'are' if len(values) > 1 else 'is'} {', '.join(values)}"
