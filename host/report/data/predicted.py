"""The best settings of a phone compared with what is predicted for its SoC."""

from __future__ import annotations

from dataclasses import dataclass

from smoothdroid.host.predict.results import measured_against
from smoothdroid.host.predict.roofline import Against
from smoothdroid.host.report.data.numbers import number
from smoothdroid.host.report.data.phone_results import BestSetting, PhoneResults


@dataclass(frozen=True)
class PredictedSetting:
    """A best setting, and where its speed lies against the prediction."""

    best: BestSetting
    against: Against

    @property
    def interval(self) -> str:
        """The predicted tokens/s as text: the middle, and its interval in brackets."""
        expected = self.against.expected
        return f"{number(expected.middle)} ({number(expected.low)} to {number(expected.high)})"


def predicted_settings(phone: PhoneResults) -> list[PredictedSetting]:
    """Return the best settings that have a prediction; an emulated phone has none."""
    if phone.emulated:
        return []
    models = phone.models
    compared = (
        (best, measured_against(best.rate.mean, cell, models[cell.model_sha256], phone.soc))
        for best in phone.best_settings
        for cell in [best.row.judged.cell]
    )
    return [PredictedSetting(best, against) for best, against in compared if against]
