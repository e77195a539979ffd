"""Computes anew what the registry says of a version: the digest of its package, of its evidence, and its figures.

The test rows come from DVC's cache, by the digest that `dvc.lock` had when the version was judged.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tidegate import package_store, registry, reproduction
from tidegate.errors import PackageError, RegistryError
from tidegate.files import read_json, sha256
from tidegate.pipeline import read_lock
from tidegate.registry_state import DECISION
from tidegate.release import dossier, settings

FIGURES = ("accuracy", "macro_f1")


def verify(root: Path, number: int) -> dict[str, float]:
    """Holds a version against what was judged; prints what it looked at.

    Returns:
        The figures, computed anew on the test rows.

    Raises:
        RegistryError: there is no such version, or what it rests on is not kept any more.
        PackageError: package, evidence or figures are not what was judged; names the one.
    """
    how, task = settings.read(root), settings.task_of(root)
    version = registry.read(how.uri(), task).versions.get(number)
    what = f"version {number} of {task!r}"
    if version is None or version.digest is None or DECISION not in version.tags:
        remedy = "`python -m tidegate status` says which there are"
        raise RegistryError(what, "was not registered by tidegate, or is not in the registry", remedy)
    package = package_store.checked(version.digest)
    print(f"verify: the package has the digest {version.digest[:12]} that was registered")
    decision = dossier.read(version.tags[DECISION])
    folder = dossier.folder_of(version.tags[DECISION])
    dossier.check(folder, decision, what=str(folder))
    print(f"verify: the decision has the digest {version.tags[DECISION][:12]}, and its evidence is what was judged")
    found = figures(package, rows_of(root, folder, decision), read_json(folder / "evaluation.json"))
    for name, (now, then) in found.items():
        rows = f"{decision['test']['rows']:,} test rows"
        print(f"verify: {name.replace('_', '-')} on {rows} is {now:.4f}, was {then:.4f}")
        if not abs(now - then) <= how.figure_tolerance:
            remedy = "Do not serve it: roll back, and look which of runtime, machine and package changed"
            raise PackageError(what, f"has {name} {now:.4f} where evaluate found {then:.4f}", remedy)
    return {name: now for name, (now, _) in found.items()}


def rows_of(root: Path, folder: Path, decision: Mapping[str, Any]) -> Path:
    """The test rows that a decision rests on, from DVC's cache.

    Raises:
        RegistryError: they are not there.
        PackageError: they are not those of the decision.
    """
    outs = (read_lock(folder).get("split") or {}).get("outs", ())
    digest = next((out["md5"] for out in outs if out["path"].endswith("/test.parquet")), None)
    what = f"the test rows of {folder.name[:12]}"
    path = reproduction.cached(root, digest) if digest else None
    if path is None:
        remedy = "Run `dvc pull` at its revision, or accept that the figures cannot be computed anew"
        raise RegistryError(what, "are not in DVC's cache", remedy)
    if sha256(path) != decision["test"]["digest"]:
        raise PackageError(what, "are not those that it was judged on", "Restore DVC's cache")
    return path


def figures(package: Path, rows: Path, evaluation: Mapping[str, Any]) -> dict[str, tuple[float, float]]:
    """By name a figure of a package on labelled rows, and what `evaluate` found.

    Args:
        rows: Parquet with `text` and `label`.
    """
    import numpy as np
    import polars as pl
    from sklearn.metrics import accuracy_score, f1_score

    from tidegate.package import Package

    loaded, frame = Package.load(package), pl.read_parquet(rows)
    labels = np.array(loaded.labels)
    actual = frame["label"].to_numpy()
    predicted = labels[loaded.predict(frame["text"].to_list()).argmax(axis=1)]
    present = [label for label in loaded.labels if label in set(actual)]
    now = {
        "accuracy": accuracy_score(actual, predicted),
        "macro_f1": f1_score(actual, predicted, labels=present, average="macro", zero_division=0),
    }
    recorded = evaluation["models"]["candidate"]
    return {name: (float(now[name]), recorded[name]["value"]) for name in FIGURES}
