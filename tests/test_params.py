"""Binding of `params.yaml`: what is taken, what is refused, and that every problem is named at once."""

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tidegate import params
from tidegate.errors import ParamsError
from tidegate.params import Range


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    address: str
    rows: Annotated[int, Range(ge=1)] | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    rate: Annotated[float, Range(gt=0, lt=1)]
    precision: Literal["auto", "bf16"]
    layers: list[int]
    share: dict[str, float]
    source: Source
    low: int
    high: int

    def problems(self) -> list[str]:
        return [f"low ({self.low}) must be below high ({self.high})"] if self.low >= self.high else []


GOOD: dict[str, Any] = {
    "rate": 0.1,
    "precision": "auto",
    "layers": [1, 2],
    "share": {"train": 0.8},
    "source": {"address": "a.csv", "rows": None},
    "low": 1,
    "high": 2,
}


def bound(kind: Any, raw: object) -> Any:
    """A value of one kind, through a dataclass with one field."""
    cls = dataclass(frozen=True, slots=True, kw_only=True)(type("One", (), {"__annotations__": {"x": kind}}))
    return params.bind(cls, {"x": raw}, section="s").x


def problem(kind: Any, raw: object) -> str:
    with pytest.raises(ParamsError) as caught:
        bound(kind, raw)
    (only,) = caught.value.problems
    return only


def test_a_good_section_becomes_a_frozen_dataclass_of_the_right_types() -> None:
    made = params.bind(Params, GOOD, section="train")
    assert made.source == Source(address="a.csv", rows=None)
    assert made.layers == [1, 2]
    with pytest.raises(AttributeError):
        made.rate = 0.5  # type: ignore[misc]


@pytest.mark.parametrize(
    ("kind", "raw", "made"),
    [
        (bool, True, True),
        (int, 3, 3),
        (float, 3, 3.0),
        (float, 3.5, 3.5),
        (str, "3", "3"),
        (int | None, None, None),
        (Literal["auto"] | int, "auto", "auto"),
        (Literal["auto"] | int, 2, 2),
        (list[int], [], []),
        (tuple[str, ...], ["a", "b"], ("a", "b")),
        (dict[str, int], {"a": 1}, {"a": 1}),
        (dict[str, int], {}, {}),
        (Annotated[list[int], Range(ge=1)], [5], [5]),
        (Annotated[int | None, Range(ge=1)], None, None),
        (Annotated[int | Literal["auto"], Range(ge=1)], "auto", "auto"),
        (Any, object, object),
    ],
)
def test_what_fits_is_taken(kind: Any, raw: object, made: object) -> None:
    value = bound(kind, raw)
    assert value == made
    assert type(value) is type(made)


@pytest.mark.parametrize(
    ("kind", "raw", "words"),
    [
        (int, True, "s.x: must be a whole number, is True"),
        (float, False, "s.x: must be a number, is False"),
        (bool, 1, "s.x: must be true or false, is 1"),
        (int, 1.0, "s.x: must be a whole number, is 1.0"),
        (int, "1", "s.x: must be a whole number, is '1'"),
        (int, None, "s.x: must be a whole number, is None"),
        (str, 1, "s.x: must be a text, is 1"),
        (float, math.nan, "s.x: must be a number, is nan"),
        (float, -math.inf, "s.x: must be a number, is -inf"),
        (float, "1e-4", "s.x: must be a number, is '1e-4' (write 1.0e-4)"),
        (float, "2.5e4", "s.x: must be a number, is '2.5e4' (write 2.5e+4)"),
        (list[int], "12", "s.x: must be a list, is '12'"),
        (list[int], [1, "2"], "s.x[1]: must be a whole number, is '2'"),
        (tuple[int, ...], {"a": 1}, "s.x: must be a list, is {'a': 1}"),
        (dict[str, int], [1], "s.x: must be a mapping, is [1]"),
        (dict[str, int], {"a": "b"}, "s.x.a: must be a whole number, is 'b'"),
        (dict[str, int], {1: 1}, "s.x.1: the key must be a text"),
        (Literal["a", "b"], "c", "s.x: must be 'a' or 'b', is 'c'"),
        (Literal[1], True, "s.x: must be 1, is True"),
        (int | None, "x", "s.x: must be a whole number or null, is 'x'"),
        (Literal["auto"] | int, 1.5, "s.x: must be 'auto' or a whole number, is 1.5"),
        (list[int] | None, 3, "s.x: must be a list or null, is 3"),
        (dict[str, int] | None, 3, "s.x: must be a mapping or null, is 3"),
        (list[int] | None, ["a"], "s.x[0]: must be a whole number, is 'a'"),
        (Source | None, 3, "s.x: must be a mapping or null, is 3"),
        (Source | None, {"address": "a"}, "s.x.rows: is missing"),
        (list[Source], [{"address": "a", "rows": 0}], "s.x[0].rows: must be at least 1, is 0"),
        (Annotated[int, Range(ge=1)], 0, "s.x: must be at least 1, is 0"),
        (Annotated[int, Range(gt=1)], 1, "s.x: must be above 1, is 1"),
        (Annotated[int, Range(le=1)], 2, "s.x: must be at most 1, is 2"),
        (Annotated[int, Range(lt=1)], 1, "s.x: must be below 1, is 1"),
        (Annotated[list[int], Range(ge=1)], [], "s.x: must be at least 1, is []"),
        (Annotated[str, Range(ge=1)], "", "s.x: must be at least 1, is ''"),
        (Annotated[float, Range(gt=0)] | None, -1, "s.x: must be above 0, is -1.0"),
        (Annotated[float, Range(lt=1)] | Literal["auto"], 3, "s.x: must be below 1, is 3.0"),
        (Annotated[int | None, Range(ge=1)], 0, "s.x: must be at least 1, is 0"),
        (str, [0] * 100, "s.x: must be a text, is [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,..."),
    ],
)
def test_what_does_not_fit_is_named_with_its_full_name(kind: Any, raw: object, words: str) -> None:
    assert problem(kind, raw) == words


def test_all_problems_are_reported_at_once() -> None:
    raw = {**GOOD, "rate": 7, "layers": ["x", True], "source": {"adress": "a", "rows": 0}, "lo": 1}
    del raw["high"], raw["low"]
    with pytest.raises(ParamsError) as caught:
        params.bind(Params, raw, section="train")
    assert set(caught.value.problems) == {
        "train.lo: is not known (did you mean 'low'?)",
        "train.low: is missing",
        "train.high: is missing",
        "train.rate: must be below 1, is 7.0",
        "train.layers[0]: must be a whole number, is 'x'",
        "train.layers[1]: must be a whole number, is True",
        "train.source.adress: is not known (did you mean 'address'?)",
        "train.source.address: is missing",
        "train.source.rows: must be at least 1, is 0",
    }
    for one in caught.value.problems:
        assert one in str(caught.value)


def test_a_key_that_resembles_nothing_gets_no_suggestion() -> None:
    with pytest.raises(ParamsError, match=r"train\.zzz: is not known\."):
        params.bind(Params, {**GOOD, "zzz": 1}, section="train")


def test_a_key_that_is_no_text_is_refused() -> None:
    with pytest.raises(ParamsError, match=r"train\.7: is not known"):
        params.bind(Params, {**GOOD, 7: 1}, section="train")


def test_what_spans_fields_is_checked_once_each_field_is_right() -> None:
    with pytest.raises(ParamsError, match=r"train: low \(3\) must be below high \(2\)"):
        params.bind(Params, {**GOOD, "low": 3}, section="train")
    with pytest.raises(ParamsError) as caught:
        params.bind(Params, {**GOOD, "low": "3"}, section="train")
    assert caught.value.problems == ("train.low: must be a whole number, is '3'",)


@pytest.mark.parametrize("raw", [None, [], "text", 3])
def test_a_section_that_is_no_mapping_is_refused(raw: object) -> None:
    with pytest.raises(ParamsError, match="train: must be a mapping"):
        params.bind(Params, raw, section="train")


@given(value=st.floats(allow_nan=True, allow_infinity=True))
def test_a_bound_number_is_finite_and_within_its_range(value: float) -> None:
    kind = Annotated[float, Range(ge=0, lt=1)]
    if 0 <= value < 1:
        assert bound(kind, value) == value
    else:
        assert "s.x: must be" in problem(kind, value)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(), st.lists, max_leaves=5))
def test_whatever_stands_there_binds_or_is_a_params_error(raw: object) -> None:
    for key in GOOD:
        try:
            params.bind(Params, {**GOOD, key: raw}, section="train")
        except ParamsError:
            continue  # anything else fails the test


def test_a_file_of_sections_is_read(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text("clean: {mask: [e-mail, téléphone]}\n", encoding="utf-8")
    assert params.load(path) == {"clean": {"mask": ["e-mail", "téléphone"]}}


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "there is no such file"),
        (b"", "must be a mapping of sections"),
        (b"- a\n- b\n", "must be a mapping of sections"),
        (b"a: [1\n", "not readable as YAML"),
        (b"a: !!python/object/apply:os.getcwd []\n", "not readable as YAML"),
        (b"a: \xff\n", "not readable as YAML"),
        (b"a: \x00\n", "not readable as YAML"),
    ],
)
def test_a_file_that_holds_no_sections_is_named(tmp_path: Path, content: bytes | None, words: str) -> None:
    path = tmp_path / "params.yaml"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ParamsError, match=words) as caught:
        params.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in caught.value.problems[0]


def test_a_folder_in_place_of_the_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match="cannot be read"):
        params.load(tmp_path)
