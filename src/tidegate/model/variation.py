"""Variants of training texts, which a teacher labels: more to learn from than the texts that there are.

They need not make sense: what counts is how the teacher answers. Tang et al., Distilling Task-Specific Knowledge from
BERT into Simple Neural Networks, arXiv:1903.12136, section 3.2. Errors as texts in service have them are
`augmentation.py`'s matter.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from tidegate import files
from tidegate.fitting import Variants
from tidegate.model import encoder


def write(sources: Sequence[Path], target: Path, rates: Variants, *, seed: int) -> int:
    """Writes the variants of the texts of some files into one with the column `text`; says how many.

    Memory holds a batch of texts at a time; equal files and seeds give equal variants.
    """
    count, schema = 0, pa.schema({"text": pa.large_string()})
    with files.replacing(target) as draft, pq.ParquetWriter(draft, schema) as writer:
        for number, source in enumerate(sources):
            for place, batch in enumerate(encoder.texts(source)):
                for copy in range(rates.copies):
                    random = np.random.default_rng((seed, number, place, copy))
                    found = vary(batch, rates, random)
                    writer.write_table(pa.table({"text": found}, schema=schema))
                    count += len(found)
    return count


def vary(texts: Sequence[str], rates: Variants, random: np.random.Generator) -> list[str]:
    """One variant of each text; words are parted by white space, or are characters where a text has none."""
    split = [(text.split(), " ") if len(text.split()) > 1 else (list(text.strip()), "") for text in texts]
    pool = [word for words, gap in split if gap for word in words] or [word for words, _ in split for word in words]
    return [gap.join(_varied(words, pool, rates, random)) for words, gap in split]


def _varied(words: list[str], pool: list[str], rates: Variants, random: np.random.Generator) -> list[str]:
    if len(words) < 2:
        return words
    if random.random() < rates.span:
        length = int(random.integers(max(1, len(words) // 4), len(words) + 1))
        start = int(random.integers(0, len(words) - length + 1))
        words = words[start : start + length]
    drawn = random.random(len(words))
    others = random.integers(0, len(pool), len(words))
    found = [
        pool[other] if one < rates.replaced else word
        for word, one, other in zip(words, drawn, others, strict=True)
        if not rates.replaced <= one < rates.replaced + rates.dropped
    ]
    return found or words[:1]
