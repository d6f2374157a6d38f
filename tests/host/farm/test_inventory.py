from __future__ import annotations

from pathlib import Path

import pytest

from smoothdroid.device.common.errors import BadInput
from smoothdroid.device.transport.local import LocalTarget
from smoothdroid.device.transport.target import Target
from smoothdroid.host.farm.inventory import read

FARM = """
quarantine_after = 2

[phones.pixel]
on = "adb:A@host2:5037"
labels = "desk"

[phones.old-one]
on = "ssh://user@phone:8022"
labels = ["rack", "slow"]
models = ["smol*"]
"""


def write(folder: Path, text: str = FARM) -> Path:
    path = folder / "farm.toml"
    path.write_text(text, encoding="utf-8")
    return path


def test_its_phones_are_members_by_name(tmp_path: Path) -> None:
    asked = []

    def open_target(on: str) -> Target:
        asked.append(on)
        return LocalTarget()

    listed = read(write(tmp_path))
    pixel, old = listed.members(open_target)
    assert listed.quarantine_after == 2
    assert (pixel.name, pixel.on, list(pixel.labels), list(pixel.models)) == (
        "pixel",
        "adb:A@host2:5037",
        ["desk"],
        ["*"],
    )
    assert (old.name, list(old.labels), list(old.models)) == ("old-one", ["rack", "slow"], ["smol*"])
    assert asked == []
    old.open()
    assert asked == ["ssh://user@phone:8022"]
    assert [member.name for member in listed.members(open_target, ["old-one"])] == ["old-one"]
    with pytest.raises(BadInput, match=r"has no phone pixl; did you mean `pixel`\?"):
        listed.members(open_target, ["pixl"])


def test_a_byte_order_mark_is_no_part_of_an_inventory(tmp_path: Path) -> None:
    assert list(read(write(tmp_path, f"\ufeff{FARM}")).phones) == ["pixel", "old-one"]


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "`phones`: Field required"),
        ("[phones]", "`phones`"),
        ("[phones.a]", "`phones.a.on`: Field required"),
        ('[phones.a]\non = "adb:A"\nlable = "x"', "`phones.a.lable`: Extra inputs are not permitted"),
        ('[phones."../a"]\non = "adb:A"', "'../a' is not a name"),
        ('[phones.a]\non = "adb:A"\n[phones.b]\non = "adb:A"', "adb:A is listed twice"),
        ('quarantine_after = 0\n[phones.a]\non = "adb:A"', "`quarantine_after`"),
        ("[phones", "is not valid TOML"),
    ],
)
def test_a_mistake_is_named(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(BadInput) as error:
        read(write(tmp_path, text))
    assert says in str(error.value)


def test_a_file_that_is_not_there_is_no_traceback(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be read"):
        read(tmp_path / "farm.toml")
