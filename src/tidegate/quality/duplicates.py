"""Exact and near duplicates among texts: MinHash and locality-sensitive hashing, each candidate pair checked.

Broder, "On the resemblance and containment of documents" (1997); Leskovec, Rajaraman and Ullman, "Mining of
Massive Datasets", chapter 3. The hash family is datasketch's; its sketches and index are one Python object a text, so
signatures and buckets are made here, in numpy. What becomes of duplicates is not decided here.
"""

import functools
import math
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from datasketch import MinHash
from numpy.typing import NDArray

Indices = NDArray[np.int64]

_RECALL = 0.98  # of pairs right at the threshold; those above it are found more surely
_WINDOW = 32  # how many later members of its bucket a text is compared with, so that a giant bucket stays linear
_PART = 50_000  # texts or pairs worked on at once
_CHARACTERS = 1 << 16  # a batch, so that its hashes stay in the processor's cache


@dataclass(frozen=True, slots=True, kw_only=True)
class Nearness:
    """When two texts are near duplicates."""

    threshold: float
    """Jaccard similarity of the sets of shingles of their words, from 0 to 1."""
    shingle: int
    """Characters a shingle. Characters and not words, since texts are short and not every language has spaces."""
    permutations: int
    """Hash functions a signature: more find more surely and cost more time."""
    seed: int = 1
    """Draws the hash functions: with another seed a search is independent of the first."""


@dataclass(frozen=True, slots=True)
class Pair:
    """Two texts, by their places, and how alike they are (1.0: the same but for case)."""

    first: int
    second: int
    similarity: float


def key(text: str) -> str:
    """What two exact duplicates share."""
    return text.casefold()


def folded(exact: str) -> str:
    """What near duplicates are compared by: the words of a key, since `yes!!!` and `Yes.` say the same.

    A key without a word stays as it is, so that `:)` and `:(` differ.
    """
    return re.sub(r"[\W_]+", " ", exact).strip() or exact


def first_of_equals(keys: Sequence[str]) -> Indices:
    """For each key the place of the first that equals it, int64 (n,)."""
    first: dict[str, int] = {}
    return np.fromiter((first.setdefault(k, i) for i, k in enumerate(keys)), dtype=np.int64, count=len(keys))


def clusters(keys: Sequence[str], near: Nearness) -> Indices:
    """For each key the place of the first member of its cluster, int64 (n,).

    A cluster is what pairs at or above the threshold tie together (single linkage). Equal keys are always tied.
    """
    first = first_of_equals(keys)
    distinct = np.unique(first)
    texts = [folded(keys[i]) for i in distinct]
    parent = np.arange(len(texts))
    for left, right in _candidates(texts, near):
        roots = _roots(parent)
        apart = roots[left] != roots[right]
        for i, j in zip(left[apart].tolist(), right[apart].tolist(), strict=True):
            a, b = _root(parent, i), _root(parent, j)
            if a != b and similarity(texts[i], texts[j], near.shingle) >= near.threshold:
                parent[max(a, b)] = min(a, b)
    return distinct[_roots(parent)[np.searchsorted(distinct, first)]]


def crossing(keys: Sequence[str], sides: NDArray[np.int8], near: Nearness) -> tuple[list[Pair], list[Pair]]:
    """The pairs of texts that stand on different sides: exact duplicates, and near ones.

    A text that stands often on a side counts once there.
    """
    first: dict[tuple[str, int], int] = {}
    for i, (k, side) in enumerate(zip(keys, sides.tolist(), strict=True)):
        first.setdefault((k, side), i)
    places = np.fromiter(first.values(), dtype=np.int64, count=len(first))
    texts, beside = [folded(keys[i]) for i in places], sides[places]
    found: dict[tuple[int, int], float] = {}
    for left, right in _candidates(texts, near):
        across = beside[left] != beside[right]
        for pair in zip(left[across].tolist(), right[across].tolist(), strict=True):
            if pair not in found:
                found[pair] = similarity(texts[pair[0]], texts[pair[1]], near.shingle)
    pairs = [Pair(int(places[i]), int(places[j]), s) for (i, j), s in sorted(found.items()) if s >= near.threshold]
    exact = [pair for pair in pairs if keys[pair.first] == keys[pair.second]]
    return exact, [pair for pair in pairs if keys[pair.first] != keys[pair.second]]


def similarity(one: str, other: str, shingle: int) -> float:
    """The Jaccard similarity of two folded texts' sets of shingles."""
    a, b = _shingles(one, shingle), _shingles(other, shingle)
    shared = len(a & b)
    return shared / (len(a) + len(b) - shared)


@functools.lru_cache(maxsize=4096)
def _shingles(text: str, size: int) -> frozenset[str]:
    framed = _framed(text, size)
    return frozenset(framed[i : i + size] for i in range(len(framed) - size + 1))


def _framed(text: str, size: int) -> str:
    return f" {text} ".ljust(size, "\0")  # the first and last word count as words; one shingle at least


def _root(parent: Indices, i: int) -> int:
    while parent[i] != i:
        parent[i] = parent[parent[i]]
        i = int(parent[i])
    return i


def _roots(parent: Indices) -> Indices:
    while (above := parent[parent]) is not parent and not np.array_equal(above, parent):
        parent = above
    return parent


# --- candidates -----------------------------------------------------------------------------------------------


def bands(near: Nearness) -> tuple[int, int]:
    """How many bands of how many hashes: the longest bands that still find a pair at the threshold surely enough.

    A pair of similarity s shares a band with probability 1 - (1 - s^rows)^bands.
    """
    for rows in range(near.permutations, 1, -1):
        count = near.permutations // rows
        if 1 - (1 - near.threshold**rows) ** count >= _RECALL:
            return count, rows
    return near.permutations, 1


def signatures(texts: Sequence[str], near: Nearness) -> NDArray[np.uint32]:
    """MinHash signatures, uint32 (n, permutations): those of `datasketch.MinHash` over the same shingle hashes."""
    multiply, add = MinHash(num_perm=near.permutations, seed=near.seed).permutations
    out = np.empty((near.permutations, len(texts)), dtype=np.uint32)
    at = 0
    for batch in _batches(texts):
        hashes, starts = shingle_hashes(batch, near.shingle)
        mixed, turned = _mix32(hashes), np.empty_like(hashes)
        for k in range(near.permutations):
            np.multiply(mixed, multiply[k], out=turned)
            np.add(turned, add[k], out=turned)
            out[k, at : at + len(batch)] = np.minimum.reduceat(turned, starts)
        at += len(batch)
    return out.T


def shingle_hashes(texts: Sequence[str], size: int) -> tuple[NDArray[np.uint32], Indices]:
    """The hashes of all shingles of all texts, one text after the other, and where each text's begin."""
    framed = [_framed(text, size) for text in texts]
    points = np.frombuffer("".join(framed).encode("utf-32-le", "surrogatepass"), dtype=np.uint32).astype(np.uint64)
    lengths = np.fromiter(map(len, framed), dtype=np.int64, count=len(framed))
    hashes = np.zeros(len(points) - size + 1, dtype=np.uint64)
    for k in range(size):  # a polynomial of the code points, modulo 2^64
        hashes = hashes * np.uint64(0x9E3779B97F4A7C15) + points[k : len(points) - size + 1 + k]
    ends = np.cumsum(lengths)
    inside = np.ones(len(hashes), dtype=bool)  # shingles that do not reach into the next text
    for k in range(1, size):
        inside[ends[:-1] - k] = False
    counts = lengths - size + 1
    return _mix64(hashes[inside]), np.cumsum(counts) - counts


def _candidates(texts: Sequence[str], near: Nearness) -> Iterator[tuple[Indices, Indices]]:
    """Pairs (smaller place, larger place) that share a band and whose signatures are alike, some at a time.

    A pair may come more than once. Left out is what, by its signatures, is four standard deviations below the
    threshold; that costs one true pair in 30,000 at the threshold, and saves nearly all vain comparisons.
    """
    hashes, bits = _sketches(texts, near)
    least = near.threshold - 4 * math.sqrt(near.threshold * (1 - near.threshold) / near.permutations)
    for band in hashes:
        order = np.argsort(band, kind="stable")
        ranked = band[order]
        for step in range(1, min(_WINDOW, len(order) - 1) + 1):
            same = np.flatnonzero(ranked[step:] == ranked[:-step])
            if not len(same):
                break
            for some in np.array_split(same, len(same) // _PART + 1):
                left, right = order[some], order[some + step]
                alike = (bits[left] == bits[right]).mean(axis=1) >= least
                yield left[alike], right[alike]


def _sketches(texts: Sequence[str], near: Nearness) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """A hash of each band of each text, uint32 (bands, n), and 8 bits of each hash of its signature, uint8
    (n, permutations): Li and König, "b-Bit Minwise Hashing" (2010). Texts go in parts, so that no full signatures
    are held."""
    count, rows = bands(near)
    hashes = np.empty((count, len(texts)), dtype=np.uint32)
    bits = np.empty((len(texts), near.permutations), dtype=np.uint8)
    for at in range(0, len(texts), _PART):
        part = signatures(texts[at : at + _PART], near)
        bits[at : at + len(part)] = part >> np.uint32(11)  # the lowest bits are the least mixed
        for band in range(count):
            hashed = np.zeros(len(part), dtype=np.uint64)
            for k in range(band * rows, (band + 1) * rows):
                hashed = hashed * np.uint64(0x9E3779B97F4A7C15) + part[:, k]
            hashes[band, at : at + len(part)] = _mix64(hashed)
    return hashes, bits


def _batches(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    start, size = 0, 0
    for i, text in enumerate(texts):
        size += len(text)
        if size >= _CHARACTERS:
            yield texts[start : i + 1]
            start, size = i + 1, 0
    if start < len(texts):
        yield texts[start:]


def _mix32(hashes: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """The finalizer of MurmurHash3, as datasketch applies it before its permutations."""
    hashes = (hashes ^ (hashes >> np.uint32(16))) * np.uint32(0x85EBCA6B)
    hashes = (hashes ^ (hashes >> np.uint32(13))) * np.uint32(0xC2B2AE35)
    return hashes ^ (hashes >> np.uint32(16))


def _mix64(hashes: NDArray[np.uint64]) -> NDArray[np.uint32]:
    """The same for 64 bits, of which the upper 32 are kept."""
    hashes = (hashes ^ (hashes >> np.uint64(33))) * np.uint64(0xFF51AFD7ED558CCD)
    hashes = (hashes ^ (hashes >> np.uint64(33))) * np.uint64(0xC4CEB9FE1A85EC53)
    return (hashes >> np.uint64(32)).astype(np.uint32)
