"""The package as a model of MLflow's kind, written the way its documentation shows: what one would serve instead."""

from typing import Any

import mlflow
from mlflow.pyfunc import PythonModel


class Classifier(PythonModel):
    """Texts in, probabilities out."""

    def load_context(self, context: Any) -> None:
        """Loads the package."""
        from pathlib import Path

        from tidegate.package import Package

        self.package = Package.load(Path(context.artifacts["package"]))

    def predict(self, context, model_input, params=None):  # type: ignore[no-untyped-def]  # MLflow takes hints for a schema
        """Probabilities of texts."""
        texts = model_input.iloc[:, 0].tolist() if hasattr(model_input, "iloc") else list(model_input)
        return self.package.predict(texts).tolist()


mlflow.models.set_model(Classifier())
