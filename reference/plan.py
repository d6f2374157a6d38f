"""The page of plan and inventory files: their keys, from the models that read them."""

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

COLUMNS = ["Key", "Default", "Meaning"]


def write() -> str:
    """Return the page."""
    return page(
        "# Plan and inventory files",
        "Generated from the code. A plan is a TOML file; its keys are the options of `smoothdroid bench`, with `_` for "
        '`-`. A list can be written as in llama-bench (`"1-8"`, `"2-8+2"`, `"1-8*2"`), as a number, or as a TOML list. '
        "An unknown key is an error that suggests the right one.",
        "## A plan",
        table(COLUMNS, _rows(PlanOptions, options_of("bench"))),
        "`[[for]]`, once or more: the same keys, which override those above for the phones that its `phones` selects; "
        "later ones override earlier ones.",
        "## phones",
        plain(inspect.getdoc(PhoneFilter) or ""),
        table(COLUMNS, _rows(PhoneFilter)),
        f"Extensions: {', '.join(map(code, ISA))}.",
        "## farm.toml",
        "A lab's phones, for `--farm farm.toml`.",
        table(COLUMNS, _rows(Inventory, {"phones": "`[phones.NAME]` for each phone, with the keys below."})),
        "Each phone has these keys:",
        table(COLUMNS, _rows(Listed, {"labels": "Labels of your own, which a plan can select."})),
    )


def options_of(command: str) -> dict[str, str]:
    """Return the help of each option of a command, by the name of its parameter."""
    found = getattr(typer.main.get_command(app), "commands", {})[command]
    return {option.name: option.help for option in found.params if option.help}


def _rows(model: type[BaseModel], others: dict[str, str] | None = None) -> Iterator[list[str]]:
    texts = {**(others or {}), **docstrings(model)}
    for name, field in model.model_fields.items():
        yield [code(name), default(field), plain(texts.get(name, ""))]
