"""A campaign on one phone, in a session of its own."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from smoothdroid.device.info.phone import Phone
from smoothdroid.device.job.session import Session
from smoothdroid.device.transport.target import Target
from smoothdroid.host.bench.builds import Binaries
from smoothdroid.host.bench.campaign import CampaignEvents, CampaignResult, conduct
from smoothdroid.host.results.plan import Plan


def run_campaign(
    plan: Plan,
    target: Target,
    phone: Phone,
    binaries: Binaries,
    results_root: Path,
    events: CampaignEvents | None = None,
    *,
    reopen: Callable[[], Target] | None = None,
) -> CampaignResult:
    """Measure what is missing of `plan`; with `reopen`, a lost phone is waited for."""
    with closing(Session(target, reopen=reopen)) as session:
        return conduct(plan, session, phone, binaries, results_root, events)
