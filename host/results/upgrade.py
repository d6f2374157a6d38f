"""Records of an older schema -> today's, as plain JSON; what is checked is the result.

Version 2 kept, with each run, the conditions that are derived from its samples today.

Version 1 (protocols 1 and 2) had one mask and one set of settings for a whole plan, and repetitions in each cell. Its
cells were known by a hash that was made another way: they get today's, so that they are found; the protocol that they
were measured by stays in the campaign's `smoothdroid`. Samples of version 1 lie under the old hash and are not read:
`not checked` says so of each cell.
"""

from __future__ import annotations

from typing import Any

Facts = dict[str, Any]

TODAY = 3
OLDER = (1, 2)
"""Schemas that are read all the same."""


def version(facts: object) -> int | None:
    """Which schema a record says that it has; None where it says none."""
    number = facts.get("schema_version") if isinstance(facts, dict) else None
    return number if isinstance(number, int) and not isinstance(number, bool) else None


def campaign(facts: Facts) -> Facts:
    """A campaign of an older version -> today's. Raises KeyError or TypeError where it lacks what every one had."""
    if version(facts) == 1:
        plan = _with_protocol(facts["plan"], "masks", [facts["plan"].get("cpus", [])])
        return {**facts, "schema_version": TODAY, "plan": plan}
    return {**facts, "schema_version": TODAY}


def run(facts: Facts) -> Facts:
    """A run of an older version -> today's. Raises KeyError or TypeError as `campaign`.

    Its fingerprint is the recorded one; version 1's has to be made anew (`has_old_name`).
    """
    kept = {name: value for name, value in facts.items() if name != "conditions"}
    if version(facts) == 1:
        kept["cell"] = _with_protocol(facts["cell"], "cpus", facts["cell"].get("cpus", []))
    return {**kept, "schema_version": TODAY}


def has_old_name(facts: Facts) -> bool:
    """Whether a run is recorded under a hash that was made another way."""
    return version(facts) == 1


def _with_protocol(facts: Facts, masks: str, cpus: object) -> Facts:
    kept = {name: value for name, value in facts.items() if name not in ("repetitions", "cooling", "cpus")}
    protocol = {"repetitions": facts["repetitions"], "cooling": facts.get("cooling")}
    return {**kept, masks: cpus, "protocol": protocol}
