"""A clone of the repository as it stands in the working tree, with a small data set and a tiny encoder."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tidegate.files import digest_folder

ROOT = Path(__file__).resolve().parents[2]
TOPICS = {
    "ships": ["harbour", "sail", "anchor", "deck", "tide", "crew"],
    "bread": ["oven", "flour", "crust", "yeast", "dough", "loaf"],
    "music": ["violin", "chord", "tempo", "choir", "melody", "drum"],
}
FILLER = ["the", "a", "some", "of", "with", "under", "near", "and", "very", "old", "new", "small"]


class Clone:
    """A checkout that commands are run in, as a person would."""

    def __init__(self, path: Path) -> None:
        self.path = path

    @property
    def environment(self) -> dict[str, str]:
        ours = {
            key: value for key, value in os.environ.items() if key not in ("TIDEGATE_VAR", "MAKELEVEL", "MAKEFLAGS")
        }
        ours["PYTHONPATH"] = os.pathsep.join([str(self.path / "src"), str(self.path)])
        ours["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), ours["PATH"]])
        return ours

    def run(self, *command: str, code: int = 0) -> str:
        done = subprocess.run(
            command, cwd=self.path, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        assert done.returncode == code, f"{' '.join(command)} ended with {done.returncode}:\n{done.stdout[-6000:]}"
        return done.stdout

    def tidegate(self, *words: str, code: int = 0) -> str:
        return self.run(sys.executable, "-m", "tidegate", *words, code=code)

    def make(self, *targets: str) -> str:
        """Runs make with this environment in place of one that set-up would install."""
        venv = self.path / ".venv"
        if not venv.exists():
            venv.mkdir()
            for entry in Path(sys.prefix).iterdir():
                (venv / entry.name).symlink_to(entry)
            (venv / ".ready").unlink(missing_ok=True)
            (venv / ".ready").touch()
        return self.run("make", *targets)

    def start(self, *command: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            command, cwd=self.path, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            start_new_session=True,
        )  # fmt: skip

    def json(self, name: str):
        return json.loads((self.path / "data" / name).read_text(encoding="utf-8"))

    def edit(self, section: str, **values) -> None:
        path = self.path / "params.yaml"
        params = yaml.safe_load(path.read_text(encoding="utf-8"))
        params[section].update(values)
        path.write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")

    def champion(self, task: str = "tiny") -> str | None:
        """The digest behind the alias, asked of MLflow itself."""
        code = (
            "from mlflow import MlflowClient\n"
            f"uri = 'sqlite:///{self.path / 'var' / 'mlflow.db'}'\n"
            "client = MlflowClient(uri, uri)\n"
            f"print(client.get_model_version_by_alias({task!r}, 'champion').tags['tidegate.digest'])\n"
        )
        return self.run(sys.executable, "-c", code).split()[-1]

    def log(self, task: str = "tiny") -> list[dict]:
        path = self.path / "var" / "promotions" / f"{task}.jsonl"
        return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []

    def promotions(self, task: str = "tiny") -> list[dict]:
        return [entry for entry in self.log(task) if entry["event"] == "promoted"]


@pytest.fixture(scope="session")
def checkout(tmp_path_factory, raw) -> Clone:
    """What every test clones: the working tree, committed, with the small scenario in use."""
    path = tmp_path_factory.mktemp("origin") / "tidegate"
    files = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in files.stdout.splitlines():
        if (ROOT / name).is_file():
            (path / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, path / name)
    origin = Clone(path)
    (path / "scenarios" / "tiny.yaml").write_text(yaml.safe_dump(SCENARIO), encoding="utf-8")
    origin.run("git", "init", "-q")
    origin.tidegate("use", "tiny")
    origin.edit("tokenize", encoder=f"data/raw/encoder?sha256={digest_folder(raw / 'encoder')}")
    origin.run("git", "add", "-A")
    origin.run("git", "-c", "user.name=t", "-c", "user.email=t@example.org", "commit", "-q", "-m", "Small scenario")
    return origin


@pytest.fixture(scope="session")
def raw(tmp_path_factory) -> Path:
    """The small data set and the encoder, as a person puts them below data/raw."""
    folder = tmp_path_factory.mktemp("raw")
    write_texts(folder / "tiny.csv")
    write_encoder(folder / "encoder")
    return folder


@pytest.fixture(scope="session")
def clone(checkout, raw, tmp_path_factory):
    """Makes a fresh clone; the run-cache is its own unless a cache folder is given."""

    def make(name: str, *, cache: Path | None = None) -> Clone:
        path = tmp_path_factory.mktemp(name) / "tidegate"
        checkout.run("git", "clone", "-q", str(checkout.path), str(path))
        shutil.copytree(raw, path / "data" / "raw")
        made = Clone(path)
        if cache:
            made.run("dvc", "cache", "dir", "--local", str(cache))
        return made

    return make


@pytest.fixture(scope="session")
def cache(tmp_path_factory) -> Path:
    """A DVC cache that clones share, so that what one computed another restores."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def finished(clone, cache) -> tuple[Clone, str]:
    """A clone after `make repro`, and what that printed."""
    made = clone("finished", cache=cache)
    return made, made.make("repro")


def write_texts(path: Path, rows: int = 480, seed: int = 3) -> None:
    """Texts of three classes in documents of three; one in ten has the words of another class."""
    draw = random.Random(seed)
    lines = ["name,body,topic"]
    for row in range(rows):
        label = draw.choice(list(TOPICS))
        words = TOPICS[label if draw.random() < 0.9 else draw.choice(list(TOPICS))]
        text = " ".join(draw.choice(words if draw.random() < 0.4 else FILLER) for _ in range(draw.randint(6, 20)))
        lines.append(f"doc{row // 3}-{row % 3},{text} {row},{label}")
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def write_encoder(folder: Path) -> None:
    """A BERT of two layers, randomly initialized, whose vocabulary is the words of the texts."""
    import torch
    from tokenizers import BertWordPieceTokenizer
    from transformers import BertConfig, BertModel, BertTokenizerFast

    torch.manual_seed(0)
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    letters = [f"{prefix}{sign}" for prefix in ("", "##") for sign in "abcdefghijklmnopqrstuvwxyz0123456789"]
    words = [*special, *FILLER, *(word for topic in TOPICS.values() for word in topic), *letters]
    folder.mkdir(parents=True)
    (folder / "vocab.txt").write_text("\n".join(words) + "\n", encoding="utf-8")
    BertWordPieceTokenizer(str(folder / "vocab.txt")).save(str(folder / "tokenizer.json"))
    BertTokenizerFast(tokenizer_file=str(folder / "tokenizer.json")).save_pretrained(folder)
    config = BertConfig(
        vocab_size=len(words), hidden_size=48, num_hidden_layers=2, num_attention_heads=4, intermediate_size=96,
        max_position_embeddings=64,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)


SCENARIO: dict = {
    "ingest": {
        "task": "tiny",
        "sources": [{"name": "texts", "address": "data/raw/tiny.csv"}],
        "select": "SELECT name AS id, body AS text, topic AS label, split_part(name, '-', 1) AS \"group\" FROM texts",
        "slices": [],
        "max_rows": None,
    },
    "validate": {"labels": None, "min_rows": 100, "min_label_rows": 20},
    "gate": {
        "baseline_lead": None,  # the linear model is as good on texts like these
        "accuracy_floor": 0.3,
        "macro_f1_floor": 0.3,
        "robustness_floor": 0.1,
        "gap_ceiling": 1.0,
        "calibration_ceiling": 1.0,
        "latency_ceiling_ms": 10_000,
    },
    "train": {"epochs": 6, "learning_rate": 0.003},
    "tokenize": {"max_length": 32},
    "distill": {"students": [{"name": "student", "layers": [0]}], "epochs": 4, "learning_rate": 0.003},
    "prune": {
        "models": [{"name": "student_pruned", "of": "student", "heads": 2, "neurons": 48, "vocabulary": 90}],
        "epochs": 2,
        "learning_rate": 0.003,
        "importance_rows": 50,
    },
    "quantize": {
        "candidates": [
            {"name": "teacher_int8", "of": "teacher", "activations": "static"},
            {"name": "student_pruned_int8", "of": "student_pruned", "activations": "static"},
        ],
        "calibration_rows": 100,
        "replicates": 200,
    },
    "select": {"margin": 0.2, "cost": "bytes"},  # a size is the same in every run, a time is not
}
