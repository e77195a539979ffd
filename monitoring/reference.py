"""What windows are compared with: the champion's predictions on test, as the prediction log would have had them.

Reading and keeping them. What is compared is in `signals`.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tidegate.errors import DataError
from tidegate.files import digest_json, read_json, replacing, var_folder, write_json

if TYPE_CHECKING:
    import polars as pl

    from tidegate.package import Package

COLUMNS = ("id", "text", "label", "probabilities", "tokens", "unknown", "document", "actual")
"""Of a reference; windows have these and `at` and `audit`. `label` is what was predicted, `actual` what is true."""


@dataclass(frozen=True)
class Reference:
    """The test predictions of one package.

    Attributes:
        model: the digest of the package.
        labels: the label set, in the order of every probability vector.
        rows: a frame with `COLUMNS`; `document` is the group of the row.
    """

    model: str
    labels: tuple[str, ...]
    rows: "pl.DataFrame"

    @cached_property
    def accuracy(self) -> float:
        """Share of the rows that were predicted right."""
        return float((self.rows["label"] == self.rows["actual"]).mean())  # type: ignore[arg-type]

    @cached_property
    def digest(self) -> str:
        """The identity of all that thresholds are taken from."""
        columns = [self.rows[name].to_list() for name in ("id", "text", "document", "tokens", "unknown", "label")]
        return digest_json([self.model, list(self.labels), columns, self.rows["probabilities"].to_list()])


def build(package: "Package", predictions: "pl.DataFrame", rows: "pl.DataFrame") -> Reference:
    """Joins what a package predicted with the texts that it saw.

    Args:
        predictions: with `id`, `group`, `label` (the true one), `predicted` and `probabilities`.
        rows: with `id` and `text`; those of other ids are left out.

    Raises:
        DataError: a prediction has no text.
    """
    import polars as pl

    joined = predictions.join(rows.select("id", "text"), on="id", how="left", maintain_order="left")
    if joined["text"].null_count():
        cause = f"lack the text of {joined['text'].null_count()} predictions"
        raise DataError("the test rows", cause, "Restore var/decisions and DVC's cache of the same decision")
    tokens, unknown = counts(package, joined["text"].to_list())
    frame = joined.select(
        "id", "text", label="predicted", probabilities="probabilities", document="group", actual="label"
    ).with_columns(tokens=pl.Series(tokens), unknown=pl.Series(unknown))
    return Reference(package.digest, package.labels, frame.select(COLUMNS))


def counts(package: "Package", texts: Sequence[str]) -> tuple[list[int], list[int]]:
    """By text its tokens as the package sees them (cut, special tokens included), and the unknown ones among them."""
    model = json.loads((package.folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    vocabulary = model.get("vocab")
    place = vocabulary.get(model.get("unk_token")) if isinstance(vocabulary, dict) else model.get("unk_id")
    encoded = package.encode(texts)
    return [len(ids) for ids in encoded], [sum(token == place for token in ids) for ids in encoded]


def of_champion(root: Path, model: str, decision: str) -> Reference:
    """The reference of a package from the decision that judged it; made once, then kept in `var/monitoring`.

    Args:
        root: the checkout whose DVC cache holds the test rows.
        decision: the digest of the decision; `release.standing` knows it by package.

    Raises:
        RegistryError: what the decision rests on is not kept any more.
        PackageError: the package or the evidence is not what was judged.
    """
    folder = var_folder() / "monitoring" / "references" / model
    if not folder.is_dir():
        keep(_made(root, model, decision), folder)
    return kept(folder)


def _made(root: Path, model: str, decision: str) -> Reference:
    import polars as pl

    from tidegate import package_store
    from tidegate.package import Package
    from tidegate.release import dossier, verification

    content: Mapping[str, Any] = dossier.read(decision)
    folder = dossier.folder_of(decision)
    dossier.check(folder, content, what=str(folder))
    predictions = pl.read_parquet(folder / "predictions" / "candidate.parquet")
    rows = pl.read_parquet(verification.rows_of(root, folder, content))
    return build(Package.load(package_store.checked(model)), predictions, rows)


def keep(reference: Reference, folder: Path) -> None:
    """Writes a reference as a folder, whole or not at all."""
    with replacing(folder) as draft:
        draft.mkdir()
        reference.rows.write_parquet(draft / "rows.parquet")
        write_json(draft / "reference.json", {"model": reference.model, "labels": list(reference.labels)})


def kept(folder: Path) -> Reference:
    """Reads what `keep` wrote.

    Raises:
        DataError: it is damaged.
    """
    import polars as pl

    about = read_json(folder / "reference.json", "model", "labels")
    try:
        rows = pl.read_parquet(folder / "rows.parquet")
    except (OSError, pl.exceptions.PolarsError) as error:
        raise DataError(str(folder), f"cannot be read ({error})", "Delete the folder; it is made anew") from None
    return Reference(about["model"], tuple(about["labels"]), rows)
