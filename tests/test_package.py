"""The package: what it refuses to load, and that its answers depend on each text alone."""

import json
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tidegate import files, package
from tidegate.errors import PackageError
from tidegate.package import Package, softmax

Make = Callable[..., Path]


def test_raw_text_goes_in_and_probabilities_come_out(package_folder: Make) -> None:
    loaded = Package.load(package_folder())
    probabilities = loaded.predict(["a good film", "a bad film"])
    assert probabilities.dtype == np.float64
    np.testing.assert_allclose(probabilities.sum(axis=1), 1)
    assert [loaded.labels[row.argmax()] for row in probabilities] == ["positive", "negative"]


def test_it_knows_its_name_task_labels_and_digest(package_folder: Make) -> None:
    folder = package_folder()
    loaded = Package.load(folder, expected_digest=files.digest_folder(folder))
    assert (loaded.name, loaded.task, loaded.labels) == ("teacher", "channels", ("negative", "neutral", "positive"))
    assert (loaded.folder, loaded.digest) == (folder, files.digest_folder(folder))


def test_the_normalization_is_part_of_it(package_folder: Make) -> None:
    loaded = Package.load(package_folder())
    raw, clean = "<b>good</b>&nbsp;ﬁlm", "good film"
    np.testing.assert_array_equal(loaded.encode([raw]), loaded.encode([clean]))


def test_probabilities_are_the_softmax_of_logits_over_temperature(package_folder: Make) -> None:
    loaded = Package.load(package_folder(temperature=2.5))
    texts = ["a good film", "the book is very bad."]
    np.testing.assert_allclose(loaded.predict(texts), softmax(loaded.logits(texts) / 2.5))
    assert loaded.predict(texts).max() < Package.load(package_folder(temperature=1.0)).predict(texts).max()


def test_softmax_survives_large_logits() -> None:
    np.testing.assert_allclose(softmax(np.array([[1000.0, 0.0], [-1000.0, -1000.0]])), [[1, 0], [0.5, 0.5]])


def test_no_texts_give_no_rows(package_folder: Make) -> None:
    assert Package.load(package_folder()).predict([]).shape == (0, 3)


def test_one_text_instead_of_a_list_is_refused(package_folder: Make) -> None:
    with pytest.raises(TypeError, match="list"):
        Package.load(package_folder()).predict("good")


def test_a_long_text_is_cut_to_max_length(package_folder: Make) -> None:
    loaded = Package.load(package_folder(max_length=8))
    tokens = loaded.encode(["good " * 100_000])[0]
    assert len(tokens) == 8
    assert tokens[-1] == 3  # [SEP]


def test_a_separator_that_somebody_typed_is_text(package_folder: Make) -> None:
    tokens = Package.load(package_folder()).encode(["good [SEP] bad"])[0]
    assert list(tokens).count(3) == 1


@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(texts=st.lists(st.text(alphabet=st.characters(exclude_categories=())), max_size=6), batch=st.integers(1, 4))
def test_any_unicode_gives_probabilities_that_depend_on_each_text_alone(
    loaded: Package, texts: list[str], batch: int
) -> None:
    together = loaded.predict(texts, batch_size=batch)
    alone = [loaded.predict([text])[0] for text in texts]
    assert np.isfinite(together).all()
    np.testing.assert_allclose(together, np.reshape(alone, (-1, 3)), atol=1e-6)


@pytest.fixture
def loaded(package_folder: Make) -> Package:
    return Package.load(package_folder())


def test_batches_are_sorted_by_length_and_answers_keep_their_order(
    loaded: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    widths = []
    run = Package._run
    monkeypatch.setattr(Package, "_run", lambda self, tokens: widths.append([*map(len, tokens)]) or run(self, tokens))
    texts = ["good " * n for n in (9, 1, 7, 2, 8, 3)]
    np.testing.assert_allclose(
        loaded.logits(texts, batch_size=2), [loaded.logits([text])[0] for text in texts], atol=1e-5
    )
    assert widths[:3] == [[3, 4], [5, 9], [10, 11]]


def test_lone_surrogates_are_replaced_where_the_normalization_leaves_them(package_folder: Make) -> None:
    plain = {"mend_unicode": False, "strip_markup": False, "mask": [], "max_characters": 100}
    loaded = Package.load(package_folder(normalization=plain))
    assert loaded.encode(["\ud800 good"]) == loaded.encode(["\ufffd good"])
    assert loaded.encode(["\ud83d\ude00 good"]) == loaded.encode(["\U0001f600 good"])


def test_threads_may_share_it(loaded: Package) -> None:
    texts = [f"{'good ' * (n % 7)}{'bad ' * (n % 5)}film" for n in range(200)]
    expected = loaded.predict(texts)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: loaded.predict(texts[n : n + 20]), range(0, 200, 20)))
    np.testing.assert_allclose(np.concatenate(found), expected, atol=1e-6)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "package.json"])
def test_a_missing_file_is_named(package_folder: Make, name: str) -> None:
    folder = package_folder()
    (folder / name).unlink()
    with pytest.raises(PackageError, match=f"{name} is missing"):
        Package.load(folder)


@pytest.mark.parametrize("name", ["model.onnx", "tokenizer.json", "package.json"])
def test_a_damaged_file_is_named(package_folder: Make, name: str) -> None:
    folder = package_folder()
    (folder / name).write_bytes((folder / name).read_bytes()[:-20])
    with pytest.raises(PackageError, match=f"{name}: is damaged"):
        Package.load(folder)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, "format is 2, this version reads 1"),
        ({"labels": ["one"]}, "at least two different"),
        ({"labels": ["one", "one"]}, "at least two different"),
        ({"labels": ["one", "two"]}, "logits"),
        ({"max_length": 0}, "max_length must be at least 1"),
        ({"max_length": "16"}, "max_length must be int"),
        ({"max_length": True}, "max_length must be int"),
        ({"temperature": 0.0}, "temperature must be above 0"),
        ({"temperature": float("nan")}, "temperature must be above 0"),
        ({"normalization": {"odd": 1}}, "normalization"),
        ({"extra": 1}, "extra is not known"),
    ],
)
def test_nonsense_in_the_metadata_is_refused(package_folder: Make, change: dict[str, object], message: str) -> None:
    folder = package_folder()
    content = json.loads((folder / "package.json").read_text())
    (folder / "package.json").write_text(json.dumps(content | change))
    with pytest.raises(PackageError, match=message):
        Package.load(folder)


def test_a_key_that_is_missing_is_named(package_folder: Make) -> None:
    folder = package_folder()
    content = json.loads((folder / "package.json").read_text())
    del content["temperature"]
    (folder / "package.json").write_text(json.dumps(content))
    with pytest.raises(PackageError, match="temperature is missing"):
        Package.load(folder)


def test_another_digest_than_the_expected_one_is_refused(package_folder: Make) -> None:
    folder = package_folder()
    expected = files.digest_folder(folder)
    (folder / "extra.txt").write_text("x")
    with pytest.raises(PackageError, match=expected):
        Package.load(folder, expected_digest=expected)


def test_a_folder_that_is_not_there_is_a_package_error(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match=r"package\.json, model\.onnx, tokenizer\.json is missing"):
        Package.load(tmp_path / "nowhere")


def test_writing_bad_metadata_writes_nothing(package_folder: Make, tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="temperature"):
        package_folder(tmp_path / "bad", temperature=-1.0)
    assert not (tmp_path / "bad").exists()


def test_writing_twice_gives_the_same_digest(package_folder: Make, tmp_path: Path) -> None:
    first, second = package_folder(tmp_path / "a"), package_folder(tmp_path / "b")
    assert files.digest_folder(first) == files.digest_folder(second)


def test_it_imports_neither_torch_nor_polars() -> None:
    heavy = "('torch', 'polars', 'transformers', 'mlflow')"
    code = f"import sys, tidegate.package; print([m for m in {heavy} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_it_runs_with_the_threads_it_is_given(package_folder: Make) -> None:
    assert Package.load(package_folder(), threads=1).threads == 1
    assert Package.load(package_folder()).threads == package.available_cpus() >= 1
