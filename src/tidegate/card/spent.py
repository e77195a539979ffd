"""The section of the card about time and energy of the trainings. It measures nothing: `effort.py` did."""

from tidegate.card.source import TRAININGS, Json, Source
from tidegate.card.words import Raw, bullets, duration, listed, strong, table


def effort(source: Source) -> str:
    """Time and energy of the trainings, how they were found, and on what."""
    found = {stage: source.effort(stage) for stage in TRAININGS}
    measured = [entry for entry in found.values() if entry is not None]
    cells = table(
        ["Stage", "Time", "Processor time", "Energy"], [[stage, *_cells(entry)] for stage, entry in found.items()]
    )
    devices = sorted({_devices(entry) for entry in measured})
    notes = [
        Raw(f"Energy of all: {strong(_total(list(found.values())))}"),
        *([f"Ran on {listed(devices)}."] if devices else []),
        *sorted({f"{kind}: {part['how']}. {part['basis']}." for entry in measured for kind, part in _parts(entry)}),
        "Trials that were not kept, data preparation and evaluation are not in it.",
    ]
    return f"{cells}\n\n{bullets(notes)}"


def _total(entries: list[Json | None]) -> str:
    shares = [entry["energy"]["kwh"] if entry else None for entry in entries]
    known = [share for share in shares if share is not None]
    return f"{sum(known):.4f} kWh." if len(known) == len(shares) else "not known: not every training was measured."


def _devices(entry: Json) -> str:
    return ", ".join([f"{entry['processor']}, {entry['cores']} cores", *entry["gpus"]])


def _cells(entry: Json | None) -> list[str]:
    if entry is None:
        return ["not measured"] * 3
    kwh, how = entry["energy"]["kwh"], listed(sorted({part["how"] for _, part in _parts(entry)}))
    again = f" in {entry['parts']} parts" if entry["parts"] > 1 else ""
    used = "not known" if kwh is None else f"{kwh:.4f} kWh ({how})"
    return [duration(entry["seconds"]) + again, duration(entry["cpu_seconds"]), used]


def _parts(entry: Json) -> list[tuple[str, Json]]:
    kinds = {"Processors": entry["energy"]["processors"], "Graphics cards": entry["energy"]["gpus"]}
    return [(kind, part) for kind, part in kinds.items() if part is not None]
