"""Rows that the champion has right and the candidate has wrong."""

import csv
from pathlib import Path

import numpy as np
import pytest

from tidegate.evidence import flips, judgement
from tidegate.evidence.rules import Test
from tidegate.evidence.scoring import Predictions

TEST = Test(alpha=0.025, power=0.8, replicates=1000, seed=0)


def said(labels: list[int], sure: list[float], *, groups: int = 1) -> Predictions:
    """Rows are labelled x (0); a model says these labels with these probabilities."""
    n = len(labels)
    probabilities = np.where(np.eye(2)[labels] > 0, np.array(sure)[:, None], 1 - np.array(sure)[:, None])
    number = (np.arange(n) // groups).astype(str)
    part = np.array(["one", "two"])[np.arange(n) % 2]
    ids = np.array([f"r{i}" for i in range(n)])
    return Predictions(ids, number, ("x", "y"), np.zeros(n, dtype=np.int64), probabilities, {"part": part})


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as stream:
        return list(csv.DictReader(stream))


def test_flips_are_listed_the_most_confident_first(tmp_path: Path):
    champion = said([0, 0, 0, 1, 0], [0.9, 0.8, 0.7, 0.9, 0.6])
    candidate = said([1, 0, 1, 1, 1], [0.6, 0.9, 0.95, 0.9, 0.6])
    flips.write(tmp_path / "flips.csv", candidate, champion)
    rows = table(tmp_path / "flips.csv")
    assert [row["id"] for row in rows] == ["r2", "r0", "r4"]  # r3 is wrong with both; r0 and r4 tie, then by id
    assert rows[0] == {
        "id": "r2", "group": "2", "label": "x", "part": "one", "champion": "x", "champion_probability": "0.7000",
        "candidate": "y", "candidate_probability": "0.9500",
    }  # fmt: skip


def test_without_a_champion_the_list_is_a_header(tmp_path: Path):
    flips.write(tmp_path / "flips.csv", said([0], [0.9]), None)
    text = (tmp_path / "flips.csv").read_text()
    assert text == "id,group,label,part,champion,champion_probability,candidate,candidate_probability\n"


def test_equal_predictions_give_equal_bytes(tmp_path: Path):
    for name in ("a.csv", "b.csv"):
        flips.write(tmp_path / name, said([1] * 50, [0.8] * 50), said([0] * 50, [0.8] * 50))
    assert (tmp_path / "a.csv").read_bytes() == (tmp_path / "b.csv").read_bytes()


@pytest.mark.parametrize(("flipped", "verdict"), [(0, "pass"), (20, "pass"), (48, "undecided"), (120, "fail")])
def test_flips_have_to_be_shown_to_be_under_the_budget(flipped: int, verdict: str):
    champion, candidate = said([0] * 500, [0.9] * 500), said([1] * flipped + [0] * (500 - flipped), [0.9] * 500)
    rule = judgement.negative_flips(candidate, champion, ceiling=0.1, test=TEST)
    assert rule.verdict == verdict
    assert rule.figure == pytest.approx(flipped / 500)


def test_an_error_that_the_champion_made_too_is_no_flip():
    wrong = said([1] * 100, [0.9] * 100)
    assert not flips.negative(wrong, wrong).any()


def test_flips_that_come_in_groups_tell_less():
    labels = [1] * 40 + [0] * 460
    alone, together = (
        flips.share(np.array(labels, dtype=bool), said(labels, [0.9] * 500, groups=size), TEST) for size in (1, 10)
    )
    assert (together.high or 0) - (together.low or 0) > 2 * ((alone.high or 0) - (alone.low or 0))
