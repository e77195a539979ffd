"""Sections of the card about where the model comes from: what it is, what it is for, data, training."""

from collections.abc import Iterator

from tidegate import files
from tidegate.card.source import Json, Source
from tidegate.card.words import bullets, code, listed, plain, share, strong, table


def identity(source: Source) -> str:
    """What it is."""
    decision, candidate = source.decision, source.candidate
    rows: list[tuple[str, object]] = [
        ("Task", source.read("task")["task"]),
        ("Labels", listed(source.labels)),
        ("Verdict of the gate", strong(decision["verdict"])),
        ("Digest of the package", code(decision["candidate"])),
        *source.about.items(),
        ("Recipe (data, params, code)", code(decision["recipe"])),
        ("Params", code(files.digest_json(_shaping(source.params)))),
        ("Candidate", source.chosen),
        ("Size", f"{candidate['bytes'] / 1e6:.1f} MB"),
        ("Weights", f"{_report(source, source.ancestors[-1])['parameters']:,} parameters"),
    ]
    words = (
        f"It gives each of the labels {listed(source.labels)} a probability for a text, from the raw text: the "
        f"normalization is part of the package. It reads {source.read('tokenization')['max_length']} tokens of a text."
    )
    return f"{plain(words)}\n\n{table(['What', 'Value'], rows)}\n\n{bullets(decision['reasons'])}"


def _shaping(params: Json) -> Json:
    return {name: section for name, section in params.items() if name != "promote"}


def use(source: Source) -> str:
    """Intended use, and what is out of scope."""
    wrong = 1 - source.candidate["accuracy"]["value"]
    names = listed(entry["name"] for entry in source.read("manifest")["sources"])
    intended = [f"To label texts of the kind of its sources ({names}) as {listed(source.labels, 'or')}."]
    beyond = [
        "Texts of another kind or from other sources: every figure here is of test rows from the sources named below.",
        "Languages: which ones the sources hold is not recorded, and none was tested apart.",
        f"Texts that none of the labels fits: it always answers with one of the {len(source.labels)} labels.",
        f"Decisions that weigh on a person and that nobody looks at: {share(wrong)} of the test rows are wrong.",
    ]
    return f"### Intended\n\n{bullets(intended)}\n\n### Out of scope\n\n{bullets(beyond)}"


def data(source: Source) -> str:
    """Sources, splits, and what was taken out."""
    manifest, splits = source.read("manifest"), source.read("splits")
    sources = [
        [s["name"], f"{s['rows']:,}", s["licence"] or "not stated", s["citation"] or "none", code(s["address"])]
        for s in manifest["sources"]
    ]
    parts = [name for name in ("train", "validation", "test") if name in splits]
    divided = [
        [name, f"{splits[name]['rows']:,}", f"{splits[name]['groups']:,}", *_mix(source.labels, splits[name])]
        for name in parts
    ]
    return "\n\n".join(
        [
            table(["Source", "Rows", "Licence", "To be cited", "Address"], sources),
            table(["Split", "Rows", "Groups", *source.labels], divided),
            bullets(_preparation(source, manifest)),
        ]
    )


def _mix(labels: list[str], split: Json) -> list[str]:
    counts = [split["labels"].get(label, 0) for label in labels]
    return [f"{count:,} ({share(count / split['rows'])})" for count in counts]


def _preparation(source: Source, manifest: Json) -> Iterator[str]:
    quality, cleaning, leakage = source.read("quality"), source.read("cleaning"), source.read("leakage")
    tokens = source.read("tokenization")["train"]
    if sampled := manifest["sampled"]:
        yield f"{manifest['rows']:,} rows were drawn from {sampled['of']:,} (seed {sampled['seed']})."
    why = "; ".join(f"{reason}: {rows:,}" for reason, rows in sorted(quality["reasons"].items()))
    yield f"{quality['quarantined']:,} of {quality['rows']:,} rows were put aside as unfit{f' ({why})' if why else ''}."
    conflicting, masked = cleaning["conflicting"], cleaning["masked"]
    yield (
        f"{cleaning['exact_duplicates']:,} rows repeat another, {cleaning['near_duplicates']:,} are near another; "
        f"{conflicting['dropped']:,} were dropped because their copies bear other labels."
    )
    yield f"Masked: {listed(f'{count:,} {kind}' for kind, count in sorted(masked.items()))}."
    yield (
        f"Across the splits: {leakage['groups_crossing']:,} groups, {leakage['exact_crossing']:,} exact and "
        f"{leakage['near_crossing']:,} near duplicates; {leakage['withheld']:,} rows were left out to keep it so."
    )
    unknown = share(tokens["unknown_share"])
    yield f"Of the training texts {share(tokens['cut_share'])} are cut; {unknown} of their tokens are unknown."


def training(source: Source) -> str:
    """The chain from the encoder to the package."""
    steps = [f"Encoder: {code(source.setting('tokenize', 'encoder') or 'not named in the params')}"]
    steps += [_trained(source, name) for name in source.ancestors]
    steps.append(_packaged(source))
    chosen = source.read("selection")
    words = f"Chosen by the policy {chosen['policy']}: {chosen['reason']}."
    return "\n".join(f"{n}. {step}" for n, step in enumerate(steps, 1)) + f"\n\n{plain(words)}"


def _report(source: Source, name: str) -> Json:
    if name == "teacher":
        return source.read("training")  # type: ignore[no-any-return]
    pruned = source.read("pruning")
    return pruned[name] if name in pruned else source.read("distillation")[name]  # type: ignore[no-any-return]


def _trained(source: Source, name: str) -> str:
    report = _report(source, name)
    told = [f"{report['parameters']:,} parameters"]
    if "layers" in report:
        told.append(f"layers {listed(report['layers'])} of the teacher")
    told += [f"{report[key]:,} {key} a layer left" for key in ("heads", "neurons") if report.get(key)]
    if report.get("vocabulary"):
        told.append(f"{report['vocabulary']['after']:,} of {report['vocabulary']['before']:,} tokens left")
    if "agreement" in report:
        told.append(f"gives {share(report['agreement'])} of the validation rows the teacher's label")
    told += [
        f"epochs {report['epochs']}, rows {report['rows']:,}, on {report['device']} in {report['precision']}",
        f"accuracy on validation {report['validation']['accuracy']:.3f}",
    ]
    return f"{strong(name)}: {plain('; '.join(told))}"


def _packaged(source: Source) -> str:
    made = source.quantized
    kind = f"int8, {made['activations']} scales" if made["activations"] else "float32"
    told = ["ONNX package", kind, f"temperature {made['temperature']:.3f}"]
    if made["activations"]:
        told.append(f"{share(made['labels_kept'])} of the validation labels as before")
    return f"{strong(source.chosen)}: {plain('; '.join(told))}"
