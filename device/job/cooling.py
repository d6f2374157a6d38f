"""The wait for a cool phone: its thermal zones, and the limit of each."""

from __future__ import annotations

import re
import statistics

from pydantic import Field

from smoothdroid.device.common.record import Record
from smoothdroid.device.info import thermal
from smoothdroid.device.info.readings import PLAUSIBLE_CELSIUS, number

MOST_ZONES = 1000
_LINE = re.compile(r"(thermal_zone[0-9]{1,4}|hal:[!-+.-~\-]{1,60}) (-?[0-9]{1,10})(?: (.*))?")


class Zone(Record):
    """The temperature of one sensor at the start of a campaign."""

    name: str = Field(pattern=r"^(thermal_zone[0-9]{1,4}|hal:[!-+.-~\-]{1,60})$")
    """The name that the runner uses: `thermal_zone5`, or `hal:SKIN` where only Android's service shows temperatures."""
    kind: str
    """The phone's name for the sensor."""
    celsius: float = Field(ge=PLAUSIBLE_CELSIUS[0], le=PLAUSIBLE_CELSIUS[1])
    per_degree: int = Field(ge=1, le=1000)
    """The number of its units in a degree."""

    def __str__(self) -> str:
        """Return both names of the sensor."""
        return f"{self.kind} ({self.name})"


class Zones(Record):
    """The thermal zones of a phone at one time."""

    zones: list[Zone] = Field(max_length=MOST_ZONES)
    stuck: list[Zone] = Field(default_factory=list, max_length=MOST_ZONES)
    """The stuck sensors, which are not waited for because they would never be cool."""

    @classmethod
    def parse(cls, text: str) -> Zones:
        """Parse the output of the runner's `zones`: some readings of each zone, in lines `ZONE VALUE TYPE`.

        A zone's temperature is the median of its plausible readings; zones that are not temperatures are left out.
        """
        raw: dict[tuple[str, str], list[int | None]] = {}
        for line in text.split("\n"):
            match = _LINE.fullmatch(line.rstrip("\r"))
            if match and len(raw) < MOST_ZONES:
                kind = (match[3] or match[1]).strip().removeprefix("hal:")[:60].encode("ascii", "replace").decode()
                raw.setdefault((match[1], kind), []).append(number(match[2]))
        zones: dict[str, Zone] = {}
        celsius: dict[str, list[float]] = {}
        for (name, kind), values in raw.items():
            unit = 1000 if name.startswith("hal:") else thermal.zone_unit(values)
            cleaned = thermal.temperatures(values, [float(second) for second in range(len(values))], unit).values
            known = [value for value in cleaned if value is not None]
            if known and not thermal.NO_TEMPERATURE.fullmatch(kind):
                zones[name] = Zone(name=name, kind=kind, celsius=statistics.median_low(known), per_degree=unit or 1)
                celsius[name] = known
        stuck = thermal.stuck(celsius)
        return cls(
            zones=[zone for zone in zones.values() if zone.name not in stuck],
            stuck=[zone for zone in zones.values() if zone.name in stuck],
        )

    def limits(self, celsius: float | None, above_start: float | None) -> str:
        """Return the runner's file `cool`: a line `ZONE LIMIT LOWEST HIGHEST KIND` for each zone, in its own unit.

        No zone may be above `celsius`, nor more than `above_start` above its temperature here. Values beyond LOWEST
        and HIGHEST are not temperatures.
        """
        lines = []
        for zone in self.zones:
            limits = [celsius, None if above_start is None else zone.celsius + above_start]
            limit = min((limit for limit in limits if limit is not None), default=None)
            if limit is not None:
                ends = (round(end * zone.per_degree) for end in (limit, *PLAUSIBLE_CELSIUS))
                kind = re.sub(r"[^A-Za-z0-9_.:+-]", "_", zone.kind)
                lines.append(" ".join([zone.name, *map(str, ends), kind]) + "\n")
        return "".join(lines)
