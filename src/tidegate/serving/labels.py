"""How true labels come back: rows to label, labels in bulk, and the snapshot that `ingest` takes in.

The tables are `prediction_log`'s; which snapshot is pinned is `sync`'s business.
"""

import csv
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tidegate import files
from tidegate.errors import DataError, RegistryError
from tidegate.serving.prediction_log import Feedback, PredictionLog

if TYPE_CHECKING:
    import polars as pl

COLUMNS = ("id", "kind", "text", "predicted", "label", "by")
_AT_ONCE = 500
"""Labels a transaction: a service that runs has to wait for no more."""
_SHOWN = 20
"""Lines at fault that a message names."""


def sample(log: PredictionLog, target: Path, rows: int) -> dict[str, int]:
    """Writes predictions without a true label to a CSV, for people to fill in the column `label`.

    Column `kind` keeps apart what must not be mixed: `audit`, the oldest of the random sample, whose labels estimate
    the accuracy; `uncertain`, the least sure answers of the others, good to learn from and bad to measure by.

    Args:
        rows: of each kind, at most.

    Returns:
        Rows by kind.
    """
    import polars as pl

    open_rows = log.window().filter(pl.col("actual").is_null())
    audit = open_rows.filter("audit").head(rows)
    others = open_rows.filter(~pl.col("audit")).with_columns(pl.col("probabilities").list.max().alias("sure"))
    uncertain = others.unique("text", keep="first", maintain_order=True).sort("sure", "seq").head(rows)
    kinds = {"audit": audit, "uncertain": uncertain}
    with files.replacing(target) as draft, draft.open("w", encoding="utf-8", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(COLUMNS)
        for kind, frame in kinds.items():
            for name, text, label in frame.select("id", "text", "label").iter_rows():
                writer.writerow([name, kind, text, label, "", ""])
    return {kind: frame.height for kind, frame in kinds.items()}


def take_in(log: PredictionLog, source: Path, labels: Sequence[str], *, by: str) -> int:
    """Takes in the labels of a CSV with `id`, `label` and, where it has it, `by`; rows without a label are passed over.

    Labels of the audit sample count for the accuracy: whoever gives a file has labelled it as a whole. What was taken
    in before is not taken in twice, so a mended file may be given again.

    Args:
        labels: the classes that are known.
        by: who says so, where a row does not tell.

    Returns:
        How many were taken in.

    Raises:
        DataError: the file cannot be read; or ids or labels are not known: it names their lines, and the others are
            taken in.
    """
    problems: list[str] = []
    good = list(_readable(source, labels, by, problems))
    taken = 0
    for start in range(0, len(good), _AT_ONCE):
        part = good[start : start + _AT_ONCE]
        known = log.record_feedback([given for _, given in part])
        taken += sum(known)
        problems += [
            f"line {line}: no prediction has the id {given.prediction_id[:40]!r}"
            for (line, given), found in zip(part, known, strict=True)
            if not found
        ]
    if problems:
        more = [f"and {len(problems) - _SHOWN:,} more"] if len(problems) > _SHOWN else []
        told = "\n  - ".join([f"{len(problems):,} rows were left out", *problems[:_SHOWN], *more])
        raise DataError(str(source), told, f"\nThe other {taken:,} were taken in. Mend these and give the file again")
    return taken


def _readable(source: Path, labels: Sequence[str], by: str, problems: list[str]) -> Iterator[tuple[int, Feedback]]:
    """The rows with a known label, by line; says what is wrong with the others."""
    try:
        with source.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream)
            if missing := [name for name in ("id", "label") if name not in (reader.fieldnames or ())]:
                raise DataError(str(source), f"has no column {' and no '.join(missing)}", "Give it a header: id,label")
            for row in reader:
                label = (row["label"] or "").strip()
                if label and label not in labels:
                    known = f"line {reader.line_num}: {label[:40]!r} is none of: {', '.join(labels)}"
                    problems.append(known)
                elif label:
                    who = (row.get("by") or "").strip() or by
                    name = (row["id"] or "").strip()
                    yield reader.line_num, Feedback(prediction_id=name, label=label, by=who, kind="audit")
    except FileNotFoundError:
        raise DataError(str(source), "is missing", "Name a CSV file, as `tidegate sample` writes it") from None
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(str(source), f"is no CSV in UTF-8 ({error})", "Save it as CSV, UTF-8") from None


def snapshot(log: PredictionLog, pinned: str | None) -> str | None:
    """Writes all labelled predictions to `var/feedback/DIGEST.parquet` as `ingest` takes them; returns the digest.

    It is `pinned` where that snapshot has the same rows, and None where there are none.
    """
    frame = _records(log.labelled())
    folder = files.var_folder() / "feedback"
    if frame.is_empty() or (pinned and _holds(folder / f"{pinned}.parquet", frame)):
        return pinned if not frame.is_empty() else None
    with files.scratch(folder, "snapshot") as scratch:
        draft = scratch / "snapshot.parquet"
        frame.write_parquet(draft, compression="zstd")
        digest = files.sha256(draft)
        draft.replace(folder / f"{digest}.parquet")
    return digest


def _records(labelled: "pl.DataFrame") -> "pl.DataFrame":
    """The columns of a record: an `id` that no source has, the true label, the document as the group."""
    import polars as pl

    return labelled.select(
        ("feedback-" + pl.col("id")).alias("id"),
        "text",
        pl.col("actual").alias("label"),
        pl.coalesce("document", "feedback-" + pl.col("id")).alias("group"),
        pl.from_epoch((pl.col("at") * 1_000_000).cast(pl.Int64), time_unit="us")
        .dt.replace_time_zone("UTC")
        .alias("received_at"),
        "kind",
    )


def _holds(file: Path, frame: "pl.DataFrame") -> bool:
    import polars as pl

    return file.exists() and files.sha256(file) == file.stem and pl.read_parquet(file).equals(frame)


def known_labels(digest: str) -> list[str]:
    """The classes of a package in the store.

    Raises:
        RegistryError: it is not there.
    """
    from tidegate import package_store
    from tidegate.package import read_metadata

    folder = package_store.folder_of(digest)
    if not folder.is_dir():
        raise RegistryError(f"package {digest[:12]}", "is not in var/packages", "Restore it from a backup")
    return list(read_metadata(folder)["labels"])
