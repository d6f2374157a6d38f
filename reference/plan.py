"""A plan file's words, from the model that reads it."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

import typer
from pydantic import BaseModel

from reference.fields import default, docstrings
from reference.markdown import code, page, plain, table
from smoothdroid.host.bench.phone_filter import ISA, PhoneFilter
from smoothdroid.host.bench.request import PlanOptions
from smoothdroid.host.cli import app
from smoothdroid.host.farm.inventory import Inventory, Listed

COLUMNS = ["Word", "Default", "What it says"]


def write() -> str:
    """The page."""
    return page(
        "# Plan and inventory files",
        "Written from the code. A plan is a TOML file: the words of `smoothdroid bench`, with `_` for `-`. A list may "
        'be written as llama-bench writes it (`"1-8"`, `"2-8+2"`, `"1-8*2"`), as a number, or as a TOML list. A word '
        "that is not known is an error that names the one that was meant.",
        "## A plan",
        table(COLUMNS, _words(PlanOptions, options_of("bench"))),
        "`[[for]]`, once or more: the same words, over those above it, for the phones that its `phones` names; the "
        "later over the earlier.",
        "## phones",
        plain(inspect.getdoc(PhoneFilter) or ""),
        table(COLUMNS, _words(PhoneFilter)),
        f"Extensions: {', '.join(map(code, ISA))}.",
        "## farm.toml",
        "A lab's phones, for `--farm farm.toml`.",
        table(COLUMNS, _words(Inventory, {"phones": "`[phones.NAME]` for each phone, with the words below."})),
        "Of a phone:",
        table(COLUMNS, _words(Listed, {"labels": "Words of your own, which a plan can name."})),
    )


def options_of(command: str) -> dict[str, str]:
    """Option -> what its help says."""
    found = getattr(typer.main.get_command(app), "commands", {})[command]
    return {option.name: option.help for option in found.params if option.help}


def _words(model: type[BaseModel], others: dict[str, str] | None = None) -> Iterator[list[str]]:
    said = {**(others or {}), **docstrings(model)}
    for name, field in model.model_fields.items():
        yield [code(name), default(field), plain(said.get(name, ""))]
