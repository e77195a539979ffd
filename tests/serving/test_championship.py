"""The champion is followed: what is fit takes over, what is not is refused and said, and the old one goes on."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tidegate import package_store
from tidegate.errors import PackageError, RegistryError
from tidegate.files import write_json
from tidegate.package import Package
from tidegate.release import dossier, log
from tidegate.serving import championship
from tidegate.serving.championship import Follower, Served

Crown = Callable[..., str]
TEXTS = ["good", "a bad film"]


@pytest.fixture
def follow(root: Path) -> Iterator[Callable[..., Follower]]:
    """Makes a follower that looks when it is told to."""
    made: list[Follower] = []

    def make(
        served: Served, changed: Callable[[str], None] = lambda outcome: None, *, shadow: bool = False
    ) -> Follower:
        made.append(Follower(root, served, poll_s=3_600, shadow=shadow, changed=changed))
        return made[-1]

    yield make
    for one in made:
        one.close()


def judged(digest: str, shift: float = 0.0) -> None:
    """Keeps golden requests of a package as a decision has them."""
    rows = Package.load(package_store.folder_of(digest), threads=1).predict(TEXTS).tolist()
    golden = [{"text": text, "probabilities": [p + shift for p in row]} for text, row in zip(TEXTS, rows, strict=True)]
    write_json(dossier.folder_of(f"of {digest}") / "golden.json", golden)
    log.append("channels", "judged", candidate=digest, decision=f"of {digest}", test="t", why=["a test"])


def test_without_a_champion_there_is_nothing_to_serve(root: Path) -> None:
    with pytest.raises(RegistryError, match="task 'channels': has no champion"):
        championship.champion(root)


def test_a_new_champion_takes_over(root: Path, crown: Crown, follow: Any, capsys: pytest.CaptureFixture[str]) -> None:
    first = crown(1)
    served, told = Served(championship.champion(root)), []
    follower = follow(served, told.append)
    follower.look()
    assert (served.model.digest, told) == (first, [])
    second = crown(2)
    follower.look()
    assert (served.model.digest, served.refused, told) == (second, None, ["loaded"])
    assert f"{second[:12]} took the place of {first[:12]}" in capsys.readouterr().out


@pytest.mark.parametrize("broken", ["damaged", "missing", "answers otherwise", "other labels"])
def test_a_champion_that_is_not_fit_is_refused_once_and_the_old_one_goes_on(
    root: Path, crown: Crown, follow: Any, broken: str, capsys: pytest.CaptureFixture[str]
) -> None:
    first = crown(1)
    served, told = Served(championship.champion(root)), []
    follower = follow(served, told.append)
    second = crown(2)
    if broken == "damaged":
        (package_store.folder_of(second) / "model.onnx").write_bytes(b"damaged")
    elif broken == "missing":
        package_store.folder_of(second).rename(root / "away")
    elif broken == "answers otherwise":
        judged(second, shift=0.01)
    else:
        judged(second)
        write_json(dossier.folder_of(f"of {second}") / "golden.json", [{"text": "good", "probabilities": [1.0]}])
    for _ in range(3):
        follower.look()
    assert served.model.digest == first
    assert second[:12] in str(served.refused)
    assert told == ["refused"]
    assert capsys.readouterr().out.count(f"{first[:12]} goes on") == 1
    crown(1)
    follower.look()
    assert served.refused is None


def test_what_was_refused_is_looked_at_again_once_it_may_have_been_restored(
    root: Path, crown: Crown, follow: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(championship, "_RETRY_S", 0)
    crown(1)
    served = Served(championship.champion(root))
    follower = follow(served)
    second = crown(2)
    package_store.folder_of(second).rename(root / "away")
    follower.look()
    (root / "away").rename(package_store.folder_of(second))
    follower.look()
    assert (served.model.digest, served.refused) == (second, None)


def test_golden_requests_are_asked_at_the_start_too(root: Path, crown: Crown) -> None:
    digest = crown(1)
    judged(digest)
    assert championship.champion(root).digest == digest
    judged(digest, shift=0.01)
    with pytest.raises(PackageError, match="golden requests"):
        championship.champion(root)


def test_a_champion_that_was_withdrawn_goes_on_until_there_is_another(root: Path, crown: Crown, follow: Any) -> None:
    first = crown(1)
    served = Served(championship.champion(root))
    follower = follow(served)
    (package_store.folder_of(first).parents[1] / "promotions" / "channels.jsonl").unlink()
    follower.look()
    assert (served.model.digest, served.refused) == (first, "the task has no champion any more")


def test_the_challenger_is_followed_where_it_is_wanted(root: Path, crown: Crown, follow: Any) -> None:
    challenger, first = crown(2), crown(1)
    judged(challenger)
    served = Served(championship.champion(root))
    follow(served).look()
    assert served.challenger is None
    follower = follow(served, shadow=True)
    follower.look()
    assert served.challenger is not None
    assert (served.model.digest, served.challenger.digest) == (first, challenger)
    log.append("channels", "rejected", candidate=challenger, why=["a test"])
    follower.look()
    assert served.challenger is None
