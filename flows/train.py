"""The training flow: sync, the pipeline, promote. Every stage of `dvc.yaml` is a task, along DVC's own edges.

It names no stage, and what is stale it asks of DVC; here is only when, and what at once with what.
"""

import os
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from prefect import flow, get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture, wait
from prefect.states import Completed, Failed

from tidegate import commands, pipeline, reproduction
from tidegate import sync as pins
from tidegate.binding import check
from tidegate.errors import PipelineError, TidegateError
from tidegate.process import leave_no_orphans
from tidegate.quiet import quiet
from tidegate.release import promotion
from tidegate.report import result_table

_POLL_S = 0.3


@flow(name="train", log_prints=True)
def train(reason: str = "by hand", at_once: int | None = None, root: str | None = None) -> State[Any]:
    """Reproduces the pipeline and reconciles the registry with the decision.

    Args:
        reason: why it runs; shown with the run.
        at_once: how many stages may run at the same time; the number of cores where it is not given.
        root: the checkout to work in; the working directory where it is not given.
    """
    folder = Path(root or ".").resolve()
    print(f"training in {folder}, reason: {reason}")
    try:
        check(folder)
        with reproduction.owning(folder, "the training flow"):
            commands.show_live_curves(folder)
            _go_on(sync(folder, return_state=True))
            run_pipeline(folder, at_once or os.cpu_count() or 1)
            _go_on(promote(folder, return_state=True))
    except TidegateError as error:
        return Failed(message=str(error))
    return Completed(message=reason)


def _go_on(state: State[Any]) -> None:
    if not state.is_completed():
        raise PipelineError("the training flow", state.message or str(state.name), "What was finished is kept")


@task(name="sync", log_prints=True, cache_policy=NO_CACHE)
def sync(root: Path) -> State[Any]:
    """Brings the world in."""
    try:
        pins.sync(root)
    except TidegateError as error:
        return Failed(message=str(error))
    return Completed()


@task(name="promote", log_prints=True, cache_policy=NO_CACHE)
def promote(root: Path) -> State[Any]:
    """Takes the decision out, and leaves what a person wants to see with the run."""
    try:
        promotion.promote(root)
    except TidegateError as error:
        return Failed(message=str(error))
    evaluation, decision = promotion.read_evaluation(root), promotion.read_decision(root)
    table = result_table(evaluation, decision)
    print("\n" + table)
    links = "\n".join(f"- [{path}]({(root / path).as_uri()})" for path in reports(root))
    create_markdown_artifact(f"```\n{table}\n```\n\n{links}\n", key="result", description=decision["verdict"])
    return Completed()


def reports(root: Path) -> list[str]:
    """What the pipeline leaves for people: its pages, metrics and plots."""
    outs = [out for stage in pipeline.read_stages(root).values() for out in stage.outs]
    pages = [f"{out}/index.html" for out in outs if (root / out / "index.html").exists()]
    return pages + [out for out in outs if out.endswith((".json", ".csv"))]


class Slots:
    """Bounds how many stages run at once; one that runs alone takes all slots."""

    def __init__(self, number: int) -> None:
        self.number = number
        self._free = number
        self._change = threading.Condition()

    @contextmanager
    def taken(self, *, alone: bool) -> Iterator[None]:
        """Waits for one slot, or for all of them."""
        wanted = self.number if alone else 1
        with self._change:
            self._change.wait_for(lambda: self._free >= wanted)
            self._free -= wanted
        try:
            yield
        finally:
            with self._change:
                self._free += wanted
                self._change.notify_all()


class Run:
    """One pass over the pipeline: what was stale at its start and what has run since."""

    def __init__(self, root: Path, at_once: int) -> None:
        self.root = root
        self.stages = pipeline.read_stages(root)
        self.needs = pipeline.edges(self.stages)
        self.slots = Slots(at_once)
        self._moved = set(reproduction.stale(root))

    def stage(self, name: str, log: Path) -> bool:
        """Has DVC look at a stage, unless neither it nor what it needs has changed; says whether it ran."""
        if name not in self._moved and not self._moved.intersection(self.needs[name]):
            return False
        with self.slots.taken(alone=self.stages[name].alone):
            ran = reproduction.run_stage(self.root, name, log)
        (self._moved.add if ran else self._moved.discard)(name)
        return ran


def run_pipeline(root: Path, at_once: int) -> None:
    """Runs every stage once all that it needs is done; a failed one stops what depends on it, nothing else.

    Raises:
        PipelineError: names the stages that failed and those that did not run for it.
    """
    run = Run(root, at_once)
    futures: dict[str, PrefectFuture[Any]] = {}
    for name, needs in run.needs.items():
        named = stage.with_options(name=name, task_run_name=name)
        futures[name] = named.submit(run, name, return_state=False, wait_for=[futures[need] for need in needs])
    wait(list(futures.values()))
    _raise_failed({name: future.state for name, future in futures.items()})


def _raise_failed(states: Mapping[str, State[Any]]) -> None:
    failed = [name for name, state in states.items() if state.is_failed() or state.is_crashed()]
    stopped = [name for name, state in states.items() if name not in failed and not state.is_completed()]
    if failed or stopped:
        cause = f"{', '.join(failed)} failed" + (f"; for that not run: {', '.join(stopped)}" if stopped else "")
        remedy = "The log of each task says why. Mend that and run again: what was finished is kept"
        raise PipelineError("the pipeline", cause, remedy)


@task(cache_policy=NO_CACHE)
def stage(run: Run, name: str) -> State[Any]:
    """One stage of `dvc.yaml`; what its command prints goes to this task's log."""
    with tempfile.TemporaryDirectory(prefix="tidegate-") as folder:
        log = Path(folder) / f"{name}.log"
        log.touch()
        with _followed(log):
            try:
                ran = run.stage(name, log)
            except TidegateError as error:
                return Failed(message=str(error))
    return Completed(name="Completed" if ran else "Unchanged", message="ran" if ran else "nothing had changed")


@contextmanager
def _followed(log: Path) -> Iterator[None]:
    """Sends the lines of a growing file to the log of the current task."""
    done = threading.Event()
    logger = get_run_logger()

    def follow() -> None:
        with log.open(encoding="utf-8", errors="replace") as stream:
            while True:
                last = done.wait(_POLL_S)
                for line in stream:
                    if text := line.rstrip():
                        logger.info(text)
                if last:
                    return

    thread = threading.Thread(target=follow, name=f"follow-{log.stem}")
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def main() -> None:
    """Runs the flow for the command line.

    Raises:
        PipelineError: it did not complete; says why.
    """
    quiet()
    leave_no_orphans()  # Prefect starts a temporary server before the flow begins
    state = train(return_state=True)
    if not state.is_completed():
        raise PipelineError("the training flow", state.message or str(state.name), "See its log above")


if __name__ == "__main__":
    main()
