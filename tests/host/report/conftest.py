"""Fixtures that several tests of reports share."""

from __future__ import annotations

import pytest

from smoothdroid.host.report.data.report_data import ReportData
from tests.host.report.whole import whole


@pytest.fixture(scope="session")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> ReportData:
    """Results with everything in them."""
    return whole(tmp_path_factory.mktemp("whole"))
