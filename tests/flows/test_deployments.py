"""The deployments name flows that are there, parameters that they take, and the event that the monitor sends."""

import importlib
import inspect
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
DEPLOYMENTS = yaml.safe_load((ROOT / "prefect.yaml").read_text(encoding="utf-8"))["deployments"]
NAMED = {deployment["name"]: deployment for deployment in DEPLOYMENTS}


def flow_of(deployment: dict[str, Any]) -> Any:
    path, _, name = deployment["entrypoint"].partition(":")
    return getattr(importlib.import_module(path.removesuffix(".py").replace("/", ".")), name)


@pytest.mark.parametrize("name", NAMED)
def test_a_deployment_names_a_flow_and_parameters_that_it_takes(name: str) -> None:
    taken = set(inspect.signature(flow_of(NAMED[name]).fn).parameters)
    given = set(NAMED[name].get("parameters", {}))
    given |= {key for trigger in NAMED[name].get("triggers", ()) for key in trigger["parameters"]}
    assert given <= taken


def test_the_alarm_that_the_monitor_sends_is_the_one_that_is_waited_for() -> None:
    from flows import monitor

    (trigger,) = NAMED["on-alarm"]["triggers"]
    assert trigger["expect"] == [monitor.EVENT]
    assert trigger["match"] == {"prefect.resource.id": "tidegate.task.*"}


def test_no_two_runs_of_a_deployment_at_once() -> None:
    assert {deployment["concurrency_limit"]["limit"] for deployment in DEPLOYMENTS} == {1}
