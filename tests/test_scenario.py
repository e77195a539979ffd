"""A scenario changes the values it names in `params.yaml` and not a comment more."""

from pathlib import Path

import pytest
import yaml

from tidegate import scenario
from tidegate.errors import ParamsError

ROOT = Path(__file__).parents[1]
PARAMS = """\
# Head.

ingest:
  task: channels # the name of what is classified
  sources:
    - name: tweets # four of them
      quote: ""
    - name: films # wheel://a-very-long-address==0.5.2/that/would/be/folded/if/lines/were/kept/to/their/width.txt
      address: wheel://a-very-long-address==0.5.2/that/would/be/folded/if/lines/were/kept/to/their/width/of/120.txt
  select: |
    SELECT *
    FROM tweets
train:
  epochs: 2 # how often
  rate: null # how far
  optimizer:
    name: adamw
    decay: 0.01 # of weights
"""
SCENARIOS = sorted(file.stem for file in (ROOT / "scenarios").glob("*.yaml"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "params.yaml").write_text(PARAMS, encoding="utf-8")
    (tmp_path / "scenarios").mkdir()
    (tmp_path / "scenarios" / "quick.yaml").write_text("train: {epochs: 1}\n", encoding="utf-8")
    (tmp_path / "scenarios" / "full.yaml").write_text("train: {epochs: 9}\n", encoding="utf-8")
    return tmp_path


def test_only_the_named_value_changes(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenario.use(root, "quick")
    assert (root / "params.yaml").read_text() == PARAMS.replace("epochs: 2 #", "epochs: 1 #")
    shown = capsys.readouterr().out
    assert "-  epochs: 2 # how often\n+  epochs: 1 # how often\n" in shown


def test_the_same_scenario_again_changes_nothing(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scenario.use(root, "quick")
    before = (root / "params.yaml").stat()
    capsys.readouterr()
    scenario.use(root, "quick")
    assert (root / "params.yaml").stat() == before
    assert capsys.readouterr().out == "params.yaml holds scenario 'quick' already\n"


def test_mappings_merge_key_by_key_and_everything_else_is_replaced_whole() -> None:
    overlay = "ingest: {sources: [{name: reviews}], task: reviews}\ntrain: {optimizer: {decay: 0}}\n"
    made = scenario.merged(PARAMS, overlay)
    assert yaml.safe_load(made) == {
        "ingest": {"task": "reviews", "sources": [{"name": "reviews"}], "select": "SELECT *\nFROM tweets\n"},
        "train": {"epochs": 2, "rate": None, "optimizer": {"name": "adamw", "decay": 0}},
    }
    for comment in ("# Head.", "# the name of what is classified", "# how often", "# of weights"):
        assert comment in made


@pytest.mark.parametrize(
    ("overlay", "problems"),
    [
        ("tarin: {epochs: 1}", ("tarin: is not in params.yaml",)),
        (
            "train: {epoch: 1, optimizer: {nam: x}}",
            ("train.epoch: is not in params.yaml", "train.optimizer.nam: is not in params.yaml"),
        ),
        ("- a", ("must be a mapping of sections",)),
        ("", ("must be a mapping of sections",)),
    ],
)
def test_what_has_no_counterpart_is_refused_all_at_once(overlay: str, problems: tuple[str, ...]) -> None:
    with pytest.raises(ParamsError) as caught:
        scenario.merged(PARAMS, overlay, name="odd.yaml")
    assert caught.value.problems == problems
    assert caught.value.what == "odd.yaml"


def test_a_scenario_that_is_no_yaml_leaves_params_alone(root: Path) -> None:
    (root / "scenarios" / "odd.yaml").write_text("a: [")
    with pytest.raises(ParamsError, match=r"odd\.yaml: not readable as YAML"):
        scenario.use(root, "odd")
    assert (root / "params.yaml").read_text() == PARAMS


@pytest.mark.parametrize("name", ["slow", "../params", ""])
def test_an_unknown_scenario_is_named_with_the_known_ones(root: Path, name: str) -> None:
    with pytest.raises(ParamsError, match=r"\(there are: full, quick\)"):
        scenario.use(root, name)


def test_the_shipped_params_survive_a_merge_to_the_byte() -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    assert scenario.merged(text, "{}") == text


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_shipped_scenario_changes_just_the_values_it_names(name: str) -> None:
    text = (ROOT / "params.yaml").read_text(encoding="utf-8")
    overlay = (ROOT / "scenarios" / f"{name}.yaml").read_text(encoding="utf-8")
    made = scenario.merged(text, overlay, name=name)
    assert scenario.merged(made, overlay, name=name) == made
    before, after, named = yaml.safe_load(text), yaml.safe_load(made), yaml.safe_load(overlay)
    assert {key for key in before if before[key] != after[key]} <= set(named)
    assert all(before[key].keys() == after[key].keys() for key in before)


@pytest.mark.parametrize("content", [b"", b"- a\n", b"\xff\xfe\x00", b"a: [", b"a: \x00"])
@pytest.mark.parametrize("file", ["params.yaml", "scenarios/quick.yaml"])
def test_a_damaged_file_is_named_and_params_stay(root: Path, file: str, content: bytes) -> None:
    (root / file).write_bytes(content)
    before = (root / "params.yaml").read_bytes()
    with pytest.raises(ParamsError) as caught:
        scenario.use(root, "quick")
    assert caught.value.what.endswith(file)
    assert (root / "params.yaml").read_bytes() == before


def test_missing_params_are_named(root: Path) -> None:
    (root / "params.yaml").unlink()
    with pytest.raises(ParamsError, match=r"params\.yaml: there is no such file"):
        scenario.use(root, "quick")


@pytest.mark.parametrize(
    ("overlay", "problem"),
    [
        ("train: 3", "train: is no mapping, and in params.yaml it is one"),
        ("train: null", "train: is no mapping, and in params.yaml it is one"),
        ("train: {optimizer: [adamw]}", "train.optimizer: is no mapping, and in params.yaml it is one"),
        ("train: {optimizer: {name: {x: 1}}}", "train.optimizer.name: is a mapping, and in params.yaml it is none"),
    ],
)
def test_a_mapping_and_what_is_none_do_not_replace_each_other(overlay: str, problem: str) -> None:
    with pytest.raises(ParamsError) as caught:
        scenario.merged(PARAMS, overlay)
    assert caught.value.problems == (problem,)


def test_a_mapping_may_replace_null_and_null_an_option_that_is_a_mapping() -> None:
    made = yaml.safe_load(scenario.merged(PARAMS, "train: {rate: {start: 1}, optimizer: null}"))
    assert made["train"] == {"epochs": 2, "rate": {"start": 1}, "optimizer": None}
