"""Verify computes digest and figures of a version anew, and names what is not as it was judged."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
import yaml

from tidegate import package_store, registry, reproduction
from tidegate.errors import PackageError, RegistryError
from tidegate.files import digest_folder, read_json, sha256, write_json
from tidegate.release import dossier, verification

ROWS = pl.DataFrame(
    {
        "text": ["good", "very good film", "bad", "bad book", "the film is good", "bad good"],
        "label": ["positive", "positive", "negative", "negative", "negative", "neutral"],
    }
)


@pytest.fixture
def registered(world: Any, package_folder: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """A promoted package, whose figures were computed on test rows in DVC's cache."""
    world.decide()
    shutil.rmtree(world.data / "candidate")
    package = package_folder(world.data / "candidate")
    rows = tmp_path / "cached"
    ROWS.write_parquet(rows)
    monkeypatch.setattr(reproduction, "cached", lambda root, md5: rows if md5 == "m" else None)
    outs = [{"path": "data/train.parquet", "md5": "x"}, {"path": "data/test.parquet", "md5": "m"}]
    (world.root / "dvc.lock").write_text(yaml.safe_dump({"schema": "2.0", "stages": {"split": {"outs": outs}}}))
    evaluation = read_json(world.data / "evaluation.json")
    nothing = {"models": {"candidate": {name: {"value": 0.0} for name in verification.FIGURES}}}
    figures = verification.figures(package, rows, nothing)
    evaluation["models"]["candidate"] |= {name: {"value": now} for name, (now, _) in figures.items()}
    write_json(world.data / "evaluation.json", evaluation)
    decision = read_json(world.data / "decision.json")
    decision["candidate"] = digest_folder(package)
    decision["evidence"]["evaluation.json"] = sha256(world.data / "evaluation.json")
    decision["test"] |= {"digest": sha256(rows), "rows": 6}
    world.rule(decision)
    assert world.promote() == "promote"
    world.rows = rows
    return world


def test_the_figures_are_computed_anew(registered: Any, capsys: pytest.CaptureFixture[str]) -> None:
    found = verification.verify(registered.root, 1)
    assert found["accuracy"] == pytest.approx(4 / 6)
    assert found["macro_f1"] == pytest.approx((0.8 + 2 / 3 + 0) / 3)
    assert "accuracy on 6 test rows is 0.6667, was 0.6667" in capsys.readouterr().out


def test_a_package_with_another_byte_is_named(registered: Any) -> None:
    digest = registered.aliases()["champion"]
    model = package_store.folder_of(digest) / "model.onnx"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    with pytest.raises(PackageError, match=digest):
        verification.verify(registered.root, 1)


@pytest.mark.parametrize(
    ("name", "words"),
    [("decision.json", "is not what its digest"), ("evaluation.json", "is not the file that the gate judged")],
)
def test_evidence_with_another_byte_is_named(registered: Any, name: str, words: str) -> None:
    path = dossier.folder_of(registered.decision()) / name
    path.write_text(path.read_text().replace("0.6", "0.9").replace('"pass"', '"fail"'))
    with pytest.raises(PackageError, match=rf"{name}: {words}"):
        verification.verify(registered.root, 1)


def test_figures_that_differ_are_refused(registered: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(verification, "figures", lambda *_: {"accuracy": (0.5, 0.6)})
    with pytest.raises(PackageError, match=r"has accuracy 0.5000 where evaluate found 0.6000"):
        verification.verify(registered.root, 1)


def test_other_test_rows_are_refused(registered: Any) -> None:
    ROWS.head(3).write_parquet(registered.rows)
    with pytest.raises(PackageError, match="are not those that it was judged on"):
        verification.verify(registered.root, 1)


def test_without_the_test_rows_it_says_so(registered: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reproduction, "cached", lambda *_: None)
    with pytest.raises(RegistryError, match="are not in DVC's cache"):
        verification.verify(registered.root, 1)


def test_a_version_that_is_not_there_is_named(registered: Any) -> None:
    with pytest.raises(RegistryError, match="version 7 of 'channels'"):
        verification.verify(registered.root, 7)
    assert registry.read(registered.uri, "channels").versions.keys() == {1}
