"""Which model answers: the champion, followed while it changes, and in its shadow the challenger.

A package is loaded, warmed and asked its golden requests before it takes the place of another, in a thread of its own;
requests notice nothing. What is champion is decided by the log of the task, which is read here and never written.
"""

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tidegate import package_store, registry
from tidegate.errors import PackageError, RegistryError, TidegateError
from tidegate.files import read_json
from tidegate.package import Package
from tidegate.release import dossier, reconciling
from tidegate.release import settings as release
from tidegate.release.standing import Standing
from tidegate.serving.answering import Model

_RETRY_S = 60
"""Seconds after which a package that was refused is looked at again: it may have been restored."""
_WARM = ["", "a text to warm the model with", " ".join(["warm"] * 200)]


def standing_of(root: Path) -> Standing:
    """Where the task stands that `params.yaml` names."""
    return reconciling.standing_of(release.read(root).uri(), release.task_of(root))


def admitted(root: Path, digest: str, standing: Standing) -> Model:
    """A package out of the store that is whole, runs, and answers its golden requests as it was evaluated.

    Raises:
        PackageError: it is missing, damaged, or answers otherwise.
    """
    package = Package.load(package_store.checked(digest), expected_digest=digest, threads=1)
    package.predict(_WARM)
    _hold_to_golden(package, standing.decisions.get(digest), release.read(root).golden_tolerance)
    version = registry.read(release.read(root).uri(), release.task_of(root)).of_digest(digest)
    return Model(package, version.number if version else None)


def _hold_to_golden(package: Package, decision: str | None, tolerance: float) -> None:
    path = dossier.folder_of(decision) / "golden.json" if decision else None
    if path is None or not path.exists():
        _say(f"no golden requests are kept for {package.digest[:12]}; it is served without them")
        return
    golden = read_json(path)
    found = package.predict([row["text"] for row in golden]).tolist()
    expected = [row["probabilities"] for row in golden]
    fits = list(map(len, found)) == list(map(len, expected))
    if not fits or any(
        abs(p - q) > tolerance for ps, qs in zip(found, expected, strict=True) for p, q in zip(ps, qs, strict=True)
    ):
        cause = "does not answer its golden requests as it was evaluated"
        raise PackageError(f"package {package.digest[:12]}", cause, "Roll back, or look what changed on this machine")


def champion(root: Path) -> Model:
    """The champion of the task, admitted.

    Raises:
        RegistryError: there is none.
        PackageError: it is not fit for service.
    """
    standing = standing_of(root)
    if standing.champion is None:
        task = release.task_of(root)
        raise RegistryError(f"task {task!r}", "has no champion", "Run `make repro`, or name a package folder")
    return admitted(root, standing.champion, standing)


def _say(words: str) -> None:
    with suppress(OSError):  # whoever read our output may have gone, and the service goes on
        print(f"serve: {words}", flush=True)


@dataclass(slots=True)
class Served:
    """What answers now. The follower sets it; each batch of texts reads it once, so that one model answers it whole."""

    model: Model
    challenger: Model | None = None
    refused: str | None = None
    """Why the present champion is not served; None where it is."""


class Follower:
    """Looks every `poll_s` seconds who is champion, and challenger where that is wanted."""

    def __init__(
        self, root: Path, served: Served, *, poll_s: float, shadow: bool,
        changed: Callable[[str], None],
    ) -> None:  # fmt: skip
        """Starts following.

        Args:
            changed: is told what became of a new champion: `loaded` or `refused`.
        """
        self._root, self._served, self._poll_s = root, served, poll_s
        self._shadow, self._changed = shadow, changed
        self._tried: dict[str, str | None] = {}
        """By role the digest that was looked at last, fit or not: a broken package is not loaded at every look."""
        self._retry_at = 0.0
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._work, name="follower", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Ends, at once unless a package is being loaded."""
        self._ended.set()
        self._thread.join()

    def _work(self) -> None:
        while not self._ended.wait(self._poll_s):
            try:
                self.look()
            except Exception as error:  # whatever it is, the service goes on with what it has
                self._refuse(f"who is champion cannot be told ({' '.join(str(error).split())})")

    def look(self) -> None:
        """Takes in where the task stands now."""
        standing = standing_of(self._root)
        self._follow_champion(standing)
        if self._shadow:
            self._follow_challenger(standing)

    def _follow_champion(self, standing: Standing) -> None:
        digest = standing.champion
        if digest == self._served.model.digest:
            self._served.refused, self._tried["champion"] = None, digest
        elif digest is None:
            self._refuse("the task has no champion any more")
        elif digest != self._tried.get("champion") or time.monotonic() >= self._retry_at:
            self._tried["champion"], self._retry_at = digest, time.monotonic() + _RETRY_S
            self._replace(digest, standing)

    def _replace(self, digest: str, standing: Standing) -> None:
        try:
            model = admitted(self._root, digest, standing)
        except Exception as error:
            self._refuse(f"champion {digest[:12]} was refused ({' '.join(str(error).split())})")
            self._changed("refused")
            return
        before, self._served.model, self._served.refused = self._served.model, model, None
        _say(f"{digest[:12]} took the place of {before.digest[:12]}")
        self._changed("loaded")

    def _refuse(self, why: str) -> None:
        if why != self._served.refused:
            _say(f"{why}; {self._served.model.digest[:12]} goes on")
        self._served.refused = why

    def _follow_challenger(self, standing: Standing) -> None:
        digest = standing.challenger
        if digest == self._tried.get("challenger"):
            return
        self._tried["challenger"], self._served.challenger = digest, None
        if digest:
            try:
                self._served.challenger = admitted(self._root, digest, standing)
            except TidegateError as error:
                _say(f"the challenger is not asked ({error})")
