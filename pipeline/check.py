"""`mipd-pipe check-data`."""

from __future__ import annotations

from pipeline.result import Result
from pipeline.workspace import Workspace
from stages.data.check import check_data


def check(workspace: Workspace) -> Result:
    """Counts and problems; exit code 1 where more pictures fail than `max_failure_rate` allows."""
    report = check_data(workspace.data, workspace.ledger)
    too_many = report.failure_rate > workspace.config.max_failure_rate
    return Result(report.to_text(), report.to_json(), exit_code=int(too_many))
