"""Sections of the card about what the model does: figures on test, slices, what it stands, the gate, limits."""

from collections.abc import Iterator

from tidegate.card.source import TRAININGS, Json, Source
from tidegate.card.words import Raw, bullets, listed, metric, plain, share, strong, table

_FIGURES = {
    "accuracy": "Accuracy", "macro_f1": "Macro-F1", "roc_auc": "ROC AUC", "log_loss": "Log-loss",
    "expected_calibration_error": "Calibration error",
}  # fmt: skip
_FEW_ROWS = 100
"""Rows of a slice below which its limits are told, where the gate names no number of its own."""
_NEARLY_ALL = 0.95
"""Share of labels kept above which a perturbation is no weakness worth a line."""


def figures(source: Source) -> str:
    """All models on test, the candidate against each other one, and its classes."""
    tested = source.evaluation
    words = f"{tested['rows']:,} rows in {tested['groups']:,} groups. Intervals are of 95 %, resampled by group."
    models = [[_named(role, tested), *(metric(model[key]) for key in _FIGURES)] for role, model in _by_role(tested)]
    paired = [
        [role, metric(pair["accuracy"], signed=True), metric(pair["macro_f1"], signed=True)]
        for role, pair in sorted(tested["paired"].items())
    ]
    classes = [
        [label, f"{entry['rows']:,}", *(metric(entry[key]) for key in ("precision", "recall", "f1"))]
        for label, entry in source.candidate["classes"].items()
    ]
    parts = [words, table(["Model", *_FIGURES.values()], models)]
    if paired:
        parts += ["### Candidate minus each other model", table(["Other", "Accuracy", "Macro-F1"], paired)]
    parts += ["### By class", table(["Class", "Rows", "Precision", "Recall", "F1"], classes)]
    return "\n\n".join(parts)


def _by_role(tested: Json) -> list[tuple[str, Json]]:
    roles = ["candidate", *sorted(set(tested["models"]) - {"candidate"})]
    return [(role, tested["models"][role]) for role in roles]


def _named(role: str, tested: Json) -> str:
    same = [other for other, of in sorted(tested.get("same_as", {}).items()) if of == role]
    return " = ".join([role, *same])


def slices(source: Source) -> str:
    """The candidate by slice, the worst one named."""
    parts = []
    for column, values in sorted(source.candidate["slices"].items()):
        rows = [
            [name, f"{e['rows']:,}", f"{e['groups']:,}", metric(e["accuracy"]), metric(e["macro_f1"])]
            for name, e in values.items()
        ]
        worst = _worst(values)
        told = f"Worst: {worst}, accuracy {metric(values[worst]['accuracy'])}." if worst else ""
        cells = table([column, "Rows", "Groups", "Accuracy", "Macro-F1"], rows)
        parts.append(f"### By {plain(column)}\n\n{cells}\n\n{plain(told)}".rstrip())
    return "\n\n".join(parts) or "The data has no slice columns."


def _worst(values: Json) -> str | None:
    """The slice of the lowest accuracy, of those that have an interval; else of all."""
    known = {name: e["accuracy"] for name, e in values.items() if e["accuracy"]["value"] is not None}
    sure = {name: figure for name, figure in known.items() if figure["low"] is not None} or known
    return min(sure, key=lambda name: (sure[name]["value"], name)) if sure else None


def calibration(source: Source) -> str:
    """How far its probabilities can be believed."""
    made, error = source.quantized, source.candidate["expected_calibration_error"]
    before, after = (made[when]["expected_calibration_error"] for when in ("before", "after"))
    return plain(
        f"Expected calibration error on test: {metric(error)}. A temperature of {made['temperature']:.3f}, fitted on "
        f"validation, moved it there from {metric(before)} to {metric(after)}."
    )


def robustness(source: Source) -> str:
    """The labels that stay when a text is perturbed."""
    kept = _kept(source)
    rows = [[name.replace("_", " "), metric(value)] for name, value in kept.items()]
    words = f"Share of labels that stay, on {source.compared['robustness'].get('rows', 0):,} validation rows."
    return f"{words}\n\n{table(['Perturbation', 'Labels kept'], rows)}" if rows else "No row was perturbed."


def _kept(source: Source) -> dict[str, Json]:
    """By perturbation the share of labels kept, the worst first."""
    found = source.compared["robustness"]
    kept = {name: e for name, e in found.items() if isinstance(e, dict) and e.get("value") is not None}
    return dict(sorted(kept.items(), key=lambda item: (item[1]["value"], item[0])))


def speed(source: Source) -> str:
    """Latency and size, through the runtime that serves it."""
    rows = []
    for role, model in _by_role(source.evaluation):
        if "latency" not in model:
            continue
        took = model["latency"]
        one, batch = took["single_ms"], took["batch_ms"]
        rows.append(
            [
                role, f"{model['bytes'] / 1e6:.1f} MB", f"{one['p50']:.1f} ms", f"{one['p95']:.1f} ms",
                f"{batch['p95']:.1f} ms", f"{took['texts_per_second']:,.0f}",
            ]
        )  # fmt: skip
    took = source.candidate["latency"]
    words = (
        f"{took['texts']:,} texts, {took['threads']} threads, batches of {took['batch_size']}, where it was evaluated."
    )
    header = ["Model", "Size", "One text, p50", "One text, p95", "A batch, p95", "Texts a second"]
    return f"{words}\n\n{table(header, rows)}"


def gate(source: Source) -> str:
    """The rules and what they found."""
    decision = source.decision
    rows = [[rule["name"], rule["verdict"], rule["sentence"]] for rule in decision["rules"]]
    words = Raw(f"Verdict: {strong(decision['verdict'])}, in mode {plain(decision['mode'])}.")
    return f"{words}\n\n{table(['Rule', 'Verdict', 'Finding'], rows)}"


def limits(source: Source) -> str:
    """What is weak, and what was not tested; all of it from the figures above."""
    return bullets([*_weak(source), *_untested(source)])


def _weak(source: Source) -> Iterator[str]:
    candidate = source.candidate
    classes = {n: e["f1"] for n, e in candidate["classes"].items() if e["f1"]["value"] is not None}
    if classes:
        worst = min(classes, key=lambda name: (classes[name]["value"], name))
        recall = metric(candidate["classes"][worst]["recall"])
        yield f"Worst class: {worst}, F1 {metric(classes[worst])}, recall {recall}."
    for column, values in sorted(candidate["slices"].items()):
        if name := _worst(values):
            behind = candidate["accuracy"]["value"] - values[name]["accuracy"]["value"]
            figure = metric(values[name]["accuracy"])
            yield f"Worst {column}: {name}, accuracy {figure}, {100 * behind:.1f} points below all rows."
    weak = {name.replace("_", " "): e["value"] for name, e in _kept(source).items() if e["value"] < _NEARLY_ALL}
    if weak:
        yield f"Labels that stay: {listed(f'{share(kept)} under {name}' for name, kept in weak.items())}."
    if unseen := source.read("tokenization").get("validation"):
        cut, unknown = share(unseen["cut_share"]), share(unseen["unknown_share"])
        yield f"Of the validation texts {cut} are cut; {unknown} of their tokens are unknown to the teacher."
    if pruned := (source.read("pruning").get(source.ancestors[-1]) or {}).get("vocabulary"):
        yield (
            f"Its smaller vocabulary leaves {share(pruned['unknown_share_after'])} of the validation tokens unknown "
            f"({share(pruned['unknown_share_before'])} before)."
        )


def _untested(source: Source) -> Iterator[str]:
    fewest = source.setting("gate", "slice_minimum_rows") or _FEW_ROWS
    for column, values in sorted(source.candidate["slices"].items()):
        if small := [f"{name} ({e['rows']:,} rows)" for name, e in values.items() if e["rows"] < fewest]:
            yield f"Too few rows to judge {column} {listed(small)}."
    for verdict, words in (("off", "switched off"), ("undecided", "undecided")):
        if rules := [rule["name"] for rule in source.decision["rules"] if rule["verdict"] == verdict]:
            yield f"Rules of the gate that are {words}: {listed(rules)}."
    for role in ("champion", "best"):
        if source.decision[role] is None:
            yield f"There was no {'champion' if role == 'champion' else 'best ever'} to compare with."
    if any(source.effort(stage) is None for stage in TRAININGS):
        yield "The effort of some trainings was not measured."
    yield "Not tested: other languages and sources, texts made to deceive it, fairness to groups that are no slice."
