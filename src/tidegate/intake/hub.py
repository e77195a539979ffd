"""Files of the Hugging Face hub: an `hf://` address becomes a local file or folder.

The only place that asks the hub, and only for what an address names.
"""

import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tidegate.errors import SourceError

FORMS = "hf://datasets/OWNER/NAME@REVISION/path or hf://OWNER/NAME@REVISION"
"""What an address looks like."""

_ADDRESS = re.compile(
    r"hf://(?P<dataset>datasets/)?(?P<repo>[\w.-]+/[\w.-]+)@(?P<revision>[^/@]+)(?:/(?P<path>.+))?", re.ASCII
)
# What a model folder needs; pickled weights (.bin, .pt) would run code when loaded, so they stay away.
_MODEL_FILES = ["*.json", "*.txt", "*.model", "*.safetensors"]
_REMEDY = "Check name, revision and path, the connection, and for a closed repository the token in HF_TOKEN"


def fetch(address: str, *, cache: Path) -> Path:
    """The local file, or the folder of a whole repository, downloaded into `cache` where it is not there yet.

    Raises:
        SourceError: the address is not understood, or the hub does not give what it names.
    """
    import huggingface_hub
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    parts = _parse(address)
    where: dict[str, Any] = {
        "repo_id": parts["repo"], "repo_type": "dataset" if parts["dataset"] else "model",
        "revision": parts["revision"], "endpoint": os.environ.get("HF_ENDPOINT"),
    }  # fmt: skip
    try:
        with _online():
            if parts["path"]:
                return Path(huggingface_hub.hf_hub_download(**where, filename=parts["path"], cache_dir=cache))
            return Path(huggingface_hub.snapshot_download(**where, cache_dir=cache, allow_patterns=_MODEL_FILES))
    except (HfHubHTTPError, HFValidationError, OSError, ValueError) as error:
        told = " ".join(str(error).split())[:300]
        raise SourceError(address, f"the hub does not give it ({told})", _REMEDY) from error


def unpinned(address: str) -> str | None:
    """A sentence where an address names no full commit id, and so may come to name something else; else None."""
    revision = _parse(address)["revision"]
    if re.fullmatch("[0-9a-f]{40}", revision):
        return None
    return f"{address} follows {revision!r}, which may move; a full commit id pins it"


def _parse(address: str) -> dict[str, str]:
    if not (found := _ADDRESS.fullmatch(address)):
        cause = "names no revision" if "@" not in address else "is not of the form hf://OWNER/NAME@REVISION"
        raise SourceError(address, cause, f"Write {FORMS}; a full commit id is the best revision")
    parts = {name: value or "" for name, value in found.groupdict().items()}
    if parts["dataset"] and not parts["path"]:
        raise SourceError(address, "names no file of the data set", "Add the file's path after the revision")
    return parts


@contextmanager
def _online() -> Iterator[None]:
    """Lifts the hub's offline mode for one call.

    The project runs with HF_HUB_OFFLINE=1, so that no library asks the hub unbidden; an hf:// address is
    the user's bidding.
    """
    from huggingface_hub import constants

    before = constants.HF_HUB_OFFLINE
    constants.HF_HUB_OFFLINE = False
    try:
        yield
    finally:
        constants.HF_HUB_OFFLINE = before
