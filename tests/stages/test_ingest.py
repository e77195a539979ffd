import errno
import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import polars
import pytest
import yaml

from tidegate.errors import DataError, ParamsError, SourceError, TidegateError
from tidegate.params import bind
from tidegate.stages import ingest

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty project as the working directory."""
    monkeypatch.setenv("TIDEGATE_VAR", str(tmp_path / "var"))
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "raw").mkdir(parents=True)
    return tmp_path


def params(**changes: Any) -> ingest.Params:
    values = {
        "task": "mine", "sources": [{"address": "data/raw/mine.csv"}], "select": None, "slices": [],
        "max_rows": None, "seed": 17,
    }  # fmt: skip
    return bind(ingest.Params, values | changes, section="ingest")


def run(feedback: str | None = None, **changes: Any) -> tuple[polars.DataFrame, dict[str, Any]]:
    data = Path("data")
    ingest.run(
        params(**changes), inputs={"feedback": feedback}, raw=data / "raw",
        records=data / "records.parquet", manifest=data / "manifest.json",
    )  # fmt: skip
    return polars.read_parquet(data / "records.parquet"), json.loads((data / "manifest.json").read_text())


def write(content: str, name: str = "mine.csv") -> str:
    path = Path("data/raw") / name
    path.write_text(content)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_file_with_text_and_label_needs_nothing_but_its_address(capsys: pytest.CaptureFixture[str]) -> None:
    digest = write("text,label,stars\ngood,positive,5\nbad,negative,1\n")
    frame, manifest = run()
    assert frame.select("text", "label", "origin").rows() == [
        ("good", "positive", "source"), ("bad", "negative", "source")
    ]  # fmt: skip
    assert frame["id"].to_list() == frame["group"].to_list()
    assert manifest == {
        "task": "mine", "rows": 2, "columns": ["id", "text", "label", "group", "origin"], "slices": [],
        "sources": [{
            "name": "mine", "address": "data/raw/mine.csv", "sha256": digest, "bytes": 48, "rows": 2,
            "licence": None, "citation": None,
        }],
        "feedback": None, "sampled": None,
        "inferred": [
            "mine: format csv, by the file's name", "mine: encoding utf-8", "mine: delimiter ',', by the first line",
            "mine: columns text, label, stars", "id: derived from the content (the source has none)",
            "group: the id (the source has none)", "columns left out: stars",
        ],
    }  # fmt: skip
    said = capsys.readouterr().out.splitlines()
    assert said[0] == "ingest: mine: 2 rows, 48 bytes"
    assert said[1:-1] == [f"ingest: {sentence}" for sentence in manifest["inferred"]]
    assert said[-1] == "ingest: 2 of 2 records taken, in 2 of 2 groups"


def test_several_sources_are_joined_by_a_select_in_their_order() -> None:
    write("text,label\na,x\nb,y\n", "order.csv")
    write('{"body": "c", "stars": 5}\n', "more.jsonl")
    frame, manifest = run(
        sources=[{"address": "data/raw/order.csv"}, {"address": "data/raw/more.jsonl", "licence": "CC0-1.0"}],
        select="SELECT text, label, 'one' AS shop FROM \"order\" UNION ALL SELECT body, 'z', 'two' FROM more",
        slices=["shop"],
    )
    assert frame.select("text", "label", "shop").rows() == [("a", "x", "one"), ("b", "y", "one"), ("c", "z", "two")]
    assert [source["rows"] for source in manifest["sources"]] == [2, 1]
    assert manifest["sources"][1]["licence"] == "CC0-1.0"


@pytest.mark.parametrize("name", ["shaped", "typed", "keys", "work", "main", "select"])
def test_a_source_may_have_any_name(name: str) -> None:
    write("text,label\na,x\n")
    frame, _ = run(sources=[{"address": "data/raw/mine.csv", "name": name}])
    assert frame["text"].to_list() == ["a"]
    frame, _ = run(sources=[{"address": "data/raw/mine.csv", "name": name}], select=f'SELECT * FROM "{name}"')
    assert frame["text"].to_list() == ["a"]


def test_a_sample_stands_in_the_manifest() -> None:
    write("text,label,group\n" + "".join(f"text {i},x,{i // 2}\n" for i in range(100)))
    frame, manifest = run(max_rows=31)
    assert frame.height == manifest["rows"] == 30
    assert manifest["sampled"] == {"of": 100, "seed": 17}


def test_equal_input_gives_equal_bytes() -> None:
    write("text,label\n" + "".join(f"text {i},{i % 3}\n" for i in range(5000)))
    query = (
        "SELECT a.text, max(a.label) AS label FROM mine a JOIN mine b USING (label) WHERE b.text < 'text 2' GROUP BY 1"
    )
    contents = set()
    for _ in range(3):
        run(select=query, max_rows=2000)
        contents.add(tuple(Path("data", name).read_bytes() for name in ("records.parquet", "manifest.json")))
    assert len(contents) == 1


def test_nothing_is_left_behind_but_the_artifacts() -> None:
    write("text,label\na,x\n")
    run()
    with pytest.raises(TidegateError):
        run(sources=[{"address": "data/raw/gone.csv"}])
    assert sorted(path.name for path in Path("data").iterdir()) == ["manifest.json", "raw", "records.parquet"]


def test_what_a_killed_run_left_goes_with_the_next_one_and_nothing_else(project: Path) -> None:
    done = subprocess.Popen([sys.executable, "-c", ""])
    done.wait()
    folders = [f".ingest.{done.pid}.abc", f".ingest.{os.getpid()}.abc", f".ingest-else.{done.pid}.abc", ".ingest-abc"]
    for folder in folders:
        (project / "data" / folder).mkdir()
        (project / "data" / folder / "ingest.duckdb").touch()
    write("text,label\ngood,positive\n")
    run()
    assert sorted(path.name for path in (project / "data").glob(".*")) == sorted(folders[1:])


def test_a_failed_run_leaves_the_artifacts_of_the_last_one() -> None:
    write("text,label\na,x\n")
    before, _ = run()
    write("text,label\na,x\nb,y,z\n")
    with pytest.raises(SourceError):
        run()
    assert polars.read_parquet("data/records.parquet").equals(before)


def test_a_full_disk_is_an_error_and_leaves_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*args: Any, **options: Any) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    write("text,label\na,x\n")
    monkeypatch.setattr("tidegate.intake.plaintext.copy", full)
    with pytest.raises(DataError, match=r"no space is left on the disk\. Free some"):
        run()
    assert [path.name for path in Path("data").iterdir()] == ["raw"]


# --- feedback


def snapshot(project: Path) -> str:
    folder = project / "var" / "feedback"
    folder.mkdir(parents=True)
    frame = polars.DataFrame(
        {"id": ["f"], "text": ["new"], "label": ["x"], "group": ["f"], "received_at": ["2025-01-02"]}
    )
    frame.with_columns(polars.col("received_at").str.to_datetime(time_zone="UTC")).write_parquet(folder / "draft")
    digest = hashlib.sha256((folder / "draft").read_bytes()).hexdigest()
    (folder / "draft").rename(folder / f"{digest}.parquet")
    return digest


def test_the_pinned_feedback_is_added(project: Path) -> None:
    write("text,label\na,x\n")
    digest = snapshot(project)
    frame, manifest = run(feedback=digest)
    assert frame.select("text", "origin").rows() == [("a", "source"), ("new", "feedback")]
    assert (manifest["feedback"], manifest["rows"], manifest["sampled"]) == (digest, 2, None)


def test_feedback_that_is_not_what_its_digest_says_is_refused(project: Path) -> None:
    write("text,label\na,x\n")
    digest = snapshot(project)
    (project / "var" / "feedback" / f"{digest}.parquet").write_bytes(b"other")
    with pytest.raises(DataError, match="the snapshot's sha256 is"):
        run(feedback=digest)
    with pytest.raises(DataError, match=r"pinned in inputs\.yaml is missing"):
        run(feedback="0" * 64)


# --- bad input


@pytest.mark.parametrize(
    "address",
    [
        "elsewhere.csv",
        "data/other/mine.csv",
        "data/raw/../mine.csv",
        "data/rawer/mine.csv",
        "/etc/hostname",
        "data/raw",
    ],
)
def test_a_local_file_must_lie_where_its_changes_are_seen(address: str) -> None:
    with pytest.raises(SourceError, match=r"does not lie in data/raw.* Put it there"):
        run(sources=[{"address": address, "name": "a"}])


def test_a_folder_is_no_table() -> None:
    (Path("data/raw") / "more.csv").mkdir()
    with pytest.raises(SourceError, match=r"more \(data/raw/more\.csv\): more\.csv is a folder"):
        run(sources=[{"address": "data/raw/more.csv"}])


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"sources": []}, "ingest.sources: must be at least 1"),
        ({"sources": [{}]}, "sources[0].address: is missing"),
        ({"sources": [{"address": "a.csv", "encodng": "utf-8"}]}, "encodng: is not known (did you mean 'encoding'?)"),
        ({"sources": [{"address": "a.csv", "format": "xlsx"}]}, "sources[0].format: must be 'csv' or 'tsv'"),
        ({"sources": [{"address": "a.csv", "delimiter": "::"}]}, "sources[0].delimiter: must be at most 1"),
        ({"sources": [{"address": "a.csv", "encoding": "utf-9"}]}, "encoding 'utf-9' is not known"),
        ({"sources": [{"address": "a.csv", "encoding": "base64"}]}, "encoding 'base64' is not known"),
        ({"sources": [{"address": "a.csv", "name": "a b"}]}, "name must be letters"),
        ({"sources": [{"address": "b/a.csv"}, {"address": "c/a.csv"}], "select": "FROM a"}, "two are named 'a'"),
        ({"sources": [{"address": "a.csv"}, {"address": "b.csv"}]}, "select: must say how the 2 sources become one"),
        ({"task": "a/b"}, "task must be letters"),
        ({"slices": ["Label"]}, "slices: 'label' is a column of every record"),
        ({"slices": ["a", "A"]}, "slices: a column is named twice"),
        ({"max_rows": 0}, "ingest.max_rows: must be at least 1"),
        ({"max_rows": -5}, "ingest.max_rows: must be at least 1"),
    ],
)  # fmt: skip
def test_absurd_params_are_refused_before_anything_is_read(changes: dict[str, Any], problem: str) -> None:
    with pytest.raises(ParamsError) as caught:
        params(**changes)
    assert problem in "\n".join(caught.value.problems)


def test_a_select_that_does_not_fit_is_named_as_such() -> None:
    write("text,label\na,x\n")
    with pytest.raises(ParamsError, match=r'ingest\.select: Referenced column "body" not found'):
        run(select="SELECT body AS text, label FROM mine")


# --- what the project ships


@pytest.mark.parametrize("scenario", [None, "channels-full", "reviews"])
def test_the_shipped_params_are_sound_and_every_address_is_pinned(scenario: str | None) -> None:
    values = yaml.safe_load((ROOT / "params.yaml").read_text())["ingest"]
    if scenario:
        values |= yaml.safe_load((ROOT / "scenarios" / f"{scenario}.yaml").read_text())["ingest"]
    bound = bind(ingest.Params, values, section="ingest")
    assert all("?sha256=" in source.address for source in bound.tables())
    assert all(source.licence and source.citation for source in bound.tables())


@pytest.mark.slow
def test_a_million_rows_go_through_in_bounded_memory(project: Path) -> None:
    """The peak of a process of its own; DuckDB is given 1 GB and spills what is more.

    Linux's `ru_maxrss` starts from the peak of the process that forked, here the whole test run's; `VmHWM` is that
    of the program alone."""
    with Path("data/raw/mine.csv").open("w") as stream:
        stream.write("text,label,age,author\n")
        stream.writelines(
            f"a short text with number {i} and some words more in it about the tide,{i % 5},{i % 70},a{i // 7}\n"
            for i in range(1_000_000)
        )
    script = f"""
import sys, resource
from pathlib import Path
sys.path.insert(0, {str(ROOT / "src")!r})
from tidegate.params import bind
from tidegate.stages import ingest
params = bind(ingest.Params, {{"task": "mine", "sources": [{{"address": "data/raw/mine.csv"}}], "slices": ["age"],
    "select": 'SELECT *, author AS "group" FROM mine', "max_rows": 900000, "seed": 1}}, section="ingest")
data = Path("data")
ingest.run(params, inputs={{"feedback": None}}, raw=data / "raw", records=data / "records.parquet",
    manifest=data / "manifest.json")
status = Path("/proc/self/status")
peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
if status.exists():
    peak_kb = int(status.read_text().split("VmHWM:")[1].split()[0])
print(peak_kb // 1024)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    peak_mb = int(done.stdout.splitlines()[-1])
    assert polars.scan_parquet("data/records.parquet").select(polars.len()).collect().item() > 899_900
    assert peak_mb < 700, f"{peak_mb} MB"
