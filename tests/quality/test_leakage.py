"""The leakage report finds what was planted, and nothing else."""

import random

import polars as pl

from tidegate.quality.duplicates import Nearness
from tidegate.quality.leakage import leaks

NEAR = Nearness(threshold=0.7, shingle=4, permutations=128, seed=2)


def part(name: str, *texts: str, count: int = 30, group: str | None = None) -> pl.DataFrame:
    """Rows with texts that have nothing in common with others, and then the given ones."""
    rng = random.Random(name)
    filler = [" ".join("".join(rng.choices("abcdefghijklmnop", k=6)) for _ in range(10)) for _ in range(count)]
    ids = [f"{name}{i}" for i in range(count + len(texts))]
    groups = [group or f"group of {ids[0]}", *[f"group of {i}" for i in ids[1:]]]
    return pl.DataFrame({"id": ids, "group": groups, "text": [*filler, *texts]}, schema_overrides={"text": pl.String})


def test_clean_splits_leak_nothing() -> None:
    found = leaks({"train": part("train"), "validation": part("validation"), "test": part("test")}, NEAR)
    assert found == {"groups_crossing": 0, "exact_crossing": 0, "near_crossing": 0, "threshold": 0.7, "examples": []}


def test_planted_duplicates_are_found_and_shown_by_id() -> None:
    text = "the battery of this camera lasts a whole day"
    found = leaks(
        {
            "train": part("train", text, "another text that nobody repeats"),
            "validation": part("validation", "The battery of this camera lasts a whole day"),
            "test": part("test", "the battery of this camera really lasts a whole day!"),
        },
        NEAR,
    )
    assert (found["groups_crossing"], found["exact_crossing"], found["near_crossing"]) == (0, 1, 2)
    exact, *near = found["examples"]
    assert exact == {"kind": "exact", "ids": ["train30", "validation30"], "splits": ["train", "validation"],
                     "similarity": 1.0}  # fmt: skip
    assert [example["ids"] for example in near] == [["train30", "test30"], ["validation30", "test30"]]
    assert all(0.7 <= example["similarity"] < 1 for example in near)
    assert text not in str(found)


def test_duplicates_within_a_split_are_no_leak() -> None:
    text = "the battery of this camera lasts a whole day"
    found = leaks({"train": part("train", text, text), "test": part("test")}, NEAR)
    assert (found["exact_crossing"], found["near_crossing"]) == (0, 0)


def test_unlabelled_rows_leak_to_validation_and_test_but_not_to_train() -> None:
    text = "the battery of this camera lasts a whole day"
    parts = {
        "train": part("train", text, group="shared"),
        "unlabelled": part("unlabelled", text, "the lens is a little soft in the corners", group="shared"),
        "test": part("test", "The lens is a little soft in the corners!"),
    }
    found = leaks(parts, NEAR)
    assert (found["groups_crossing"], found["exact_crossing"], found["near_crossing"]) == (0, 0, 1)
    assert found["examples"][0]["splits"] == ["unlabelled", "test"]
    found = leaks({**parts, "validation": part("validation", group="shared")}, NEAR)
    assert found["groups_crossing"] == 1
    assert found["examples"][0]["splits"] == ["train", "validation"]


def test_a_group_in_several_splits_is_found() -> None:
    parts = {name: part(name, group="shared") for name in ("train", "validation", "test")}
    found = leaks(parts, NEAR)
    assert found["groups_crossing"] == 1
    assert found["examples"] == [{"kind": "group", "ids": ["train0", "validation0"], "splits": ["train", "validation"]}]


def test_only_the_first_examples_are_shown() -> None:
    texts = [f"{word} " * 5 for word in ("one", "two", "three", "four", "five", "six", "seven")]
    found = leaks({"train": part("train", *texts), "test": part("test", *texts)}, NEAR)
    assert found["exact_crossing"] == 7
    assert len(found["examples"]) == 5
