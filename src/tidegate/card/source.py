"""What a card is made from: the JSON that the stages wrote, read when it is asked for.

Which of it is told, and how, is in the sections.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from tidegate import files
from tidegate.errors import DataError

Json = Mapping[str, Any]
TRAININGS = ("train", "distill", "prune")
"""The stages that write what they took."""


@dataclass(frozen=True)
class Source:
    """One finished run.

    Args:
        data: the folder of its artifacts. A file or a key that is missing is a DataError that names it.
        params: the sections of `params.yaml` that the run had.
        about: what the artifacts do not know, such as version and revision; a name and a value each.
    """

    data: Path
    params: Json
    about: Mapping[str, str]

    def read(self, name: str) -> Any:
        """The content of `NAME.json`."""
        return files.read_json(self.data / f"{name}.json")

    def setting(self, section: str, key: str) -> Any:
        """One of the params; None where they lack it."""
        return (self.params.get(section) or {}).get(key)

    @cached_property
    def decision(self) -> Json:
        """What the gate decided."""
        found: Json = self.read("decision")
        return found

    @cached_property
    def evaluation(self) -> Json:
        """What was measured on test."""
        found: Json = self.read("evaluation")
        return found

    @cached_property
    def labels(self) -> list[str]:
        """The label set."""
        return list(self.read("task")["labels"])

    @property
    def candidate(self) -> Json:
        """Its figures on test."""
        found: Json = self.evaluation["models"]["candidate"]
        return found

    @cached_property
    def chosen(self) -> str:
        """The candidate's name.

        Raises:
            DataError: what was chosen, evaluated and judged are not the same package.
        """
        selection = self.read("selection")
        digests = {selection["digest"], self.candidate["digest"], self.decision["candidate"]}
        if len(digests) > 1:
            cause = "is about another candidate than evaluation.json or decision.json"
            raise DataError(str(self.data / "selection.json"), cause, "Run `dvc repro`, which makes them agree")
        return str(selection["chosen"])

    @cached_property
    def compared(self) -> Json:
        """The candidate's figures on validation."""
        found: Json = self.read("comparison")[self.chosen]
        return found

    @cached_property
    def quantized(self) -> Json:
        """How the candidate's package was made from an exported one."""
        found: Json = self.read("quantization")[self.chosen]
        return found

    @cached_property
    def ancestors(self) -> list[str]:
        """The trained models that the candidate came from, the teacher first, its own weights' last."""
        pruned, students = self.read("pruning"), self.read("distillation")
        names = [str(self.quantized["of"])]
        while names[0] in pruned:
            names.insert(0, str(pruned[names[0]]["of"]))
        if names[0] in students:
            names.insert(0, "teacher")
        return names

    def effort(self, stage: str) -> Json | None:
        """What a training took; None where it was made before that was measured."""
        path = self.data / f"{stage}_effort.json"
        return files.read_json(path, "seconds", "cpu_seconds", "energy") if path.exists() else None
