"""The monitoring flow: one round of watching, then every alarm that waits for a retraining is handed on.

With a Prefect server an alarm is an event, and the deployment of `retrain` is triggered by it; a later round picks up
what nobody handled. Without a server the retraining is called from here.
"""

import time
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.settings import PREFECT_API_URL
from prefect.states import Completed, Failed

from flows.retrain import retrain
from monitoring import ledger, rounds
from tidegate.errors import PipelineError, TidegateError
from tidegate.process import leave_no_orphans
from tidegate.quiet import quiet

EVENT = "tidegate.alarm"
_PATIENCE_S = 600
"""Seconds that the trigger of an event has to begin what an alarm asked for, before a round does."""


@flow(name="monitor", log_prints=True)
def monitor(root: str | None = None) -> State[Any]:
    """Looks at what is new in the prediction log and acts on alarms.

    Args:
        root: the clone; the working directory where it is not given.
    """
    folder = Path(root or ".").resolve()
    try:
        seen = rounds.run(folder)
    except TidegateError as error:
        return Failed(message=str(error))
    fresh = {look.entry["id"] for look in seen.looks if look.entry}
    entries = {entry["id"]: entry for entry in ledger.entries(seen.task) if entry["event"] == "alarm"}
    for name in seen.waiting:
        hand_on(folder, seen.task, entries[name], fresh=name in fresh)
    return Completed(message=f"{len(seen.looks)} windows, {len(seen.waiting)} alarms that wait for a retraining")


def hand_on(folder: Path, task: str, entry: ledger.Entry, *, fresh: bool) -> None:
    """Lets an alarm start its retraining: by an event where a server listens, else by a call.

    Args:
        fresh: raised in this round; else somebody should have begun it by now.
    """
    reason = f"alarm {entry['id']}: {entry['why']}"
    if not PREFECT_API_URL.value():
        retrain(reason=reason, alarm=entry["id"], root=str(folder), return_state=True)
        return
    if fresh or time.time() - entry["time"] < _PATIENCE_S:
        resource = {"prefect.resource.id": f"tidegate.task.{task}", "prefect.resource.name": task}
        payload = {"alarm": entry["id"], "reason": reason, "signals": ", ".join(entry["signal"])}
        emit_event(EVENT, resource=resource, payload=payload)
        return
    from prefect.deployments import run_deployment

    print(f"alarm {entry['id']} was handed on and nobody has begun it: asked for again")
    run_deployment("retrain/on-alarm", parameters={"reason": reason, "alarm": entry["id"]}, timeout=0)


def main() -> None:
    """Runs the flow for the command line."""
    quiet()
    leave_no_orphans()
    state = monitor(return_state=True)
    if not state.is_completed():
        raise PipelineError("the monitoring flow", state.message or str(state.name), "Mend that and run it again")
