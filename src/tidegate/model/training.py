"""Training a sequence classifier with Lightning: the module, its optimizer and schedule, and `fit`.

Which model and which data is the caller's choice; nothing here reads params or writes artifacts.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from pytorch_lightning import LightningModule, Trainer, seed_everything
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import LambdaLR
from typing_extensions import override

from tidegate.data import UNLABELLED, Batches
from tidegate.errors import ModelError
from tidegate.fitting import Fitting
from tidegate.model import checkpoints, hardware, progress
from tidegate.model.optimization import parameter_groups, schedule
from tidegate.model.scores import figures, tally

_EVERY = 20  # steps between two looks at whether the loss is finite; each look waits for the device


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a training left: the rounds' figures; the weights are in the model that was handed to `fit`."""

    history: list[checkpoints.Round]
    best: int
    device: str
    precision: str
    stopped: str


class Classifier(LightningModule):
    """A sequence classifier in training. A stage with another objective overrides `losses`.

    Args:
        model: called with `input_ids` and `attention_mask`, gives `logits` (rows x labels).
        section: of the params that `settings` come from, for messages.
        weights: (labels,), what a row of each label counts; about 1 in the mean over the rows.
        smoothing: share of a row's weight that all labels divide.
    """

    def __init__(
        self, model: nn.Module, settings: Fitting, *, section: str, weights: Tensor, smoothing: float = 0.0
    ) -> None:
        super().__init__()
        self.model = model
        self.settings = settings
        self.section = section
        self.smoothing = smoothing
        self.register_buffer("label_weights", weights.float(), persistent=False)
        self._train = self._validation = torch.zeros(0)
        self._started = time.monotonic()
        self._before = 0.0

    def sizes(self) -> tuple[int, int]:
        """How many weights the model has, and how many of them are trained."""
        found = [(weights.numel(), weights.requires_grad) for weights in self.model.parameters()]
        return sum(size for size, _ in found), sum(size for size, trained in found if trained)

    def losses(self, batch: dict[str, Tensor], logits: Tensor) -> Tensor:
        """The objective of each row: (rows,) float32."""
        labels = batch["labels"]
        loss = functional.cross_entropy(logits, labels, reduction="none", label_smoothing=self.smoothing)
        return loss * self.label_weights[labels]  # type: ignore[index]

    def logits(self, batch: dict[str, Tensor]) -> Tensor:
        """(rows, labels) float32."""
        found: Tensor = self.model(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]).logits
        return found.float()

    def _begin_round(self) -> None:
        # Not `on_train_epoch_start`: Lightning leaves that out in the first epoch after a resume.
        # Dropout depends on the round alone, so a resumed run draws what an uninterrupted one does.
        torch.manual_seed(self.settings.seed + 1_000_003 * self.current_epoch + 7_919 * self.global_rank)
        self._train = torch.zeros(2, dtype=torch.float64, device="cpu")
        self._pending: list[Tensor] = []

    @override
    def training_step(self, batch: dict[str, Tensor], index: int) -> Tensor:
        if index == 0:
            self._begin_round()
        logits = self.logits(batch)
        labels = batch["labels"]
        total = functional.cross_entropy(logits.detach(), labels, reduction="sum", ignore_index=UNLABELLED)
        self._pending.append(torch.stack([total, (labels != UNLABELLED).sum()]))
        if (index + 1) % _EVERY == 0:
            self._settle()
        loss = self.losses(batch, logits).sum() * batch["share"]
        self.log("loss", loss.detach(), prog_bar=True, logger=False)
        return loss

    def _settle(self) -> None:
        """Adds the pending losses to the round's sum.

        Raises:
            ModelError: they are not finite.
        """
        found = torch.stack(self._pending).double().sum(dim=0).cpu() if self._pending else torch.zeros(2)
        if not found.isfinite().all():
            raise ModelError(
                self.section, f"the loss is no longer a finite number, shortly before step {self.global_step + 1:,}",
                "Lower `learning_rate`, lengthen `warmup`, set `clip: 1.0` or `precision: 32-true`",
            )  # fmt: skip
        self._train += found
        self._pending = []

    @override
    def on_validation_epoch_start(self) -> None:
        self._settle()
        labels = len(self.label_weights)  # type: ignore[arg-type]
        self._validation = torch.zeros(labels * labels + 1, dtype=torch.float64)

    @override
    def validation_step(self, batch: dict[str, Tensor], index: int) -> None:
        self._validation += tally(self.logits(batch), batch["labels"])

    def figures(self) -> checkpoints.Round:
        """The figures of the round that ends; the same on every process, so all of them have to ask."""
        train = self._summed(self._train)
        validation = figures(self._summed(self._validation))
        return {
            "epoch": (self.current_epoch + 1) / self.settings.rounds,
            "step": self.global_step,
            "train_loss": float(train[0] / train[1].clamp(min=1)),
            **{f"validation_{name}": value for name, value in validation.items()},
            "learning_rate": self.trainer.optimizers[0].param_groups[0]["lr"],
            "seconds": self._before + time.monotonic() - self._started,
        }

    def _summed(self, values: Tensor) -> Tensor:
        exact = torch.float32 if self.device.type == "mps" else torch.float64
        found = self.trainer.strategy.reduce(values.to(self.device, exact), reduce_op="sum")
        return cast("Tensor", found).cpu()

    @override
    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        checkpoint["seconds"] = self._before + time.monotonic() - self._started

    @override
    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        self._before = checkpoint["seconds"]

    @property
    def _unscaled(self) -> bool:
        return self.settings.precision != "16-mixed"  # the one precision that scales losses and gradients

    @override
    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clips by the norm; itself, for Lightning refuses the fused optimizer under every mixed precision."""
        if gradient_clip_val is not None and self._unscaled:
            nn.utils.clip_grad_norm_(self.parameters(), gradient_clip_val)
        else:
            self.clip_gradients(optimizer, gradient_clip_val, gradient_clip_algorithm)

    @override
    def configure_optimizers(self) -> Any:
        batches: Batches = self.trainer.datamodule  # type: ignore[attr-defined]
        steps = batches.steps(self.trainer.world_size) * self.settings.epochs
        optimizer = torch.optim.AdamW(
            parameter_groups(self.model, self.settings.weight_decay), lr=self.settings.learning_rate,
            fused=self._unscaled,
        )  # fmt: skip
        factor = schedule(steps, warmup=self.settings.warmup, shape=self.settings.schedule)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": LambdaLR(optimizer, factor), "interval": "step"}}


def fit(module: Classifier, batches: Batches, *, folder: Path, key: str, live: progress.Live) -> Outcome | None:
    """Trains the module, or goes on where a killed run of the same key stopped; leaves the best weights in it.

    Args:
        folder: where checkpoints are kept; the caller removes it when the result is safe.
        key: digest of all that shapes the run.

    Returns:
        None on every process but the first.

    Raises:
        ModelError: hardware that is not there, too little memory, or a loss that is not finite.
    """
    settings = module.settings
    checkpoint = checkpoints.prepare(folder, key)
    seed_everything(settings.seed, workers=True, verbose=False)
    keeper = checkpoints.Keeper(
        folder, metric=settings.metric, patience=settings.patience, report=progress.Report(live)
    )
    with hardware.quiet(), hardware.mended(module.section):
        trainer = _trainer(settings, keeper, folder)
        steps = _check_steps(batches, module, trainer.world_size)
        lines = progress.Lines(steps=steps, rounds=settings.rounds, live=live)
        trainer.callbacks = [lines, *trainer.callbacks]  # type: ignore[attr-defined]
        if trainer.is_global_zero:
            print("{:,} parameters, of which {:,} are trained; {:,} steps".format(*module.sizes(), steps), flush=True)
            if checkpoint:
                print("Going on from the checkpoint of a run that did not end.", flush=True)
        module.train()  # `from_pretrained` gives eval mode, and Lightning keeps what it finds
        trainer.fit(module, datamodule=batches, ckpt_path=checkpoint, weights_only=True)
    if not trainer.is_global_zero:
        return None
    return _outcome(module, trainer, keeper, folder)


def _outcome(module: Classifier, trainer: Trainer, keeper: checkpoints.Keeper, folder: Path) -> Outcome:
    settings = module.settings
    history = keeper.history or checkpoints.history(folder / "last.ckpt")  # spawned processes keep theirs
    module.load_state_dict(checkpoints.load_weights(folder / "best.safetensors"))
    ended = checkpoints.stalled(history, settings.metric, settings.patience)
    unit = "round" if settings.patience == 1 else "rounds"
    return Outcome(
        history=history,
        best=checkpoints.best_round(history, settings.metric),
        device=str(trainer.strategy.root_device.type),
        precision=str(trainer.precision),
        stopped=f"no better {settings.metric} for {settings.patience} {unit}" if ended else "all epochs done",
    )


def _trainer(settings: Fitting, keeper: checkpoints.Keeper, folder: Path) -> Trainer:
    return Trainer(
        accelerator=settings.accelerator, devices=settings.devices, num_nodes=settings.nodes,
        strategy=settings.strategy, precision=hardware.precision_of(settings.precision, settings.accelerator),  # type: ignore[arg-type]
        max_epochs=settings.epochs * settings.rounds, accumulate_grad_batches=settings.accumulate,
        gradient_clip_val=settings.clip, deterministic="warn", num_sanity_val_steps=0,
        reload_dataloaders_every_n_epochs=1, use_distributed_sampler=False, logger=False,
        callbacks=[keeper, *progress.bar()], enable_progress_bar=bool(progress.bar()), enable_model_summary=False,
        plugins=[checkpoints.WholeCheckpoints()], default_root_dir=folder,
    )  # fmt: skip


def _check_steps(batches: Batches, module: Classifier, world: int) -> int:
    """The run's optimizer steps.

    Raises:
        ModelError: a batch is smaller than its parts, or an epoch has fewer steps than rounds.
    """
    settings, section = module.settings, module.section
    if settings.batch_size < world * settings.accumulate:
        cause = f"a batch of {settings.batch_size} cannot be split over {world} devices x {settings.accumulate} parts"
        raise ModelError(f"{section}.batch_size", cause, "Raise it, or lower `accumulate` or `devices`")
    steps = batches.steps(world)
    if steps < settings.rounds:
        cause = f"an epoch has {steps} steps, fewer than `rounds` ({settings.rounds})"
        raise ModelError(f"{section}.rounds", cause, "Lower it, or `batch_size`, or give more rows")
    return steps * settings.epochs
