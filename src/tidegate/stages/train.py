"""Stage train: the encoder becomes the teacher, a sequence classifier, with its curves and figures.

The training itself is in `model/training.py`; a run that was killed goes on from `<teacher>.partial`.
"""

import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from tidegate import effort, files
from tidegate.fitting import Fitting, spare_cores
from tidegate.params import Range

if TYPE_CHECKING:
    from tidegate.data import Batches, TokenDataset
    from tidegate.model.training import Classifier


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze:
    """What stays as it was pretrained."""

    embeddings: bool
    """Whether the embeddings are kept."""

    layers: Annotated[int, Range(ge=0)]
    """Lowest layers that are kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Lora:
    """Low-rank adapters: few trained weights, merged into the model at the end."""

    r: Annotated[int, Range(ge=1)]
    """Rank."""

    alpha: Annotated[float, Range(gt=0)]
    """Scale: an adapter counts alpha / r."""

    dropout: Annotated[float, Range(ge=0, lt=1)]
    """Probability."""

    target_modules: Annotated[list[str], Range(ge=1)]
    """Names of linear layers, or `all-linear`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """Errors put into training texts, anew in each epoch."""

    typing: Annotated[float, Range(ge=0, le=1)]
    """Share of words with a typing error."""

    deletion: Annotated[float, Range(ge=0, lt=1)]
    """Share of words left out."""

    swap: Annotated[float, Range(ge=0, le=1)]
    """Share of words swapped with the next."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Params(Fitting):
    """How the teacher is trained."""

    label_smoothing: Annotated[float, Range(ge=0, lt=1)]
    """Share of a row's weight that all labels divide."""

    class_weights: Literal["none", "balanced"]
    """What a row counts in the loss, by its label."""

    dropout: Annotated[float, Range(ge=0, lt=1)] | None
    """Probability, everywhere in the encoder; null keeps its own."""

    warm_start: str | None
    """Address of a trained classifier to start from."""

    freeze: Freeze
    lora: Lora | None
    augmentation: Augmentation


def run(
    params: Params, *, tokens: Path, encoder: Path, task: Path, teacher: Path, training: Path, curves: Path,
    train_effort: Path,
) -> None:  # fmt: skip
    """Trains the teacher, or goes on with a run of the same inputs that was killed."""
    with effort.measuring(train_effort, params) as meter:
        spare_cores()
        from tidegate.model import encoder as encoders
        from tidegate.model import freezing, progress, reporting
        from tidegate.model import training as fitting

        about = files.read_json(task)
        encoders.tokenizer(encoder)  # goes into the teacher in the end, so it has to be whole
        start = _warm_start(params, encoder)
        key = _key(params, about["labels"], [tokens, encoder, *([start] if start else [])])
        unfinished = teacher.with_name(f"{teacher.name}.partial")
        meter.go_on(key)
        train, validation = _datasets(params, tokens, encoder)
        module = _classifier(params, start or encoder, about["labels"], train, warm=start is not None)
        parameters, trainable = module.sizes()
        outcome = fitting.fit(
            module, _batches(params, train, validation), folder=unfinished, key=key,
            live=progress.live(about["task"], f"train-{key[:8]}"),
        )  # fmt: skip
        if outcome is None:
            return  # not the first of several processes
        module.model = freezing.merged(module.model)
        report = reporting.report(outcome, module.model, train, settings=params)
        encoders.save(module.model, teacher, tokenizer_of=encoder)
        reporting.write_curves(curves, outcome.history)
        files.write_json(training, report | {"parameters": parameters, "trainable": trainable})
        shutil.rmtree(unfinished, ignore_errors=True)
        meter.write(train_effort)


def _warm_start(params: Params, encoder: Path) -> Path | None:
    if params.warm_start is None:
        return None
    from tidegate.intake import sources
    from tidegate.model import encoder as encoders

    start = sources.fetch_model(params.warm_start)
    encoders.check(start)
    encoders.check_vocabulary(start, encoder)
    return start


def _key(params: Params, labels: list[str], inputs: list[Path]) -> str:
    """What a checkpoint belongs to: all that shapes the run."""
    return files.digest_json([asdict(params), labels, [files.digest_folder(folder) for folder in inputs]])


def _datasets(params: Params, tokens: Path, encoder: Path) -> "tuple[TokenDataset, TokenDataset]":
    from tidegate.data import TokenDataset, Tokens
    from tidegate.model import augmentation
    from tidegate.model import encoder as encoders

    rates = augmentation.Rates(**asdict(params.augmentation))
    rewrite = None
    if rates:
        rewrite = augmentation.Augmenter(encoders.tokenizer(encoder), rates, seed=params.seed)
    pad = int(encoders.configuration(encoder).get("pad_token_id") or 0)
    return (
        TokenDataset(Tokens(tokens / "train.arrow"), pad=pad, rewrite=rewrite),
        TokenDataset(Tokens(tokens / "validation.arrow"), pad=pad),
    )


def _batches(params: Params, train: "TokenDataset", validation: "TokenDataset") -> "Batches":
    from tidegate.data import Batches

    return Batches(
        train, validation, batch_size=params.batch_size, accumulate=params.accumulate, rounds=params.rounds,
        seed=params.seed,
    )  # fmt: skip


def _classifier(params: Params, source: Path, labels: list[str], train: "TokenDataset", *, warm: bool) -> "Classifier":
    import torch

    from tidegate.model import encoder as encoders
    from tidegate.model import freezing, optimization
    from tidegate.model import training as fitting

    torch.manual_seed(params.seed)  # the head's first weights
    model: torch.nn.Module = encoders.load(source, labels, dropout=params.dropout, trained=warm)
    freezing.freeze(model, embeddings=params.freeze.embeddings, layers=params.freeze.layers)  # type: ignore[arg-type]
    if params.lora:
        model = freezing.add_adapters(model, **asdict(params.lora))  # type: ignore[arg-type]
    weights = optimization.class_weights(
        torch.from_numpy(train.tokens.labels), len(labels), balanced=params.class_weights == "balanced"
    )
    return fitting.Classifier(model, params, section="train", weights=weights, smoothing=params.label_smoothing)
