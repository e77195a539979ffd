"""Where the parts of an encoder are, and how they are made smaller: heads, feed-forward neurons, positions, embeddings.

Which of them go is `pruning.py`'s matter. Every cut is a new, smaller matrix; nothing is only set to zero.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from operator import attrgetter

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel

from tidegate.errors import ModelError

KEPT_HEADS = "kept_heads"
"""In the `config.json` of a pruned model: heads of every layer. Its head size is that of the unpruned one."""


@dataclass(frozen=True, slots=True)
class Layer:
    """The matrices of one transformer layer."""

    query: nn.Linear
    key: nn.Linear
    value: nn.Linear
    mixed: nn.Linear
    """Takes the heads' outputs, side by side."""
    widening: nn.Linear
    narrowing: nn.Linear
    """Takes the neurons' activations."""


@dataclass(frozen=True, slots=True)
class _Names:
    """What a family of models calls these parts, and the width between `widening` and `narrowing` in its config."""

    query: str
    key: str
    value: str
    mixed: str
    widening: str
    narrowing: str
    neurons: str


_FAMILIES = (
    _Names(
        "attention.self.query", "attention.self.key", "attention.self.value", "attention.output.dense",
        "intermediate.dense", "output.dense", "intermediate_size",
    ),  # BERT, MiniLM, RoBERTa, XLM-R, CamemBERT, ELECTRA
    _Names(
        "attention.q_lin", "attention.k_lin", "attention.v_lin", "attention.out_lin", "ffn.lin1", "ffn.lin2",
        "hidden_dim",
    ),  # DistilBERT
)  # fmt: skip


def layer_stack(model: PreTrainedModel) -> nn.ModuleList:
    """The model's transformer layers, the lowest first.

    Raises:
        ModelError: they cannot be found.
    """
    count = model.config.num_hidden_layers
    for module in model.base_model.modules():
        if isinstance(module, nn.ModuleList) and len(module) == count:
            return module
    raise ModelError(type(model).__name__, "has no list of layers to be found", "Set `freeze.layers: 0`")


def layers(model: PreTrainedModel) -> list[Layer]:
    """The parts of each layer.

    Raises:
        ModelError: the model is of no known family.
    """
    names = _family(model)
    parts = [getattr(names, part) for part in Layer.__slots__]
    return [Layer(*(attrgetter(part)(layer) for part in parts)) for layer in layer_stack(model)]


def _family(model: PreTrainedModel) -> _Names:
    first = layer_stack(model)[0]
    for names in _FAMILIES:
        if all(isinstance(_found(first, getattr(names, part)), nn.Linear) for part in Layer.__slots__):
            return names
    cause = "is of no family whose heads and neurons can be removed"
    raise ModelError(type(model).__name__, cause, "Take a BERT-like encoder, or leave `heads` and `neurons` null")


def _found(module: nn.Module, path: str) -> object:
    try:
        return attrgetter(path)(module)
    except AttributeError:
        return None


def head_size(model: PreTrainedModel) -> int:
    """The width of one head, of an unpruned and of a pruned model alike."""
    return int(model.config.hidden_size // model.config.num_attention_heads)


def keep_heads(model: PreTrainedModel, kept: Sequence[Sequence[int]]) -> None:
    """Leaves each layer the heads named for it, as many in each.

    Args:
        kept: by layer the indices of heads, ascending.
    """
    size = head_size(model)
    for layer, heads in zip(layers(model), kept, strict=True):
        inner = torch.cat([torch.arange(head * size, (head + 1) * size) for head in heads])
        for part in (layer.query, layer.key, layer.value):
            _keep_outputs(part, inner)
        _keep_inputs(layer.mixed, inner)
    setattr(model.config, KEPT_HEADS, len(kept[0]))


def keep_neurons(model: PreTrainedModel, kept: Sequence[Sequence[int]]) -> None:
    """Leaves each layer's feed-forward block the neurons named for it, as many in each."""
    for layer, neurons in zip(layers(model), kept, strict=True):
        chosen = torch.tensor(neurons)
        _keep_outputs(layer.widening, chosen)
        _keep_inputs(layer.narrowing, chosen)
    setattr(model.config, _family(model).neurons, len(kept[0]))


def keep_tokens(model: PreTrainedModel, kept: Iterable[int]) -> None:
    """Leaves the embedding table the rows named, in this order; the padding token has to be among them."""
    rows = torch.tensor(list(kept))
    table = model.get_input_embeddings()
    if not isinstance(table, nn.Embedding):
        raise ModelError(type(model).__name__, "has no table of word embeddings", "Leave `vocabulary` null")
    padding = model.config.pad_token_id
    place = None if padding is None else int((rows == padding).nonzero().item())
    model.set_input_embeddings(_embedding(table.weight[rows], place if table.padding_idx is not None else None))
    model.config.vocab_size = len(rows)
    model.config.pad_token_id = place


def keep_positions(model: PreTrainedModel, count: int) -> None:
    """Cuts the table of positions to the first `count` rows, where the model has a longer one."""
    block = getattr(model.base_model, "embeddings", None)
    table = getattr(block, "position_embeddings", None)
    if block is None or not isinstance(table, nn.Embedding) or table.num_embeddings <= count:
        return
    block.position_embeddings = _embedding(table.weight[:count], table.padding_idx)
    for name in ("position_ids", "token_type_ids"):
        if isinstance(buffer := getattr(block, name, None), Tensor):
            block.register_buffer(name, buffer[:, :count].clone(), persistent=False)
    model.config.max_position_embeddings = count


def set_dropout(model: PreTrainedModel, probability: float) -> None:
    """Sets every dropout of a model as it stands; its config, and so the written model, keeps its own."""
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = probability


def refit(model: PreTrainedModel) -> None:
    """Gives a model that was just built from a pruned one's config the shapes of that one; weights are to follow."""
    if (heads := getattr(model.config, KEPT_HEADS, None)) is not None:
        keep_heads(model, [range(heads)] * len(layer_stack(model)))


def _embedding(weight: Tensor, padding: int | None) -> nn.Embedding:
    table = nn.Embedding(weight.shape[0], weight.shape[1], padding_idx=padding)
    table.weight = nn.Parameter(weight.detach().clone())
    return table


def _keep_outputs(linear: nn.Linear, rows: Tensor) -> None:
    linear.weight = nn.Parameter(linear.weight.detach()[rows].clone())
    if linear.bias is not None:
        linear.bias = nn.Parameter(linear.bias.detach()[rows].clone())
    linear.out_features = len(rows)


def _keep_inputs(linear: nn.Linear, columns: Tensor) -> None:
    linear.weight = nn.Parameter(linear.weight.detach()[:, columns].clone())
    linear.in_features = len(columns)
