"""The .py deps of a stage are its import closure without the light layer: no stale code, no needless retraining."""

from pathlib import Path

import pytest

from tidegate.pipeline import read_stages

ROOT = Path(__file__).resolve().parents[2]
STAGES = read_stages(ROOT)
L0 = {f"tidegate.{name}" for name in ("errors", "params", "pipeline", "files", "fitting", "report", "energy", "effort")}


@pytest.mark.parametrize("name", STAGES)
def test_code_deps_are_the_import_closure(name, modules, closure):
    needed = closure(f"tidegate.stages.{name}") - L0
    paths = sorted(
        modules[module].path.relative_to(ROOT).as_posix()
        for module in needed
        if modules[module].path.name != "__init__.py"
    )
    assert sorted(STAGES[name].code) == paths, f"the deps of {name!r} in dvc.yaml should be: [{', '.join(paths)}]"
