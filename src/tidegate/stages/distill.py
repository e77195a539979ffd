"""Stage distill: students, built from the teacher's own layers and taught by its logits and hidden states.

The learning itself is in `model/distillation.py` and `model/school.py`; a run that was killed goes on from
`<students>.partial`.
"""

import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from tidegate import effort, files
from tidegate.fitting import Teaching, name_problems, spare_cores
from tidegate.params import Range


@dataclass(frozen=True, slots=True, kw_only=True)
class Student:
    """What a student is built from."""

    name: str
    """Of the student, and so of its folder."""

    layers: Annotated[list[Annotated[int, Range(ge=0)]], Range(ge=1)]
    """Layers of the teacher, ascending; 0 is the lowest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Params(Teaching):
    """Which students there are, and how they are taught."""

    students: list[Student]

    def problems(self) -> Iterator[str]:
        """What does not go together."""
        yield from Teaching.problems(self)
        yield from name_problems("students", [student.name for student in self.students])
        for student in self.students:
            if student.layers != sorted(set(student.layers)):
                yield f"students: layers of {student.name!r} must ascend, each named once"


def run(
    params: Params, *, teacher: Path, tokens: Path, train: Path, unlabelled: Path, task: Path, students: Path,
    distillation: Path, distill_effort: Path,
) -> None:  # fmt: skip
    """Teaches the students one after the other, or goes on with a run of the same inputs that was killed."""
    with effort.measuring(distill_effort, params) as meter:
        spare_cores()
        from tidegate.model import anatomy
        from tidegate.model import distillation as teaching
        from tidegate.model import encoder as encoders
        from tidegate.model import school as schools

        about, unfinished = files.read_json(task), students.with_name(f"{students.name}.partial")
        key = files.digest_json([asdict(params), about["labels"], *map(files.digest_folder, (teacher, tokens))])
        meter.go_on(key)
        school = schools.opened(
            teacher, tokens, (train, unlabelled), about, section="distill", settings=params, folder=unfinished, key=key
        )
        models, reports = {}, {}
        for student in params.students:
            name, count = student.name, len(anatomy.layer_stack(school.teacher))
            print(f"{name}: layers {', '.join(map(str, student.layers))} of {count}", flush=True)
            models[name] = teaching.student(school.teacher, student.layers)
            report = school.teach(models[name], name, taught_by=teaching.matched(student.layers, count))
            if report is not None:  # else not the first of several processes
                reports[name] = {"layers": student.layers, **report}
        if len(reports) < len(models):
            return
        with files.replacing(students) as draft:
            draft.mkdir()
            for name, model in models.items():
                encoders.save(model, draft / name, tokenizer_of=teacher)
        files.write_json(distillation, reports)
        shutil.rmtree(unfinished, ignore_errors=True)
        meter.write(distill_effort)
