"""What the registry says of a task: its versions and aliases, read from the database by SQL.

Not through MLflow: importing it takes seconds, and a run with nothing to do should not. What writes, and what asks a
server, is `registry`.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from tidegate.errors import RegistryError

DIGEST = "tidegate.digest"
"""The tag of a version that holds the digest of its package."""
DECISION = "tidegate.decision"
"""The tag of a run and a version that holds the digest of the decision it rests on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """One registered package."""

    number: int
    tags: Mapping[str, str]
    run_id: str | None

    @property
    def digest(self) -> str | None:
        """The digest of its package; None for a version that somebody else registered."""
        return self.tags.get(DIGEST)


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What the registry says of one task at one moment."""

    versions: Mapping[int, Version] = field(default_factory=dict)
    aliases: Mapping[str, int] = field(default_factory=dict)

    def alias(self, name: str) -> Version | None:
        """The version behind an alias."""
        return self.versions.get(self.aliases[name]) if name in self.aliases else None

    def of_digest(self, digest: str) -> Version | None:
        """The first version that was registered for a package."""
        found = (version for _, version in sorted(self.versions.items()) if version.digest == digest)
        return next(found, None)


def is_server(uri: str) -> bool:
    """Whether this is the address of an MLflow server and not of a database."""
    return uri.startswith(("http://", "https://"))


def read(uri: str, task: str) -> State:
    """The state of a task in a database; one that is not there, or has no tables, holds nothing.

    Raises:
        RegistryError: the address is none, or the database does not answer.
    """
    from sqlalchemy import create_engine, inspect, text
    from sqlalchemy.exc import SQLAlchemyError
    from sqlalchemy.pool import NullPool

    file = checked(uri)
    if file and not file.exists():
        return State()
    queries = {
        "versions": "SELECT version, run_id FROM model_versions WHERE name = :task AND current_stage != :deleted",
        "tags": "SELECT version, key, value FROM model_version_tags WHERE name = :task",
        "aliases": "SELECT alias, version FROM registered_model_aliases WHERE name = :task",
    }
    values = {"task": task, "deleted": "Deleted_Internal"}
    try:
        engine = create_engine(uri, poolclass=NullPool)
        with engine.connect() as connection:
            if not inspect(connection).has_table("registered_model_aliases"):
                return State()
            rows = {name: connection.execute(text(query), values).all() for name, query in queries.items()}
    except (SQLAlchemyError, ImportError) as error:  # a driver that is not installed is an ImportError
        raise unreachable(uri, error) from error
    tags: dict[int, dict[str, str]] = {}
    for number, key, value in rows["tags"]:
        tags.setdefault(number, {})[key] = value
    versions = {n: Version(number=n, tags=tags.get(n, {}), run_id=run_id) for n, run_id in rows["versions"]}
    return State(versions=versions, aliases={alias: number for alias, number in rows["aliases"] if number in versions})


def checked(uri: str) -> Path | None:
    """Holds that a database may have this address; its file, where it has one.

    Raises:
        RegistryError: it is no address, a database in memory, or lies in no folder.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    what = f"the registry at {without_password(uri)!r}"
    if "://" not in uri:
        remedy = "Set promote.tracking_uri to sqlite:///…, postgresql://… or null"
        raise RegistryError(what, "is no address: it has no scheme", remedy)
    try:
        url = make_url(uri)
    except (ArgumentError, ValueError) as error:  # a port that is no number is a ValueError
        raise unreachable(uri, error) from error
    if not url.drivername.startswith("sqlite"):
        return None
    if url.database in (None, "", ":memory:"):
        raise RegistryError(what, "is in memory and ends with the process", "Name a file, as sqlite:////path/mlflow.db")
    if not (file := Path(str(url.database))).parent.is_dir():
        raise RegistryError(what, f"the folder {file.parent} is missing", "Make it, or correct promote.tracking_uri")
    return file


def unreachable(uri: str, error: Exception) -> RegistryError:
    """The error of a registry that does not answer, without the password in its address."""
    told = str(error).splitlines()[0] if str(error) else ""
    if secret := uri.partition("://")[2].rpartition("@")[0]:
        told = told.replace(f"{secret}@", "")
    remedy = "Check promote.tracking_uri in params.yaml"
    if uri.startswith("sqlite") and any(words in str(error) for words in ("malformed", "not a database")):
        remedy = "Restore it from a backup (docs/operate.md), or move it away to begin a new registry"
    cause = f"does not answer ({type(error).__name__}: {told[:200]})"
    return RegistryError(f"the registry at {without_password(uri)}", cause, remedy)


def without_password(uri: str) -> str:
    """An address for a person."""
    scheme, separator, rest = uri.partition("://")
    return f"{scheme}{separator}{rest.rpartition('@')[2]}"
