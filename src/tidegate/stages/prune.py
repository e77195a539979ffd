"""Stage prune: heads, neurons and tokens that matter least are removed from trained models, which then recover.

What matters is `model/pruning.py`'s, how it is cut out `model/anatomy.py`'s and `model/vocabulary.py`'s matter. The
recovery is a distillation from the teacher; a run that was killed goes on from `<pruned>.partial`.
"""

import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

from tidegate import effort, files
from tidegate.errors import ModelError
from tidegate.fitting import Teaching, name_problems, spare_cores
from tidegate.params import Range

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from tidegate.data import Tokens
    from tidegate.model.school import School


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """What is left of a model."""

    name: str
    """Of the pruned model, and so of its folder."""

    of: Annotated[str, Range(ge=1)]
    """The model that is pruned: `teacher` or a student's name."""

    heads: Annotated[int, Range(ge=1)] | None
    """Attention heads a layer; null keeps all."""

    neurons: Annotated[int, Range(ge=1)] | None
    """Feed-forward neurons a layer; null keeps all."""

    vocabulary: Annotated[int, Range(ge=1)] | None
    """Tokens; null keeps all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Params(Teaching):
    """Which pruned models there are, and how they recover."""

    models: list[Shape]

    importance_rows: Annotated[int, Range(ge=1)]
    """Training rows on which heads and neurons are ranked."""

    def problems(self) -> Iterator[str]:
        """What does not go together."""
        yield from Teaching.problems(self)
        yield from name_problems("models", [shape.name for shape in self.models])
        for shape in self.models:
            if shape.heads is None and shape.neurons is None and shape.vocabulary is None:
                yield f"models: {shape.name!r} removes nothing: set heads, neurons or vocabulary"


def run(
    params: Params, *, teacher: Path, students: Path, tokens: Path, train: Path, unlabelled: Path, validation: Path,
    task: Path, pruned: Path, pruning: Path, prune_effort: Path,
) -> None:  # fmt: skip
    """Prunes the models one after the other, or goes on with a run of the same inputs that was killed."""
    with effort.measuring(prune_effort, params) as meter:
        spare_cores()
        from tidegate.model import encoder as encoders
        from tidegate.model import school as schools

        about, unfinished = files.read_json(task), pruned.with_name(f"{pruned.name}.partial")
        sources = {shape.name: _source(shape, teacher, students) for shape in params.models}
        inputs = [files.digest_folder(folder) for folder in (teacher, students, tokens)]
        key = files.digest_json([asdict(params), about["labels"], inputs])
        meter.go_on(key)
        school = schools.opened(
            teacher, tokens, (train, unlabelled), about, section="prune", settings=params, folder=unfinished, key=key
        )
        models, reports = {}, {}
        for shape in params.models:
            name = shape.name
            print(f"{name}, from {shape.of}:", flush=True)
            model = encoders.load(sources[name], about["labels"], trained=True)
            folder = unfinished / f"{name}.tokenizer"
            rows, vocabulary = _fewer_tokens(shape, model, sources[name], folder, validation, school)
            _fewer_parts(params, shape, model, folder, rows[0])
            report = school.teach(model, name, taught_by=school.last_layer, rows=rows)
            models[name] = (model, folder)
            if report is not None:  # else not the first of several processes
                asked = {"of": shape.of, "heads": shape.heads, "neurons": shape.neurons}
                reports[name] = {**asked, "vocabulary": vocabulary, **report}
        if len(reports) < len(models):
            return
        with files.replacing(pruned) as draft:
            draft.mkdir()
            for name, (model, folder) in models.items():
                encoders.save(model, draft / name, tokenizer_of=folder)
        files.write_json(pruning, reports)
        shutil.rmtree(unfinished, ignore_errors=True)
        meter.write(prune_effort)


def _key(shape: Shape, key: str) -> str:
    """How messages call a key of one of the models."""
    return f"prune.models, {key} of {shape.name!r}"


def _source(shape: Shape, teacher: Path, students: Path) -> Path:
    folder = teacher if shape.of == "teacher" else students / shape.of
    if not folder.is_dir():
        known = ", ".join(["teacher", *sorted(one.name for one in students.iterdir())])
        raise ModelError(_key(shape, "of"), f"is {shape.of!r}, which is no model", f"Name one of: {known}")
    return folder


def _fewer_tokens(
    shape: Shape, model: "PreTrainedModel", source: Path, folder: Path, validation: Path, school: "School"
) -> "tuple[tuple[Tokens, Tokens], dict[str, Any] | None]":  # fmt: skip
    """Gives the model its vocabulary and writes its tokenizer into `folder`.

    Args:
        validation: the file with its texts.

    Returns:
        Training and validation rows as the model reads them now, and what became of the vocabulary.
    """
    from tidegate.data import Tokens
    from tidegate.model import anatomy, vocabulary
    from tidegate.model import encoder as encoders

    rows = (school.train.tokens, school.validation.tokens)
    folder.mkdir(parents=True, exist_ok=True)
    encoders.copy_tokenizer(source, folder)
    if shape.vocabulary is None:
        return rows, None
    content = files.read_json(source / "tokenizer.json")
    counts = vocabulary.counted(rows[0], model.config.vocab_size)
    kept = vocabulary.frequent(content, counts, shape.vocabulary, what=_key(shape, "vocabulary"))
    anatomy.keep_tokens(model, kept)
    vocabulary.write(folder, vocabulary.trimmed(content, kept))
    Tokens.write(folder / "train.arrow", encoders.encoded(folder, school.texts), rows[0].labels)
    Tokens.write(folder / "validation.arrow", encoders.encoded(folder, [validation]), rows[1].labels)
    fewer = (Tokens(folder / "train.arrow"), Tokens(folder / "validation.arrow"))
    return fewer, vocabulary.report(content, kept, before=rows[1], after=fewer[1])


def _fewer_parts(params: Params, shape: Shape, model: "PreTrainedModel", folder: Path, rows: "Tokens") -> None:
    """Removes heads, neurons and the positions that no text reaches."""
    import numpy as np

    from tidegate.data import TokenDataset
    from tidegate.model import anatomy, hardware, pruning
    from tidegate.model import encoder as encoders

    anatomy.keep_positions(model, encoders.position_rows(model.config, folder))
    if shape.heads is None and shape.neurons is None:
        return
    labelled = np.flatnonzero(rows.labels >= 0)
    drawn = np.sort(np.random.default_rng(params.seed).permutation(labelled)[: params.importance_rows])
    dataset = TokenDataset(rows, pad=model.config.pad_token_id or 0)
    device = hardware.beside(params).device
    found = pruning.importance(model, dataset, drawn, batch_size=params.batch_size, device=device)
    if shape.heads is not None:
        anatomy.keep_heads(model, pruning.strongest(found.heads, shape.heads, what=_key(shape, "heads")))
    if shape.neurons is not None:
        anatomy.keep_neurons(model, pruning.strongest(found.neurons, shape.neurons, what=_key(shape, "neurons")))
