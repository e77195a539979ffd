"""Imports point down: L0 light, L1 heavy, L2 stages, L3 flows, monitoring, serving and the command line."""

import ast
import sys
from graphlib import TopologicalSorter

L0 = {
    "tidegate.errors",
    "tidegate.params",
    "tidegate.pipeline",
    "tidegate.files",
    "tidegate.fitting",
    "tidegate.report",
    "tidegate.energy",
    "tidegate.effort",
}
L3_NAMES = {
    "__main__",
    "binding",
    "commands",
    "process",
    "quiet",
    "reproduction",
    "scenario",
    "sync",
}
LIGHT = {"yaml"} | set(sys.stdlib_module_names)
ONLY_IMPORTER = {"mlflow": "tidegate.registry", "dvc": "tidegate.reproduction"}


def layer(name: str) -> int:
    if name in L0 or name in {"tidegate", "tidegate.stages", "tidegate.model", "tidegate.serving", "tidegate.release"}:
        return 0
    if name.startswith("tidegate.stages."):
        return 2
    if not name.startswith("tidegate.") or name.startswith(
        ("tidegate.serving.", "tidegate.release.", "tidegate.pages.")
    ):
        return 3
    return 3 if name.removeprefix("tidegate.") in L3_NAMES else 1


def test_imports_point_down(modules):
    upward = [
        f"{module.name} (L{layer(module.name)}) imports {other} (L{layer(other)})"
        for module in modules.values()
        for other in module.all
        if other in modules and layer(other) > layer(module.name)
    ]
    assert upward == []


def test_there_is_no_import_cycle(modules):
    graph = {name: [other for other in module.all if other in modules] for name, module in modules.items()}
    list(TopologicalSorter(graph).static_order())


def test_a_stage_never_imports_a_stage(modules):
    pairs = [
        (module.name, other)
        for module in modules.values()
        if layer(module.name) == 2
        for other in module.all
        if layer(other) == 2 and other in modules
    ]
    assert pairs == []


def test_the_light_layer_and_the_top_of_a_stage_import_only_light_things(modules):
    heavy = [
        f"{module.name} imports {other} at its top"
        for module in modules.values()
        if layer(module.name) in (0, 2)
        for other in module.top
        if other not in LIGHT and other not in L0 and other != "tidegate"
    ]
    assert heavy == []


def test_one_module_alone_imports_each_tool_that_holds_state(modules):
    others = [
        f"{module.name} imports {tool}"
        for module in modules.values()
        for tool, owner in ONLY_IMPORTER.items()
        if tool in module.all and module.name != owner
    ]
    assert others == []


def test_every_module_says_what_lives_there(modules):
    silent = [
        module.name
        for module in modules.values()
        if module.path.stem != "__init__" and not ast.get_docstring(ast.parse(module.path.read_text(encoding="utf-8")))
    ]
    assert silent == []


def test_package_files_are_empty(modules):
    full = [m.name for m in modules.values() if m.path.stem == "__init__" and m.path.read_text(encoding="utf-8")]
    assert full == []
