"""A smaller vocabulary: which tokens a domain uses, and the tokenizer that knows these alone.

Every text still encodes: a dropped token falls back to its pieces, and what has no piece to the unknown token. Works on
the content of `tokenizer.json`; the rows of the embedding table are `anatomy.keep_tokens`' matter.
"""

import copy
import string
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tidegate import files
from tidegate.data import Tokens
from tidegate.errors import ModelError

Content = dict[str, Any]
"""What `tokenizer.json` holds."""


def frequent(content: Content, counts: NDArray[np.int64], size: int, *, what: str) -> list[int]:
    """The ids that stay, ascending: special tokens, single characters in use, and then the most frequent.

    Args:
        counts: (vocabulary,) occurrences by id in the training texts.
        size: how many stay; fewer where no more occur.
        what: the key of params that says so, for the message.

    Raises:
        ModelError: what has to stay is more than `size`, or the kind of vocabulary is not known.
    """
    pieces = _pieces(content)
    needed = _needed(content, pieces, counts)
    if len(needed) > size:
        cause = f"is {size:,}, and special tokens and single characters are {len(needed):,} already"
        raise ModelError(what, cause, f"Raise it, to twice {len(needed):,} at least")
    order = sorted(np.flatnonzero(counts).tolist(), key=lambda token: (-int(counts[token]), token))
    parts = _parts(content, pieces)
    kept = set(needed)
    for token in order:
        added = _closure(token, parts) - kept
        if len(kept) + len(added) <= size:
            kept |= added
    return sorted(kept)


def trimmed(content: Content, kept: list[int]) -> Content:
    """The tokenizer that knows the tokens `kept` alone, numbered from 0 in this order."""
    made = copy.deepcopy(content)
    places = {token: place for place, token in enumerate(kept)}
    model = made["model"]
    if isinstance(model["vocab"], dict):
        model["vocab"] = {piece: places[token] for piece, token in model["vocab"].items() if token in places}
    else:
        model["vocab"] = [model["vocab"][token] for token in kept]
        if model.get("unk_id") is not None:
            model["unk_id"] = places[model["unk_id"]]
    if "merges" in model:
        model["merges"] = [pair for pair in model["merges"] if _stays(pair, model["vocab"])]
    for token in made.get("added_tokens", []):
        token["id"] = places[token["id"]]
    if made.get("padding"):
        made["padding"]["pad_id"] = places[made["padding"]["pad_id"]]
    _renumber(made.get("post_processor"), places)
    return made


def _pieces(content: Content) -> dict[int, str]:
    vocabulary = content["model"]["vocab"]
    if isinstance(vocabulary, dict):
        found = {token: piece for piece, token in vocabulary.items()}
    else:
        found = {place: piece for place, (piece, _) in enumerate(vocabulary)}
    return found | {token["id"]: token["content"] for token in content.get("added_tokens", [])}


def _needed(content: Content, pieces: dict[int, str], counts: NDArray[np.int64]) -> set[int]:
    special = {token["id"] for token in content.get("added_tokens", [])}
    if (unknown := _unknown(content)) is not None:
        special.add(unknown)
    model = content["model"]
    prefix = model.get("continuing_subword_prefix") or ""
    used = {sign for token in np.flatnonzero(counts).tolist() for sign in pieces[token]} | set(string.printable)
    single = {
        token for token, piece in pieces.items()
        if len(bare := piece.removeprefix(prefix)) == 1 and (bare in used or model["type"] == "BPE")
    }  # fmt: skip
    return special | single


def _parts(content: Content, pieces: dict[int, str]) -> dict[int, list[tuple[int, int]]]:
    """By token of byte-pair encoding the pairs of tokens that it is merged from; others are made from none."""
    model = content["model"]
    found: dict[int, list[tuple[int, int]]] = {}
    ids = {piece: token for token, piece in pieces.items()}
    for pair in model.get("merges", []):
        first, second = _pair(pair)
        found.setdefault(ids[first + second], []).append((ids[first], ids[second]))
    return found


def _closure(token: int, parts: dict[int, list[tuple[int, int]]]) -> set[int]:
    """The token and all that it is merged from, by its first merge."""
    found, open_ = set(), [token]
    while open_:
        one = open_.pop()
        if one not in found:
            found.add(one)
            open_.extend(parts[one][0] if one in parts else ())
    return found


def _pair(pair: str | list[str]) -> tuple[str, str]:
    first, second = pair.split(" ", 1) if isinstance(pair, str) else pair
    return first, second


def _stays(pair: str | list[str], vocabulary: Collection[str]) -> bool:
    first, second = _pair(pair)
    return first in vocabulary and second in vocabulary and first + second in vocabulary


def _renumber(processor: Content | None, places: dict[int, int]) -> None:
    if processor is None:
        return
    for name in ("sep", "cls"):  # BERT's and RoBERTa's: [token, id]
        if name in processor:
            processor[name][1] = places[processor[name][1]]
    for token in (processor.get("special_tokens") or {}).values():
        token["ids"] = [places[one] for one in token["ids"]]
    for inner in processor.get("processors", []):
        _renumber(inner, places)


def counted(rows: Tokens, size: int) -> NDArray[np.int64]:
    """(size,): how often each id occurs."""
    return np.bincount(np.concatenate(list(rows)), minlength=size)


def write(folder: Path, content: Content) -> None:
    """Puts a tokenizer in place of the one in `folder`, whose other files of words no longer hold."""
    files.write_json(folder / "tokenizer.json", content)
    for name in ("vocab.txt", "vocab.json", "merges.txt", "added_tokens.json"):
        (folder / name).unlink(missing_ok=True)


def report(content: Content, kept: list[int], *, before: Tokens, after: Tokens) -> dict[str, Any]:
    """What became of the vocabulary: its size, and on the validation rows tokens a text and the share unknown."""
    unknown = _unknown(content)
    tokens = {"before": before, "after": after}
    ids = {"before": unknown, "after": None if unknown is None else kept.index(unknown)}
    found: dict[str, Any] = {"before": len(_pieces(content)), "after": len(kept)}
    for when, rows in tokens.items():
        flat = np.concatenate(list(rows))
        found[f"tokens_a_text_{when}"] = len(flat) / len(rows)
        found[f"unknown_share_{when}"] = 0.0 if ids[when] is None else float((flat == ids[when]).mean())
    return found


def _unknown(content: Content) -> int | None:
    """The id of the token that stands for what the vocabulary lacks; None where nothing can lack."""
    model = content["model"]
    if model.get("unk_id") is not None:
        return int(model["unk_id"])
    found = [token for token, piece in _pieces(content).items() if piece == model.get("unk_token")]
    return found[0] if found else None
