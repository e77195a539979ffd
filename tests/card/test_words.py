"""Words as Markdown: what comes from data stays itself, for readers that take HTML in Markdown too."""

from html import escape

import pytest
from hypothesis import given
from hypothesis import strategies as st
from markdown_it import MarkdownIt

from tidegate.card.words import duration, listed, plain, share, table

READER = MarkdownIt("commonmark", {"html": True}).enable("table")


@given(st.text(alphabet="ab1 \\`*_{}[]<>()#|~&!+-=.:/@;\n", min_size=1, max_size=30))
def test_a_text_stays_itself(text: str) -> None:
    line = " ".join(text.split())
    if line:
        assert READER.render(plain(text)) == f"<p>{escape(line)}</p>\n"
        assert f"<td>{escape(line)}</td>" in READER.render(table(["a"], [[text]]))


def test_columns_of_figures_are_aligned_to_the_right() -> None:
    lines = table(["name", "n", "note"], [["1", "+0.1 (0 to 1)", "a"], ["2", "-2", "1"], ["3", "", "1"]]).splitlines()
    assert lines[1] == "| --- | ---: | --- |"


@pytest.mark.parametrize(("value", "said"), [(None, "not known"), (0.0, "0.0 %"), (0.0004, "0.04 %"), (0.79, "79.0 %")])
def test_small_shares_are_not_called_none(value: float | None, said: str) -> None:
    assert share(value) == said


@pytest.mark.parametrize(("seconds", "said"), [(59.6, "60 s"), (330, "6 min"), (9000, "2.5 h")])
def test_times_are_told_in_units_that_fit(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.mark.parametrize(("names", "said"), [([], "none"), (["a"], "a"), (["a", "b", "c"], "a, b and c")])
def test_lists_read_as_sentences(names: list[str], said: str) -> None:
    assert listed(names) == said
