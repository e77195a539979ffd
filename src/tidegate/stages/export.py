"""Makes a package of each trained model and proves that it answers as the model did.

No graph is changed for speed here beyond what keeps the answers: that is `quantize`'s work.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tidegate import files
from tidegate.errors import ModelError
from tidegate.params import Range

if TYPE_CHECKING:
    from tidegate.model.export import Classifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Params:
    """How models are written as packages, and how close a package has to be to its model."""

    opset: Annotated[int, Range(ge=18, le=22)]
    """Version of the ONNX operator set."""
    parity_rows: Annotated[int, Range(ge=1)]
    """Validation texts on which package and model are compared."""
    tolerance: Annotated[float, Range(gt=0, le=0.1)]
    """The largest difference of a logit that is let through."""
    seed: Annotated[int, Range(ge=0, lt=2**31)]
    """Seed of the sample of validation texts."""


def run(
    params: Params,
    *,
    teacher: Path,
    students: Path,
    pruned: Path,
    validation: Path,
    normalization: Path,
    task: Path,
    exported: Path,
    parity: Path,
) -> None:
    """Writes `exported/NAME/` for each model and `parity.json`."""
    export_all(
        params,
        named(teacher, students, pruned),
        texts=_sample(validation, rows=params.parity_rows, seed=params.seed),
        normalization=files.read_json(normalization),
        task=files.read_json(task),
        exported=exported,
        parity=parity,
    )


def named(teacher: Path, *folders: Path) -> dict[str, Path]:
    """All models by name, the teacher first.

    Raises:
        ModelError: two of them have the same name.
    """
    found = {teacher.name: teacher}
    for folder in folders:
        for model in sorted(folder.iterdir()):
            if model.name in found:
                cause = f"is a model in {found[model.name].parent} and in {folder}"
                raise ModelError(model.name, cause, "Rename one in distill.students or prune.models")
            found[model.name] = model
    return found


def export_all(
    params: Params,
    models: Mapping[str, Path],
    *,
    texts: list[str],
    normalization: dict[str, Any],
    task: dict[str, Any],
    exported: Path,
    parity: Path,
) -> None:
    """Exports `models` (name: folder) in their order; nothing is written unless all of them pass."""
    from tidegate.model import export

    found = {}
    with files.replacing(exported) as draft:
        for name, folder in models.items():
            classifier = export.load(folder, labels=task["labels"])
            export.write_package(
                draft / name, classifier, name=name, task=task, normalization=normalization, opset=params.opset
            )
            found[name] = _checked(params, name, classifier, draft / name, texts, normalization)
    files.write_json(parity, found)


def _checked(
    params: Params, name: str, classifier: "Classifier", folder: Path, texts: list[str], normalization: dict[str, Any]
) -> dict[str, Any]:
    from tidegate.model import export
    from tidegate.package import Package

    package = Package.load(folder)
    found: dict[str, Any] = export.parity(classifier, package, texts, normalization=normalization)
    difference, size = found["max_logit_difference"], sum(file.stat().st_size for file in files.walk(folder))
    print(f"{name}: {size / 1e6:,.1f} MB, logits within {difference:.1g} on {found['rows']:,} texts")
    if not difference <= params.tolerance:  # also true of nan
        cause = (
            f"the package's logits differ by up to {difference:.3g} from the model's, allowed is {params.tolerance:g}"
        )
        raise ModelError(name, cause, "Try another export.opset; if the figure is small, raise export.tolerance")
    return found


def _sample(validation: Path, *, rows: int, seed: int) -> list[str]:
    """A seeded sample of texts, and two that are likely to be handled wrongly: the empty one and one that is cut."""
    import polars as pl

    texts = pl.read_parquet(validation, columns=["text"])["text"]
    drawn: list[str] = texts.sample(min(rows, len(texts)), seed=seed).to_list()
    return [*drawn, "", " ".join([*drawn, "word " * 10_000])]
