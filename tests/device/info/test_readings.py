from __future__ import annotations

import pytest

from smoothdroid.device.info import readings


@pytest.mark.parametrize("text", ["", "-", "²", "٣", "1" * 16, "1" * 400, "5-2", "+1", "1e3", " 1", "1\n", "0x10"])
def test_what_no_kernel_writes_is_no_number(text: str) -> None:
    assert readings.number(text) is None
