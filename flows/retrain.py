"""The retraining flow: what an alarm, a schedule or a person asks for, in a worktree of its own, and through the gate.

It closes the alarm that started it, whatever becomes of it. When there is an alarm is for `monitor`.
"""

import uuid
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.states import Completed, Failed

from monitoring import ledger
from tidegate import monitor_settings
from tidegate.errors import PipelineError, TidegateError
from tidegate.process import leave_no_orphans
from tidegate.quiet import quiet
from tidegate.release import retraining, settings


@flow(name="retrain", log_prints=True)
def retrain(reason: str = "by hand", alarm: str | None = None, root: str | None = None) -> State[Any]:
    """Trains as the champion was trained, with the feedback of now.

    Args:
        reason: why it runs; shown with the run.
        alarm: the id of the alarm in the ledger; it is claimed first, so that one alarm starts one retraining.
        root: the clone; the working directory where it is not given.
    """
    folder = Path(root or ".").resolve()
    print(f"retraining, reason: {reason}")
    try:
        task, how = settings.task_of(folder), monitor_settings.read(folder).retrain
        if alarm and not ledger.start(task, alarm, by=ledger.by_this_process(), how=how):
            return Completed(message=f"alarm {alarm} waits for no retraining: somebody has begun it, or it was refused")
        return _run(folder, task, how, alarm, reason)
    except TidegateError as error:
        return Failed(message=str(error))


def _run(folder: Path, task: str, how: monitor_settings.Retrain, alarm: str | None, reason: str) -> State[Any]:
    name = alarm or uuid.uuid4().hex[:12]
    try:
        outcome = retraining.retrain(folder, name, overlay={"gate": {"mode": how.mode}})
    except BaseException as error:
        if alarm:
            ledger.close(task, alarm, "failed", why=f"{type(error).__name__}: {error}")
        raise
    became: ledger.Outcome = "promoted" if outcome.promoted else "not_promoted" if outcome.ended else "failed"
    if alarm:
        ledger.close(task, alarm, became, why=outcome.words, candidate=outcome.candidate, branch=outcome.branch)
    print(f"retraining: {outcome.words}")
    words = f"{reason}: {outcome.words}"
    return Completed(message=words) if outcome.ended else Failed(message=words)


def main(reason: str, alarm: str | None = None) -> None:
    """Runs the flow for the command line."""
    quiet()
    leave_no_orphans()
    state = retrain(reason=reason, alarm=alarm, return_state=True)
    if not state.is_completed():
        remedy = "What was finished is kept; the branch holds what it ran with"
        raise PipelineError("the retraining", state.message or str(state.name), remedy)
