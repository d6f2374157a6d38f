"""The phone's temperatures when a campaign began, kept for every later call of that campaign."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from smoothdroid.device.common.atomic_file import write_atomically
from smoothdroid.device.job.cooling import Zones
from smoothdroid.device.job.session import Session

START = "start-temperatures.json"


def zones(folder: Path, session: Session) -> Zones:
    """Return the zones as the campaign in `folder` first read them, without the sensors that are stuck now.

    They are read from the campaign's folder, else from the phone and kept there. A damaged file is replaced by the
    present temperatures.
    """
    path, now = folder / START, session.zones()
    try:
        first = Zones.model_validate_json(path.read_bytes())
    except (FileNotFoundError, ValidationError):
        first = now
        if now.zones:
            write_atomically(path, now.model_dump_json(indent=2) + "\n", durable=True)
    stuck = {zone.name for zone in now.stuck}
    return Zones(zones=[zone for zone in first.zones if zone.name not in stuck], stuck=now.stuck)
