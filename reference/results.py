"""The page of results: the files of a results folder, and the tables that can be queried."""

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
    """Return the page."""
    parts = dict.fromkeys(_parts(Campaign) + _parts(Run))
    return page(
        "# Results",
        "Generated from the code. A campaign is a folder of these files. Every record has a `schema_version`; older "
        "records are upgraded when they are read. Nothing in them is ever overwritten.",
        f"## {CAMPAIGN}",
        _model(Campaign),
        f"## {RUNS}",
        f"One line for each run. {plain(inspect.getdoc(Run) or '')}",
        _fields(Run),
        f"## {SAMPLES}/",
        "One file for each run: the state of the phone, once a second, tab-separated. "
        "Temperatures, frequencies, battery and memory, in the units that the phone uses; "
        "`device/telemetry/series.py` converts them.",
        "## Parts of the records",
        *(f"### {part.__name__}\n\n{_model(part)}" for part in parts),
        "## Tables to query",
        "The same as `smoothdroid query --tables` prints.",
        *(
            f"### {one.name}\n\n{plain(one.says)}\n\n"
            + table(
                ["Column", "Type", "Meaning"],
                [[code(column.name), code(column.kind), plain(column.says)] for column in one.shown],
            )
            for one in TABLES
        ),
        "## cells.csv",
        "Columns that llama-bench has too, in its order: " + ", ".join(map(code, LLAMA_BENCH)) + ".",
        "Further columns: " + ", ".join(map(code, OURS)) + ".",
    )


def _parts(model: type[BaseModel]) -> list[type[BaseModel]]:
    """Return the models that the fields of a model contain, recursively."""
    inner = [part for field in model.model_fields.values() for part in models_in(field.annotation)]
    return [model for part in inner for model in (part, *_parts(part))]


def _model(model: type[BaseModel]) -> str:
    text = inspect.getdoc(model) if "__doc__" in vars(model) else ""
    return page(plain(text or ""), _fields(model)).rstrip()


def _fields(model: type[BaseModel]) -> str:
    return table(["Field", "Type", "Meaning"], _rows(model, docstrings(model)))


def _rows(model: type[BaseModel], texts: dict[str, str]) -> Iterator[list[str]]:
    for name, field in model.model_fields.items():
        yield [code(name), code(kind(field)), plain(texts.get(name, ""))]
