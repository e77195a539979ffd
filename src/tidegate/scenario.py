"""Merges a ready-made scenario into `params.yaml`, comments kept, and shows the difference."""

import difflib
from collections.abc import Mapping, MutableMapping
from io import StringIO
from pathlib import Path
from typing import Any

from tidegate import params
from tidegate.errors import ParamsError
from tidegate.files import replacing


def use(root: Path, name: str) -> None:
    """Merges `scenarios/NAME.yaml` into `params.yaml`: mappings key by key, everything else whole.

    Raises:
        ParamsError: there is no such scenario, it names a section or key that params.yaml lacks or has of
            another kind, or either file is damaged.
    """
    folder, target = root / "scenarios", root / "params.yaml"
    path = folder / f"{name}.yaml"
    known = sorted(file.stem for file in folder.glob("*.yaml"))
    if name not in known:
        raise ParamsError(
            f"scenario {name!r}", [f"there is no scenarios/{name}.yaml (there are: {', '.join(known) or 'none'})"]
        )
    for file in (target, path):
        params.load(file)  # says of either what is wrong with it
    before = target.read_text(encoding="utf-8")
    after = merged(before, path.read_text(encoding="utf-8"), name=f"scenarios/{path.name}")
    difference = "".join(
        difflib.unified_diff(before.splitlines(True), after.splitlines(True), "params.yaml", f"params.yaml + {name}")
    )
    if not difference:
        print(f"params.yaml holds scenario {name!r} already")
        return
    with replacing(target) as draft:
        draft.write_text(after, encoding="utf-8")
    print(difference + "\nWritten. `git checkout params.yaml` takes it back; `make repro` runs it.")


def merged(base_text: str, overlay: str, *, name: str = "the scenario") -> str:
    """The YAML text of `base_text` with the values of `overlay`.

    Raises:
        ParamsError: lists the keys of the overlay that have no counterpart, or one of another kind.
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
        base = yaml.load(base_text)
    except YAMLError as error:  # what one reader takes, the stricter one that keeps comments may refuse
        raise ParamsError("params.yaml", [f"not readable as YAML: {' '.join(str(error).split())}"]) from None
    try:
        over = yaml.load(overlay)
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
        elif isinstance(value, Mapping) and base[key] is not None:
            problems.append(f"{prefix}{key}: is a mapping, and in params.yaml it is none")
        elif isinstance(base[key], Mapping) and (value is not None or not prefix):  # null may switch an option off
            problems.append(f"{prefix}{key}: is no mapping, and in params.yaml it is one")
        else:
            base[key] = value
