"""Batches for training: token files mapped into memory, bucketed by length, padded to the batch.

Knows nothing of models. Texts become tokens in `stages/tokenize.py`.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray
from pytorch_lightning import LightningDataModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler
from typing_extensions import override

from tidegate.errors import DataError

Rewrite = Callable[[NDArray[np.int32], int, int], NDArray[np.int32]]
"""Token ids, row and epoch to other token ids: augmentation."""

UNLABELLED = -1
"""In place of a label, where a row has none; losses leave it out."""

_POOL = 50  # batches sorted by length together: enough to pad little, few enough to stay shuffled


class Tokens:
    """The rows of some token files, one after the other, read through a memory map: opening costs no copy of the ids.

    Attributes:
        labels: (rows,) int64, index into the task's labels, or `UNLABELLED`.
        lengths: (rows,) int32, tokens a row.

    Raises:
        DataError: a file is missing or damaged, or all of them are empty.
    """

    def __init__(self, *paths: Path) -> None:
        self.paths = paths
        table = pa.concat_tables([_mapped(path) for path in paths])
        if not len(table):
            raise DataError(" and ".join(map(str, paths)), "holds no rows", "Give the split more rows")
        self._ids = table.column("id")
        self.labels: NDArray[np.int64] = table.column("label").to_numpy().astype(np.int64)
        self.lengths: NDArray[np.int32] = table.column("length").to_numpy()
        chunks = table.column("input_ids").chunks
        self._values = [chunk.values.to_numpy() for chunk in chunks]
        self._offsets = [chunk.offsets.to_numpy() for chunk in chunks]
        self._starts = np.cumsum([0, *(len(chunk) for chunk in chunks)])

    @staticmethod
    def write(path: Path, rows: Sequence[NDArray[np.int32]], labels: NDArray[np.int64]) -> None:
        """Writes rows of ids as a token file."""
        lengths = np.fromiter(map(len, rows), np.int32, len(rows))
        flat = np.concatenate([np.zeros(0, np.int32), *rows])
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
        columns = {
            "id": pa.array([str(place) for place in range(len(rows))], pa.string()),
            "label": pa.array(labels.astype(np.int16)),
            "length": pa.array(lengths),
            "input_ids": pa.ListArray.from_arrays(pa.array(offsets), pa.array(flat)),
        }  # fmt: skip
        table = pa.table(columns)
        with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
            writer.write_table(table)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, row: int) -> NDArray[np.int32]:
        chunk = int(np.searchsorted(self._starts, row, side="right")) - 1
        start, end = self._offsets[chunk][row - self._starts[chunk] :][:2]
        ids: NDArray[np.int32] = self._values[chunk][start:end]
        return ids

    def __iter__(self) -> Iterator[NDArray[np.int32]]:
        return (self[row] for row in range(len(self)))

    def __reduce__(self) -> tuple[type["Tokens"], tuple[Path, ...]]:  # a spawned process maps the files itself
        return Tokens, self.paths

    @property
    def ids(self) -> list[str]:
        """The ids of the records, in the order of the rows."""
        found: list[str] = self._ids.to_pylist()
        return found


def _mapped(path: Path) -> pa.Table:
    columns = ("id", "label", "length", "input_ids")
    try:
        with pa.memory_map(str(path)) as source:
            return pa.ipc.open_file(source).read_all().select(columns)
    except FileNotFoundError:
        raise DataError(str(path), "is missing", "Run `dvc repro`, which makes it") from None
    except (pa.ArrowInvalid, KeyError, OSError) as error:
        raise DataError(str(path), f"is damaged ({error})", "Delete it and run `dvc repro`") from None


@dataclass(frozen=True, slots=True)
class Part:
    """What one process computes at once: some rows of a batch.

    `epoch` is what augmentation depends on; None leaves the rows as they are.
    `share` is parts / rows of the whole batch: the sum of a part's losses times its share, averaged over the
    parts, is the mean loss of the batch, whatever the number of parts.
    """

    rows: NDArray[np.int64]
    epoch: int | None
    share: float


def plan(lengths: NDArray[np.int32], *, batch_size: int, seed: int, epoch: int) -> list[NDArray[np.int64]]:
    """The batches of one epoch: every row once, in seeded order, rows of like length together."""
    random = np.random.default_rng((seed, epoch))
    order = random.permutation(len(lengths))
    batches: list[NDArray[np.int64]] = []
    for start in range(0, len(order), batch_size * _POOL):
        pool = order[start : start + batch_size * _POOL]
        pool = pool[np.argsort(lengths[pool], kind="stable")]
        batches.extend(pool[first : first + batch_size] for first in range(0, len(pool), batch_size))
    return [batches[position] for position in random.permutation(len(batches))]


class BucketSampler(Sampler[Part]):
    """One round's parts for one process.

    An epoch is `rounds` rounds, a round ends with a validation and a checkpoint. A batch is computed as
    `world * accumulate` parts; this process takes `accumulate` of them.
    """

    def __init__(
        self, lengths: NDArray[np.int32], *, batch_size: int, seed: int, round_: int, rounds: int = 1,
        accumulate: int = 1, rank: int = 0, world: int = 1,
    ) -> None:  # fmt: skip
        self.epoch, position = divmod(round_, rounds)
        batches = plan(lengths, batch_size=batch_size, seed=seed, epoch=self.epoch)
        self._parts = world * accumulate
        whole = [batch for batch in batches if len(batch) >= self._parts]  # a part must not be empty
        first, last = len(whole) * position // rounds, len(whole) * (position + 1) // rounds
        self._batches = whole[first:last]
        self._mine = range(rank, self._parts, world)

    def __len__(self) -> int:
        return len(self._batches) * len(self._mine)

    def __iter__(self) -> Iterator[Part]:
        for batch in self._batches:
            for part in self._mine:
                yield Part(batch[part :: self._parts], self.epoch, self._parts / len(batch))


class SortedSampler(Sampler[Part]):
    """Rows in order of length, in batches; of several processes each takes its share. For evaluation."""

    def __init__(
        self, lengths: NDArray[np.int32], *, batch_size: int, rows: NDArray[np.int64] | None = None,
        rank: int = 0, world: int = 1,
    ) -> None:  # fmt: skip
        rows = np.arange(len(lengths)) if rows is None else rows
        order = rows[np.argsort(lengths[rows], kind="stable")][rank::world]
        self._parts = [order[first : first + batch_size] for first in range(0, len(order), batch_size)]

    def __len__(self) -> int:
        return len(self._parts)

    def __iter__(self) -> Iterator[Part]:
        for rows in self._parts:
            yield Part(rows, None, 1 / len(rows))


class TokenDataset(Dataset[dict[str, Tensor]]):
    """Gives a part as tensors: `input_ids`, `attention_mask` (rows x longest), `labels`, `rows` and `share`.

    `targets` (name: array, first axis rows of the file) are passed on by row: a teacher's logits, say.
    """

    def __init__(
        self, tokens: Tokens, *, pad: int, rewrite: Rewrite | None = None,
        targets: Mapping[str, NDArray[Any]] | None = None,
    ) -> None:  # fmt: skip
        self.tokens = tokens
        self._pad = pad
        self._rewrite = rewrite
        self._targets = dict(targets or {})

    def __getitem__(self, part: Part) -> dict[str, Tensor]:
        batch = pad([self._row(int(row), part.epoch) for row in part.rows], self._pad)
        batch["labels"] = torch.from_numpy(self.tokens.labels[part.rows])
        batch["rows"] = torch.from_numpy(np.asarray(part.rows, dtype=np.int64))
        batch["share"] = torch.tensor(part.share, dtype=torch.float32)
        for name, values in self._targets.items():
            batch[name] = torch.from_numpy(np.ascontiguousarray(values[part.rows]))
        return batch

    def _row(self, row: int, epoch: int | None) -> NDArray[np.int32]:
        ids = self.tokens[row]
        return ids if self._rewrite is None or epoch is None else self._rewrite(ids, row, epoch)


def pad(rows: list[NDArray[np.int32]], token: int) -> dict[str, Tensor]:
    """Rows of token ids as `input_ids` and `attention_mask`, int64, rows x longest, padded on the right."""
    longest = max(len(row) for row in rows)
    ids = np.full((len(rows), longest), token, dtype=np.int64)
    mask = np.zeros_like(ids)
    for position, row in enumerate(rows):
        ids[position, : len(row)] = row
        mask[position, : len(row)] = 1
    return {"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)}


def loader(dataset: TokenDataset, sampler: Sampler[Part]) -> "DataLoader[dict[str, Tensor]]":
    """Batches in the sampler's order. In this process: to pad a mapped batch takes less time than to pass it on."""
    pinned = torch.cuda.is_available()
    return DataLoader(dataset, sampler=sampler, batch_size=None, num_workers=0, pin_memory=pinned)


class Batches(LightningDataModule):
    """Training and validation batches. A Lightning epoch is one round, so the loader is made anew for each."""

    def __init__(
        self, train: TokenDataset, validation: TokenDataset, *, batch_size: int, accumulate: int, rounds: int, seed: int
    ) -> None:
        super().__init__()
        self._train, self._validation = train, validation
        self._batch_size, self._accumulate, self._rounds, self._seed = batch_size, accumulate, rounds, seed

    def steps(self, world: int) -> int:
        """Optimizer steps an epoch."""
        full, rest = divmod(len(self._train.tokens), self._batch_size)
        return full + (rest >= world * self._accumulate)

    @override
    def train_dataloader(self) -> "DataLoader[dict[str, Tensor]]":
        trainer = cast("Trainer", self.trainer)  # attached by now
        sampler = BucketSampler(
            self._train.tokens.lengths, batch_size=self._batch_size, seed=self._seed, round_=trainer.current_epoch,
            rounds=self._rounds, accumulate=self._accumulate, rank=trainer.global_rank, world=trainer.world_size,
        )  # fmt: skip
        return loader(self._train, sampler)

    @override
    def val_dataloader(self) -> "DataLoader[dict[str, Tensor]]":
        trainer = cast("Trainer", self.trainer)  # attached by now
        sampler = SortedSampler(
            self._validation.tokens.lengths, batch_size=4 * self._batch_size, rank=trainer.global_rank,
            world=trainer.world_size,
        )  # fmt: skip
        return loader(self._validation, sampler)
