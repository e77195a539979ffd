"""How the service is run: section `serve` of `params.yaml`, bound. Light to import; nothing is served here."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from tidegate import params
from tidegate.params import Range

KEYS = "TIDEGATE_API_KEYS"
"""The environment variable that holds the keys of clients: `KEY` or `NAME:KEY`, with commas between."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Section `serve` of `params.yaml`."""

    workers: Annotated[int, Range(ge=1, le=256)] | None
    """Calls of the model at once, each on one CPU; null takes all CPUs of the process."""
    batch_texts: Annotated[int, Range(ge=1, le=4_096)]
    """Texts that one call of the model takes together."""
    batch_wait_ms: Annotated[float, Range(ge=0, le=1_000)]
    """Milliseconds that a text waits for company while other requests are under way; alone it never waits."""
    queue_texts: Annotated[int, Range(ge=1, le=1_000_000)]
    """Texts that may wait; beyond, requests are refused with 429."""
    timeout_s: Annotated[float, Range(gt=0, le=3_600)]
    """Seconds from a request that was read to its answer; beyond, 504."""
    read_timeout_s: Annotated[float, Range(gt=0, le=3_600)]
    """Seconds in which the head of a request has to arrive, and then its body."""
    shutdown_s: Annotated[int, Range(ge=0, le=3_600)]
    """Seconds that requests under way have to end in when the service is stopped."""
    max_texts: Annotated[int, Range(ge=1, le=100_000)]
    """Texts a request."""
    max_characters: Annotated[int, Range(ge=1, le=1_000_000_000)]
    """Characters a text."""
    max_bytes: Annotated[int, Range(ge=1, le=1_000_000_000)]
    """Bytes of a request's body."""
    explain_texts: Annotated[int, Range(ge=0, le=1_000)]
    """Texts of a request that may be explained; 0 switches it off."""
    explain_parts: Annotated[int, Range(ge=1, le=1_000)]
    """Parts that a text is explained in: its words, or runs of them where it has more."""
    poll_s: Annotated[float, Range(gt=0, le=3_600)]
    """Seconds between two looks at who is champion."""
    shadow: bool
    """Whether the challenger is asked too; its answers are logged and never returned."""
    log_uri: str | None
    """SQLAlchemy address of the prediction log; null is SQLite in `var/predictions/TASK.db`."""
    keep_days: Annotated[float, Range(gt=0, le=100_000)]
    """Days that a prediction without a true label is kept."""
    audit_share: Annotated[float, Range(ge=0, le=1)]
    """Chance of a prediction to be marked for the random audit sample."""

    def problems(self) -> Iterator[str]:
        """What spans several keys."""
        if self.queue_texts < self.max_texts:
            yield f"queue_texts must hold a request of max_texts ({self.max_texts:,}), is {self.queue_texts:,}"


def read(root: Path) -> Settings:
    """Section `serve`, bound.

    Raises:
        ParamsError: the section is missing or does not fit.
    """
    return params.bind(Settings, params.load(root / "params.yaml").get("serve"), section="serve")
