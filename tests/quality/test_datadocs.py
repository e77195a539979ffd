"""The pages need nothing from outside, dangle nowhere, and say what a person needs."""

import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tidegate.errors import PipelineError
from tidegate.quality import datadocs
from tidegate.quality.expectations import of_rows, of_whole, report, run

QUALITY: dict[str, Any] = {
    "rows": 1000, "valid": 990, "quarantined": 10, "quarantined_share": 0.01, "success": True,
    "reasons": {"text is null": 8, "label is null": 3}, "labels": {"a": 900, "<b>": 90},
    "expectations": [
        {"claim": "all is well", "severity": "critical", "success": True, "found": "0 rows break this"},
        {"claim": "all is even", "severity": "warning", "success": False, "found": "90 %"},
    ],
}  # fmt: skip


class Links(HTMLParser):
    """All addresses of a page: of what it loads, and of what a person may follow."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.loaded: list[str] = []
        self.followed: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        for name, value in attrs:
            if name in ("src", "srcset", "data", "poster", "href", "action"):
                (self.followed if tag == "a" else self.loaded).append(value or "")
            if name == "style":
                self.loaded += urls(value or "")


def urls(css: str) -> list[str]:
    """What a style sheet loads."""
    found = re.findall(r"""url\(\s*(?:"([^"]*)"|'([^']*)'|([^)]*))\s*\)|@import\s+["']([^"']*)""", css)
    return [address for groups in found for address in groups if address]


@pytest.fixture(scope="module")
def docs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs")
    table = pl.DataFrame({"id": ["a", "b", "b", None], "label": ["x", "y", "y", "y"], "rows_of_label": [1, 3, 3, 3]})
    checks = [
        of_whole("row_count_to_be_between", None, "there are 9 rows", min_value=9),
        of_rows("values_to_not_be_null", "id", "have an id", max_share=0),
        of_rows("values_to_be_unique", "id", "have an id of their own", max_share=0, severity="warning"),
        of_whole("distinct_values_to_contain_set", "label", "x, y and z occur", value_set=["x", "y", "z"]),
        of_whole("min_to_be_between", "rows_of_label", "classes are large", min_value=2),
        of_whole("to_exist", "text", "there is a text"),
    ]
    outcomes = run(table, checks, name="records", site=folder / "site")
    quality = report(outcomes, rows=4, reasons={"id is null": 1}, labels={"x": 1, "y": 2}, faults=3)
    datadocs.publish(folder / "site", folder / "docs", quality=quality, task="letters")
    return folder / "docs"


def test_there_is_a_page_in_front_of_the_two_of_great_expectations(docs: Path) -> None:
    assert sorted(page.name for page in docs.glob("*")) == ["assets", "index.html", "suite.html", "validation.html"]
    front = Links((docs / "index.html").read_text())
    assert {"validation.html", "suite.html"} <= set(front.followed)
    assert "index.html" in Links((docs / "validation.html").read_text()).followed
    assert "suite.html" in Links((docs / "validation.html").read_text()).followed


def test_nothing_is_loaded_from_outside_and_nothing_dangles(docs: Path) -> None:
    for page in docs.glob("*.html"):
        text = page.read_text()
        styles = "".join(re.findall(r"<style>(.*?)</style>", text, re.DOTALL))
        links = Links(text)
        for address in [*links.loaded, *urls(styles)]:
            assert (docs / address).is_file(), f"{page.name} loads {address}"
        for address in links.followed:
            local = address.startswith("#") or (docs / address).is_file()
            assert local or address.startswith("https://greatexpectations.io"), f"{page.name} leads to {address}"
    for sheet in docs.glob("assets/*.css"):
        for address in urls(sheet.read_text()):
            assert address.startswith("data:") or (sheet.parent / address).is_file(), f"{sheet.name} loads {address}"


def test_every_asset_is_asked_for(docs: Path) -> None:
    pages = "".join(page.read_text() for page in docs.glob("*.html"))
    sheets = "".join(sheet.read_text() for sheet in docs.glob("assets/*.css"))
    unused = [file.name for file in docs.glob("assets/*") if file.name not in pages + sheets]
    assert unused == []


def test_no_script_fetches_or_needs_what_was_left_out(docs: Path) -> None:
    for page in docs.glob("*.html"):
        text = page.read_text()
        assert not re.search(r"vegaEmbed|bootstrapTable|datepicker|fetch\(|XMLHttpRequest|sourceMappingURL", text)
    for asset in [*docs.glob("assets/*.js"), *docs.glob("assets/*.css")]:
        assert "sourceMappingURL" not in asset.read_text()


def test_the_icons_of_the_pages_are_in_the_style_sheet(docs: Path) -> None:
    icons = (docs / "assets" / "icons.css").read_text()
    used = {
        name for page in docs.glob("*.html") for name in re.findall(r"\b(?:fas|far) (fa-[a-z-]+)", page.read_text())
    }
    assert {"fa-times", "fa-check-circle"} & used
    assert all(f".{name}:before" in icons or f".{name}{{" in icons for name in used)


def test_no_time_and_no_random_id_is_left(docs: Path) -> None:
    for page in docs.glob("*.html"):
        text = page.read_text()
        assert not re.search(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", text)
        assert not re.search(r"\d{8}T\d{6}|19[67]\d-\d\d-\d\d|20\d\d-\d\d-\d\d", text)


def test_the_claims_stand_in_the_pages_of_great_expectations(docs: Path) -> None:
    for name in ("validation.html", "suite.html"):
        text = (docs / name).read_text()
        assert "All rows have an id of their own (warning)" in text
        assert "There are 9 rows (critical)" in text


def test_the_summary_says_what_was_found() -> None:
    page = datadocs.summary(QUALITY, task="R&D")
    assert "Data report: R&amp;D" in page
    assert "The data passed, with 1 warning." in page
    assert "1,000 rows read, 990 good, 10 in quarantine (1.00%)" in page
    assert "&lt;b&gt;" in page
    assert "<b>" not in page
    assert page.index("all is even") < page.index("all is well")
    assert "The data failed" in datadocs.summary({**QUALITY, "success": False}, task="x")


def test_many_and_long_labels_are_cut() -> None:
    page = datadocs.summary({**QUALITY, "labels": {f"{i:03} " + "x" * 99: 1 for i in range(1060)}}, task="x")
    assert page.count("xxx…</td>") == 50
    assert "and 1,010 more" in page
    assert "x" * 40 not in page


def test_a_missing_package_of_assets_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(PipelineError, match="bootstrap-flask"):
        datadocs.publish(tmp_path, tmp_path / "docs", quality=QUALITY, task="x")
