"""The model card of a finished run as Markdown, after Mitchell et al., Model Cards for Model Reporting (2019).

It tells what the stages wrote and computes no figure of its own; the same files give the same bytes.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tidegate.card import origin, results, spent
from tidegate.card.source import Source
from tidegate.card.words import plain

_SECTIONS = {
    "What it is": origin.identity,
    "Use": origin.use,
    "Limits": results.limits,
    "Figures on test": results.figures,
    "Slices": results.slices,
    "Calibration": results.calibration,
    "Robustness": results.robustness,
    "Latency and size": results.speed,
    "The gate": results.gate,
    "Data": origin.data,
    "Training": origin.training,
    "Effort": spent.effort,
}


def markdown(data: Path, *, params: Mapping[str, Any], about: Mapping[str, str]) -> str:
    """The card.

    Args:
        data: the folder with the artifacts of a run that ended with a decision.
        params: the sections of `params.yaml` of that run.
        about: what the artifacts do not know, in the order it is shown: version, revision, day.

    Raises:
        DataError: an artifact is missing, damaged, from an older release, or about another candidate.
    """
    source = Source(data, params, about)
    title = f"# {plain(source.read('task')['task'])}: model card\n"
    return "\n".join([title, *(f"## {name}\n\n{section(source)}\n" for name, section in _SECTIONS.items())])
