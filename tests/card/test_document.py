"""The card tells what the files say: figures with intervals, what is weak, what was not tested or not measured."""

import copy
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tidegate.card import document
from tidegate.errors import DataError
from tidegate.files import digest_json

Make = Callable[..., Path]


@pytest.fixture
def card(run: Make, params: dict[str, Any]) -> Callable[..., str]:
    def write(**changes: Any) -> str:
        return document.markdown(run(**changes), params=params, about={"Version": "3", "Revision": "abc"})

    return write


def section(text: str, name: str) -> str:
    return text.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


def changed(name: str, *path: str, to: Any, run: Make) -> dict[str, Any]:
    """The content of a file with one value changed."""
    content = copy.deepcopy(json.loads((run() / f"{name}.json").read_text()))
    place = content
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = to
    return {name: content}


def test_it_says_what_the_model_is(card: Callable[..., str], params: dict[str, Any]) -> None:
    found = section(card(), "What it is")
    assert "| Labels | bad and good |" in found
    assert f"`{'c' * 64}`" in found
    assert "| Version | 3 |\n| Revision | abc |" in found
    assert "| Verdict of the gate | **pass** |" in found
    assert "9,000,000 parameters" in found
    shaping = {name: params[name] for name in ("tokenize", "gate")}
    assert digest_json(shaping) in found, "the registry's address is none of the params of a model"


def test_figures_stand_with_their_intervals_and_rows(card: Callable[..., str]) -> None:
    found = section(card(), "Figures on test")
    assert "1,000 rows in 400 groups" in found
    assert "| candidate | 0.750 (0.740 to 0.760) |" in found
    assert "| champion = best | 0.740" in found
    assert "| baseline | +0.090 (+0.080 to +0.100) |" in found
    assert "| good | 500 | 0.620 (0.610 to 0.630) |" in found


def test_the_worst_slice_of_those_that_can_be_judged_is_named(card: Callable[..., str]) -> None:
    text = card()
    assert "| odd | 3 | 3 | 0.300 | 0.300 |" in section(text, "Slices")
    assert "Worst: news, accuracy 0.700 (0.680 to 0.720)." in section(text, "Slices")
    assert "Worst channel: news, accuracy 0.700 (0.680 to 0.720), 5.0 points below all rows." in section(text, "Limits")


def test_limits_are_those_that_the_figures_show(card: Callable[..., str]) -> None:
    found = section(card(), "Limits")
    for words in (
        "Worst class: good, F1 0.620", "88.0 % under typing errors", "4.2 % are cut",
        "leaves 2.0 % of the validation tokens unknown", "Too few rows to judge channel odd (3 rows).",
        "Rules of the gate that are switched off: latency.", "There was no best ever to compare with.",
    ):  # fmt: skip
        assert words in found
    assert "upper case" not in found, "what changes nothing is no limit"
    assert "no champion" not in found


def test_the_chain_from_the_encoder_to_the_package_is_told_in_order(card: Callable[..., str]) -> None:
    lines = section(card(), "Training").strip().splitlines()
    assert [line.split(":")[0] for line in lines[:5]] == [
        "1. Encoder", "2. **teacher**", "3. **student**", "4. **small**", "5. **small_int8**",
    ]  # fmt: skip
    assert "12,000 of 30,000 tokens left" in lines[3]
    assert "layers 0 and 5 of the teacher" in lines[2]


def test_a_teacher_that_was_chosen_has_no_chain_of_students(card: Callable[..., str], run: Make) -> None:
    quantized = {"of": "teacher", "activations": None} | {
        key: json.loads((run() / "quantization.json").read_text())["small_int8"][key]
        for key in ("temperature", "labels_kept", "before", "after")
    }
    found = section(card(quantization={"small_int8": quantized}), "Training")
    assert "student" not in found
    assert "float32" in found


def test_data_says_where_it_is_from_and_what_was_taken_out(card: Callable[..., str]) -> None:
    found = section(card(), "Data")
    assert "| news | 10,000 | CC0 | Somebody (2020) | `file://a.csv` |" in found
    assert "| test | 1,000 | 400 | 600 (60.0 %) | 400 (40.0 %) |" in found
    assert "12 of 9,000 rows were put aside as unfit (empty text: 12)." in found
    assert "drawn from 10,000 (seed 17)" in found


def test_effort_adds_up_and_says_how_it_was_found(card: Callable[..., str]) -> None:
    found = section(card(), "Effort")
    assert "| train | 5 min | 10 min | 0.0020 kWh (estimated) |" in found
    assert "Energy of all: **0.0060 kWh.**" in found
    assert "Processors: estimated. An assumption." in found


def test_effort_that_was_not_measured_is_said_to_be(card: Callable[..., str]) -> None:
    text = card(prune_effort=None)
    assert "| prune | not measured | not measured | not measured |" in section(text, "Effort")
    assert "not known: not every training was measured" in section(text, "Effort")
    assert "effort of some trainings was not measured" in section(text, "Limits")


def test_a_card_that_was_not_measured_leaves_the_energy_unknown(card: Callable[..., str], run: Make) -> None:
    share = {"kwh": None, "how": "not measured", "basis": "there is no driver"}
    content = changed("train_effort", "energy", "gpus", to=share, run=run)
    content["train_effort"]["energy"]["kwh"] = None
    found = section(card(**content), "Effort")
    assert "| train | 5 min | 10 min | not known |" in found
    assert "Graphics cards: not measured. there is no driver." in found
    assert "not known" in found


@pytest.mark.parametrize(
    ("name", "key", "said"),
    [
        ("quality", "reasons", r"quality.json: is damaged \(it lacks 'reasons'\)"),
        ("decision", "mode", r"decision.json: is damaged \(it lacks 'mode'\)"),
        ("quantization", "small_int8", r"quantization.json: is damaged \(it lacks 'small_int8'\)"),
    ],
)
def test_a_key_that_is_missing_is_named_with_its_file(
    card: Callable[..., str], run: Make, name: str, key: str, said: str
) -> None:
    content = json.loads((run() / f"{name}.json").read_text())
    del content[key]
    with pytest.raises(DataError, match=said):
        card(**{name: content})


def test_a_file_that_is_missing_is_named(run: Make, params: dict[str, Any]) -> None:
    (run() / "pruning.json").unlink()
    with pytest.raises(DataError, match=r"pruning.json: is missing"):
        document.markdown(run(pruning=None), params=params, about={})


def test_files_of_different_candidates_make_no_card(card: Callable[..., str], run: Make) -> None:
    with pytest.raises(DataError, match="about another candidate"):
        card(**changed("selection", "digest", to="d" * 64, run=run))


def test_the_same_files_give_the_same_bytes(card: Callable[..., str]) -> None:
    assert card() == card()
