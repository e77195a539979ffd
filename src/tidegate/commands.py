"""What the user's commands do, in the order they do it; each step lives elsewhere."""

import os
from pathlib import Path

from tidegate import package_store, promotion, registry
from tidegate.binding import check
from tidegate.errors import RegistryError
from tidegate.report import result_table


def repro(root: Path) -> None:
    """Sync, `dvc repro`, promote, and the result table."""
    from tidegate.reproduction import owning, reproduce
    from tidegate.sync import sync

    check(root)
    with owning(root, "make repro"):
        sync(root)
        show_live_curves(root)
        ran = reproduce(root)
        print(f"dvc repro: {', '.join(ran) if ran else 'nothing to do'}")
        promotion.promote(root)
    print_result(root)


def show_live_curves(root: Path) -> None:
    """Lets the training that DVC starts below this process log its curves to MLflow while it runs."""
    os.environ |= {"TIDEGATE_LIVE": "tidegate.registry:live", "TIDEGATE_LIVE_URI": promotion.read_settings(root).uri()}


def print_result(root: Path) -> None:
    """The result table of the last evaluation and the verdict."""
    print("\n" + result_table(promotion.read_evaluation(root), promotion.read_decision(root)))


def status(root: Path) -> None:
    """What is in service, what was decided last, and what is stale."""
    from tidegate.reproduction import stale

    check(root)
    task = promotion.task_of(root)
    state = registry.read(promotion.read_settings(root).uri(), task)
    print(f"task       {task}")
    for alias in ("champion", "challenger", "best"):
        version = state.alias(alias)
        print(f"{alias:<10} " + (f"version {version.number}, {str(version.digest)[:12]}" if version else "none"))
    if (root / "data" / "decision.json").exists():
        decision = promotion.read_decision(root)
        print(f"decision   {decision['verdict']} on {decision['candidate'][:12]}: {'; '.join(decision['reasons'])}")
    else:
        print("decision   none yet: run `make repro`")
    print(f"stale      {', '.join(stale(root)) or 'nothing'}")


def serve(root: Path, folder: Path | None, *, host: str, port: int) -> None:
    """Serves a package, or the champion of the task.

    Raises:
        RegistryError: no package is named and the task has no champion.
    """
    from tidegate.serving.app import serve as run

    digest = None if folder else champion_digest(root)
    run(folder or package_store.folder_of(str(digest)), host=host, port=port, expected_digest=digest)


def champion_digest(root: Path) -> str:
    """The digest of the champion of the task that `params.yaml` names.

    Raises:
        RegistryError: there is none.
    """
    task = promotion.task_of(root)
    version = registry.read(promotion.read_settings(root).uri(), task).alias("champion")
    if version is None or version.digest is None:
        raise RegistryError(f"task {task!r}", "has no champion", "Run `make repro`, or name a package folder")
    return version.digest
