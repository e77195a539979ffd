"""The log of all that was answered, and the true labels that came back: how it is opened, read and pruned.

One file a task in `var/predictions/`, or any database that SQLAlchemy reaches. Its tables stand in `tables`; what
writes answers while the service runs is `log_writer`; what is made of the labels is `labels`.
"""

import json
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError

from tidegate.errors import DataError
from tidegate.files import var_folder
from tidegate.serving.tables import feedback, metadata, predictions, shadow

if TYPE_CHECKING:
    import polars as pl

Kind = Literal["audit", "volunteered"]

_BUSY_S = 30


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """A true label for a prediction."""

    prediction_id: str
    label: str
    by: str
    """Who says so."""
    kind: Kind
    """`audit` where it was labelled because it is in the audit sample; it counts as `volunteered` where it is not."""


class PredictionLog:
    """The log of one task. It may be used by several threads, and several processes may have it open."""

    def __init__(self, task: str, uri: str | None) -> None:
        """Opens the log, and makes its tables where they are missing.

        Args:
            uri: an SQLAlchemy address; None is SQLite in `var/predictions/TASK.db`.

        Raises:
            DataError: the database does not answer, or its driver is not installed.
        """
        self.shown = _shown(task, uri)
        try:
            self.engine = _engine(task, uri)
            metadata.create_all(self.engine)
        except (SQLAlchemyError, ImportError, OSError) as error:
            raise _unusable(self.shown, error) from error

    def close(self) -> None:
        """Gives the connections back."""
        self.engine.dispose()

    def __enter__(self) -> "PredictionLog":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def transaction(self) -> Iterator[sa.Connection]:
        """A connection whose work is kept as a whole or not at all.

        Raises:
            DataError: the database refused it.
        """
        try:
            with self.engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            raise _unusable(self.shown, error) from error

    def window(
        self, after_seq: int = 0, limit: int | None = None, *, since: float | None = None, model: str | None = None
    ) -> "pl.DataFrame":
        """Predictions in the order in which they were given, with the true labels that are known by now.

        Args:
            after_seq: the `seq` after which the window begins.
            limit: rows, at most.
            since: seconds since the epoch, UTC.
            model: the digest of the package that has to have answered.

        Returns:
            Columns `seq, id, at, model, text, label, probabilities (list of f64), tokens, unknown, audit (bool),
            document, actual`. `actual` is the latest true label, null where none is known; in the audit sample only
            labels of kind `audit` count, since who volunteers a label rather does so where the answer was wrong.
        """
        query = sa.select(*(column for column in predictions.c), _latest("label").label("actual"))
        query = query.where(predictions.c.seq > after_seq).order_by(predictions.c.seq).limit(limit)
        if since is not None:
            query = query.where(predictions.c.at >= since)
        if model is not None:
            query = query.where(predictions.c.model == model)
        return self._frame(query)

    def labelled(self) -> "pl.DataFrame":
        """As `window`, all predictions that have a true label, with `kind`, the latest label's, whatever its kind."""
        newest = (
            sa.select(feedback.c.prediction_id, sa.func.max(feedback.c.seq).label("seq"))
            .group_by(feedback.c.prediction_id)
            .subquery()
        )
        query = (
            sa.select(*(column for column in predictions.c), feedback.c.label.label("actual"), feedback.c.kind)
            .join(newest, newest.c.prediction_id == predictions.c.id)
            .join(feedback, feedback.c.seq == newest.c.seq)
            .order_by(predictions.c.seq)
        )
        return self._frame(query)

    def _frame(self, query: "sa.Select[Any]") -> "pl.DataFrame":
        import polars as pl

        with self.transaction() as connection:
            rows = [tuple(row) for row in connection.execute(query)]
        names = [column.name for column in query.selected_columns]
        kinds = {"seq": pl.Int64, "at": pl.Float64, "tokens": pl.Int64, "unknown": pl.Int64, "audit": pl.Int64}
        frame = pl.DataFrame(rows, schema={name: kinds.get(name, pl.String) for name in names}, orient="row")
        return frame.with_columns(
            pl.col("probabilities").str.json_decode(pl.List(pl.Float64)), pl.col("audit").cast(pl.Boolean)
        )

    def record_feedback(self, given: Sequence[Feedback]) -> list[bool]:
        """Adds true labels, in one transaction; for each whether its prediction is known, without which none is added.

        A label that somebody gave last for the same prediction is not added twice.
        """
        with self.transaction() as connection:
            return [add_feedback(connection, one) for one in given]


def add_feedback(connection: sa.Connection, given: Feedback) -> bool:
    """Adds one true label; whether the prediction is known."""
    audit = connection.execute(
        sa.select(predictions.c.audit).where(predictions.c.id == given.prediction_id)
    ).scalar_one_or_none()
    if audit is None:
        return False
    values = {"label": given.label, "by": given.by, "kind": given.kind if audit else "volunteered"}
    last = connection.execute(
        sa.select(feedback.c.label, feedback.c.by, feedback.c.kind)
        .where(feedback.c.prediction_id == given.prediction_id)
        .order_by(feedback.c.seq.desc())
        .limit(1)
    ).one_or_none()
    if last is None or dict(last._mapping) != values:
        connection.execute(feedback.insert(), {"prediction_id": given.prediction_id, "at": time.time(), **values})
    return True


def _latest(column: str) -> "sa.ScalarSelect[Any]":
    """A column of the latest feedback on a prediction that may count."""
    counts = sa.or_(predictions.c.audit == 0, feedback.c.kind == "audit")
    query = sa.select(feedback.c[column]).where(feedback.c.prediction_id == predictions.c.id, counts)
    return query.order_by(feedback.c.seq.desc()).limit(1).correlate(predictions).scalar_subquery()


def prune(connection: sa.Connection, before: float, most: int) -> int:
    """Deletes predictions without a true label, and shadow answers, that are older; at most so many of each.

    Args:
        before: seconds since the epoch, UTC.

    Returns:
        How many were deleted of the kind of which more were.
    """
    known = sa.exists().where(feedback.c.prediction_id == predictions.c.id)
    old = {
        predictions: sa.select(predictions.c.seq).where(predictions.c.at < before, ~known).limit(most),
        shadow: sa.select(shadow.c.seq).where(shadow.c.at < before).limit(most),
    }
    return max(
        connection.execute(table.delete().where(table.c.seq.in_(query.subquery().select()))).rowcount
        for table, query in old.items()
    )


def probabilities_of(values: Iterable[float]) -> str:
    """Probabilities as the log has them."""
    return json.dumps(list(values), separators=(",", ":"))


def file_of(task: str) -> Path:
    """Where the log of a task lies, or would lie, unless an address names another place."""
    return var_folder() / "predictions" / f"{task}.db"


def _engine(task: str, uri: str | None) -> sa.Engine:
    if uri is None:
        file_of(task).parent.mkdir(parents=True, exist_ok=True)
        uri = f"sqlite:///{file_of(task)}"
    engine = sa.create_engine(uri, connect_args={"timeout": _BUSY_S} if uri.startswith("sqlite") else {})
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _prepare)
    return engine


def _prepare(connection: Any, _: object) -> None:
    """WAL, so that readers hold up no writer; FULL, so that a commit is on the disk and outlives a power cut too."""
    for pragma in ("journal_mode = WAL", "synchronous = FULL"):
        connection.execute(f"PRAGMA {pragma}")


def _shown(task: str, uri: str | None) -> str:
    """How a person knows the log; an address without its password."""
    try:
        return str(file_of(task)) if uri is None else sa.make_url(uri).render_as_string(hide_password=True)
    except SQLAlchemyError:
        return "serve.log_uri"


def _unusable(shown: str, error: Exception) -> DataError:
    cause = " ".join(str(getattr(error, "orig", None) or error).split())[:300]
    remedy = "Look whether the disk is full, and at serve.log_uri in params.yaml"
    return DataError(f"the prediction log {shown}", f"cannot be used ({cause})", remedy)
