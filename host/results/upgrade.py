"""Upgrade records of an older schema to today's, as plain JSON; the models check the result.

Schema 3 of a campaign named its `transport` in a field `way`. Schema 2 kept, with each run, the conditions that are
derived from its samples today.

Schema 1 (protocols 1 and 2) had one mask and one set of settings for a whole plan, and repetitions in each cell. Its
fingerprints were computed differently: runs get today's, so that they match their cells. The protocol that they were
measured by stays in the campaign's `smoothdroid`. Samples of schema 1 lie under the old fingerprint and are not read,
which each cell reports as `not checked`.
"""

from __future__ import annotations

from typing import Any

Facts = dict[str, Any]

CAMPAIGN_SCHEMA, RUN_SCHEMA = 4, 3
OLDER = (1, 2, 3)
"""Schemas that are upgraded. A campaign and its runs began with the same number."""


def version(facts: object) -> int | None:
    """Return the schema that a record declares; None where it declares none."""
    number = facts.get("schema_version") if isinstance(facts, dict) else None
    return number if isinstance(number, int) and not isinstance(number, bool) else None


def campaign(facts: Facts) -> Facts:
    """Upgrade a campaign. Raises KeyError or TypeError where it lacks what every campaign of its schema had."""
    upgraded = {name: value for name, value in facts.items() if name != "way"}
    if version(facts) == 1:
        upgraded["plan"] = _with_protocol(facts["plan"], "masks", [facts["plan"].get("cpus", [])])
    return {**upgraded, "schema_version": CAMPAIGN_SCHEMA, "transport": facts["way"]}


def run(facts: Facts) -> Facts:
    """Upgrade a run. Raises KeyError or TypeError as `campaign`.

    Its fingerprint is the recorded one; that of schema 1 has to be computed again (`has_old_fingerprint`).
    """
    upgraded = {name: value for name, value in facts.items() if name != "conditions"}
    if version(facts) == 1:
        upgraded["cell"] = _with_protocol(facts["cell"], "cpus", facts["cell"].get("cpus", []))
    return {**upgraded, "schema_version": RUN_SCHEMA}


def has_old_fingerprint(facts: Facts) -> bool:
    """Return whether a run's recorded fingerprint was computed differently."""
    return version(facts) == 1


def _with_protocol(facts: Facts, masks: str, cpus: object) -> Facts:
    upgraded = {name: value for name, value in facts.items() if name not in ("repetitions", "cooling", "cpus")}
    protocol = {"repetitions": facts["repetitions"], "cooling": facts.get("cooling")}
    return {**upgraded, masks: cpus, "protocol": protocol}
