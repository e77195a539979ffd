"""Section `monitor` is refused where it cannot be meant."""

from pathlib import Path
from typing import Any

import pytest

from tidegate import monitor_settings, params
from tidegate.errors import ParamsError

ROOT = Path(__file__).resolve().parents[1]


def test_what_is_shipped_fits() -> None:
    assert monitor_settings.read(ROOT).window.rows == 500


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"alarm": {"findings": 4, "of": 3, "minimum_rows": 100, "minimum_effect": 0.0}}, r"4 of the latest 3"),
        ({"window": {"rows": 60, "hours": None}}, r"no window reaches alarm\.minimum_rows"),
        ({"replays": 200, "finding_rate": 0.01}, r"replays: 200 are too few.*take 10 / rate"),
        ({"lens_share": 0.9}, r"lens_share: must be at most 0\.5"),
        ({"accuracy": {"alpha": 0.0, "tolerance": 0.02, "block": 200}}, r"accuracy\.alpha: must be above 0"),
    ],
)
def test_what_cannot_be_is_refused(change: dict[str, Any], words: str) -> None:
    section = params.load(ROOT / "params.yaml")["monitor"] | change
    with pytest.raises(ParamsError, match=words):
        params.bind(monitor_settings.Settings, section, section="monitor")
