"""The commands of the README, run in a small scenario as they stand there."""

import re
import shlex
import sys
from pathlib import Path

import httpx
import pytest
import yaml

from tidegate.scenario import merged
from tidegate.serving.golden import served

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
SERVERS = ("python -m tidegate serve",)
"""It runs until it is stopped."""

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]


def commands() -> list[str]:
    """Every command in a fence or between backticks that begins with a program of ours."""
    fenced = re.findall(r"^(make \w+)", README, flags=re.MULTILINE)
    inline = re.findall(r"`((?:make|dvc|python -m tidegate) [^`]+)`", README)
    return list(dict.fromkeys(fenced + inline))


ELSEWHERE = ("make repro", "make test", "make flow", "make clean", "dvc repro")
"""Run by the other tests here, or this very run, or would take away what the others need."""
FINITE = [command for command in commands() if not command.startswith(SERVERS) and command not in ELSEWHERE]


def test_the_readme_begins_with_the_two_commands():
    assert re.findall(r"^make (\w+)", README, flags=re.MULTILINE) == ["repro", "test"]


@pytest.mark.parametrize("target", ["repro", "test", "flow", "check", "bench", "clean", "help"])
def test_every_target_of_make_is_there(target, finished):
    clone, _ = finished
    assert clone.run("make", "-n", target)


@pytest.mark.parametrize("command", FINITE)
def test_a_command_of_the_readme_works(command, finished):
    clone, _ = finished
    clone.run(*shlex.split(command.replace("python", sys.executable, 1)))
    clone.run("git", "checkout", "-q", "params.yaml")  # `use` edits it


def test_the_champion_answers_over_http(finished):
    clone, _ = finished
    package = clone.path / "var" / "packages" / clone.champion()
    with served(package, start_timeout_s=60) as address:
        answer = httpx.post(f"{address}/predict", json={"text": "the old oven with some dough"}, timeout=30).json()
    assert answer["predictions"][0]["label"] in ("bread", "music", "ships")


def test_the_lines_for_own_data_fit_the_params():
    snippet = re.search(r"```yaml\n(.*?)```", README, flags=re.DOTALL).group(1)
    params = yaml.safe_load(merged((ROOT / "params.yaml").read_text(encoding="utf-8"), snippet))
    assert params["ingest"]["task"] == "mine"
    assert params["validate"]["labels"] is None


def test_every_file_that_the_readme_links_is_there():
    links = re.findall(r"\]\(([^)#:]+)\)", README)
    assert [link for link in links if not (ROOT / link).exists()] == []
