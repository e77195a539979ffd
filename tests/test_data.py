"""Token files and the batches made of them."""

import pickle
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.data import BucketSampler, SortedSampler, TokenDataset, Tokens, loader, pad, plan
from tidegate.errors import DataError


def write(path: Path, rows: list[list[int]], chunk: int = 3) -> Path:
    schema = pa.schema(
        {"id": pa.string(), "label": pa.int16(), "length": pa.int32(), "input_ids": pa.list_(pa.int32())}
    )
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, schema) as writer:
        for first in range(0, len(rows), chunk):
            part = rows[first : first + chunk]
            names = [f"r{first + place}" for place in range(len(part))]
            labels = pa.array([len(row) % 2 for row in part], pa.int16())
            columns = [pa.array(names), labels, pa.array([len(row) for row in part], pa.int32())]
            writer.write_batch(pa.record_batch([*columns, pa.array(part, pa.list_(pa.int32()))], schema=schema))
    return path


@pytest.fixture
def tokens(tmp_path: Path) -> Tokens:
    return Tokens(write(tmp_path / "t.arrow", [list(range(1, 2 + length)) for length in (3, 0, 5, 1, 2, 7, 4)]))


def test_rows_are_read_across_the_chunks_of_the_file(tokens: Tokens) -> None:
    assert [list(tokens[row]) for row in (0, 2, 3, 6)] == [[1, 2, 3, 4], [1, 2, 3, 4, 5, 6], [1, 2], [1, 2, 3, 4, 5]]
    assert list(tokens.lengths) == [4, 1, 6, 2, 3, 8, 5]
    assert tokens.ids[-1] == "r6"


def test_ids_are_mapped_not_copied(tokens: Tokens) -> None:
    allocated = pa.total_allocated_bytes()
    assert not Tokens(*tokens.paths)[5].flags.owndata
    assert pa.total_allocated_bytes() - allocated < 1024


def test_another_process_maps_the_file_itself(tokens: Tokens) -> None:
    assert list(pickle.loads(pickle.dumps(tokens))[5]) == list(tokens[5])


def test_a_missing_damaged_or_empty_file_is_named(tmp_path: Path) -> None:
    damaged = tmp_path / "damaged.arrow"
    damaged.write_bytes(b"ARROW1 and then nothing of the kind")
    for path, cause in (
        (tmp_path / "none.arrow", "is missing"), (damaged, "is damaged"),
        (write(tmp_path / "empty.arrow", []), "holds no rows"),
    ):  # fmt: skip
        with pytest.raises(DataError, match=cause) as caught:
            Tokens(path)
        assert caught.value.what == str(path)


@given(st.lists(st.integers(1, 60), min_size=1, max_size=300), st.integers(1, 40), st.integers(0, 3))
@settings(max_examples=50, deadline=None)
def test_an_epoch_has_every_row_once(lengths: list[int], batch_size: int, epoch: int) -> None:
    batches = plan(np.asarray(lengths, np.int32), batch_size=batch_size, seed=1, epoch=epoch)
    assert sorted(int(row) for batch in batches for row in batch) == list(range(len(lengths)))
    assert len(batches) == -(-len(lengths) // batch_size)


def test_epochs_differ_and_repeat_with_the_seed() -> None:
    lengths = np.random.default_rng(0).integers(1, 60, 500).astype(np.int32)
    first, again, later, other = (
        np.concatenate(plan(lengths, batch_size=16, seed=seed, epoch=epoch))
        for seed, epoch in ((1, 0), (1, 0), (1, 1), (2, 0))
    )
    assert (first == again).all()
    assert (first != later).any()
    assert (first != other).any()


def test_bucketing_pads_a_tenth_of_what_chance_would() -> None:
    lengths = np.random.default_rng(0).integers(1, 100, 1600).astype(np.int32)
    padded = sum(len(rows) * lengths[rows].max() for rows in plan(lengths, batch_size=32, seed=1, epoch=0))
    assert padded / lengths.sum() < 1.1


@pytest.mark.parametrize(("world", "accumulate", "rounds"), [(1, 1, 1), (2, 1, 1), (1, 3, 2), (2, 2, 3)])
def test_parts_of_all_processes_and_rounds_make_up_the_epoch(world: int, accumulate: int, rounds: int) -> None:
    lengths = np.random.default_rng(0).integers(1, 60, 101).astype(np.int32)
    rows, lengths_of_ranks = [], set()
    for round_ in range(rounds):
        for rank in range(world):
            sampler = BucketSampler(
                lengths, batch_size=10, seed=1, round_=round_, rounds=rounds, accumulate=accumulate, rank=rank,
                world=world,
            )  # fmt: skip
            parts = list(sampler)
            assert len(parts) == len(sampler)
            lengths_of_ranks.add((round_, len(parts)))
            rows.extend(int(row) for part in parts for row in part.rows)
    assert len(rows) == len(set(rows)) == (101 if world * accumulate == 1 else 100)  # the rest of 1 is not shared out
    assert len(lengths_of_ranks) == rounds, "every process has as many parts"


@given(st.integers(1, 3), st.integers(1, 3), st.integers(9, 40))
@settings(max_examples=40, deadline=None)
def test_shares_make_the_mean_of_the_parts_the_mean_of_the_batch(world: int, accumulate: int, rows: int) -> None:
    losses = np.random.default_rng(rows).random(rows)
    lengths = np.full(rows, 5, np.int32)
    common = {"batch_size": rows, "seed": 1, "round_": 0, "accumulate": accumulate, "world": world}
    parts = [part for rank in range(world) for part in BucketSampler(lengths, rank=rank, **common)]
    assert np.mean([losses[part.rows].sum() * part.share for part in parts]) == pytest.approx(losses.mean())


def test_evaluation_sees_every_row_once_over_all_processes(tokens: Tokens) -> None:
    parts = [part for rank in (0, 1) for part in SortedSampler(tokens.lengths, batch_size=2, rank=rank, world=2)]
    assert sorted(int(row) for part in parts for row in part.rows) == list(range(7))


def test_rows_are_padded_to_the_batch_and_masked() -> None:
    batch = pad([np.asarray([5, 6], np.int32), np.asarray([7], np.int32)], token=9)
    assert batch["input_ids"].tolist() == [[5, 6], [7, 9]]
    assert batch["attention_mask"].tolist() == [[1, 1], [1, 0]]
    assert batch["input_ids"].dtype == torch.int64


def test_targets_follow_their_rows_and_evaluation_is_never_augmented(tokens: Tokens) -> None:
    targets = {"teacher_logits": np.arange(14, dtype=np.float32).reshape(7, 2)}
    dataset = TokenDataset(tokens, pad=0, targets=targets, rewrite=lambda ids, row, epoch: ids[:1])
    evaluated = list(loader(dataset, SortedSampler(tokens.lengths, batch_size=3)))
    for batch in evaluated:
        assert batch["teacher_logits"][:, 0].tolist() == [2 * row for row in batch["rows"].tolist()]
        assert batch["labels"].tolist() == [int(tokens.labels[row]) for row in batch["rows"]]
    assert evaluated[-1]["input_ids"].shape[1] == 8
    trained = loader(dataset, BucketSampler(tokens.lengths, batch_size=7, seed=1, round_=0))
    assert next(iter(trained))["input_ids"].shape[1] == 1
