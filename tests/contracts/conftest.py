"""The import graph of the project, read from the source without running it."""

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "tidegate"


@dataclass(frozen=True)
class Module:
    name: str
    path: Path
    top: frozenset[str]
    """Imported when the module is."""
    lazy: frozenset[str]
    """Imported inside functions."""

    @property
    def all(self) -> frozenset[str]:
        return self.top | self.lazy


def module_name(path: Path) -> str:
    base = ROOT / "src" if SOURCE in path.parents else ROOT
    return ".".join(path.relative_to(base).with_suffix("").parts).removesuffix(".__init__")


def imported(node: ast.stmt) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom) and node.module:
        yield from (f"{node.module}.{alias.name}" for alias in node.names)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def statements(node: ast.AST, *, lazily: bool = False) -> Iterator[tuple[ast.stmt, bool]]:
    for child in ast.iter_child_nodes(node):
        if is_type_checking(child):
            continue
        inside = lazily or isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        if isinstance(child, ast.Import | ast.ImportFrom):
            yield child, inside
        yield from statements(child, lazily=inside)


def read_module(path: Path, known: set[str]) -> Module:
    """Names of the project's own modules are cut to the module; others to their top package."""

    def resolve(name: str) -> str:
        parts = name.split(".")
        whole = (".".join(parts[:n]) for n in range(len(parts), 0, -1))
        return next((candidate for candidate in whole if candidate in known), parts[0])

    found: dict[bool, set[str]] = {False: set(), True: set()}
    for node, lazily in statements(ast.parse(path.read_text(encoding="utf-8"))):
        found[lazily].update(resolve(name) for name in imported(node))
    return Module(module_name(path), path, frozenset(found[False]), frozenset(found[True]))


@pytest.fixture(scope="session")
def root() -> Path:
    return ROOT


@pytest.fixture(scope="session")
def modules() -> dict[str, Module]:
    folders = [SOURCE, ROOT / "flows", ROOT / "monitoring"]
    paths = [path for folder in folders for path in sorted(folder.rglob("*.py"))]
    known = {module_name(path) for path in paths}
    return {module_name(path): read_module(path, known) for path in paths}


@pytest.fixture(scope="session")
def closure(modules):
    """All modules of the project that a module needs, itself included."""

    def compute(name: str) -> set[str]:
        found: set[str] = set()
        waiting = [name]
        while waiting:
            if (current := waiting.pop()) in modules and current not in found:
                found.add(current)
                waiting.extend(modules[current].all)
        return found

    return compute
