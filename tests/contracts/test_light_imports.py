"""A light command loads nothing heavy: each light module is imported in a process of its own."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = {
    "datasets", "duckdb", "evidently", "great_expectations", "mlflow", "numpy", "onnxruntime", "pandas", "polars",
    "prefect", "pyarrow", "pytorch_lightning", "scipy", "sklearn", "tokenizers", "torch", "transformers",
}  # fmt: skip
STAGES = sorted(path.stem for path in (ROOT / "src/tidegate/stages").glob("*.py") if path.stem != "__init__")
LIGHT_MODULES = ["errors", "params", "pipeline", "files", "quiet", "process", "binding", "scenario", "report", "effort"]


def heavy_after(code: str) -> str:
    program = f"import sys\n{code}\nprint(sorted({HEAVY!r} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()[-1]


@pytest.mark.parametrize("name", LIGHT_MODULES)
def test_a_light_module_loads_nothing_heavy(name):
    assert heavy_after(f"import tidegate.{name}") == "[]"


def test_the_stages_load_nothing_heavy_before_they_run():
    imports = "\n".join(f"import tidegate.stages.{name}" for name in STAGES)
    assert heavy_after(imports) == "[]"


def test_the_help_loads_nothing_heavy():
    assert (
        heavy_after("import tidegate.__main__ as m\ntry:\n    m.main(['--help'])\nexcept SystemExit:\n    pass") == "[]"
    )


def test_reading_the_registry_loads_nothing_heavy(tmp_path):
    uri = f"sqlite:///{tmp_path / 'none.db'}"
    assert heavy_after(f"from tidegate import registry\nregistry.read({uri!r}, 'channels')") == "[]"
