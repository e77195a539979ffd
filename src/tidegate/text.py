"""What is done to a text before any model sees it: Unicode mended, markup stripped, personal data masked.

The same function runs in `clean`, in the package and before anything is logged, so it is light to import,
takes time linear in the text, and doing it twice is doing it once. Which texts are kept is not decided here.
"""

import functools
import re
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, fields
from typing import Any

import ftfy
from ftfy.fixes import unescape_html

from tidegate.errors import PackageError

KINDS = ("url", "email", "card", "phone")
"""What can be masked, in the order in which it is looked for. A mask (`[link]`, `[email]`, `[card]`, `[phone]`) is a
bracketed English word: BERT's vocabulary has it whole, a reader sees that it is a mask, no other rule matches it."""

_ROUNDS = 10
_BACK = 64  # characters that a cut may go back to end at a white space


@dataclass(frozen=True, slots=True, kw_only=True)
class Normalization:
    """The options of `normalize`; a package carries them as JSON."""

    mend_unicode: bool
    """Whether wrongly decoded characters, odd widths, quotes and control characters are mended."""
    strip_markup: bool
    """Whether HTML tags are taken out and entities turned into characters."""
    mask: tuple[str, ...]
    """Kinds of personal data to mask, out of `KINDS`."""
    max_characters: int
    """Characters a text; longer texts are cut, which bounds the time of everything after."""

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> "Normalization":
        """Reads what `dataclasses.asdict` gave.

        Raises:
            PackageError: a key is missing or not known: it was written by another version.
        """
        known = {f.name for f in fields(cls)}
        if odd := sorted(known ^ content.keys()):
            raise PackageError(
                "normalization",
                f"does not fit this version (at odds: {', '.join(odd)})",
                "Use the version it came from",
            )
        return cls(**{**content, "mask": tuple(content["mask"])})


@dataclass(slots=True)
class Normalized:
    """A normalized text and what was done to it."""

    text: str
    cut: bool = False
    mended: bool = False
    stripped: bool = False
    masked: Counter[str] = field(default_factory=Counter)
    """Items by kind."""


def normalize(text: str, options: Normalization) -> str:
    """The text as models see it. `normalize(normalize(x)) == normalize(x)`; it may be empty."""
    return normalize_counted(text, options).text


def normalize_counted(text: str, options: Normalization) -> Normalized:
    """As `normalize`, with what was done.

    One round can bring up work for another (an escaped tag, a number beside a mask), so rounds run until one
    changes nothing. A text that still changes after ten was built to do so; then only its plain characters are
    kept, on which each further round takes characters away that no round puts back, so an end is certain.
    """
    done = Normalized(text)
    for _ in range(_ROUNDS):
        if not _round(done, options):
            return done
    done.text = re.sub(r"[^ -~]|[&<>]", " ", done.text)
    while _round(done, options):
        pass
    return done


def _round(done: Normalized, options: Normalization) -> bool:
    before = done.text
    _apply(done, "cut", functools.partial(_cut, limit=options.max_characters))
    if options.mend_unicode:
        _apply(done, "mended", _mend)
    if options.strip_markup:
        _apply(done, "stripped", _strip_markup)
    for kind in KINDS:
        if kind in options.mask and _MAY_HOLD[kind](done.text):
            done.text, items = _MASKS[kind](done.text)
            if items:
                done.masked[kind] += items
    done.text = " ".join(done.text.split())
    return done.text != before


def _apply(done: Normalized, what: str, step: Callable[[str], str]) -> None:
    text = step(done.text)
    if text != done.text:
        done.text = text
        setattr(done, what, True)


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    edge = max(limit - _BACK, 0)
    tail = text[edge:limit]
    words = tail.rsplit(None, 1)
    inside_word = not text[limit].isspace() and not tail[-1].isspace()
    return text[:edge] + (words[0] if inside_word and len(words) == 2 else tail)


_UNSEEN = re.compile("[\u00ad\u200b\u2060\ufeff]")  # soft hyphen, zero-width space, word joiner, byte order mark
_MENDING = ftfy.TextFixerConfig(unescape_html=False, fix_line_breaks=False, explain=False)
_BLANKS = str.maketrans("\t\n\r", "   ")


def _mend(text: str) -> str:
    if text.isascii() and text.translate(_BLANKS).isprintable():
        return text  # most texts; ftfy would find nothing
    return ftfy.fix_text(_UNSEEN.sub("", text), _MENDING)


# --- markup ---------------------------------------------------------------------------------------------------

_INLINE_NAMES = """a abbr acronym b bdi bdo big cite code data del dfn em font i ins kbd mark q s samp small span
    strike strong sub sup time tt u var wbr"""
_BLOCK_NAMES = """address article aside audio base blockquote body br button canvas caption center col colgroup dd
    details dialog dir div dl dt embed fieldset figcaption figure footer form frame frameset h1 h2 h3 h4 h5 h6 head
    header hr html iframe img input label legend li link main map menu meta nav noframes noscript object ol optgroup
    option p param picture pre progress script section select source style summary svg table tbody td template
    textarea tfoot th thead title tr track ul video xml"""
_INLINE = frozenset(_INLINE_NAMES.split())
_HTML = _INLINE | frozenset(_BLOCK_NAMES.split())
_UNREAD = frozenset({"script", "style"})  # what stands between their tags is no text

# A tag is a known name with nothing or with attributes behind it: `<3`, `a <b`, `<b and c>` and `x < y > z` are none.
# `[^<>]` lets each `<` look no further than the next one, and attributes are split at the first `=` only: linear.
_TAG = re.compile(
    r"<(?P<end>/?)(?P<name>[a-zA-Z][a-zA-Z0-9]{0,11})(?:\s[^<>=]*=[^<>]*|\s*)/?>|<!DOCTYPE[^<>]*>|<!--|-->"
)
_AMPERSANDS = re.compile(r"&(?:amp;|AMP;|#0{0,6}38;|#[xX]0{0,6}26;)+")


def _strip_markup(text: str) -> str:
    if "&" in text:
        text = unescape_html(_AMPERSANDS.sub("&", text))
    return _without_tags(text) if "<" in text else text


def _without_tags(text: str) -> str:
    tags = [tag for tag in _TAG.finditer(text) if not tag["name"] or _name(tag) in _HTML]
    last_end = {_ends(tag): tag.start() for tag in tags}  # so that an open end is known without looking for it
    pieces, at, until = [], 0, ""
    for tag in tags:
        if until and _ends(tag) != until:
            continue  # inside a comment, script or style
        if not until and _ends(tag) == "-->":
            continue  # an arrow
        if until:
            until = ""
        else:
            pieces.append(text[at : tag.start()])
            until = _opens(tag) if last_end.get(_opens(tag), -1) > tag.start() else ""
        pieces.append("" if _name(tag) in _INLINE else " ")
        at = tag.end()
    return "".join([*pieces, text[at:]])


def _name(tag: re.Match[str]) -> str:
    return (tag["name"] or "").lower()


def _opens(tag: re.Match[str]) -> str:
    name = _name(tag)
    return "-->" if tag[0] == "<!--" else name if name in _UNREAD and not tag["end"] else ""


def _ends(tag: re.Match[str]) -> str:
    return "-->" if tag[0] == "-->" else _name(tag) if tag["end"] else "nothing"


# --- masks ----------------------------------------------------------------------------------------------------
# Every repetition is bounded or runs over one class of characters, so no text makes them look twice.

_DOMAIN = (
    r"(?:[a-z0-9-]{1,63}\.){1,4}(?:com|org|net|edu|gov|info|biz|app|dev|io|ai|co|ly|me|tv|uk|de|fr|eu|us|ca|ch|gl|gd)"
)
_URL = re.compile(
    rf"(?:(?:https?|ftps?)://|(?<![\w@.])www\.|(?<![\w@.-]){_DOMAIN}/)"
    r"(?:[^\s<>\"]*[^\s<>\".,;:!?'*)(\]\[}{])?",  # a mark of punctuation at the end belongs to the sentence
    re.IGNORECASE,
)
_EMAIL = re.compile(r"[\w.+%-]{1,64}@(?:[\w-]{1,63}\.){1,8}[^\W\d_]{2,24}")
_CARD = re.compile(
    r"(?<!\d)(?:[2-6]\d{3}([ -]?)\d{4}\1\d{4}\1\d{4}|3[47]\d{2}([ -]?)\d{6}\2\d{5}|[2-6]\d{12,18})(?!\d)"
)
_PHONE = re.compile(
    r"""(?<![\w+<])(?<!\d[.,/-])(?:
    \(?\+\(?\d(?:[ .()/-]{0,3}\d){7,14}                                           # +49 (0)30 123456
    |\(?(?:1[ .-]?)?\(?[2-9]\d{2}\)?[ ./-]{0,2}[2-9]\d{2}[ .-]?\d{4}             # (212) 555-0123
    |(?!\d{1,2}[./-]\d{1,2}[./-]\d{2,4})\(?0\d(?:[ .()/-]{0,2}\d){7,13}           # 020 7946 0958, and no date
    |[2-9]\d{2}-\d{4}                                                             # 555-0123
    )(?!\w|[.,/-]\d)""",
    re.VERBOSE,
)


def _mask_cards(text: str) -> tuple[str, int]:
    pieces, at, start = [], 0, 0
    while found := _CARD.search(text, start):
        start = found.end()
        if _luhn(found[0]):
            pieces.append(text[at : found.start()])
            at = found.end()
        else:
            start = found.start() + 1  # another may begin inside: `5555 4111 1111 1111 1111`
    return ("[card]".join([*pieces, text[at:]]), len(pieces)) if pieces else (text, 0)


def _luhn(number: str) -> bool:
    """The check digit of ISO/IEC 7812-1: every second digit from the right doubled, digits summed, divisible by 10."""
    digits = [int(c) for c in reversed(number) if c.isdecimal()]
    return sum(digits[::2] + [sum(divmod(2 * digit, 10)) for digit in digits[1::2]]) % 10 == 0


_MASKS: dict[str, Callable[[str], tuple[str, int]]] = {
    "url": functools.partial(_URL.subn, "[link]"),
    "email": functools.partial(_EMAIL.subn, "[email]"),
    "card": _mask_cards,
    "phone": functools.partial(_PHONE.subn, "[phone]"),
}
_SEVEN_DIGITS = re.compile(r"\d(?:\W{0,4}\d){6}")
_MAY_HOLD: dict[str, Callable[[str], object]] = {  # cheap looks that spare most texts the search
    "url": lambda text: "/" in text or "www." in text.lower(),
    "email": lambda text: "@" in text,
    "card": _SEVEN_DIGITS.search,
    "phone": _SEVEN_DIGITS.search,
}
