"""Stage tokenize: from texts to token files, and what an encoder must have."""

import json
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

from tidegate import files
from tidegate.errors import DataError, ModelError, ParamsError, SourceError, TidegateError
from tidegate.params import bind
from tidegate.stages import tokenize

PARAMS = {"encoder": "", "max_length": 6, "batch_rows": 2}
TEXTS = ["good good film", "bad", "a very very bad and boring film", "日本 film", "good"]


@pytest.fixture
def encoder(tmp_path: Path) -> Path:
    """A folder as an encoder's, its tokenizer padding and cutting at a length of its own."""
    folder = tmp_path / "pretrained"
    folder.mkdir()
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "film", "a", "very", "and", "boring"]
    made = Tokenizer(models.WordPiece({piece: place for place, piece in enumerate(pieces)}, unk_token="[UNK]"))
    made.normalizer, made.pre_tokenizer = normalizers.BertNormalizer(), pre_tokenizers.BertPreTokenizer()
    made.decoder = decoders.WordPiece()
    made.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    made.add_special_tokens(pieces[:4])
    made.enable_padding(length=20)
    made.enable_truncation(4)
    made.save(str(folder / "tokenizer.json"))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "model_max_length": 512}')
    config = {"model_type": "bert", "vocab_size": 11, "max_position_embeddings": 16, "pad_token_id": 0}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "model.safetensors").write_bytes(b"weights are not read here")
    (folder / "modeling_evil.py").write_text("raise SystemExit")
    (folder / "README.md").write_text("words")
    return folder


class Stage:
    def __init__(self, folder: Path, encoder: Path) -> None:
        self.folder, self.encoder = folder, encoder
        (folder / "task.json").write_text(json.dumps({"task": "films", "labels": ["neg", "pos"], "slices": []}))
        self.write("train", TEXTS, ["pos", "neg", "neg", "pos", "pos"])
        self.write("validation", TEXTS[:2], ["pos", "neg"])
        self.write("unlabelled", [], [])

    def write(self, name: str, texts: list[str], labels: list[str | None]) -> None:
        ids = [f"{name}-{place}" for place in range(len(texts))]
        frame = pl.DataFrame(
            {"id": ids, "text": texts, "label": labels}, schema=dict.fromkeys(("id", "text", "label"), pl.String)
        )
        frame.write_parquet(self.folder / f"{name}.parquet")

    def run(self, **changes: Any) -> dict[str, Any]:
        raw = PARAMS | {"encoder": f"{self.encoder}?sha256={files.digest_folder(self.encoder)}"} | changes
        out = {name: self.folder / "out" / name for name in ("encoder", "tokens")}
        tokenize.run(
            bind(tokenize.Params, raw, section="tokenize"),
            train=self.folder / "train.parquet", validation=self.folder / "validation.parquet",
            unlabelled=self.folder / "unlabelled.parquet", task=self.folder / "task.json",
            tokenization=self.folder / "out" / "tokenization.json", **out,
        )  # fmt: skip
        report: dict[str, Any] = files.read_json(self.folder / "out" / "tokenization.json")
        return report

    def table(self, name: str) -> pa.Table:
        return pa.ipc.open_file(pa.memory_map(str(self.folder / "out" / "tokens" / f"{name}.arrow"))).read_all()


@pytest.fixture
def stage(tmp_path: Path, encoder: Path) -> Stage:
    return Stage(tmp_path, encoder)


def test_ids_have_their_special_tokens_and_no_padding(stage: Stage) -> None:
    stage.run()
    table = stage.table("train")
    assert table.schema.names == ["id", "label", "length", "input_ids"]
    assert [str(kind) for kind in table.schema.types] == ["string", "int16", "int32", "list<item: int32>"]
    assert table["id"].to_pylist() == [f"train-{place}" for place in range(5)]
    assert table["label"].to_pylist() == [1, 0, 0, 1, 1]
    assert table["input_ids"].to_pylist() == [
        [2, 4, 4, 6, 3], [2, 5, 3], [2, 7, 8, 8, 5, 3], [2, 1, 1, 6, 3], [2, 4, 3],
    ]  # fmt: skip
    assert table["length"].to_pylist() == [5, 3, 6, 5, 3]


def test_a_separator_that_somebody_typed_is_text(stage: Stage) -> None:
    import polars as pl

    path = stage.folder / "validation.parquet"
    frame = pl.read_parquet(path)
    frame.with_columns(text=pl.lit("[SEP] [SEP]")).write_parquet(path)
    stage.run()
    assert all(ids.count(3) == 1 for ids in stage.table("validation")["input_ids"].to_pylist())


def test_what_was_cut_and_unknown_is_counted(stage: Stage) -> None:
    report = stage.run()
    assert (report["max_length"], report["vocabulary"]) == (6, 11)
    train = report["train"]
    assert (train["texts"], train["tokens"]) == (5, 22)
    assert train["length"] == {"mean": 4.4, "p50": 5.0, "p95": 5.8, "max": 6}
    assert train["cut_share"] == pytest.approx(1 / 5)
    assert train["unknown_share"] == pytest.approx(2 / 22)
    assert report["validation"]["cut_share"] == 0


def test_unlabelled_texts_have_the_label_minus_one(stage: Stage) -> None:
    stage.write("unlabelled", TEXTS[2:], [None] * 3)
    report = stage.run()
    table = stage.table("unlabelled")
    assert table.schema == stage.table("train").schema
    assert table["label"].to_pylist() == [-1] * 3
    assert table["input_ids"].to_pylist() == stage.table("train")["input_ids"].to_pylist()[2:]
    assert report["unlabelled"]["texts"] == 3
    assert report["unlabelled"]["cut_share"] == pytest.approx(1 / 3)


def test_without_unlabelled_texts_there_is_a_file_without_rows_and_no_figures(stage: Stage) -> None:
    report = stage.run()
    assert "unlabelled" not in report
    assert stage.table("unlabelled").schema == stage.table("train").schema
    path = stage.folder / "out" / "tokens" / "unlabelled.arrow"
    assert pa.ipc.open_file(pa.memory_map(str(path))).num_record_batches == 0


@pytest.mark.parametrize("batch_rows", [1, 2, 100])
def test_the_batch_does_not_show_in_the_result(stage: Stage, batch_rows: int) -> None:
    stage.run(batch_rows=100)
    whole = stage.table("train")
    stage.run(batch_rows=batch_rows)
    assert stage.table("train").equals(whole)


def test_two_runs_write_the_same_bytes(stage: Stage) -> None:
    stage.run()
    first = files.digest_folder(stage.folder / "out")
    stage.run()
    assert files.digest_folder(stage.folder / "out") == first


def test_the_encoder_is_copied_without_code_and_cuts_where_training_does(stage: Stage) -> None:
    stage.run()
    copied = stage.folder / "out" / "encoder"
    names = ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]
    assert sorted(file.name for file in copied.iterdir()) == names
    assert Tokenizer.from_file(str(copied / "tokenizer.json")).encode(TEXTS[2]).ids == [2, 7, 8, 8, 5, 3]
    assert files.read_json(copied / "tokenizer_config.json")["model_max_length"] == 6


def test_pickled_weights_are_refused_with_the_way_out(stage: Stage) -> None:
    (stage.encoder / "model.safetensors").rename(stage.encoder / "pytorch_model.bin")
    with pytest.raises(ModelError, match=r"pickle \(pytorch_model.bin\), which runs code.*safe_serialization"):
        stage.run()
    assert not (stage.folder / "out" / "encoder").exists()
    assert not (stage.folder / "out" / "tokens").exists()


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
def test_an_encoder_that_lacks_a_file_is_refused(stage: Stage, name: str) -> None:
    (stage.encoder / name).unlink()
    with pytest.raises(ModelError, match=f"has no {name}"):
        stage.run()


def damage(name: str, content: str) -> Any:
    return lambda stage: (stage.encoder / name).write_text(content)


@pytest.mark.parametrize(
    ("breakage", "error", "words"),
    [
        (damage("tokenizer.json", "{"), ModelError, "is damaged"),
        (damage("config.json", "{"), ModelError, "is damaged"),
        (damage("config.json", '{"vocab_size": 5}'), ModelError, "has 11 tokens, the model 5"),
        (lambda stage: stage.write("train", [], []), DataError, "holds no rows"),
        (lambda stage: stage.write("train", ["x"], ["new"]), DataError, "label 'new'"),
        (lambda stage: stage.write("train", ["x"], [None]), DataError, "label None"),
        (lambda stage: (stage.folder / "train.parquet").unlink(), DataError, "is missing"),
        (lambda stage: (stage.folder / "train.parquet").write_text("x"), DataError, "is damaged"),
    ],
)
def test_damaged_input_is_named(stage: Stage, breakage: Any, error: type[TidegateError], words: str) -> None:
    breakage(stage)
    with pytest.raises(error, match=words):
        stage.run()
    assert not (stage.folder / "out" / "tokenization.json").exists()


@pytest.mark.parametrize(
    ("changes", "error", "words"),
    [
        ({"max_length": 17}, ModelError, "max_length: is 17, and the encoder takes at most 16"),
        ({"encoder": "no/such/folder"}, SourceError, "no/such/folder"),
        ({"max_length": 0}, ParamsError, "max_length"),
        ({"batch_rows": -1}, ParamsError, "batch_rows"),
    ],
)
def test_absurd_params_are_refused(
    stage: Stage, changes: dict[str, Any], error: type[TidegateError], words: str
) -> None:
    with pytest.raises(error, match=words):
        stage.run(**changes)


def test_a_text_of_ten_megabytes_is_cut(stage: Stage) -> None:
    stage.write("validation", ["good film " * 100_000], ["pos"])
    assert stage.run()["validation"]["length"]["max"] == 6
