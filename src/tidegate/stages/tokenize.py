"""Stage tokenize: texts become token ids in Arrow files, in batches, without padding; the encoder is copied.

How the ids become batches for training is in `data.py`.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tidegate import files
from tidegate.errors import DataError, ModelError
from tidegate.params import Range

if TYPE_CHECKING:
    import numpy as np
    import pyarrow as pa
    from numpy.typing import NDArray
    from tokenizers import Tokenizer


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """What tokenizes, and how far."""

    encoder: Annotated[str, Range(ge=1)]
    """Address of the pretrained encoder: a folder with config.json, tokenizer.json and model.safetensors."""

    max_length: Annotated[int, Range(ge=4)]
    """Tokens a text, special tokens included; longer texts are cut."""

    batch_rows: Annotated[int, Range(ge=1, le=1_000_000)]
    """Texts tokenized at once; bounds the memory."""


def run(
    params: Params, *, train: Path, validation: Path, unlabelled: Path, task: Path, encoder: Path, tokens: Path,
    tokenization: Path,
) -> None:  # fmt: skip
    """Writes the encoder that is used, the token files, and what was cut or unknown."""
    from tidegate.intake import sources

    labels: list[str] = files.read_json(task)["labels"]
    source = sources.fetch_model(params.encoder)
    with files.replacing(encoder) as folder, files.replacing(tokens) as draft:
        tokenizer = _prepare_encoder(source, folder, params.max_length)
        draft.mkdir()
        report: dict[str, Any] = {"max_length": params.max_length, "vocabulary": tokenizer.get_vocab_size()}
        for name, path in (("train", train), ("validation", validation), ("unlabelled", unlabelled)):
            known = None if name == "unlabelled" else labels
            with _rows(path, params.batch_rows) as batches:
                target = draft / f"{name}.arrow"
                counts = _write(target, batches, tokenizer, known, unknown=_unknown(folder), source=path)
            if counts:
                report[name] = counts
                print(_line(name, counts))
            elif known:
                raise DataError(str(path), "holds no rows", "Give the split more rows, in the params of `split`")
    files.write_json(tokenization, report)


def _prepare_encoder(source: Path, folder: Path, max_length: int) -> "Tokenizer":
    """Copies the encoder; its tokenizer there cuts at `max_length` and pads nothing, wherever it is loaded."""
    import json

    from tokenizers import Tokenizer

    from tidegate.model import encoder

    encoder.copy(source, folder)
    config = encoder.configuration(folder)
    most = encoder.positions(config)
    if most is not None and max_length > most:
        cause = f"is {max_length}, and the encoder takes at most {most} tokens"
        raise ModelError("tokenize.max_length", cause, "Lower it, or take another encoder")
    path = folder / "tokenizer.json"
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # the library raises nothing narrower
        raise ModelError(str(source / path.name), f"is damaged ({error})", "Fetch the encoder anew") from None
    if tokenizer.get_vocab_size() > config.get("vocab_size", 0):
        cause = f"has {tokenizer.get_vocab_size():,} tokens, the model {config.get('vocab_size', 0):,}"
        raise ModelError(str(source / path.name), cause, "Take the tokenizer that belongs to the model")
    tokenizer.encode_special_tokens = True  # a "[SEP]" that somebody typed is text, no separator
    tokenizer.no_padding()
    tokenizer.enable_truncation(max_length)
    tokenizer.save(str(path))
    settings = folder / "tokenizer_config.json"
    known = json.loads(settings.read_text(encoding="utf-8")) if settings.is_file() else {}
    files.write_json(settings, known | {"model_max_length": max_length})
    return tokenizer


def _unknown(folder: Path) -> int | None:
    """The id of the token that stands for what the vocabulary lacks; None where nothing can lack."""
    content = files.read_json(folder / "tokenizer.json")
    model = content["model"]
    if model.get("unk_id") is not None:
        return int(model["unk_id"])
    vocabulary = model.get("vocab")
    name = model.get("unk_token")
    found = vocabulary.get(name) if isinstance(vocabulary, dict) else None
    added = {token["content"]: token["id"] for token in content.get("added_tokens", [])}
    return found if found is not None else added.get(name)


@contextmanager
def _rows(path: Path, batch_rows: int) -> "Iterator[Iterator[pa.RecordBatch]]":
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        with pq.ParquetFile(path) as file:
            yield file.iter_batches(batch_rows, columns=["id", "text", "label"])
    except FileNotFoundError:
        raise DataError(str(path), "is missing", "Run `dvc repro`, which makes it") from None
    except pa.ArrowInvalid as error:
        raise DataError(str(path), f"is damaged ({error})", "Delete it and run `dvc repro`") from None


def _write(
    target: Path, batches: "Iterator[pa.RecordBatch]", tokenizer: "Tokenizer", labels: Sequence[str] | None, *,
    unknown: int | None, source: Path,
) -> dict[str, Any]:  # fmt: skip
    """Writes a token file, every label -1 where there are none. Gives its figures, none where it has no row."""
    import numpy as np
    import pyarrow as pa

    schema = pa.schema(
        {"id": pa.string(), "label": pa.int16(), "length": pa.int32(), "input_ids": pa.list_(pa.int32())}
    )
    lengths, cut, strange = [np.zeros(0, np.int32)], 0, 0
    with pa.OSFile(str(target), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for batch in batches:
            encodings = tokenizer.encode_batch_fast(batch["text"].to_pylist())
            ids = [np.asarray(encoding.ids, dtype=np.int32) for encoding in encodings]
            lengths.append(np.fromiter(map(len, ids), np.int32, len(ids)))
            offsets = np.concatenate([[0], np.cumsum(lengths[-1])]).astype(np.int32)
            flat = np.concatenate(ids)
            columns = [
                batch["id"].cast(pa.string()),
                _indices(batch["label"], labels, source),
                pa.array(lengths[-1]),
                pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat)),
            ]
            writer.write_batch(pa.record_batch(columns, schema=schema))
            cut += sum(bool(encoding.overflowing) for encoding in encodings)
            strange += 0 if unknown is None else int((flat == unknown).sum())
    return _counts(np.concatenate(lengths), cut, strange)


def _indices(values: "pa.Array", labels: Sequence[str] | None, source: Path) -> "pa.Array":
    import pyarrow as pa
    import pyarrow.compute as pc

    if labels is None:
        return pa.repeat(pa.scalar(-1, pa.int16()), len(values))
    found = pc.index_in(values.cast(pa.string()), pa.array(labels, pa.string()))
    if found.null_count:
        wrong = values.filter(pc.is_null(found))[0].as_py()
        cause = f"has the label {wrong!r}, which is not in the label set"
        raise DataError(str(source), cause, "Run `dvc repro` from the stage `validate` on")
    return found.cast(pa.int16())


def _counts(lengths: "NDArray[np.int32]", cut: int, unknown: int) -> dict[str, Any]:
    import numpy as np

    if not len(lengths):
        return {}
    p50, p95 = np.percentile(lengths, (50, 95))
    total = int(lengths.sum())
    return {
        "texts": len(lengths),
        "tokens": total,
        "length": {"mean": float(lengths.mean()), "p50": float(p50), "p95": float(p95), "max": int(lengths.max())},
        "cut_share": cut / len(lengths),
        "unknown_share": unknown / total,
    }


def _line(name: str, counts: dict[str, Any]) -> str:
    length = counts["length"]
    return (
        f"{name}: {counts['texts']:,} texts, {counts['tokens']:,} tokens; a text has {length['mean']:.1f}"
        f" (95 % up to {length['p95']:.0f}, most {length['max']:,}); {counts['cut_share']:.2%} cut,"
        f" {counts['unknown_share']:.3%} of the tokens unknown"
    )
