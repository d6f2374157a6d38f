"""What a results folder holds, and what of it can be asked for."""

from __future__ import annotations

import inspect
from collections.abc import Iterator

from pydantic import BaseModel

from reference.fields import docstrings, kind, models_in
from reference.markdown import code, page, plain, table
from smoothdroid.host.query.tables import TABLES
from smoothdroid.host.report.tables.cells_csv import LLAMA_BENCH, OURS
from smoothdroid.host.results.record import CAMPAIGN, RUNS, SAMPLES, Campaign, Run


def write() -> str:
    """The page."""
    parts = dict.fromkeys(_parts(Campaign) + _parts(Run))
    return page(
        "# Results",
        "Written from the code. A campaign is a folder of these files; `schema_version` is in every record, and older "
        "records are upgraded when they are read. Nothing in them is ever overwritten.",
        f"## {CAMPAIGN}",
        _model(Campaign),
        f"## {RUNS}",
        f"A line for each run. {plain(inspect.getdoc(Run) or '')}",
        _fields(Run),
        f"## {SAMPLES}/",
        "A file for each run: what the phone did meanwhile, once a second, tab-separated. "
        "Temperatures, frequencies, battery and memory, in the units that the phone uses; "
        "`device/telemetry/series.py` converts them.",
        "## What the records are made of",
        *(f"### {part.__name__}\n\n{_model(part)}" for part in parts),
        "## Tables to query",
        "What `smoothdroid query --tables` prints.",
        *(
            f"### {one.name}\n\n{plain(one.says)}\n\n"
            + table(
                ["Column", "Type", "What it says"],
                [[code(column.name), code(column.kind), plain(column.says)] for column in one.shown],
            )
            for one in TABLES
        ),
        "## cells.csv",
        "The columns that llama-bench has too, in its order: " + ", ".join(map(code, LLAMA_BENCH)) + ".",
        "Then: " + ", ".join(map(code, OURS)) + ".",
    )


def _parts(model: type[BaseModel]) -> list[type[BaseModel]]:
    """The models that a model's fields are made of, and what those are made of."""
    inner = [part for field in model.model_fields.values() for part in models_in(field.annotation)]
    return [found for part in inner for found in (part, *_parts(part))]


def _model(model: type[BaseModel]) -> str:
    says = inspect.getdoc(model) if "__doc__" in vars(model) else ""
    return page(plain(says or ""), _fields(model)).rstrip()


def _fields(model: type[BaseModel]) -> str:
    said = docstrings(model)
    return table(["Field", "Type", "What it says"], _rows(model, said))


def _rows(model: type[BaseModel], said: dict[str, str]) -> Iterator[list[str]]:
    for name, field in model.model_fields.items():
        yield [code(name), code(kind(field)), plain(said.get(name, ""))]
