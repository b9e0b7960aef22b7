"""The model that MLflow loads and serves: image files in, the classes that they show out.

MLflow runs this file by itself, wherever the model is loaded; nothing else imports it.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from mlflow.models import set_model
from mlflow.pyfunc.model import PythonModel, PythonModelContext

from mcl_bench.records import UserError
from mcl_bench.training import Predictor, default_device


class ServedModel(PythonModel):
    """Names the class of each image in the column `image`, whose cells hold whole image files."""

    def load_context(self, context: PythonModelContext) -> None:
        """Build the network and load its weights. Raises what `Predictor` raises."""
        path = Path(context.artifacts["weights"])
        self._predictor = Predictor(path, device=default_device())

    def predict(
        self,
        context: PythonModelContext,  # noqa: ARG002 - MLflow's signature
        model_input: pd.DataFrame,
        params: Mapping[str, Any] | None = None,  # noqa: ARG002
    ) -> list[dict[str, Any]]:
        """For each image its `label`, that label's `probability`, and those of all classes.

        Raises MlflowException (a bad request) that names the row of what is no image.
        """
        from mlflow.exceptions import MlflowException

        try:
            probabilities_NK = self._predictor(list(model_input["image"]))
        except UserError as error:
            raise MlflowException.invalid_parameter_value(str(error)) from error
        return [
            {
                "label": self._predictor.classes[int(probabilities_K.argmax())],
                "probability": float(probabilities_K.max()),
                "probabilities": probabilities_K.tolist(),
            }
            for probabilities_K in probabilities_NK
        ]


set_model(ServedModel())
