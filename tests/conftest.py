"""What every test stands on: a world of its own (no test touches the real `var/`, `~` or telemetry), and fixtures.

Fixtures here serve several files: a repository with toy stages, an empty registry, a tiny package made without torch.
"""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tidegate.quiet import quiet

_world = Path(tempfile.mkdtemp(prefix="tidegate-tests-"))


def _own_world() -> None:
    """Before anything reads it: telemetry off, state in a temporary folder, nothing of the starter's left."""
    quiet()
    for name in list(os.environ):
        if name in ("MAKELEVEL", "DVC_STAGE", "DVC_ROOT", "MLFLOW_TRACKING_URI") or name.startswith(
            ("GIT_", "PREFECT_API", "TIDEGATE_")
        ):
            del os.environ[name]
    os.environ |= {
        "TIDEGATE_VAR": str(_world / "var"),
        "PREFECT_HOME": str(_world / "prefect"),
        "DVC_SITE_CACHE_DIR": str(_world / "dvc-site"),
        "DVC_GLOBAL_CONFIG_DIR": str(_world / "dvc-global"),
        "DVC_SYSTEM_CONFIG_DIR": str(_world / "dvc-system"),
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_CONFIG_SYSTEM": os.devnull,
        "SHELL": "/bin/sh",  # DVC runs commands in it
    } | {f"GIT_{who}_{what}": value for who in ("AUTHOR", "COMMITTER") for what, value in _NOBODY.items()}


_NOBODY = {"NAME": "Nobody", "EMAIL": "nobody@example.org"}
_own_world()


def pytest_unconfigure() -> None:
    """Takes the world away again."""
    shutil.rmtree(_world, ignore_errors=True)


@pytest.fixture
def var(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A `var/` for one test alone."""
    folder = tmp_path / "var"
    folder.mkdir()
    monkeypatch.setenv("TIDEGATE_VAR", str(folder))
    return folder


@pytest.fixture
def git() -> Callable[..., str]:
    """Runs git in a folder; gives what it printed."""

    def run(folder: Path, *words: str) -> str:
        return subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()

    return run


@pytest.fixture
def repository(tmp_path: Path, git: Callable[..., str]) -> Callable[..., Path]:
    """Makes a git and DVC repository with the given files (path: content)."""

    def make(files: dict[str, str], *, name: str = "clone") -> Path:
        root = tmp_path / name
        config = {".dvc/config": "[core]\n    analytics = false\n", ".dvc/.gitignore": "/config.local\n/tmp\n/cache\n"}
        for path, content in {**config, ".dvcignore": "", **files}.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(content, encoding="utf-8")
        git(root, "init", "-q", "-b", "main")
        git(root, "add", "-A")
        git(root, "commit", "-q", "-m", "Start")
        return root

    return make


@pytest.fixture(scope="session")
def migrated_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty MLflow database with all its tables; making one takes seconds, so tests copy it."""
    from tidegate import registry

    path = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    registry.Registry(f"sqlite:///{path}", "none")
    return path


@pytest.fixture
def empty_registry(var: Path, migrated_database: Path) -> str:
    """The URI of a registry of one test alone, the default one, in which nothing is registered."""
    shutil.copyfile(migrated_database, var / "mlflow.db")
    return f"sqlite:///{var / 'mlflow.db'}"


NORMALIZATION = {"mend_unicode": True, "strip_markup": True, "mask": ["url", "email"], "max_characters": 5_000}
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "fine", "film", "book", "the", "is", "very", "!", "."]


@pytest.fixture
def package_folder(tmp_path: Path) -> Callable[..., Path]:
    """Writes a package whose logits are the sums of its words' weights: `good` is positive, `bad` negative."""

    def make(
        folder: Path | None = None, *, labels: tuple[str, ...] = ("negative", "neutral", "positive"), seed: int = 0,
        **metadata: Any,
    ) -> Path:  # fmt: skip
        from tidegate import package

        folder = folder or tmp_path / "packages" / metadata.get("name", "teacher")
        model, tokenizer = tmp_path / "made.onnx", tmp_path / "made.json"
        _bag_of_words(model, len(labels), seed)
        _word_pieces(tokenizer)
        content: dict[str, Any] = {
            "task": "channels", "name": "teacher", "labels": list(labels), "slices": ["channel"],
            "max_length": 16, "temperature": 1.0, "normalization": NORMALIZATION,
        }  # fmt: skip
        package.write(folder, model=model, tokenizer=tokenizer, metadata=content | metadata)
        return folder

    return make


def _bag_of_words(path: Path, labels: int, seed: int) -> None:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    weights = 0.1 * np.random.default_rng(seed).normal(size=(len(WORDS), labels)).astype(np.float32)
    weights[WORDS.index("good"), -1] += 2
    weights[WORDS.index("bad"), 0] += 2
    shape = ["batch", "length"]
    nodes = [
        helper.make_node("Gather", ["weights", "input_ids"], ["words"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["column"]),
        helper.make_node("Mul", ["words", "column"], ["seen"]),
        helper.make_node("ReduceSum", ["seen", "middle"], ["logits"], keepdims=0),
    ]
    graph = helper.make_graph(
        nodes, "bag",
        [helper.make_tensor_value_info(name, TensorProto.INT64, shape) for name in ("input_ids", "attention_mask")],
        [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["batch", labels])],
        [
            numpy_helper.from_array(weights, "weights"),
            numpy_helper.from_array(np.array([2]), "last"),
            numpy_helper.from_array(np.array([1]), "middle"),
        ],
    )  # fmt: skip
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9), path)


def _word_pieces(path: Path) -> None:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    made = Tokenizer(models.WordPiece({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    made.normalizer = normalizers.BertNormalizer()
    made.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", WORDS.index("[CLS]")), ("[SEP]", WORDS.index("[SEP]"))]
    )
    made.enable_padding()
    made.save(str(path))
