"""The .py deps of a stage are its import closure without the light layer: no stale code, no needless retraining."""

import subprocess
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


def test_every_file_of_code_is_known_to_git():
    """One that is not added yet is there for whoever wrote it, and for nobody else."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    code = {dep for stage in STAGES.values() for dep in stage.code}
    assert sorted(code - set(listed)) == []
