"""The models that MLflow keeps: of each cell the first confirmed one, of each dataset the best.

A model is logged once for its trial's run, with the images' digest, and registered as a version of
its dataset's model, whose alias `best` is the version with the best `val/top1` in its search.
"""

import json
import re
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import mcl_bench
from mcl_bench.records import TrialConfig, TrialRecord

if TYPE_CHECKING:
    from mlflow.entities import Dataset, LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.models import ModelSignature
    from mlflow.tracking import MlflowClient

ALIAS = "best"
"""The alias of the version that did best in its search."""

SCORE = "mcl.val_top1"
"""The tag of a version that holds `val/top1` of the search trial that it confirms."""

DIGEST = "mcl.digest"
"""The tag of a version that holds the digest of its images."""

MODEL = "mcl.model_id"
"""The tag of a version that holds the id of the logged model that it is."""

DIGEST_CHARS = 32
"""MLflow keeps 36 characters of a dataset's digest."""

SERVED = Path(__file__).with_name("served_model.py")


def registered_name(dataset: str) -> str:
    """The registered model of a dataset; MLflow allows neither `/` nor `:` in it."""
    return f"mcl_bench-{re.sub('[/:]', '_', dataset)}"


def link_images(client: "MlflowClient", run_id: str, config: TrialConfig) -> None:
    """Name the images that a trial is trained on among its run's inputs; repeating adds nothing."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    name = str(config.settings["data.name"])
    dataset = Dataset(
        name=name,
        digest=config.digest[:DIGEST_CHARS],
        source_type="mcl_bench",
        source=json.dumps({"name": name, "digest": config.digest}),
    )
    tags = [InputTag(key="mlflow.data.context", value=config.id.stage)]
    client.log_inputs(run_id, [DatasetInput(dataset=dataset, tags=tags)])


def keep_model(
    client: "MlflowClient", *, confirm: TrialRecord, search: TrialRecord, weights: Path
) -> None:
    """Log the model of a confirm trial, register it, and let `best` name its dataset's best.

    `search` is the trial that it confirms; `weights` the file that it left. Repeating it changes
    nothing.
    """
    name = registered_name(confirm.dataset)
    run = client.get_run(confirm.run_id)
    version = _version_of(client, name, run)
    if version is None:
        model = _log_model(client, run, confirm=confirm, weights=weights)
        _open_registered(client, name, dataset=confirm.dataset)
        images = _images(run)
        client.create_model_version(
            name,
            source=model.artifact_location,
            run_id=confirm.run_id,
            model_id=model.model_id,
            tags={
                "mcl.sweep": confirm.sweep,
                "mcl.cell": confirm.cell,
                MODEL: model.model_id,
                DIGEST: "" if images is None else images.digest,
                SCORE: "" if search.val_top1 is None else repr(search.val_top1),
            },
        )
        version = _version_of(client, name, run)
        assert version is not None, "it has just been made"
        link = json.dumps([{"name": name, "version": version.version}])
        client.set_logged_model_tags(model.model_id, {"mlflow.modelVersions": link})
    _point_best(client, name, digest=version.tags.get(DIGEST, ""))


def _point_best(client: "MlflowClient", name: str, *, digest: str) -> None:
    """Let `best` name the best version among those of these images, ties to the older."""
    scored = [
        (float(version.tags[SCORE]), -int(version.version))
        for version in _versions(client, name)
        if version.tags.get(DIGEST) == digest and version.tags.get(SCORE)
    ]
    if scored:
        client.set_registered_model_alias(name, ALIAS, str(-max(scored)[1]))


def _log_model(
    client: "MlflowClient", run: "Run", *, confirm: TrialRecord, weights: Path
) -> "LoggedModel":
    """The logged model of this run, made and filled; one that is ready is found."""
    experiments = [run.info.experiment_id]
    for model in client.search_logged_models(experiments, f"source_run_id = '{confirm.run_id}'"):
        if str(model.status) == "READY":
            return model
    tags = {"mcl.sweep": confirm.sweep, "mcl.cell": confirm.cell, "mcl.key": confirm.key}
    model = client.create_logged_model(
        run.info.experiment_id,
        name=re.sub(r"[^\w.-]", "_", confirm.cell),
        source_run_id=confirm.run_id,
        tags=tags,
        model_type="image classification",
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model")
        _save(path, confirm=confirm, weights=weights, model_id=model.model_id)
        client.log_model_artifacts(model.model_id, str(path))
    _score(client, run, confirm=confirm, model_id=model.model_id)
    return client.finalize_logged_model(model.model_id, "READY")


def _save(path: Path, *, confirm: TrialRecord, weights: Path, model_id: str) -> None:
    """Write a model as MLflow loads it: its script, its weights, its configuration. No pickle."""
    import mlflow
    from mlflow.models import Model

    config = path.parent / "config.json"
    config.write_text(json.dumps(dict(confirm.config), ensure_ascii=False, indent=2) + "\n")
    libraries = {name: confirm.versions[name] for name in ("torch", "torchvision")}
    with warnings.catch_warnings():
        # That there is no input example, with which MLflow would try the model out in the driver;
        # and of type hints of its own.
        warnings.simplefilter("ignore", UserWarning)
        import mlflow.pyfunc

        mlflow.pyfunc.save_model(
            path,
            python_model=str(SERVED),
            artifacts={"weights": str(weights), "config": str(config)},
            signature=_signature(),
            pip_requirements=[
                f"mcl_bench=={mcl_bench.__version__}",
                f"mlflow=={mlflow.__version__}",
                *(f"{name}=={version}" for name, version in libraries.items()),
            ],
            mlflow_model=Model(run_id=confirm.run_id, model_id=model_id),
        )


def _signature() -> "ModelSignature":
    """Whole image files in, labels and probabilities out."""
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema
    from mlflow.types.schema import Array

    return ModelSignature(
        inputs=Schema([ColSpec(DataType.binary, "image")]),
        outputs=Schema(
            [
                ColSpec(DataType.string, "label"),
                ColSpec(DataType.double, "probability"),
                ColSpec(Array(DataType.double), "probabilities"),
            ]
        ),
    )


def _score(client: "MlflowClient", run: "Run", *, confirm: TrialRecord, model_id: str) -> None:
    """Tell the model's scores, on the images they are of: the run's own metrics, not new ones."""
    from mlflow.entities import Metric

    images = _images(run)
    last = confirm.epochs[-1]
    scores = {
        key: value for key, value in last.metrics.items() if key.startswith(("val/", "test/"))
    }
    client.log_batch(
        confirm.run_id,
        metrics=[
            Metric(
                key,
                value,
                last.timestamp_ms,
                last.epoch,
                model_id=model_id,
                dataset_name=None if images is None else images.name,
                dataset_digest=None if images is None else images.digest,
                run_id=confirm.run_id,
            )
            for key, value in scores.items()
        ],
    )


def _images(run: "Run") -> "Dataset | None":
    """The images among a run's inputs."""
    found = run.inputs.dataset_inputs if run.inputs else []
    return found[0].dataset if found else None


def _open_registered(client: "MlflowClient", name: str, *, dataset: str) -> None:
    """The registered model of a dataset, made if it is not there."""
    from mlflow.exceptions import MlflowException
    from mlflow.protos.databricks_pb2 import RESOURCE_ALREADY_EXISTS, ErrorCode

    try:
        client.create_registered_model(name, tags={"mcl.dataset": dataset})
    except MlflowException as error:
        if error.error_code != ErrorCode.Name(RESOURCE_ALREADY_EXISTS):
            raise


def _version_of(client: "MlflowClient", name: str, run: "Run") -> "ModelVersion | None":
    """The version that was made of this run's model, if there is one."""
    versions = _versions(client, name)
    return next((one for one in versions if one.run_id == run.info.run_id), None)


def _versions(client: "MlflowClient", name: str) -> "list[ModelVersion]":
    quoted = name.replace("'", "''")
    return list(client.search_model_versions(f"name = '{quoted}'"))
