"""A reference made ready to be compared with: its features, and thresholds for every size of window.

Thresholds are kept in `var/monitoring`, by all that they depend on. What follows from a comparison is for `policy`.
"""

import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from monitoring.calibration import Calibration, calibrate, drawn, halves
from monitoring.lens import Features, Flags, Lens, groups_of
from monitoring.reference import Reference
from monitoring.signals import SIGNALS, directions, distances, unknown_p_value
from tidegate.errors import DataError
from tidegate.files import digest_json, read_json, var_folder, write_json
from tidegate.monitor_settings import Settings

if TYPE_CHECKING:
    import polars as pl

VERSION = 1
"""Raise it when a statistic is computed otherwise: what was kept is then computed anew."""
SMALLEST = 50
"""Rows; a smaller window says nothing."""
_LARGEST_SHARE = 1 / 3  # of the reference that a replay may take away as its window


@dataclass(frozen=True)
class Gauge:
    """Compares windows with one reference.

    Attributes:
        features: of the part of the reference that windows are compared with; the lens was learned from the rest.
        calibration: gives the thresholds for a number of rows.
    """

    reference: Reference
    lens: Lens
    features: Features
    calibration: Callable[[int], Calibration]
    settings: Settings

    def size(self, rows: int) -> int:
        """The number of rows that a window of so many is scored at: two digits, so that few sizes are calibrated."""
        most = min(rows, self.settings.window.rows, int(_LARGEST_SHARE * len(self.features)))
        step = 10 ** max(0, len(str(most)) - 2)
        return int(most // step * step)

    def compare(self, window: "pl.DataFrame") -> dict[str, Any]:
        """By signal what a window shows, JSON-able: `value`, `threshold`, `p_value`, `effect`, `direction`, `finding`,
        and `rows`, of the window that were compared (documents as a whole; the same ones every time).

        Raises:
            DataError: the window, or the reference, is too small.
        """
        size = self.size(len(window))
        if size < SMALLEST:
            cause = f"has {len(window)} rows, of which {size} can be compared; {SMALLEST} are needed"
            raise DataError("the window", cause, "Wait for more, raise monitor.window, or take a larger test split")
        chance = np.random.default_rng([self.settings.seed, zlib.crc32("".join(window["id"]).encode())])
        taken = window.filter(drawn(groups_of(window), size, chance)) if len(window) > size else window
        both = self.features.beside(self.lens.features(taken))
        inside = np.arange(len(both)) >= len(self.features)
        return self._described(both, inside, halves(both.groups, chance), self.calibration(size))

    def _described(self, both: Features, inside: Flags, folds: Flags, known: Calibration) -> dict[str, Any]:
        found = distances(both, inside, folds)
        way = directions(both, inside, self.reference.labels)
        p_values = known.p_values(found.statistics)
        rare = SIGNALS.index("unknown")
        p_values[rare] = max(p_values[rare], unknown_p_value(both, inside))
        findings = known.found(p_values)
        effects = np.maximum(found.effects - known.effects, 0.0)
        return {
            name: {
                "value": float(found.statistics[i]),
                "threshold": float(known.thresholds[i]),
                "p_value": float(p_values[i]),
                "effect": float(effects[i]),
                "direction": way[name],
                "finding": bool(findings[i]),
                "rows": int(inside.sum()),
            }
            for i, name in enumerate(SIGNALS)
        }


def ready(reference: Reference, settings: Settings, *, keep: bool = True) -> Gauge:
    """Learns the lens from a part of the reference and looks at the rest.

    Args:
        keep: whether thresholds are kept in `var/monitoring` and read from there.
    """
    rows = reference.rows
    chance = np.random.default_rng(settings.seed)
    learn = drawn(groups_of(rows), round(settings.lens_share * len(rows)), chance)
    lens = Lens(rows.filter(learn), reference.labels, seed=settings.seed)
    features = lens.features(rows.filter(~learn))
    known: dict[int, Calibration] = {}

    def calibration(size: int) -> Calibration:
        if size not in known:
            known[size] = _kept(reference, features, size, settings) if keep else _made(features, size, settings)
        return known[size]

    return Gauge(reference, lens, features, calibration, settings)


def _made(features: Features, size: int, settings: Settings) -> Calibration:
    return calibrate(features, size, replays=settings.replays, rate=settings.finding_rate, seed=settings.seed)


def _kept(reference: Reference, features: Features, size: int, settings: Settings) -> Calibration:
    depends = [VERSION, reference.digest, size, settings.lens_share, settings.replays, settings.seed]
    path = var_folder() / "monitoring" / "calibrations" / f"{digest_json(depends)}.json"
    if not path.exists():
        made = _made(features, size, settings)
        write_json(path, {"statistics": made.statistics.tolist(), "effects": made.effects.tolist()})
    content = read_json(path, "statistics", "effects")
    return Calibration(size, np.array(content["statistics"]), np.array(content["effects"]), settings.finding_rate)
