"""What of a classifier is trained: all of it, all but frozen parts, or low-rank adapters that are merged at the end."""

import warnings
from collections.abc import Sequence

from torch import nn
from transformers import PreTrainedModel

from tidegate.errors import ModelError
from tidegate.model import anatomy
from tidegate.model.encoder import first_line


def freeze(model: PreTrainedModel, *, embeddings: bool, layers: int) -> None:
    """Keeps the embeddings and the lowest `layers` layers as they are.

    Raises:
        ModelError: the model has not so many layers, or no embeddings to be found.
    """
    if embeddings:
        module = getattr(model.base_model, "embeddings", None)
        if not isinstance(module, nn.Module):
            raise ModelError(type(model).__name__, "has no embeddings by that name", "Set `freeze.embeddings: false`")
        module.requires_grad_(False)
    if layers:
        stack = anatomy.layer_stack(model)
        if layers > len(stack):
            cause = f"has {len(stack)} layers, of which {layers} cannot be frozen"
            raise ModelError(type(model).__name__, cause, "Lower `freeze.layers`")
        for layer in stack[:layers]:
            layer.requires_grad_(False)


def add_adapters(
    model: PreTrainedModel, *, r: int, alpha: float, dropout: float, target_modules: Sequence[str]
) -> nn.Module:
    """Low-rank adapters (LoRA, arXiv:2106.09685) on the named linear layers; only they and the head are trained.

    Raises:
        ModelError: the model has no layer of such a name.
    """
    from peft import LoraConfig, TaskType, get_peft_model  # brings accelerate, which few runs need

    names: str | list[str] = list(target_modules)
    config = LoraConfig(
        task_type=TaskType.SEQ_CLS, r=r, lora_alpha=alpha, lora_dropout=dropout,  # type: ignore[arg-type]
        target_modules="all-linear" if names == ["all-linear"] else names,
    )  # fmt: skip
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # peft and transformers among themselves
            return get_peft_model(model, config)
    except ValueError as error:
        known = sorted({name.rsplit(".", 1)[-1] for name, part in model.named_modules() if isinstance(part, nn.Linear)})
        remedy = f"Its linear layers are called {', '.join(known)}"
        raise ModelError("train.lora.target_modules", first_line(error), remedy) from None


def merged(model: nn.Module) -> PreTrainedModel:
    """The plain classifier: adapters, where there are any, added into the weights they adapt."""
    merge = getattr(model, "merge_and_unload", None)
    return merge() if merge else model  # type: ignore[return-value]
