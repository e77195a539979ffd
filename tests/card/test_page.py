"""The page needs nothing from outside, and nothing in the data becomes a part of it."""

import json
import re
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tidegate.card import document, page

EVIL = [
    "<script>alert(1)</script>", "[click](javascript:alert(1))", "![x](https://example.org/x.png)", "a|b", "`tick`",
    "**bold**", "# title", "line\nbreak\n\n## section", "<https://example.org>", "&lt;b&gt;", "1. one", "- list", "_a_",
    "\\", "\\|", "\\<b>",
]  # fmt: skip


class Reader(HTMLParser):
    """Gathers the tags, their addresses, the cells and the headings of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str | None] = []
        self.texts: dict[str, list[str]] = {"td": [], "h1": [], "h2": [], "li": []}
        self._open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.addresses += [value for name, value in attrs if name in ("href", "src", "action")]
        if tag in self.texts:
            self._open.append(tag)
            self.texts[tag].append("")

    def handle_endtag(self, tag: str) -> None:
        if self._open and self._open[-1] == tag:
            self._open.pop()

    def handle_data(self, data: str) -> None:
        if self._open:
            self.texts[self._open[-1]][-1] += data


def read(html: str) -> Reader:
    reader = Reader()
    reader.feed(html)
    return reader


def card(run: Callable[..., Path], params: dict[str, Any], **changes: Any) -> Reader:
    return read(page.html(document.markdown(run(**changes), params=params, about={})))


def test_nothing_is_loaded_from_outside(run: Callable[..., Path], params: dict[str, Any]) -> None:
    text = page.html(document.markdown(run(), params=params, about={}))
    found = read(text)
    assert all(str(address).startswith("#") for address in found.addresses)
    assert not {"script", "link", "img", "iframe"} & set(found.tags)
    assert not re.search(r"@import|url\(", text)


def test_headings_have_an_order_and_every_section_is_linked(run: Callable[..., Path], params: dict[str, Any]) -> None:
    found = card(run, params)
    assert found.texts["h1"] == ["films: model card"]
    assert found.texts["h2"][:3] == ["What it is", "Use", "Limits"]
    assert [address for address in found.addresses if address][:2] == ["#what-it-is", "#use"]
    assert len(found.addresses) == len(found.texts["h2"])
    levels = [int(tag[1]) for tag in found.tags if re.fullmatch(r"h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in pairwise(levels))


@pytest.mark.parametrize("text", EVIL)
def test_what_comes_from_data_stays_text(run: Callable[..., Path], params: dict[str, Any], text: str) -> None:
    manifest = json.loads((run() / "manifest.json").read_text())
    plain = card(run, params)
    manifest["sources"][0] |= {"licence": text, "citation": text, "name": text}
    task = {"task": text, "labels": ["bad", "good"], "slices": []}
    found = card(run, params, manifest=manifest, task=task)
    assert found.tags == plain.tags, "no element came or went"
    shown = " ".join(text.split())
    assert found.texts["td"].count(shown) == 4, "task, name, licence and citation are shown as they are"
    assert found.texts["h1"] == [f"{shown}: model card"]


@pytest.mark.parametrize("text", ["file://a|b.csv", "a`b``c", "`", ""])
def test_an_address_stays_as_it_is(run: Callable[..., Path], params: dict[str, Any], text: str) -> None:
    manifest = json.loads((run() / "manifest.json").read_text())
    manifest["sources"][0]["address"] = text
    assert text in [cell.strip() for cell in card(run, params, manifest=manifest).texts["td"]]


def test_the_page_of_equal_cards_is_equal() -> None:
    assert page.html("# a\n\n## b\n") == page.html("# a\n\n## b\n")
