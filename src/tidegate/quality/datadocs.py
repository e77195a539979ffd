"""Great Expectations' Data Docs as pages that need no network, with a summary of our own in front.

The suite runs in `expectations`; here its pages are rid of outside addresses, times and random ids.
"""

import importlib.util
import re
import shutil
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from tidegate.errors import PipelineError
from tidegate.quality.quarantine import shortened

_BOOTSTRAP = ("css/bootstrap.min.css", "jquery.min.js", "umd/popper.min.js", "js/bootstrap.min.js")
_ICONS = ("fontawesome.min.css", "solid.min.css", "regular.min.css")
_FONTS = ("fa-solid-900.woff2", "fa-regular-400.woff2")
_IMAGES = ("logo-long.png", "favicon.ico")

_MOST = 50
"""Rows of a table in the summary."""

_HEAD = """\
    <link rel="stylesheet" href="assets/bootstrap.min.css">
    <link rel="stylesheet" href="assets/icons.css">
    <script src="assets/jquery.min.js"></script>
    <script src="assets/popper.min.js"></script>
    <script src="assets/bootstrap.min.js"></script>
    <style>
"""

_REWRITES = (
    # Bootstrap, icons, jQuery from outside are replaced by ours; Vega and bootstrap-table are not needed.
    (r'[ \t]*<link\b[^>]*\bhref="https?://[^>]*>\n?', ""),
    (r'[ \t]*<script\b[^>]*\bsrc="https?://[^>]*>\s*</script>\n?', ""),
    (r"\A(.*?)[ \t]*<style>", r"\1" + _HEAD),
    (r"/\* some css overrides for dark mode\*/.*?(?=</style>)", ""),  # the other half came from outside
    (r'src="https?://[^"]*/logo-long\.png[^"]*"', 'src="assets/logo-long.png"'),
    (r'href="[^"]*/images/favicon\.ico"', 'href="assets/favicon.ico"'),
    (r"<footer>.*?</footer>", ""),  # an advertisement
    # All pages lie in one folder.
    (r'"(?:\.\./)+index\.html"', '"index.html"'),
    (r'"(?:\.\./)+expectations/[^"/]+\.html"', '"suite.html"'),
    # What differs between two runs on equal data, and names that say nothing.
    (r"(-collapse-body)-[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}", r"\1"),
    (r"<tr>(?:(?!</tr>).)*>\s*(?:ge_load_time|Run Time|Run Name)\s*<(?:(?!</tr>).)*</tr>", ""),
    (r'(aria-current="page">)Validations [^<]*', r"\1Validation result"),
    (r'(aria-current="page">)Expectations [^<]*', r"\1Expectation suite"),
    (r"<br>\s*Data asset: None<br>", "<br>"),
    (r"[ \t]+(?=\n)", ""),
    (r"\n{3,}", "\n\n"),
)


def publish(site: Path, docs: Path, *, quality: Mapping[str, Any], task: str) -> None:
    """Makes `docs` of the Data Docs in `site`: `index.html` (ours), `validation.html`, `suite.html`, `assets/`.

    Args:
        site: the folder that `expectations.run` wrote.
        docs: the folder to make; it does not exist yet.
        quality: the content of `quality.json`.
        task: the name of what is classified.

    Raises:
        PipelineError: a package that carries the assets is missing.
    """
    assets = docs / "assets"
    assets.mkdir(parents=True)
    _copy_assets(site, assets)
    for name, pattern in (("validation.html", "validations/**/*.html"), ("suite.html", "expectations/*.html")):
        (page,) = site.glob(pattern)
        (docs / name).write_text(offline(page.read_text(encoding="utf-8")), encoding="utf-8")
    (docs / "index.html").write_text(summary(quality, task=task), encoding="utf-8")


def offline(page: str) -> str:
    """A page of Great Expectations without outside assets, times or random ids; its assets lie in `assets/`."""
    for pattern, replacement in _REWRITES:
        page = re.sub(pattern, replacement, page, flags=re.DOTALL)
    return page


def _copy_assets(site: Path, assets: Path) -> None:
    bootstrap = _package("flask_bootstrap", of="bootstrap-flask") / "static" / "bootstrap4"
    icons = _package("fontawesomefree", of="fontawesomefree") / "static" / "fontawesomefree"
    for name in _BOOTSTRAP:
        text = (bootstrap / name).read_text(encoding="utf-8")
        (assets / Path(name).name).write_text(_without_source_map(text), encoding="utf-8")
    sheets = "".join((icons / "css" / name).read_text(encoding="utf-8") for name in _ICONS)
    sheets = re.sub(r',url\([^)]*\.ttf\) format\("truetype"\)', "", sheets).replace("../webfonts/", "")
    (assets / "icons.css").write_text(sheets, encoding="utf-8")
    for source in [icons / "webfonts" / name for name in _FONTS] + [site / "static/images" / name for name in _IMAGES]:
        shutil.copyfile(source, assets / source.name)


def _without_source_map(text: str) -> str:
    return re.sub(r"/[/*][#@] sourceMappingURL=.*", "", text)


def _package(module: str, *, of: str) -> Path:
    found = importlib.util.find_spec(module)  # imports nothing
    if found is None or found.origin is None:
        raise PipelineError(
            f"package {of}", "is not installed, and the data report needs its assets", "Run `make setup`"
        )
    return Path(found.origin).parent


def summary(quality: Mapping[str, Any], *, task: str) -> str:
    """The page in front: what was read, what was put aside and why, the classes, every expectation."""
    rows = quality["rows"]
    state, colour = ("passed", "success") if quality["success"] else ("failed", "danger")
    figures = f"{rows:,} rows read, {quality['valid']:,} good, {quality['quarantined']:,} in quarantine"
    unlabelled = quality.get("unlabelled", 0)
    kept = f" {unlabelled:,} without a label are kept; the expectations are about the others." if unlabelled else ""
    warned = sum(not item["success"] and item["severity"] == "warning" for item in quality["expectations"])
    return _PAGE.format(
        head=_HEAD,
        task=escape(task),
        colour=colour,
        verdict=f"The data {state}" + (f", with {warned} warning{'s' * (warned > 1)}" if warned else ""),
        figures=f"{figures} ({_percent(quality['quarantined'], rows)}).{kept}",
        reasons=_shares("Why a row is in quarantine", quality["reasons"], of=rows, colour="warning"),
        labels=_shares("Good rows of each class", quality["labels"], of=quality["valid"], colour="primary"),
        expectations="".join(_line(item) for item in sorted(quality["expectations"], key=lambda item: item["success"])),
    )


def _percent(part: int, whole: int) -> str:
    return f"{part / whole:.2%}" if whole else "0.00%"


def _shares(title: str, found: Mapping[str, int], *, of: int, colour: str) -> str:
    if not found:
        return f"<h5>{title}</h5><p>None.</p>"
    ordered = sorted(found.items(), key=lambda item: (-item[1], item[0]))
    lines = "".join(
        f'<tr><td>{escape(shortened(name))}</td><td class="text-right">{count:,}</td>'
        f'<td class="text-right">{_percent(count, of)}</td><td class="bar"><div class="progress">'
        f'<div class="progress-bar bg-{colour}" style="width: {_percent(count, of)}"></div></div></td></tr>\n'
        for name, count in ordered[:_MOST]
    )
    if len(ordered) > _MOST:
        lines += f'<tr><td colspan="4">and {len(ordered) - _MOST:,} more</td></tr>\n'
    header = '<tr><th></th><th class="text-right">Rows</th><th class="text-right">Share</th><th></th></tr>'
    return f'<h5>{title}</h5><table class="table table-sm"><thead>{header}</thead><tbody>\n{lines}</tbody></table>'


def _line(item: Mapping[str, Any]) -> str:
    if item["success"]:
        icon = "fa-check-circle text-success"
    else:
        icon = (
            "fa-times-circle text-danger" if item["severity"] == "critical" else "fa-exclamation-triangle text-warning"
        )
    return (
        f'<tr><td><i class="fas {icon}"></i></td><td>{escape(item["claim"])}</td>'
        f"<td>{escape(item['severity'])}</td><td>{escape(item['found'])}</td></tr>\n"
    )


_PAGE = """\
<!DOCTYPE html>
<html lang="en">
  <head>
    <title>Data report: {task}</title>
    <meta charset="UTF-8">
    <meta name="viewport" content="width=device-width, initial-scale=1.0">
    <link rel="shortcut icon" href="assets/favicon.ico" type="image/x-icon">
{head}      .bar {{ width: 40%; vertical-align: middle; }}
    </style>
  </head>
  <body>
    <div class="container py-4">
      <h3>Data report: {task}</h3>
      <div class="alert alert-{colour}"><strong>{verdict}.</strong> {figures}</div>
      <p>
        In full, by Great Expectations: <a href="validation.html">validation result</a>,
        <a href="suite.html">expectation suite</a>.
        The rows themselves, with the reason of each, are in <code>quarantine.parquet</code>.
      </p>
      <div class="row">
        <div class="col-lg-6">{reasons}</div>
        <div class="col-lg-6">{labels}</div>
      </div>
      <h5>Expectations</h5>
      <table class="table table-sm">
        <thead><tr><th></th><th>Expected</th><th>Severity</th><th>Found</th></tr></thead>
        <tbody>
{expectations}        </tbody>
      </table>
    </div>
  </body>
</html>
"""
