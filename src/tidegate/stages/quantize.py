"""Makes int8 candidates of the exported packages, fits every package's temperature, and says what each of them lost.

It chooses nothing: `compare` measures what it leaves, and `select` decides.
"""

import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from tidegate import files
from tidegate.errors import DataError, ModelError, PackageError, ParamsError
from tidegate.fitting import name_problems
from tidegate.params import Range

if TYPE_CHECKING:
    import onnx
    import polars as pl

    from tidegate.evidence.scoring import Predictions
    from tidegate.evidence.statistics import Floats
    from tidegate.package import Package


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """An int8 package to make."""

    name: str
    """Of the package, and so of its folder."""
    of: str
    """The exported package that it is made from."""
    activations: Literal["dynamic", "static"]
    """The scales of what goes into matrix products: computed from each batch, or fixed ones from training texts."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """Which int8 packages are made, and how."""

    candidates: list[Candidate]
    simplify: bool
    """Whether graphs are simplified first; their answers stay the same."""
    tolerance: Annotated[float, Range(gt=0, le=0.1)]
    """The largest difference of a logit that simplifying may make."""
    calibration_rows: Annotated[int, Range(ge=1)]
    """Training texts, a seeded sample, that fixed scales are taken from."""
    calibration_method: Literal["minmax", "percentile"]
    """What of them is kept apart: all values, or all but the most extreme ones of each text."""
    percentile: Annotated[float, Range(gt=50, le=100)]
    """Percent of a text's values that lie below the upper bound (and above the lower one); for percentile."""
    equalization: Annotated[float, Range(ge=0, le=1)] | None
    """How far large channels are made small, and their weights large, before scales are fixed; null leaves them."""
    flip_rows: Annotated[int, Range(ge=1)]
    """Validation texts, a seeded sample, that are asked for in different company."""
    replicates: Annotated[int, Range(ge=200, le=100_000)]
    """How often the groups are drawn anew for an interval."""
    seed: Annotated[int, Range(ge=0, lt=2**31)]
    """Of the samples, of the company and of the intervals."""

    def problems(self) -> Iterator[str]:
        """Names that can be no folder's."""
        return name_problems("candidates", [candidate.name for candidate in self.candidates])


def run(
    params: Params, *, exported: Path, train: Path, validation: Path, task: Path, packages: Path, quantization: Path
) -> None:
    """Writes `packages/NAME/` for every exported package and every candidate, and `quantization.json`."""
    import polars as pl

    sources = _sources(exported)
    _check(params.candidates, sources)
    described, rows = files.read_json(task, "labels", "slices"), pl.read_parquet(validation)
    if not len(rows):
        raise DataError(str(validation), "holds no rows", "Raise split's validation share, or take more rows")
    texts = _sample(pl.read_parquet(train, columns=["text"]), params.calibration_rows, params.seed)["text"].to_list()
    with files.replacing(packages) as draft:
        draft.mkdir()
        found = {name: _copy(params, source, draft / name) for name, source in sources.items()}
        for candidate in params.candidates:
            found[candidate.name] = _make(params, candidate, draft, texts)
        expected = {name: source.logits(rows["text"].to_list()) for name, source in sources.items()}
        for name, entry in found.items():
            entry |= _judged(params, draft / name, expected[entry["of"]], rows, described)
            if name in sources:
                _check_parity(params, name, entry["logit_difference"]["max"])
            print(_line(name, entry), flush=True)
        files.write_json(quantization, found)


def _sources(exported: Path) -> dict[str, "Package"]:
    from tidegate.package import Package

    folders = sorted(folder for folder in exported.iterdir() if folder.is_dir()) if exported.is_dir() else []
    if not folders:
        raise PackageError(str(exported), "holds no package", "Run `dvc repro export`")
    return {folder.name: Package.load(folder) for folder in folders}


def _check(candidates: Sequence[Candidate], sources: Mapping[str, "Package"]) -> None:
    known = ", ".join(sources)
    problems = [
        f"quantize.candidates: {one.name!r} is of {one.of!r}, which is no exported package; there are: {known}"
        for one in candidates
        if one.of not in sources
    ]
    problems += [
        f"quantize.candidates: an exported package is called {one.name!r} too; there are: {known}"
        for one in candidates
        if one.name in sources
    ]
    if problems:
        raise ParamsError("params.yaml", problems)


def _sample(rows: "pl.DataFrame", count: int, seed: int) -> "pl.DataFrame":
    return rows.sample(min(count, len(rows)), seed=seed, shuffle=True)


def _copy(params: Params, source: "Package", folder: Path) -> dict[str, Any]:
    """Writes an exported package as it is, or with a simplified graph."""
    import onnx

    from tidegate.model import simplification

    graph, found = onnx.load(source.folder / "model.onnx"), None
    if params.simplify:
        graph, found = simplification.simplified(graph, max_length=source.metadata["max_length"])
    _write(folder, graph, source)
    return {"of": folder.name, "activations": None, "simplified": asdict(found) if found else None}


def _make(params: Params, candidate: Candidate, draft: Path, texts: list[str]) -> dict[str, Any]:
    """Writes a candidate, made from the graph that `_copy` wrote."""
    import onnx

    from tidegate.model import quantization
    from tidegate.package import Package

    source = Package.load(draft / candidate.of)
    graph = onnx.load(source.folder / "model.onnx")
    if not quantization.inputs(graph):
        cause = "its graph holds no matrix product that could be quantized"
        raise ModelError(candidate.of, cause, f"Take {candidate.name} out of quantize.candidates")
    quantized = quantization.quantized(graph, None) if candidate.activations == "dynamic" else None
    _write(draft / candidate.name, quantized or _with_fixed_scales(params, graph, source, texts), source)
    return {"of": candidate.of, "activations": candidate.activations}


def _with_fixed_scales(
    params: Params, graph: "onnx.ModelProto", source: "Package", texts: list[str]
) -> "onnx.ModelProto":
    import numpy as np

    from tidegate.model import quantization

    rows = (np.array([tokens], dtype=np.int64) for tokens in source.encode(texts))  # one by one: without padding
    feeds = [{"input_ids": row, "attention_mask": np.ones_like(row)} for row in rows]
    if params.equalization is not None:
        graph = quantization.equalized(graph, feeds, strength=params.equalization)
    bounds = quantization.observed(graph, feeds, method=params.calibration_method, percentile=params.percentile)
    return quantization.quantized(graph, bounds)


def _write(folder: Path, graph: "onnx.ModelProto", source: "Package") -> None:
    import onnx

    from tidegate import package

    with tempfile.TemporaryDirectory(prefix="tidegate-") as drafts:
        onnx.save(graph, Path(drafts) / "model.onnx")
        package.write(
            folder, model=Path(drafts) / "model.onnx", tokenizer=source.folder / "tokenizer.json",
            metadata={**source.metadata, "name": folder.name},
        )  # fmt: skip


def _judged(
    params: Params, folder: Path, expected: "Floats", rows: "pl.DataFrame", described: Mapping[str, Any]
) -> dict[str, Any]:
    """Puts the temperature into a package; says what it is worth, and how far it is from the exported one.

    Args:
        expected: (n, k), the logits of that one.
    """
    import numpy as np

    from tidegate import package
    from tidegate.evidence import calibration, latency, predictions

    made = package.Package.load(folder)
    logits = made.logits(rows["text"].to_list())
    difference = np.abs(logits - expected)
    temperature, found = 1.0, {}
    for when in ("before", "after"):
        p = predictions.from_rows(rows, described["labels"], calibration.probabilities(logits, temperature), [])
        found[when] = _quality(params, p)
        temperature = calibration.temperature(logits, p.actual)
    metadata = {**made.metadata, "temperature": temperature}
    package.write(folder, model=folder / "model.onnx", tokenizer=folder / "tokenizer.json", metadata=metadata)
    return {
        "bytes": latency.size(package.Package.load(folder)),
        "temperature": temperature,
        **found,
        "logit_difference": {"max": float(difference.max()), "mean": float(difference.mean())},
        "labels_kept": float(np.mean(logits.argmax(axis=1) == expected.argmax(axis=1))),
        "flips": _flips(params, made, rows),
    }


def _check_parity(params: Params, name: str, difference: float) -> None:
    """Holds that simplifying a graph changed no answer."""
    if not difference <= params.tolerance:  # also true of nan
        cause = f"simplified, its logits differ by up to {difference:.3g}, allowed is {params.tolerance:g}"
        raise ModelError(
            name, cause, "Set quantize.simplify to false; if the figure is small, raise quantize.tolerance"
        )


def _quality(params: Params, p: "Predictions") -> dict[str, Any]:
    from tidegate.evidence import scoring

    found = scoring.metrics(p, replicates=params.replicates, seed=params.seed)
    return {name: found[name] for name in ("log_loss", "expected_calibration_error")}


def _flips(params: Params, made: "Package", rows: "pl.DataFrame") -> float:
    from tidegate.evidence import neighbours

    texts = _sample(rows, params.flip_rows, params.seed)["text"].to_list()
    ways = neighbours.compositions(list(map(len, made.encode(texts))), batch_size=32, seed=params.seed)

    def decide(batch: list[int]) -> Any:
        return made.logits([texts[row] for row in batch], batch_size=len(batch)).argmax(axis=1)

    return neighbours.flips(decide, ways, len(texts))


def _line(name: str, entry: Mapping[str, Any]) -> str:
    loss, ece = (
        [entry[when][figure]["value"] for when in ("before", "after")]
        for figure in ("log_loss", "expected_calibration_error")
    )
    return (
        f"{name}: {entry['bytes'] / 1e6:,.1f} MB, {entry['labels_kept']:.1%} of the labels kept, {entry['flips']:.1%} "
        f"change in other company; temperature {entry['temperature']:.2f}: log loss {loss[0]:.3f} to {loss[1]:.3f}, "
        f"calibration error {ece[0]:.3f} to {ece[1]:.3f}"
    )
