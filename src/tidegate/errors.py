"""Domain errors. Each names the object, the cause and the remedy; `__main__` prints it and exits with 2.

No logic lives here, and nothing that a user cannot mend is raised as one of these.
"""

from collections.abc import Sequence


class TidegateError(Exception):
    """Something a user can mend.

    Args:
        what: the object at fault, as the user knows it (a file, a params key, a stage, a model).
        cause: what is wrong with it.
        remedy: what to do about it.
    """

    def __init__(self, what: str, cause: str, remedy: str) -> None:
        super().__init__(f"{what}: {cause}. {remedy}")
        self.what = what
        self.cause = cause
        self.remedy = remedy


class ParamsError(TidegateError):
    """A file of settings does not fit what is asked of it; lists every problem found."""

    def __init__(self, what: str, problems: Sequence[str], remedy: str = "Correct it there") -> None:
        cause = problems[0] if len(problems) == 1 else "\n  - ".join([f"{len(problems)} problems", *problems])
        super().__init__(what, cause, f"\n{remedy}" if len(problems) > 1 else remedy)
        self.problems = tuple(problems)


class PipelineError(TidegateError):
    """`dvc.yaml` and the code of a stage do not agree, or the pipeline cannot be run."""


class BusyError(TidegateError):
    """Somebody else holds what this run needs."""


class SourceError(TidegateError):
    """A source of records or of a model cannot be read as it is described."""


class DataError(TidegateError):
    """The data was read, and is not fit for the stage."""


class ModelError(TidegateError):
    """An encoder, a checkpoint or a trained model cannot be used."""


class PackageError(TidegateError):
    """A candidate's folder is incomplete, damaged, or not what its digest says."""


class RegistryError(TidegateError):
    """The registry, the promotion log or a pin does not hold what was asked for."""


class StaleDecisionError(RegistryError):
    """The world moved on since the decision was made; a new run has to decide again."""


class BudgetError(RegistryError):
    """A test set has decided about more candidates than it can without being fitted to."""
