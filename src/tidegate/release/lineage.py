"""From a version of the registry to data, params and code, and back, as a tree for a terminal.

It only reads: the registry, the package store, the log, the git objects of the trees that were run (these by
`provenance.py`) and DVC's cache. What it cannot find it says.
"""

import re
import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tidegate import files, package_store, params, pipeline, registry
from tidegate.drawing import Node, drawn
from tidegate.errors import RegistryError
from tidegate.registry_state import DECISION, State, Version
from tidegate.release import log, provenance, settings
from tidegate.release.provenance import Artifact, Tree
from tidegate.release.recording import flat

TREE = "tidegate.tree"
"""The tag of a version that names the git object of the tree that was run, changes without a commit included."""
_SHORT = 12
_FEWEST = 6
"""Characters of a digest that are taken for one."""
_MOST_PARAMS = 12
"""Changed params that are shown."""


def tree(root: Path, what: str, *, plain: bool = False) -> str:
    """The lineage of a version; or, of anything else, the versions that came from it.

    Args:
        what: the number of a version, an alias, a path of the repository, the first characters of a digest, of a git
            object or of a revision, or the address of a source or a part of it.
        plain: whether to draw with the characters of ASCII alone.

    Raises:
        RegistryError: the registry of the task knows no such thing.
    """
    task, how = settings.task_of(root), settings.read(root)
    state = registry.read(how.uri(), task)
    version = state.alias(what) or (state.versions.get(int(what)) if re.fullmatch(r"\d{1,9}", what) else None)
    node = of_version(root, task, state, version) if version else versions_from(root, task, state, what)
    return "\n".join(drawn(node, plain=plain))


def of_version(root: Path, task: str, state: State, version: Version) -> Node:
    """All that a version came from."""
    made, why_not = _tree_of(root, version)
    parts = [_package(version), _decision(task, version), _recipe(root, version, made), _revision(version, why_not)]
    if made is not None:
        parts += [_sources(made), _stages(made)]
    return Node(_name(task, state, version), parts)


def _tree_of(root: Path, version: Version) -> tuple[Tree | None, str]:
    """What was run; or none, and why."""
    if not (name := version.tags.get(TREE)):
        return None, "the version has no tag of the tree that was run"
    try:
        return provenance.read(root, name), ""
    except RegistryError as error:
        return None, f"{error.what} {error.cause}"


def _name(task: str, state: State, version: Version) -> str:
    aliases = ", ".join(sorted(alias for alias, number in state.aliases.items() if number == version.number))
    return f"version {version.number} of {task}" + (f" ({aliases})" if aliases else "")


def _package(version: Version) -> Node:
    if version.digest is None:
        return Node("package: not known, somebody else registered this version")
    folder = package_store.folder_of(version.digest)
    if not folder.is_dir():
        return Node(f"package {version.digest[:_SHORT]}: not in {folder.parent}")
    size = sum(file.stat().st_size for file in files.walk(folder))
    return Node(f"package {version.digest[:_SHORT]}: {_size(size)}, in {folder}")


def _decision(task: str, version: Version) -> Node:
    digest, verdict = version.tags.get(DECISION), version.tags.get("tidegate.verdict", "verdict not known")
    if digest is None:
        return Node("decision: not known")
    logged = [entry for entry in log.entries(task) if entry.get("decision") == digest]
    node = Node(f"decision {digest[:_SHORT]}: {verdict}" + ("" if logged else ", in no line of the log"))
    node.children = [Node(f"{entry['event'].replace('_', ' ')} {entry['at']} by {entry['by']}") for entry in logged]
    return node


def _recipe(root: Path, version: Version, made: Tree | None) -> Node:
    tagged = version.tags.get("tidegate.recipe", "")
    if made is None:
        return Node(f"recipe {tagged[:_SHORT] or 'not known'}")
    agrees = "found again in the tree" if made.recipe["digest"] == tagged else "NOT the one of the tree"
    data, code = made.recipe["data"], made.recipe["code"]
    return Node(
        f"recipe {tagged[:_SHORT]}: {agrees}",
        [
            Node(f"data from outside: {', '.join(f'{path} {md5[:_SHORT]}' for path, md5 in data.items()) or 'none'}"),
            _params(root, made),
            Node(f"code: {len(code)} files, digest {files.digest_json(code)[:_SHORT]}"),
        ],
    )


def _params(root: Path, made: Tree) -> Node:
    """The params of the stages, and how they differ from those that lie in the checkout now."""
    then, now = made.params, params.load(root / "params.yaml")
    changed = list(_changes(then, now))
    more = [Node(f"… and {len(changed) - _MOST_PARAMS} more")] if len(changed) > _MOST_PARAMS else []
    differs = f"{len(changed)} differ from params.yaml now" if changed else "as params.yaml now"
    digest = files.digest_json(made.recipe["params"])[:_SHORT]
    return Node(f"params: {len(then)} sections, digest {digest}, {differs}", [*changed[:_MOST_PARAMS], *more])


def _changes(then: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[Node]:
    before, after = _leaves(then), _leaves(now)
    for key in sorted(set(before) | set(after)):
        if before.get(key) != after.get(key):
            yield Node(f"{key}: {_word(before, key)}, now {_word(after, key)}")


def _leaves(sections: Mapping[str, Any]) -> dict[str, Any]:
    """Every param of a stage; without `promote`, whose address may hold a password."""
    shaping = {name: section for name, section in sections.items() if name != "promote"}
    return flat(shaping, keep=(str, int, float, bool, list, type(None)))


def _word(leaves: Mapping[str, Any], key: str) -> str:
    if key not in leaves:
        return "not set"
    value = leaves[key]
    return f"{len(value)} entries" if isinstance(value, list) else textwrap.shorten(str(value), 60, placeholder=" …")


def _revision(version: Version, why_not: str) -> Node:
    dirty = {"true": "with changes that no commit holds", "false": "as committed"}
    revision = version.tags.get("tidegate.revision", "not known")[:_SHORT]
    words = f"revision {revision}, {dirty.get(version.tags.get('tidegate.dirty', ''), 'dirty or not is not known')}"
    return Node(f"tree {version.tags[TREE]}: {words}" if not why_not else f"tree: {why_not}; {words}")


def _sources(made: Tree) -> Node:
    if made.sources is None:
        return Node("sources: not known, manifest.json is no longer in DVC's cache")
    return Node("sources", [Node(_source(source)) for source in made.sources])


def _source(source: Mapping[str, Any]) -> str:
    return f"{source['name']}: {source['rows']:,} rows, sha256 {source['sha256'][:_SHORT]}, {source['address']}"


def _stages(made: Tree) -> Node:
    stages = []
    for name in made.lock:
        outs = [one for one in made.artifacts if one.stage == name and one.made]
        lines = [f"{one.path} {one.md5[:_SHORT]}, {_size(one.size)}, {_where(made, one)}" for one in outs]
        stages.append(Node(name, [Node(line) for line in lines]))
    return Node("stages and what they wrote", stages)


def _where(made: Tree, artifact: Artifact) -> str:
    return "in DVC's cache" if made.keeps(artifact) else "not in DVC's cache"


def _size(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 100_000 else f"{count:,} bytes"


def versions_from(root: Path, task: str, state: State, what: str) -> Node:
    """The versions that came from something, each with what it is there.

    Raises:
        RegistryError: from nothing of the kind.
    """
    path = _path_in(root, what)
    wanted = _md5_now(root, path) if path else None
    found = []
    for _, version in sorted(state.versions.items()):
        made, _ = _tree_of(root, version)
        named = _of_path(made, path, wanted) if path else list(_named(version, made, what))
        if named:
            found.append(Node(_name(task, state, version), [Node(one) for one in named]))
    if not found:
        remedy = (
            "Give the number of a version, champion, challenger or best, a path as data/train.parquet, the first "
            f"{_FEWEST} characters of a digest or a revision, or the address of a source"
        )
        raise RegistryError(what, f"is in the lineage of none of the {len(state.versions)} versions of {task}", remedy)
    return Node(f"{path or what}{f', now {wanted[:_SHORT]}' if wanted else ''}", found)


def _path_in(root: Path, what: str) -> str | None:
    """The path of a file of the repository, relative to it; None for what is none."""
    path = Path(what) if Path(what).is_absolute() else root / what
    try:
        inside = path.resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return None
    return inside if inside.startswith(("data/", "src/")) or (path.exists() and "/" in what) else None


def _md5_now(root: Path, path: str) -> str | None:
    """The MD5 that `dvc.lock` gives now to what is, or holds, a path."""
    for entry in pipeline.read_lock(root).values():
        for one in (*entry.get("outs", ()), *entry.get("deps", ())):
            if one["path"] == path or path.startswith(f"{one['path']}/"):
                return str(one.get("md5", "")) or None
    return None


def _of_path(made: Tree | None, path: str, wanted: str | None) -> list[str]:
    """What a path was in a run, the same as now or another."""
    held = [one for one in (made.artifacts if made else ()) if one.path == path or path.startswith(f"{one.path}/")]
    first = next(iter(sorted(held, key=lambda one: not one.made)), None)
    if first is None or wanted is None:
        return []
    verb = "wrote" if first.made else "read"
    return [f"stage {first.stage} {verb} the same"] if first.md5 == wanted else []


def _named(version: Version, made: Tree | None, what: str) -> Iterator[str]:
    """What of a version bears a digest or an address."""
    if len(what) < _FEWEST:
        return
    if re.fullmatch(rf"[0-9a-f]{{{_FEWEST},64}}", what):
        for tag, value in sorted(version.tags.items()):
            if value.startswith(what):
                yield f"{tag.removeprefix('tidegate.')} {value}"
        for one in made.artifacts if made else ():
            if one.md5.startswith(what):
                yield f"{one.path}, which stage {one.stage} {'wrote' if one.made else 'read'}"
    for source in (made.sources or ()) if made else ():
        if source["sha256"].startswith(what) or what in source["address"]:
            yield f"source {_source(source)}"
