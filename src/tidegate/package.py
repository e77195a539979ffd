"""The servable candidate: a folder that takes raw text and gives probabilities, identified by its digest.

Loading and writing such folders and predicting with them. How a model becomes `model.onnx` is `model/export`'s matter.
"""

import json
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray
from tokenizers import Tokenizer

from tidegate import files
from tidegate.errors import PackageError
from tidegate.text import Normalization, normalize

FORMAT = 1
_KEYS = {
    "format": int,
    "task": str,
    "name": str,
    "labels": list,
    "max_length": int,
    "temperature": float,
    "normalization": dict,
    "slices": list,
}
_RESTORE = "Run `dvc repro`, which makes it anew, or restore the folder"


@dataclass(frozen=True, kw_only=True)
class Package:
    """A loaded package. It holds no state between calls and may be used by several threads at once."""

    name: str
    task: str
    labels: tuple[str, ...]
    """The label set, in the order of every probability vector."""
    digest: str
    folder: Path
    metadata: dict[str, Any]
    """The content of `package.json`."""
    threads: int
    _session: ort.InferenceSession
    _tokenizer: Tokenizer
    _pad_id: int
    _normalization: Normalization

    @classmethod
    def load(cls, folder: Path, *, expected_digest: str | None = None, threads: int | None = None) -> "Package":
        """Loads a package after checking it.

        Args:
            expected_digest: refuse any other content.
            threads: how many the runtime may use for one call; all CPUs of this process by default.

        Raises:
            PackageError: a file is missing or damaged, or the digest is another one.
        """
        metadata = read_metadata(folder)
        digest = files.digest_folder(folder)
        if expected_digest is not None and digest != expected_digest:
            cause = f"its digest is {digest}, expected was {expected_digest}"
            raise PackageError(str(folder), cause, "Restore the folder; it was changed after it was made")
        threads = threads or available_cpus()
        session = _session(folder / "model.onnx", threads, labels=len(metadata["labels"]))
        tokenizer = _tokenizer(folder / "tokenizer.json")
        pad_id = int((tokenizer.padding or {}).get("pad_id", 0))
        tokenizer.no_padding()
        tokenizer.enable_truncation(metadata["max_length"])
        return cls(
            name=metadata["name"], task=metadata["task"], labels=tuple(metadata["labels"]), digest=digest,
            folder=folder, metadata=metadata, threads=threads, _session=session, _tokenizer=tokenizer,
            _pad_id=pad_id, _normalization=_normalization(folder, metadata),
        )  # fmt: skip

    def predict(self, texts: Sequence[str], *, batch_size: int = 32) -> NDArray[np.float64]:
        """Probabilities (n, k) of raw texts (n,): softmax(logits / temperature)."""
        return softmax(self.logits(texts, batch_size=batch_size) / self.metadata["temperature"])

    def logits(self, texts: Sequence[str], *, batch_size: int = 32) -> NDArray[np.float64]:
        """Logits (n, k) of raw texts (n,). Texts of like length share a batch; longer ones are cut to `max_length`."""
        tokens = self.encode(texts)
        found = np.empty((len(tokens), len(self.labels)))
        order = sorted(range(len(tokens)), key=lambda row: len(tokens[row]))
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            found[rows] = self._run([tokens[row] for row in rows])
        return found

    def encode(self, texts: Sequence[str]) -> list[list[int]]:
        """Token ids of raw texts, normalized and cut, special tokens included, without padding."""
        if isinstance(texts, str):
            raise TypeError("a list of texts is asked for, not one text")
        prepared = [_encodable(normalize(text, self._normalization)) for text in texts]
        return [encoding.ids for encoding in self._tokenizer.encode_batch_fast(prepared)]

    def _run(self, tokens: list[list[int]]) -> NDArray[np.float32]:
        width = max(map(len, tokens))
        ids = np.full((len(tokens), width), self._pad_id, dtype=np.int64)
        mask = np.zeros_like(ids)
        for row, text in enumerate(tokens):
            ids[row, : len(text)] = text
            mask[row, : len(text)] = 1
        found: NDArray[np.float32] = self._session.run(["logits"], {"input_ids": ids, "attention_mask": mask})[0]
        return found


def softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    """Probabilities (n, k) of logits (n, k), in float64."""
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(raised / raised.sum(axis=1, keepdims=True))


def available_cpus() -> int:
    """The CPUs that this process may use, which may be fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def read_metadata(folder: Path) -> dict[str, Any]:
    """The checked content of `package.json`; all files of the package must be there.

    Raises:
        PackageError: a file is missing, or `package.json` is damaged or of another format.
    """
    if missing := [name for name in ("package.json", "model.onnx", "tokenizer.json") if not (folder / name).is_file()]:
        raise PackageError(str(folder), f"is no package: {', '.join(missing)} is missing", _RESTORE)
    path = folder / "package.json"
    try:
        metadata = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise PackageError(str(path), f"is damaged ({error})", _RESTORE) from None
    if problems := _problems(metadata):
        raise PackageError(str(path), "; ".join(problems), _RESTORE)
    return dict(metadata)


def write(folder: Path, *, model: Path, tokenizer: Path, metadata: dict[str, Any]) -> None:
    """Writes a package whole or not at all.

    Args:
        model: the ONNX file; inputs and output as docs/artifacts.md says.
        tokenizer: a `tokenizer.json`; its padding token is kept.
        metadata: the content of `package.json`; `format` is added.

    Raises:
        PackageError: the metadata lacks a key or holds nonsense.
    """
    metadata = {"format": FORMAT, **metadata}
    if problems := _problems(metadata):
        raise PackageError(str(folder / "package.json"), "; ".join(problems), "This is a fault of the code that writes")
    with files.replacing(folder) as draft:
        draft.mkdir()
        shutil.copyfile(model, draft / "model.onnx")
        shutil.copyfile(tokenizer, draft / "tokenizer.json")
        files.write_json(draft / "package.json", metadata)


def _problems(metadata: object) -> list[str]:
    if not isinstance(metadata, dict):
        return ["must be a mapping"]
    if metadata.get("format") != FORMAT:
        return [f"its format is {metadata.get('format')!r}, this version reads {FORMAT}"]
    problems = [f"{key} is missing" for key in _KEYS if key not in metadata]
    problems += [f"{key} is not known" for key in metadata if key not in _KEYS]
    problems += [
        f"{key} must be {kind.__name__}, is {metadata[key]!r}"
        for key, kind in _KEYS.items()
        if key in metadata and (not isinstance(metadata[key], kind) or isinstance(metadata[key], bool))
    ]
    return problems or _nonsense(metadata)


def _nonsense(metadata: dict[str, Any]) -> list[str]:
    labels, problems = metadata["labels"], []
    if len(labels) < 2 or len(set(map(str, labels))) != len(labels) or not all(isinstance(x, str) for x in labels):
        problems.append(f"labels must be at least two different texts, are {labels!r}")
    if metadata["max_length"] < 1:
        problems.append(f"max_length must be at least 1, is {metadata['max_length']}")
    if not 0 < metadata["temperature"] < float("inf"):
        problems.append(f"temperature must be above 0, is {metadata['temperature']}")
    return problems


def _session(path: Path, threads: int, *, labels: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3  # errors alone
    try:
        session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # the runtime's errors have no common base
        raise PackageError(str(path), f"is damaged ({' '.join(str(error).split())})", _RESTORE) from None
    names = {node.name for node in session.get_inputs()}, [node.name for node in session.get_outputs()]
    if names != ({"input_ids", "attention_mask"}, ["logits"]) or session.get_outputs()[0].shape[-1] != labels:
        cause = f"does not take ids and mask and give {labels} logits: {names}, {session.get_outputs()[0].shape}"
        raise PackageError(str(path), cause, _RESTORE)
    return session


def _tokenizer(path: Path) -> Tokenizer:
    try:
        tokenizer = Tokenizer.from_file(str(path))
    except Exception as error:  # tokenizers raises Exception itself
        raise PackageError(str(path), f"is damaged ({error})", _RESTORE) from None
    tokenizer.encode_special_tokens = True  # a "[SEP]" that somebody typed is text, no separator
    return tokenizer


def _normalization(folder: Path, metadata: dict[str, Any]) -> Normalization:
    try:
        return Normalization.from_json(metadata["normalization"])
    except Exception as error:
        raise PackageError(str(folder / "package.json"), f"normalization: {error}", _RESTORE) from None


def _encodable(text: str) -> str:
    """Lone surrogates have no UTF-8 form; they become replacement characters."""
    return text if text.isascii() else text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
