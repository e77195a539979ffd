"""The result of a run as text for a terminal: models, differences, rules and verdict. Standard library only.

It prints what `evaluation.json` and `decision.json` hold and computes nothing.
"""

from collections.abc import Mapping, Sequence
from typing import Any

Json = Mapping[str, Any]
_ROLES = ("candidate", "teacher", "baseline", "champion", "best")


def result_table(evaluation: Json, decision: Json) -> str:
    """Everything a person asks first, in aligned plain text."""
    return f"{models_table(evaluation)}\n\n{rules_table(decision)}"


def models_table(evaluation: Json) -> str:
    """The models on the test rows, and the candidate minus each of the others, with 95 % intervals."""
    models, same = evaluation["models"], evaluation.get("same_as", {})
    header = ["model", "accuracy", "macro-F1", "log-loss", "calib. error", "p95, one text", "size"]
    rows = [[_named(role, same), *_model_cells(models[role])] for role in _ROLES if role in models]
    title = f"test: {evaluation['rows']:,} rows in {evaluation['groups']:,} groups; 95 % intervals, resampled by group"
    paired = [[f"- {role}", *_paired_cells(pair)] for role, pair in sorted(evaluation["paired"].items())]
    parts = [title, aligned([header, *rows])]
    if paired:
        parts.append(aligned([["candidate", "accuracy", "macro-F1"], *paired]))
    return "\n\n".join(parts)


def rules_table(decision: Json) -> str:
    """The rules of the gate and the verdict."""
    header = ["rule", "verdict", "figure", "bound", "n"]
    rows = [
        [
            rule["name"],
            rule["verdict"],
            _figure(rule),
            "" if rule["bound"] is None else f"{rule['bound']:,.4g}",
            f"{rule['n']:,}" if rule["n"] else "",
        ]
        for rule in decision["rules"]
    ]
    reasons = "\n".join(f"  {reason}" for reason in decision["reasons"])
    against = f", mode {decision['mode']}, champion {(decision['champion'] or 'none')[:12]}"
    return (
        f"{aligned([header, *rows])}\n\nverdict on {decision['candidate'][:12]}{against}: "
        f"{decision['verdict'].upper()}\n{reasons}"
    )


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns as wide as their widest cell, two spaces apart, the first row underlined."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def interval(metric: Json, *, signed: bool = False) -> str:
    """`0.761 (0.750 to 0.772)`; without the brackets where there is no interval, `-` where there is no figure."""
    form = "+.3f" if signed else ".3f"
    if metric["value"] is None:
        return "-"
    if metric["low"] is None or metric["high"] is None:
        return format(metric["value"], form)
    return f"{metric['value']:{form}} ({metric['low']:{form}} to {metric['high']:{form}})"


def _named(role: str, same: Mapping[str, str]) -> str:
    others = [other for other, of in sorted(same.items()) if of == role]
    return " = ".join([role, *others])


def _model_cells(model: Json) -> list[str]:
    figures = [interval(model[name]) for name in ("accuracy", "macro_f1", "log_loss", "expected_calibration_error")]
    latency = f"{model['latency']['single_ms']['p95']:.1f} ms" if "latency" in model else ""
    size = f"{model['bytes'] / 1e6:.1f} MB" if "bytes" in model else ""
    return [*figures, latency, size]


def _paired_cells(pair: Json) -> list[str]:
    return [f"{interval(pair[name], signed=True)}, {_p(pair[name]['p_value'])}" for name in ("accuracy", "macro_f1")]


def _p(value: float) -> str:
    return "p < 0.001" if value < 0.001 else f"p = {value:.3f}"


def _figure(rule: Json) -> str:
    if rule["figure"] is not None and rule["n"] is None:  # measured, with a unit of its own
        return f"{rule['figure']:,.4g} {rule['unit']}"
    figure = {"value": rule["figure"], "low": rule["low"], "high": rule["high"]}
    return interval(figure, signed=rule["unit"] == "difference")
