"""Stage X = stages/X.py = section X of params.yaml = `python -m tidegate X` = tests/stages/test_X.py."""

import importlib
from pathlib import Path

import pytest

from tidegate import params
from tidegate.binding import signature_problems
from tidegate.pipeline import edges, read_stages
from tidegate.scenario import merged

ROOT = Path(__file__).resolve().parents[2]
STAGES = read_stages(ROOT)
ENDS = {"promote", "serve", "monitor"}
"""Sections of params.yaml that belong to no stage: what happens after a run."""
SCENARIOS = sorted(path.stem for path in (ROOT / "scenarios").glob("*.yaml"))


def stems(folder: str, pattern: str, prefix: str = "") -> set[str]:
    return {path.stem.removeprefix(prefix) for path in (ROOT / folder).glob(pattern)} - {"__init__"}


def test_every_stage_has_a_module_and_every_module_a_stage():
    assert stems("src/tidegate/stages", "*.py") == set(STAGES)


def test_every_stage_has_a_section_of_params_and_every_section_a_stage_or_an_end():
    assert set(params.load(ROOT / "params.yaml")) == set(STAGES) | ENDS


def test_every_stage_has_its_test_module():
    assert stems("tests/stages", "test_*.py", "test_") == set(STAGES)


@pytest.mark.parametrize("name", STAGES)
def test_the_command_of_a_stage_is_its_name(name):
    assert STAGES[name].command == f"python -m tidegate {name}"


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_its_own_section_alone(name):
    assert STAGES[name].params["params.yaml"] == (name,)


@pytest.mark.parametrize("name", STAGES)
def test_the_keywords_of_run_are_the_stems_of_the_artifacts(name):
    stage = STAGES[name]
    run = importlib.import_module(f"tidegate.stages.{name}").run
    assert signature_problems(run, set(stage.artifacts()) | set(stage.pins())) == []


@pytest.mark.parametrize("scenario", [None, *SCENARIOS])
@pytest.mark.parametrize("name", STAGES)
def test_shipped_params_and_scenarios_fit_every_stage(name, scenario, tmp_path):
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    if scenario:
        text = merged(text, (ROOT / "scenarios" / f"{scenario}.yaml").read_text(encoding="utf-8"))
    (tmp_path / "params.yaml").write_text(text, encoding="utf-8")
    section = params.load(tmp_path / "params.yaml")[name]
    params.bind(importlib.import_module(f"tidegate.stages.{name}").Params, section, section=name)


@pytest.mark.parametrize(
    ("key", "value"), [("seed", -1), ("seed", 2**31), ("min_characters", 10**10), ("max_characters", 10**10)]
)
def test_a_seed_and_a_number_of_characters_fit_every_library(key, value):
    sections = {name: section for name, section in params.load(ROOT / "params.yaml").items() if key in section}
    for name in sorted(set(sections) & set(STAGES)):
        with pytest.raises(params.ParamsError, match=rf"{name}\.{key}: must be (at least 0|below 2,147|at most 1,000)"):
            params.bind(
                importlib.import_module(f"tidegate.stages.{name}").Params, sections[name] | {key: value}, section=name
            )


def test_our_edges_are_those_of_dvc():
    from dvc.repo import Repo

    with Repo(str(ROOT)) as repo:
        graph = repo.index.graph
        theirs = {stage.name: {need.name for need in graph.successors(stage)} for stage in graph}
    assert {name: set(needs) for name, needs in edges(STAGES).items()} == theirs


def test_every_artifact_is_described_in_the_docs():
    described = (ROOT / "docs" / "artifacts.md").read_text(encoding="utf-8")
    missing = [
        out
        for stage in STAGES.values()
        for out in stage.outs
        if f"`{Path(out).name}`" not in described and f"`{Path(out).name}/`" not in described
    ]
    assert missing == []


def test_artifacts_lie_in_data_and_git_ignores_them():
    import subprocess

    outs = [out for stage in STAGES.values() for out in stage.outs]
    assert all(out.startswith("data/") for out in outs)
    ignored = subprocess.run(["git", "check-ignore", *outs], cwd=ROOT, capture_output=True, text=True, check=False)
    assert ignored.stdout.split() == outs
