"""What is read from `dvc.yaml` and `dvc.lock`: order, edges, the keywords of a stage, and recipes."""

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidegate import pipeline
from tidegate.errors import PipelineError

Json = dict[str, Any]
STAGES: Json = {
    "gate": {"cmd": "python -m tidegate gate", "deps": ["data/scores.json"], "metrics": ["data/decision.json"]},
    "score": {
        "cmd": "python -m tidegate score",
        "deps": ["src/score.py", "data/models/teacher", "data/rows.parquet"],
        "params": ["score", "seed", {"inputs.yaml": ["champion"]}],
        "metrics": [{"data/scores.json": {"cache": False}}],
        "plots": [{"data/curve.csv": {"x": "step"}}, "data/points.csv"],
        "meta": {"alone": True},
    },
    "train": {
        "cmd": "python -m tidegate train",
        "deps": ["src/train.py", "data/rows.parquet"],
        "params": ["train"],
        "outs": ["data/models"],
    },
    "other": {"cmd": "python -m tidegate other", "deps": ["data/rows.parquet"], "outs": ["data/modelsx"]},
    "read": {"cmd": "python -m tidegate read", "deps": ["src/read.py", "data/raw"], "outs": ["data/rows.parquet"]},
}


@pytest.fixture
def root(tmp_path: Path) -> Callable[..., Path]:
    def write(stages: object = STAGES, lock: object = None) -> Path:
        (tmp_path / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}, sort_keys=False))
        if lock is not None:
            (tmp_path / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": lock}))
        return tmp_path

    return write


def test_every_stage_comes_after_the_stages_it_needs(root: Callable[..., Path]) -> None:
    names = list(pipeline.read_stages(root()))
    assert sorted(names) == sorted(STAGES)
    for name, needs in pipeline.edges(pipeline.read_stages(root())).items():
        assert all(names.index(need) < names.index(name) for need in needs)


def test_a_stage_needs_those_whose_outputs_it_reads(root: Callable[..., Path]) -> None:
    edges = pipeline.edges(pipeline.read_stages(root()))
    assert {name: set(needs) for name, needs in edges.items()} == {
        "read": set(),
        "train": {"read"},
        "other": {"read"},
        "score": {"train", "read"},  # train by what lies inside its folder, and not other by a name that begins alike
        "gate": {"score"},
    }


def test_a_stage_that_reads_a_folder_needs_what_is_written_into_it(root: Callable[..., Path]) -> None:
    stages = {
        "one": {"cmd": "x", "outs": ["data/all/one"]},
        "two": {"cmd": "x", "outs": ["data/all-two"]},
        "sum": {"cmd": "x", "deps": ["data/all"], "outs": ["data/sum"]},
    }
    assert pipeline.edges(pipeline.read_stages(root(stages)))["sum"] == ("one",)


def test_upstream_is_all_that_a_stage_was_made_from(root: Callable[..., Path]) -> None:
    stages = pipeline.read_stages(root())
    assert pipeline.upstream(stages, "gate") == {"gate", "score", "train", "read"}
    assert pipeline.upstream(stages, "read") == {"read"}


def test_an_entry_is_taken_apart(root: Callable[..., Path]) -> None:
    score = pipeline.read_stages(root())["score"]
    assert score.command == "python -m tidegate score"
    assert score.code == ("src/score.py",)
    assert score.deps == ("data/models/teacher", "data/rows.parquet")
    assert score.outs == ("data/scores.json", "data/curve.csv", "data/points.csv")
    assert score.params == {"params.yaml": ("score", "seed"), "inputs.yaml": ("champion",)}
    assert score.pins() == {"inputs": ("champion",)}
    assert score.artifacts() == {
        "teacher": "data/models/teacher",
        "rows": "data/rows.parquet",
        "scores": "data/scores.json",
        "curve": "data/curve.csv",
        "points": "data/points.csv",
    }


def test_only_a_marked_stage_runs_alone(root: Callable[..., Path]) -> None:
    stages = {
        **STAGES,
        "gate": {**STAGES["gate"], "meta": {"alone": False}},
        "other": {**STAGES["other"], "meta": None},
    }
    assert [name for name, stage in pipeline.read_stages(root(stages)).items() if stage.alone] == ["score"]


def test_two_artifacts_with_one_stem_are_refused(root: Callable[..., Path]) -> None:
    stages = {"one": {"cmd": "x", "deps": ["data/rows.csv"], "outs": ["data/rows.parquet"]}}
    with pytest.raises(PipelineError, match=r"data/rows\.csv and data/rows\.parquet have the same stem"):
        pipeline.read_stages(root(stages))["one"].artifacts()


def test_a_cycle_is_named(root: Callable[..., Path]) -> None:
    stages = {
        "one": {"cmd": "x", "deps": ["b"], "outs": ["a"]},
        "two": {"cmd": "x", "deps": ["a"], "outs": ["b"]},
    }
    with pytest.raises(PipelineError, match=r"has a cycle: (one > two > one|two > one > two)"):
        pipeline.read_stages(root(stages))


@pytest.mark.parametrize(
    "template", [{"cmd": "run ${x}"}, {"cmd": "x", "deps": ["${x}"]}, {"cmd": "x", "outs": ["${x}"]}]
)
def test_a_template_is_refused(root: Callable[..., Path], template: Json) -> None:
    with pytest.raises(PipelineError, match=r"stage 'one' in dvc.yaml: uses a template"):
        pipeline.read_stages(root({"one": template}))


@pytest.mark.parametrize(
    "content", ["", "[]", "a: [", "stages: 3", "stages: {one: {deps: [a]}}", "stages: {one: 3}", "vars: []"]
)
def test_a_malformed_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "dvc.yaml").write_text(content)
    with pytest.raises(PipelineError, match="is no list of stages") as caught:
        pipeline.read_stages(tmp_path)
    assert str(tmp_path / "dvc.yaml") in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match="there is no such file"):
        pipeline.read_stages(tmp_path)


def entry(deps: dict[str, str], params: Json | None = None) -> Json:
    return {"cmd": "x", "deps": [{"path": path, "md5": md5} for path, md5 in deps.items()], "params": params or {}}


LOCK: Json = {
    "read": entry({"src/read.py": "r1", "data/raw": "d1"}),
    "train": entry({"src/train.py": "t1", "data/rows.parquet": "m1"}, {"params.yaml": {"train": {"epochs": 2}}}),
    "score": entry(
        {"src/score.py": "s1", "data/models/teacher": "m2", "data/rows.parquet": "m1"},
        {"params.yaml": {"score": {"n": 1}, "seed": 3}, "inputs.yaml": {"champion": None}},
    ),
    "other": entry({"data/rows.parquet": "m1"}, {"params.yaml": {"other": 1}}),
    "gate": entry({"data/scores.json": "m3"}),
}


def changed(stage: str, *, dep: str | None = None, params: Json | None = None) -> Json:
    lock = copy.deepcopy(LOCK)
    for one in lock[stage]["deps"]:
        one["md5"] = "changed" if one["path"] == dep else one["md5"]
    lock[stage]["params"] = params or lock[stage]["params"]
    return lock


def test_a_recipe_holds_the_data_params_and_code_of_all_stages_upstream(root: Callable[..., Path]) -> None:
    found = pipeline.recipe("score", root=root(lock=LOCK))
    assert found["data"] == {"data/raw": "d1"}  # what a stage made does not enter from outside
    assert found["code"] == {"src/read.py": "r1", "src/train.py": "t1", "src/score.py": "s1"}
    assert found["params"] == {
        "params.yaml": {"train": {"epochs": 2}, "score": {"n": 1}, "seed": 3},
        "inputs.yaml": {"champion": None},
    }
    assert len(found["digest"]) == 64


@pytest.mark.parametrize(
    ("lock", "differs"),
    [
        (LOCK, False),
        (changed("read", dep="data/raw"), True),
        (changed("read", dep="src/read.py"), True),
        (changed("train", dep="src/train.py"), True),
        (changed("train", params={"params.yaml": {"train": {"epochs": 3}}}), True),
        (changed("score", params={"inputs.yaml": {"champion": "c"}}), True),
        (changed("other", params={"params.yaml": {"other": 2}}), False),  # no stage upstream
        (changed("gate", dep="data/scores.json"), False),
        (changed("train", dep="data/rows.parquet"), False),  # the hardware made it differ, not the recipe
        (changed("score", dep="data/models/teacher"), False),  # lies in the output folder of a stage
    ],
)
def test_the_recipe_changes_with_what_went_in_and_with_nothing_else(
    root: Callable[..., Path], lock: Json, *, differs: bool
) -> None:
    before = pipeline.recipe("score", root=root(lock=LOCK))["digest"]
    assert (pipeline.recipe("score", root=root(lock=lock))["digest"] != before) is differs


def test_the_working_directory_is_the_root_by_default(
    root: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(root(lock=LOCK))
    assert pipeline.recipe("gate") == pipeline.recipe("gate", root=Path.cwd())


def test_a_recipe_of_what_did_not_run_is_refused(root: Callable[..., Path]) -> None:
    with pytest.raises(PipelineError, match=r"dvc\.lock: has no entry of stage 'read'"):
        pipeline.recipe("train", root=root(lock={"train": LOCK["train"]}))
    (root() / "dvc.lock").unlink()
    with pytest.raises(PipelineError, match=r"has no entry of stage 'read'. Run `dvc repro`"):
        pipeline.recipe("read", root=root())


def test_a_recipe_of_an_unknown_stage_names_the_known_ones(root: Callable[..., Path]) -> None:
    with pytest.raises(PipelineError, match=r"stage 'trian': is not in dvc.yaml. Name one of: read, "):
        pipeline.recipe("trian", root=root(lock=LOCK))


@pytest.mark.parametrize("content", ["", "stages: [", "schema: '2.0'", "[]", "stages: 3"])
def test_a_damaged_lock_is_named_with_its_remedy(root: Callable[..., Path], content: str) -> None:
    (root() / "dvc.lock").write_text(content)
    with pytest.raises(PipelineError, match="is damaged") as caught:
        pipeline.recipe("read", root=root())
    assert "git checkout dvc.lock" in caught.value.remedy
