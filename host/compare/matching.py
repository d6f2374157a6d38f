"""Matching of two sides of results: the cells that both measured, paired and compared.

The sides are two folders, or two values of one setting within a folder (`by.py`). Everything else is equal in a pair.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from itertools import product
from pathlib import Path
from typing import Any

from smoothdroid.device.common.errors import BadInput
from smoothdroid.host.compare import by
from smoothdroid.host.compare.by import By
from smoothdroid.host.compare.comparison import ComparedResults, Pair, Side
from smoothdroid.host.compare.difference import differences, processes
from smoothdroid.host.results.checks import ENERGY, NOT_CHECKED
from smoothdroid.host.results.judged_cells import Judged, judge_all
from smoothdroid.host.results.record import RUNS, Campaign, Run, find_campaigns, read_campaign, read_runs
from smoothdroid.host.results.statistics import CONFIDENCE

NOT_THE_CELL = {"repetitions": True, "rounds": True, "until": True, "budget_s": True, "seed": True}
"""Fields of a protocol that may differ in a pair: they say how often a cell is measured, not what it is."""

MOST_SEARCHED = 100
"""Cells of each side among which the two most similar are searched for an error message."""

UNREMARKABLE = (ENERGY, NOT_CHECKED, "one process")
"""Findings without a remark: they touch no ratio, or the comparison has a remark of its own."""

Key = tuple[str, str, str, str]
"""Phone, transport, build where it must be equal, and setting: cells with equal keys form a pair."""


def load(a: Path, b: Path, threshold: float) -> ComparedResults:
    """Read two folders and compare the cells that both measured; builds and model files may differ.

    Raises BadInput where there are no results, where one folder measured a cell twice with different builds or
    models, and where nothing can be compared: other phones, other transports, or no cell measured in both.
    """
    inside, damage = {"model_sha256": True}, list[str]()
    cells_a, cells_b = (_sides(_read(place, damage), inside, of_build=False) for place in (a, b))
    return _compared(str(a), str(b), None, cells_a, cells_b, threshold, damage)


def within(folder: Path, field: by.Field, values: str, threshold: float) -> ComparedResults:
    """Read one folder and compare its cells at two values of a field, all else equal; `values` names them.

    Raises BadInput as `load`, and unless `values` names two existing values.
    """
    damage: list[str] = []
    cells = _read(folder, damage)
    chosen = by.choose(field, values, [(side.campaign, side.cell) for side in cells])
    cells_a, cells_b = (
        _sides(
            [side for side in cells if field.value(side.campaign, side.cell) == value],
            field.inside,
            of_build=field.name != "build",
        )
        for value in (chosen.a, chosen.b)
    )
    a, b = (f"{field.name} {value}, in {folder}" for value in (chosen.a, chosen.b))
    return _compared(a, b, chosen, cells_a, cells_b, threshold, damage)


def _compared(
    a: str,
    b: str,
    chosen: By | None,
    cells_a: dict[Key, Side],
    cells_b: dict[Key, Side],
    threshold: float,
    damage: list[str],
) -> ComparedResults:
    common = [key for key in cells_a if key in cells_b and cells_a[key].processes and cells_b[key].processes]
    if not common:
        raise BadInput(f"{a} and {b} cannot be compared: {_why_not(cells_a, cells_b)}")
    compared = differences([(cells_a[key].processes, cells_b[key].processes) for key in common], threshold)
    pairs = [Pair(cells_a[key], cells_b[key], one) for key, one in zip(common, compared, strict=True)]
    only_a, only_b = _missing(cells_a, cells_b), _missing(cells_b, cells_a)
    return ComparedResults(a, b, chosen, threshold, pairs, only_a, only_b, damage)


def _read(place: Path, damage: list[str]) -> list[Side]:
    """Read the cells of every campaign at or below `place`; damaged lines and samples are named in `damage`.

    Raises BadInput where there is no campaign, or a campaign.json is damaged.
    """
    return [
        _side(folder, campaign, judged)
        for folder in find_campaigns([place])
        for campaign in [read_campaign(folder)]
        for judged in judge_all(folder, campaign, _read_runs(folder, damage), damage)
    ]


def _read_runs(folder: Path, damage: list[str]) -> list[Run]:
    runs = read_runs(folder, damage)
    for run in runs:
        rates = run.tokens_per_s
        if run.failure is None and not (rates and all(0 < rate < math.inf for rate in rates)):
            cell = f"{run.cell.model} {run.cell.test.name}, {run.cell.threads_label}"
            raise BadInput(f"{folder / RUNS} is damaged: {cell}: its rates are {rates[:8]}")
    return runs


def _side(folder: Path, campaign: Campaign, judged: Judged) -> Side:
    remarks = [finding.found for finding in judged.verdict.findings if finding.check not in UNREMARKABLE]
    failure = judged.failure or ("" if judged.counted else f"rejected: {'; '.join(remarks)}")
    return Side(folder, campaign, judged.cell, processes(judged, str(folder)), remarks, failure)


def _sides(cells: Iterable[Side], inside: dict[str, Any], *, of_build: bool) -> dict[Key, Side]:
    """Key cells by everything except `inside`, which may differ in a pair; with `of_build` also by the build."""
    sides: dict[Key, Side] = {}
    for side in cells:
        campaign = side.campaign
        setting = side.cell.model_dump_json(exclude={"protocol": NOT_THE_CELL, **inside})
        key = (campaign.phone.id, campaign.transport, campaign.build_id if of_build else "", setting)
        sides[key] = _joined(sides[key], side) if key in sides else side
    return sides


def _joined(one: Side, other: Side) -> Side:
    """Join the same cell of two campaigns, as when a sweep was repeated with more threads."""
    if not one.processes or not other.processes:
        return other if other.processes else one
    alike = [(side.campaign.build_id, side.cell.model_sha256) for side in (one, other)]
    if alike[0] != alike[1]:
        raise BadInput(
            f"{one.name}: {one.folder} and {other.folder} measured it with different builds or model files; "
            "name one of these folders"
        )
    remarks = list(dict.fromkeys([*one.remarks, *other.remarks]))
    return Side(other.folder, other.campaign, other.cell, {**one.processes, **other.processes}, remarks, "")


def _missing(here: dict[Key, Side], there: dict[Key, Side]) -> list[str]:
    """Name the cells that only `here` measured, and why the other side did not."""
    return [
        f"{side.name}: " + (there[key].failure if key in there else "not in the plan")
        for key, side in here.items()
        if side.processes and not (key in there and there[key].processes)
    ]


def _why_not(cells_a: dict[Key, Side], cells_b: dict[Key, Side]) -> str:
    a, b = ({key: side for key, side in sides.items() if side.processes} for sides in (cells_a, cells_b))
    for name, measured in (("A", a), ("B", b)):
        if not measured:
            return f"{name} has no measured cell"
    if not {phone for phone, *_ in a} & {phone for phone, *_ in b}:
        phones = (", ".join(sorted({side.campaign.phone.model for side in sides.values()})) for sides in (a, b))
        return "A was measured on {}, B on {}: compare needs results of the same phone".format(*phones)
    transports = [sorted({transport for _, transport, *_ in sides}) for sides in (a, b)]
    if not set(transports[0]) & set(transports[1]):
        a_over, b_over = (", ".join(names) for names in transports)
        return f"A was measured over {a_over}, B over {b_over}, where Android schedules processes differently"
    one, other = min(product(list(a)[:MOST_SEARCHED], list(b)[:MOST_SEARCHED]), key=lambda keys: len(_apart(*keys)))
    apart = ", ".join(_apart(one, other))
    return f"no cell was measured in both; A has {a[one].name}, B has {b[other].name}, and these differ in {apart}"


def _apart(*keys: Key) -> list[str]:
    """Name what makes two keys unequal."""
    a, b = (
        {"phone": phone, "transport": transport, "build": build, **_flat(json.loads(cell))}
        for phone, transport, build, cell in keys
    )
    return [name for name, value in a.items() if b.get(name) != value]


def _flat(cell: dict[str, Any]) -> dict[str, Any]:
    """Return a cell's settings in one flat dictionary."""
    inner = {**cell.pop("options", {}), **cell.pop("protocol", {})}
    return {"model file": cell.pop("model_sha256", ""), **cell, **inner}


def as_facts(compared: ComparedResults) -> dict[str, Any]:
    """Return a comparison for a program to read; a number that is not finite, which JSON lacks, becomes null."""
    by_field = compared.by
    return {
        "a": compared.a,
        "b": compared.b,
        "by": {"field": by_field.field.name, "a": by_field.a, "b": by_field.b} if by_field else None,
        "threshold": compared.threshold,
        "confidence": CONFIDENCE,
        "adjustment": "holm",
        "caveat": compared.caveat,
        "changes": compared.changes,
        "regressions": len(compared.regressions),
        "cells": [_pair_facts(pair, by_field) for pair in compared.pairs],
        "only_a": compared.only_a,
        "only_b": compared.only_b,
        "damage": compared.damage,
    }


def _pair_facts(pair: Pair, by_field: By | None) -> dict[str, Any]:
    difference, ratio = pair.difference, pair.difference.comparison.ratio
    options = pair.a.cell.options.model_dump(exclude_defaults=True)
    cell: dict[str, Any] = {
        "model": pair.a.cell.model,
        "test": pair.a.cell.test.name,
        "threads": pair.a.cell.threads,
        "cpus": pair.a.cpus,
        "options": options,
    }
    if by_field:  # A and B differ in it, and `by` has both values
        options.pop(by_field.field.name.replace("-", "_"), None)
        cell |= dict.fromkeys({by_field.field.name} & cell.keys())
    return {
        "phone": pair.a.campaign.phone.model,
        "transport": pair.a.campaign.transport,
        **cell,
        "processes": {"a": len(difference.a), "b": len(difference.b)},
        "paired": difference.paired,
        "a": sum(difference.a) / len(difference.a),
        "b": sum(difference.b) / len(difference.b),
        "ratio": _finite(ratio.mean),
        "low": _finite(ratio.low),
        "high": _finite(ratio.high),
        "p_value": _finite(difference.comparison.p_value),
        "p_value_adjusted": _finite(difference.p_value),
        "answer": difference.answer,
        "regression": difference.regression,
        "remark": pair.remark,
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
