"""A card as one HTML page that needs nothing else: no font, script or style from outside; light, dark and narrow."""

import re
from html import escape
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token

_STYLE = """\
:root { color-scheme: light dark; --text: #1c2430; --soft: #5a6675; --ground: #ffffff; --line: #d9dfe6;
  --raised: #f4f6f9; --accent: #0b6b74; }
@media (prefers-color-scheme: dark) { :root { --text: #e4e9f0; --soft: #9aa7b6; --ground: #12171e; --line: #2e3845;
  --raised: #1a212b; --accent: #5cc8d2; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--text); font: 16px/1.55 system-ui, sans-serif; }
main { max-width: 66rem; margin: 0 auto; padding: 1.5rem 1rem 4rem; }
h1 { font-size: 1.8rem; line-height: 1.2; margin: 0.5rem 0 1rem; }
h2 { font-size: 1.3rem; margin: 2.5rem 0 0.75rem; padding-top: 0.75rem; border-top: 1px solid var(--line); }
h3 { font-size: 1.05rem; margin: 1.5rem 0 0.5rem; }
h1 { overflow-wrap: anywhere; }
nav ul { display: flex; flex-wrap: wrap; gap: 0.25rem 1rem; margin: 0; padding: 0; list-style: none; }
a { color: var(--accent); }
.wide { overflow-x: auto; margin: 0.75rem 0; }
table { border-collapse: collapse; font-size: 0.85rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.4rem 0.55rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line); }
th { color: var(--soft); font-weight: 600; background: var(--raised); }
td:first-child { font-weight: 600; }
td:last-child:not([style]) { min-width: 14rem; }
code { font: 0.85em ui-monospace, monospace; overflow-wrap: anywhere; }
td[style*=right], th[style*=right] { white-space: nowrap; }
li { margin: 0.25rem 0; }
@media (max-width: 30rem) { main { padding: 1rem 0.75rem 3rem; } }
@media print { nav { display: none; } }
"""


def html(markdown: str) -> str:
    """The page of a card; what looks like HTML in it stays text, and no link leads outside."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table").disable(["link", "image", "autolink"])
    tokens = parser.parse(markdown)
    titles = _with_anchors(tokens)
    body = parser.renderer.render(tokens, parser.options, {})
    body = body.replace("<table>", '<div class="wide" tabindex="0"><table>').replace("</table>", "</table></div>")
    first = re.search(r"^# (.*)$", markdown, re.MULTILINE)
    title = re.sub(r"\\(.)", r"\1", first[1]) if first else "Model card"
    links = "".join(f'<li><a href="#{anchor}">{escape(text)}</a></li>' for anchor, text in titles.items())
    head, end, rest = body.partition("</h1>\n")
    content = f'{head}{end}<nav aria-label="Sections"><ul>{links}</ul></nav>\n{rest}'
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>\n{_STYLE}</style>\n</head>\n<body>\n<main>\n{content}</main>\n</body>\n</html>\n"
    )


def _with_anchors(tokens: list[Token]) -> dict[str, str]:
    """Names the sections, so that they can be linked; by anchor their titles."""
    found: dict[str, str] = {}
    for heading, inline in pairwise(tokens):
        if heading.type == "heading_open" and heading.tag == "h2":
            anchor = re.sub(r"\W+", "-", inline.content.lower()).strip("-")
            heading.attrSet("id", anchor)
            found[anchor] = inline.content
    return found
