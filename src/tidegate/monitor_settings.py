"""How a champion is watched: section `monitor` of `params.yaml`. What is done with it is in `monitoring/`."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from tidegate import params
from tidegate.params import Range

Share = Annotated[float, Range(gt=0, lt=1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What one look is about."""

    rows: Annotated[int, Range(ge=50)]
    """Predictions a window; a window by time is scored as one of at most so many that are drawn from it."""
    hours: Annotated[float, Range(gt=0)] | None
    """Hours a window; null takes windows by count."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Alarm:
    """When findings become an alarm."""

    findings: Annotated[int, Range(ge=1)]
    """Windows with a finding, the latest among them, that make an alarm."""
    of: Annotated[int, Range(ge=1)]
    """The latest windows that are looked at for it."""
    minimum_rows: Annotated[int, Range(ge=1)]
    """Rows; what a smaller window finds makes no alarm."""
    minimum_effect: Annotated[float, Range(ge=0, lt=1)]
    """Effect, 0 to 1, beyond that of chance; what is smaller makes no alarm."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """The sequential test on the audit sample."""

    alpha: Share
    """Chance that a champion that is good enough is ever said not to be, however often one looks."""
    tolerance: Annotated[float, Range(ge=0, lt=1)]
    """Accuracy, as a share of rows, that may be lost against the reference."""
    block: Annotated[int, Range(ge=1)]
    """Audited rows after which the test begins anew beside the ones that run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Retrain:
    """When an alarm may start a training, and which."""

    mode: Literal["replace", "refresh", "recover"]
    """The gate's mode for what comes of it."""
    minimum_new_labels: Annotated[int, Range(ge=0)]
    """Labelled rows that the champion was not trained on; with fewer there is nothing to learn."""
    cooldown_hours: Annotated[float, Range(ge=0)]
    """Hours after the end of a retraining in which no other starts."""
    longest_hours: Annotated[float, Range(gt=0)]
    """Hours after which a retraining that nobody closed counts as failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Section `monitor` of `params.yaml`."""

    window: Window
    lens_share: Annotated[float, Range(gt=0, le=0.5)]
    """Share of the reference's groups from which the features are learned, and that are compared with nothing."""
    replays: Annotated[int, Range(ge=200, le=20_000)]
    """Windows drawn from the reference for the thresholds."""
    finding_rate: Annotated[float, Range(ge=0.01, le=0.5)]
    """Share of windows that did not drift and have a finding all the same, over all signals together."""
    seed: Annotated[int, Range(ge=0, lt=2**31)]
    """Of those draws, and of the folds of the classifiers."""
    alarm: Alarm
    accuracy: Accuracy
    retrain: Retrain
    messages: str
    """The environment variable that holds the addresses messages go to; they are secret, so they stand nowhere else."""

    def problems(self) -> Iterator[str]:
        """What spans several fields."""
        if self.alarm.findings > self.alarm.of:
            yield f"alarm.findings: {self.alarm.findings} of the latest {self.alarm.of} windows cannot be"
        if self.replays * self.finding_rate < 10:
            yield f"replays: {self.replays} are too few for a finding_rate of {self.finding_rate}; take 10 / rate"
        if self.window.rows < self.alarm.minimum_rows:
            yield f"window.rows: with {self.window.rows} rows no window reaches alarm.minimum_rows"


def read(root: Path) -> Settings:
    """Section `monitor`, bound.

    Raises:
        ParamsError: the section does not fit.
    """
    return params.bind(Settings, params.load(root / "params.yaml").get("monitor"), section="monitor")
