"""A stage is bound to `dvc.yaml` and `params.yaml` before it does anything; what does not agree is named."""

import sys
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tidegate import binding
from tidegate.errors import DataError, ParamsError, PipelineError

MODULE = """
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tidegate.params import Range

CALLS = []


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    factor: Annotated[int, Range(ge=1)]


def run(params: Params, *, rows: Path, inputs: dict, result: Path, figures: Path) -> None:
    CALLS.append((params, rows, inputs, result, figures))
"""
ENTRY: dict[str, Any] = {
    "cmd": "python -m tidegate toy",
    "deps": ["src/code.py", "data/rows.parquet"],
    "params": ["toy", {"inputs.yaml": ["champion", "best"]}],
    "outs": ["data/result"],
    "metrics": [{"data/figures.json": {"cache": False}}],
}


@pytest.fixture
def toy() -> Iterator[types.ModuleType]:
    """A stage module that exists for one test."""
    module = types.ModuleType("tidegate.stages.toy")
    sys.modules[module.__name__] = module  # dataclass looks its annotations up there
    exec(MODULE, module.__dict__)
    yield module
    del sys.modules[module.__name__]


@pytest.fixture
def root(tmp_path: Path) -> Callable[..., Path]:
    def write(entry: object = ENTRY, params: object = None, inputs: object = None) -> Path:
        contents = {
            "dvc.yaml": {"stages": {"toy": entry}},
            "params.yaml": {"toy": {"factor": 2}} if params is None else params,
            "inputs.yaml": {"champion": "c" * 64, "best": None, "feedback": "f"} if inputs is None else inputs,
        }
        for name, content in contents.items():
            (tmp_path / name).write_text(yaml.safe_dump(content))
        (tmp_path / "data").mkdir(exist_ok=True)
        (tmp_path / "data" / "rows.parquet").write_bytes(b"PAR1 rows PAR1")
        return tmp_path

    return write


def test_a_stage_gets_its_params_its_paths_and_the_pins_it_declares(
    root: Callable[..., Path], toy: types.ModuleType
) -> None:
    call = binding.bound("toy", root())
    assert toy.CALLS == []
    call()
    ((params, rows, inputs, result, figures),) = toy.CALLS
    assert params == toy.Params(factor=2)
    assert (rows, result, figures) == (Path("data/rows.parquet"), Path("data/result"), Path("data/figures.json"))
    assert inputs == {"champion": "c" * 64, "best": None}  # and no feedback: the stage does not declare it


def test_an_unknown_stage_is_named_with_the_known_ones(root: Callable[..., Path]) -> None:
    with pytest.raises(PipelineError, match=r"stage 'tyo': is not in dvc\.yaml\. Name one of: toy"):
        binding.bound("tyo", root())


def test_a_stage_without_a_module_is_named(root: Callable[..., Path]) -> None:
    with pytest.raises(PipelineError, match=r"stage 'toy': has no module stages/toy\.py"):
        binding.bound("toy", root())


def test_what_a_stage_module_cannot_import_is_not_taken_for_a_missing_module(
    root: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(name: str) -> types.ModuleType:
        raise ModuleNotFoundError("No module named 'wanting'", name="wanting")

    monkeypatch.setattr(binding.importlib, "import_module", broken)
    with pytest.raises(ModuleNotFoundError, match="wanting"):
        binding.bound("toy", root())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"deps": []}, "run() asks for 'rows', which dvc.yaml does not name"),
        ({"outs": ["data/result", "data/more.csv"]}, "dvc.yaml names 'more', which run() does not take"),
        ({"params": ["toy"]}, "run() asks for 'inputs', which dvc.yaml does not name"),
    ],
)
@pytest.mark.usefixtures("toy")
def test_keywords_that_differ_from_dvc_yaml_are_named(
    root: Callable[..., Path], change: dict[str, Any], words: str
) -> None:
    with pytest.raises(PipelineError) as caught:
        binding.bound("toy", root({**ENTRY, **change}))
    assert words in caught.value.cause
    assert caught.value.remedy == "Make dvc.yaml and stages/toy.py agree"


@pytest.mark.usefixtures("toy")
def test_every_difference_is_named_at_once(root: Callable[..., Path]) -> None:
    with pytest.raises(PipelineError) as caught:
        binding.bound("toy", root({"cmd": "x", "deps": ["data/more.csv"], "outs": ["data/result"]}))
    assert [caught.value.cause.count(word) for word in ("'rows'", "'inputs'", "'figures'", "'more'")] == [1, 1, 1, 1]


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"other": {}}, "toy: the section is missing"),
        ({"toy": None}, "toy: must be a mapping"),
        ({"toy": {"factor": 0}}, r"toy\.factor: must be at least 1"),
        ({"toy": {"factro": 1}}, r"toy\.factro: is not known \(did you mean 'factor'\?\)"),
    ],
)
def test_a_section_that_does_not_fit_is_refused_before_the_stage_runs(
    root: Callable[..., Path], toy: types.ModuleType, params: object, words: str
) -> None:
    with pytest.raises(ParamsError, match=words):
        binding.bound("toy", root(params=params))
    assert toy.CALLS == []


@pytest.mark.usefixtures("toy")
def test_a_pin_that_is_missing_is_named_with_its_file(root: Callable[..., Path]) -> None:
    with pytest.raises(ParamsError, match=r"inputs\.yaml: best: is missing"):
        binding.bound("toy", root(inputs={"champion": None}))


@pytest.mark.parametrize("content", [None, b"", b"PAR1", b"PAR1 cut in the midd"])
def test_what_a_stage_needs_is_looked_at_before_it_runs(
    root: Callable[..., Path], toy: types.ModuleType, content: bytes | None
) -> None:
    rows = root() / "data" / "rows.parquet"
    rows.unlink() if content is None else rows.write_bytes(content)
    with pytest.raises(DataError, match=r"data/rows\.parquet: is (missing|damaged).*dvc repro"):
        binding.bound("toy", rows.parents[1])


def test_the_whole_of_params_is_checked_at_once(root: Callable[..., Path], toy: types.ModuleType) -> None:
    clone = root(params={"toy": {"factor": "two"}, "toi": {}})
    with pytest.raises(ParamsError) as refused:
        binding.check(clone)
    named = [problem.split(":")[0] for problem in refused.value.problems]
    assert named == ["toi", "toy.factor", "promote", "serve", "monitor"]


def test_a_damaged_lock_is_named_with_the_way_out(root: Callable[..., Path]) -> None:
    (root() / "dvc.lock").write_text("stages: [")
    with pytest.raises(PipelineError, match=r"dvc\.lock: is damaged.*git checkout dvc\.lock"):
        binding.check(root())
