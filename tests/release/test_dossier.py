"""A dossier is whole, is what was judged, and holds no secret."""

from typing import Any

import pytest
import yaml

from tidegate.errors import PackageError, RegistryError
from tidegate.files import read_json, walk
from tidegate.release import dossier

MADE = {"tree": "t", "revision": "r", "dirty": "false"}


def kept(world: Any) -> Any:
    return dossier.keep(world.root, read_json(world.data / "decision.json"), MADE, {"card.md": "# A card"})


def test_it_holds_what_the_decision_rests_on(world: Any) -> None:
    world.decide()
    folder = kept(world)
    names = {file.relative_to(folder).as_posix() for file in walk(folder)}
    assert names == {
        "decision.json", "evaluation.json", "predictions/candidate.parquet", "curves.csv", "golden.json", "dvc.yaml",
        "dvc.lock", "params.yaml", "made.json", "card.md",
    }  # fmt: skip
    assert dossier.read(world.decision()) == read_json(world.data / "decision.json")
    assert read_json(folder / "made.json") == MADE
    assert (folder / "card.md").read_text() == "# A card"


def test_the_address_of_the_registry_stays_out_of_it(world: Any) -> None:
    world.decide()
    params = world.root / "params.yaml"
    params.write_text(params.read_text().replace("tracking_uri: null", "tracking_uri: postgresql://u:secret@host/db"))
    text = (kept(world) / "params.yaml").read_text()
    assert "secret" not in text
    assert yaml.safe_load(text)["ingest"] == {"task": "channels"}


def test_it_is_written_once(world: Any) -> None:
    world.decide()
    before = kept(world).stat()
    assert kept(world).stat() == before


@pytest.mark.parametrize("name", ["evaluation.json", "predictions/candidate.parquet"])
def test_what_was_not_judged_is_not_kept(world: Any, name: str) -> None:
    world.decide()
    (world.data / name).write_text("{}")
    with pytest.raises(PackageError, match=f"data/{name.partition('/')[0]}: is not the file that the gate judged"):
        kept(world)
    assert not dossier.folder_of(world.decision()).exists()


def test_a_decision_that_was_changed_afterwards_is_refused(world: Any) -> None:
    world.decide(verdict="fail")
    folder = kept(world)
    (folder / "decision.json").write_text((folder / "decision.json").read_text().replace('"fail"', '"pass"'))
    with pytest.raises(PackageError, match="is not what its digest"):
        dossier.read(world.decision())


def test_a_decision_that_is_not_kept_is_named(world: Any) -> None:
    with pytest.raises(RegistryError, match="decision abc: is not kept"):
        dossier.read("abc")
