from __future__ import annotations

import pytest

from smoothdroid.device.job.task import Cooling
from smoothdroid.host.llamacpp.settings import Options
from smoothdroid.host.results.cell import Cell, Protocol, Test

CELL = Cell(model="a", model_sha256="f" * 64, threads=4, test=Test(n_prompt=512), protocol=Protocol(repetitions=5))


COOLED = Protocol(repetitions=5, cooling=Cooling(celsius=40))


def test_a_fingerprint_stays_what_it_was() -> None:
    """Results on people's disks are found by it: what changes it must raise PROTOCOL_VERSION."""
    assert CELL.fingerprint("phone", "adb", "build") == "3f17007c0863f443"


@pytest.mark.parametrize(
    "other",
    [
        CELL.model_copy(update={"model_sha256": "e" * 64}).fingerprint("phone", "adb", "build"),
        CELL.model_copy(update={"threads": 3}).fingerprint("phone", "adb", "build"),
        CELL.model_copy(update={"test": Test(n_prompt=0, n_gen=512)}).fingerprint("phone", "adb", "build"),
        CELL.model_copy(update={"test": Test(n_prompt=512, sustained_s=60)}).fingerprint("phone", "adb", "build"),
        CELL.model_copy(update={"test": Test(prompt="hello", n_gen=8)}).fingerprint("phone", "adb", "build"),
        CELL.model_copy(update={"protocol": Protocol(repetitions=4)}).fingerprint("phone", "adb", "build"),
        CELL.model_copy(update={"protocol": COOLED}).fingerprint("phone", "adb", "build"),
        CELL.model_copy(update={"cpus": (4, 5)}).fingerprint("phone", "adb", "build"),
        CELL.model_copy(update={"options": Options(depth=64)}).fingerprint("phone", "adb", "build"),
        CELL.model_copy(update={"options": Options(cache_v="q8_0")}).fingerprint("phone", "adb", "build"),
        CELL.fingerprint("other", "adb", "build"),
        CELL.fingerprint("phone", "ssh", "build"),
        CELL.fingerprint("phone", "adb", "other"),
    ],
)
def test_whatever_changes_a_measurement_changes_its_fingerprint(other: str) -> None:
    assert other != CELL.fingerprint("phone", "adb", "build")


def test_a_models_name_is_not_its_identity() -> None:
    renamed = CELL.model_copy(update={"model": "b"})
    assert renamed.fingerprint("phone", "adb", "build") == CELL.fingerprint("phone", "adb", "build")


def test_what_was_read_from_disk_has_the_same_fingerprint() -> None:
    cell = CELL.model_copy(update={"cpus": (4, 5), "options": Options(depth=64), "protocol": COOLED})
    again = Cell.model_validate_json(cell.model_dump_json())
    assert again == cell
    assert again.fingerprint("phone", "adb", "build") == cell.fingerprint("phone", "adb", "build")
