"""Merges a ready-made scenario into `params.yaml`, comments kept, and shows the difference."""

import difflib
from collections.abc import Mapping, MutableMapping
from io import StringIO
from pathlib import Path
from typing import Any

from tidegate.errors import ParamsError
from tidegate.files import replacing


def use(root: Path, name: str) -> None:
    """Merges `scenarios/NAME.yaml` into `params.yaml`: mappings key by key, everything else whole.

    Raises:
        ParamsError: there is no such scenario, or it names a section or key that params.yaml lacks.
    """
    folder, target = root / "scenarios", root / "params.yaml"
    path = folder / f"{name}.yaml"
    known = sorted(file.stem for file in folder.glob("*.yaml"))
    if name not in known:
        raise ParamsError(
            f"scenario {name!r}", [f"there is no scenarios/{name}.yaml (there are: {', '.join(known) or 'none'})"]
        )
    before = target.read_text(encoding="utf-8")
    after = merged(before, path.read_text(encoding="utf-8"), name=path.name)
    difference = "".join(
        difflib.unified_diff(before.splitlines(True), after.splitlines(True), "params.yaml", f"params.yaml + {name}")
    )
    if not difference:
        print(f"params.yaml holds scenario {name!r} already")
        return
    with replacing(target) as draft:
        draft.write_text(after, encoding="utf-8")
    print(difference + "\nWritten. `git checkout params.yaml` takes it back; `make repro` runs it.")


def merged(params: str, overlay: str, *, name: str = "the scenario") -> str:
    """The YAML text of `params` with the values of `overlay`.

    Raises:
        ParamsError: lists the keys of the overlay that have no counterpart.
    """
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError
    from ruamel.yaml.representer import RoundTripRepresenter

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 100_000  # never folds a line
    yaml.indent(mapping=2, sequence=4, offset=2)
    yaml.Representer = type("Representer", (RoundTripRepresenter,), {})  # of our own: DVC uses the other
    yaml.representer.add_representer(type(None), lambda to, _: to.represent_scalar("tag:yaml.org,2002:null", "null"))
    problems: list[str] = []
    try:
        base, over = yaml.load(params), yaml.load(overlay)
    except YAMLError as error:
        raise ParamsError(name, [f"not readable as YAML: {' '.join(str(error).split())}"]) from None
    if not isinstance(over, Mapping):
        raise ParamsError(name, ["must be a mapping of sections"])
    _merge(base, over, "", problems)
    if problems:
        raise ParamsError(name, problems)
    text = StringIO()
    yaml.dump(base, text)
    return text.getvalue()


def _merge(base: MutableMapping[str, Any], over: Mapping[str, Any], prefix: str, problems: list[str]) -> None:
    for key, value in over.items():
        if key not in base:
            problems.append(f"{prefix}{key}: is not in params.yaml")
        elif isinstance(value, Mapping) and isinstance(base[key], MutableMapping):
            _merge(base[key], value, f"{prefix}{key}.", problems)
        else:
            base[key] = value
