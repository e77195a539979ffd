"""What survives a kill, and for whom."""

from pathlib import Path

import pytest
import torch

from tidegate.model.checkpoints import WholeCheckpoints, best_round, load_weights, prepare, save_weights, stalled


def rounds(*values: float) -> list[dict[str, float]]:
    return [{"validation_macro_f1": value, "validation_loss": value} for value in values]


@pytest.mark.parametrize(
    ("values", "metric", "best"),
    [
        ((0.1, 0.3, 0.2), "macro_f1", 1), ((0.1, 0.3, 0.2), "loss", 0), ((0.3, 0.3, 0.3), "macro_f1", 0),
        ((0.3, 0.2, 0.2), "loss", 1), ((0.1, 0.2, 0.3), "macro_f1", 2),
    ],
)  # fmt: skip
def test_the_best_round_is_the_first_of_equals(values: tuple[float, ...], metric: str, best: int) -> None:
    assert best_round(rounds(*values), metric) == best


@pytest.mark.parametrize(
    ("values", "patience", "stops"),
    [
        ((), 1, False), ((0.5,), 1, False), ((0.5, 0.4), 1, True), ((0.5, 0.4), 2, False), ((0.5, 0.4, 0.5), 2, True),
        ((0.5, 0.4, 0.6), 1, False), ((0.5, 0.4, 0.3, 0.2), None, False),
    ],
)  # fmt: skip
def test_it_stops_when_nothing_got_better(values: tuple[float, ...], patience: int | None, stops: bool) -> None:
    assert stalled(rounds(*values), "macro_f1", patience) is stops


def test_a_checkpoint_serves_its_own_key_alone(tmp_path: Path) -> None:
    folder = tmp_path / "teacher.partial"
    assert prepare(folder, "one") is None
    torch.save({"callbacks": {}}, folder / "last.ckpt")
    assert prepare(folder, "one") == folder / "last.ckpt"
    assert prepare(folder, "two") is None
    assert not (folder / "last.ckpt").exists()


def test_a_damaged_checkpoint_is_discarded_with_a_word(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepare(tmp_path, "one")
    (tmp_path / "last.ckpt").write_bytes(b"half a file")
    assert prepare(tmp_path, "one") is None
    assert "damaged" in capsys.readouterr().out


def test_a_write_that_fails_leaves_the_checkpoint_before_it(tmp_path: Path) -> None:
    target = tmp_path / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"step": 1}, target)
    with pytest.raises(Exception, match="pickle"):
        WholeCheckpoints().save_checkpoint({"step": lambda: 2}, target)
    assert torch.load(target, weights_only=True) == {"step": 1}


def test_shared_weights_come_back(tmp_path: Path) -> None:
    shared = torch.arange(6.0).reshape(2, 3)
    save_weights(tmp_path / "best.safetensors", {"a": shared, "b": shared.T})
    found = load_weights(tmp_path / "best.safetensors")
    assert torch.equal(found["a"], shared)
    assert torch.equal(found["b"], shared.T)
