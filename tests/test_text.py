"""Normalization: idempotent, bounded, and careful with what only looks like markup or a phone number."""

import dataclasses
import json
import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.errors import PackageError
from tidegate.text import KINDS, Normalization, normalize, normalize_counted

ALL = Normalization(mend_unicode=True, strip_markup=True, mask=KINDS, max_characters=20_000)
NOTHING = Normalization(mend_unicode=False, strip_markup=False, mask=(), max_characters=20_000)

PIECES = st.sampled_from([
    "<", ">", "<b", "<b>", "</b>", "<p class=x>", "<script>", "</script>", "<!--", "-->", "&", "&amp;", "&lt;", "&#60;",
    "amp;", "#38;", "lt;", "a", " ", "\n", "\u00a0", "Ã", "©", "â€œ", "\u0301", "\ud800", "\x1b[31m", "\x00", "@", ".",
    "com", "www.", "http://", "/", "+", "0", "(212) ", "555-0123", "4111 1111 1111 1111", "4", "[link]", "ﬁ",
    "\uff21", "\u200b", "中",
])  # fmt: skip
TEXTS = st.one_of(st.text(max_size=60), st.lists(PIECES, max_size=25).map("".join))


@given(TEXTS)
@settings(max_examples=600, deadline=None)
def test_normalizing_twice_is_normalizing_once(text: str) -> None:
    once = normalize(text, ALL)
    assert normalize(once, ALL) == once
    once.encode()  # no lone surrogate is left


@given(TEXTS, st.integers(1, 30))
@settings(max_examples=200, deadline=None)
def test_a_text_is_never_longer_than_the_bound(text: str, bound: int) -> None:
    short = dataclasses.replace(ALL, max_characters=bound)
    once = normalize(text, short)
    assert len(once) <= bound
    assert normalize(once, short) == once


@pytest.mark.parametrize(
    "text",
    [
        "I <3 you",
        "a < b and c > d",
        "x<y>z",
        "<b and c>",
        "so -> there --> here",
        "R&D at AT&T",
        ">_<",
        "1 <2",
        "<- no",
    ],
)
def test_what_only_looks_like_markup_stays(text: str) -> None:
    assert normalize(text, ALL) == text


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("<p>Hello<br/>w<b>or</b>ld</p>", "Hello world"),
        ('see <a href="x" title=y>this</a>', "see this"),
        ("fish &amp;amp;#38; chips", "fish & chips"),
        ("&lt;b&gt;bold&lt;/b&gt;", "bold"),
        ("<script>var a = '<p>';</script>kept<!-- gone <p> --> too", "kept too"),
        ("<!-- never closed", "never closed"),
        ("<<i>i>odd", "odd"),
    ],
)
def test_markup_is_stripped(text: str, expected: str) -> None:
    done = normalize_counted(text, ALL)
    assert (done.text, done.stripped) == (expected, True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cafÃ©", "café"),
        ("â€œwellâ€\x9d", '"well"'),
        ("\uff21\uff22\uff23", "ABC"),
        ("e\u0301", "é"),
        ("soft\u00adly", "softly"),
    ],
)
def test_unicode_is_mended(text: str, expected: str) -> None:
    done = normalize_counted(text, ALL)
    assert (done.text, done.mended) == (expected, True)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("call (916) 923-5646, 212.555.0123 or 1-800-555-0123", "call [phone], [phone] or [phone]"),
        ("+49 (0)30 1234567 and 020 7946 0958", "[phone] and [phone]"),
        ("local 566-7747.", "local [phone]."),
        ("card 4111 1111 1111 1111 12/27", "card [card] 12/27"),
        ("5555 4111 1111 1111 1111, 378282246310005", "5555 [card], [card]"),
        ("write a.b+c@mail.example.co.uk!", "write [email]!"),
        ("(see https://x.org/a?b=c@d.com).", "(see [link])."),
        ("at www.example.org, bit.ly/Ab1", "at [link], [link]"),
    ],
)
def test_personal_data_is_masked(text: str, expected: str) -> None:
    done = normalize_counted(text, ALL)
    assert done.text == expected
    masks = {"url": "[link]", "email": "[email]", "card": "[card]", "phone": "[phone]"}
    assert done.masked == {kind: expected.count(mask) for kind, mask in masks.items() if mask in expected}


@pytest.mark.parametrize(
    "text",
    [
        "on 2004-01-15 at 12:30", "01/02/2003 12 10:30", "2004-2005", "1024-1280 pixels", "3.14159265358",
        "1,000,000,000", "192.168.0.1", "4111 1111 1111 1112", "order 12345678", "me @home", "yes.no/maybe",
        "amazon.com", "$2,500,000",
    ],
)  # fmt: skip
def test_other_numbers_and_names_stay(text: str) -> None:
    assert normalize(text, ALL) == text


def test_only_the_kinds_asked_for_are_masked() -> None:
    only = dataclasses.replace(ALL, mask=("email",))
    assert normalize("a@b.com (212) 555-0123", only) == "[email] (212) 555-0123"


def test_without_options_only_white_space_changes() -> None:
    assert normalize("  <b>cafÃ©</b>\n a@b.com ", NOTHING) == "<b>cafÃ©</b> a@b.com"


def test_a_long_text_is_cut_between_words() -> None:
    done = normalize_counted("word " * 10, dataclasses.replace(ALL, max_characters=23))
    assert (done.text, done.cut) == ("word word word word", True)


@pytest.mark.parametrize(
    "unit",
    ["a", "<", "<a ", "<a =", "=", "&", "&amp;", "1", "1 ", "a@", "a.", "www.", "4111 ", "<script>", "<!--",
     "Ã©", "ÃƒÂ", "\ud800"],
)  # fmt: skip
def test_a_cell_of_ten_megabytes_is_no_trouble(unit: str) -> None:
    """Only `max_characters` of it are looked at; what is left of it is also a fixed point."""
    done = normalize_counted("<a " + unit * (10_000_000 // len(unit)), ALL)
    assert done.cut
    assert len(done.text) <= ALL.max_characters
    assert normalize(done.text, ALL) == done.text


@pytest.mark.parametrize("text", ["&am" * 3000 + "p;" * 3000, "<b" * 3000 + ">" * 3000, "<" * 3000 + "b>" * 3000])
def test_a_text_nested_thousands_deep_comes_to_an_end(text: str) -> None:
    once = normalize(text, ALL)
    assert normalize(once, ALL) == once


def test_the_options_survive_json() -> None:
    assert Normalization.from_json(json.loads(json.dumps(dataclasses.asdict(ALL)))) == ALL


def test_options_of_another_version_are_refused() -> None:
    with pytest.raises(PackageError, match="lowercase, mask"):
        Normalization.from_json({"mend_unicode": True, "strip_markup": True, "max_characters": 9, "lowercase": True})


def test_importing_it_loads_nothing_heavy() -> None:
    code = "import sys, tidegate.text; print(sorted({'polars', 'torch', 'numpy', 'transformers'} & sys.modules.keys()))"
    assert (
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    )
