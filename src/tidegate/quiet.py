"""Telemetry of every dependency off, and their chatter down, unless the user's environment says otherwise."""

import os
from collections.abc import MutableMapping

SETTINGS = {
    "DO_NOT_TRACK": "true",  # the word: MLflow does not read "1"
    "DVC_NO_ANALYTICS": "1",
    "GX_ANALYTICS_ENABLED": "false",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "HF_HUB_OFFLINE": "1",  # a source that is a hub address lifts it for itself
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "TOKENIZERS_PARALLELISM": "true",
    "TRANSFORMERS_VERBOSITY": "error",
}


def quiet(environment: MutableMapping[str, str] = os.environ) -> None:
    """Sets what is not set yet. Has to come before the import of any of them."""
    for name, value in SETTINGS.items():
        environment.setdefault(name, value)
