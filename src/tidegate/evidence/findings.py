"""What the earlier stages found about a candidate, as they wrote it. What follows from it is for the gate."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from tidegate import files
from tidegate.errors import DataError
from tidegate.evidence import predictions, rules
from tidegate.evidence.rules import Rule
from tidegate.evidence.scoring import Predictions

FEEDBACK = "feedback"
"""The `origin` of rows that were labelled in service; `ingest` writes it."""
_AGAIN = "Run `dvc repro`, which evaluates the present one"


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """The parts that the rules need; files are read when they are asked for."""

    evaluation: Mapping[str, Any]
    predictions: Path
    comparison: Mapping[str, Any]
    trainings: Mapping[str, Mapping[str, Any]]
    """By name of a trained model (`teacher`, the students, the pruned ones) the report of its training."""
    made_of: Mapping[str, Mapping[str, Any]]
    """By name of a package `of`, the trained model that it was made from."""
    name: str
    """The candidate's."""
    leakage: Mapping[str, Any]
    task: Mapping[str, Any]
    test: Path
    candidate: str
    champion: Mapping[str, Any]

    def check(self) -> None:
        """Raises a DataError where the evidence is about another candidate or other test rows."""
        if self.evaluation["models"]["candidate"]["digest"] != self.candidate:
            raise DataError("evaluation.json", "is about another candidate than data/candidate", _AGAIN)
        if self.evaluation["test_digest"] != files.sha256(self.test):
            raise DataError("evaluation.json", "is about other test rows than data/test.parquet", _AGAIN)

    def digest_of(self, role: str) -> str | None:
        """The digest pinned for a role, comparable or not."""
        digest: str | None = self.champion[role]["digest"]
        return digest

    def comparable(self, role: str) -> bool:
        """Whether the model of a role is there, is another than the candidate, and has its labels."""
        return self.digest_of(role) not in (None, self.candidate) and bool(self.champion[role]["comparable"])

    def settled(self, role: str, words: str) -> Rule | None:
        """The rule where there is nothing to compare with, or nothing comparable; None where there is."""
        digest, entry = self.digest_of(role), self.champion[role]
        if digest is None:
            return rules.stated(role, "pass", f"There is no {words} to compare with.")
        if digest == self.candidate:
            told = f"The candidate is the {words} itself (equal digests): nothing to replace."
            return rules.stated(role, "pass", told)
        if entry["comparable"]:
            return None
        told = f"The {words} cannot be compared: {entry['reason']}. Give a new label set a new task name."
        return rules.stated(role, "undecided", told)

    def predicted_by(self, role: str) -> Predictions:
        """What the model of a role, or the one that is the same, predicted on test."""
        role = self.evaluation["same_as"].get(role, role)
        return predictions.read(self.predictions / f"{role}.parquet", self.task["labels"])

    @cached_property
    def chosen(self) -> Predictions:
        """What the candidate predicted on test."""
        return self.predicted_by("candidate")

    @cached_property
    def recent(self) -> NDArray[np.bool_]:
        """(n,): the rows of `chosen` whose record came from feedback: the recent stratum."""
        frame = pl.read_parquet(self.test, columns=["id", "origin"])
        recent = frame.filter(pl.col("origin") == FEEDBACK)["id"].to_list()
        marked: NDArray[np.bool_] = np.isin(self.chosen.ids, np.array(recent, dtype=np.str_))
        return marked

    @property
    def gap(self) -> float:
        """Accuracy on train minus accuracy on validation of the model that the candidate was packaged from."""
        return float(self.trainings[self.made_of[self.name]["of"]]["gap"]["accuracy"])

    @property
    def reference(self) -> str:
        """The role that shows how far apart two models of this task are: champion, else teacher, else baseline."""
        if self.comparable("champion"):
            return "champion"
        return "teacher" if "teacher" in self.evaluation["models"] else "baseline"
