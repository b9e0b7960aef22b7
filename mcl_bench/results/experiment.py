"""A sweep's MLflow experiment: made or found, never someone else's; and the search for its runs."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from mcl_bench.records import UserError
from mcl_bench.spec import masked

if TYPE_CHECKING:
    from mlflow.entities import Experiment as MlflowExperiment
    from mlflow.entities import Run
    from mlflow.tracking import MlflowClient

USER = "mlflow.user"
"""MLflow's own tag for who made a run."""

BOARD = "leaderboard"
"""The experiment that holds the leaderboard's rows, and their kind; no sweep may be called so."""

PAGE = 1000
"""Runs fetched at once."""


def open_experiment(
    client: "MlflowClient",
    *,
    sweep: str,
    sweep_id: str,
    uri: str,
    home: Path,
    shared: str | None = None,
    new: bool = False,
) -> str:
    """The id of the sweep's experiment, made or found.

    It bears the sweep's name, or the name `shared`: there other sweeps may stand beside it. Where
    the sweep's name is taken, a `new` sweep's experiment is called `<name>@<id>`.

    Raises:
        UserError: it has been deleted, or is not this sweep's.
    """
    if (shared or sweep) == BOARD:
        raise UserError(
            f"{BOARD} is the MLflow experiment of all sweeps' results",
            key="name" if shared is None else "tracking.experiment",
            remedy="choose another name",
        )
    if shared is None:
        own = client.get_experiment_by_name(f"{sweep}@{sweep_id}")
        if own is not None and own.lifecycle_stage == "active":
            return str(own.experiment_id)
    found = _made_or_found(client, shared or sweep, uri=uri, home=home)
    fault = _fault(client, found, sweep=sweep, sweep_id=sweep_id, shared=shared)
    if fault is None:
        return str(found.experiment_id)
    if new and shared is None:
        own = _made_or_found(client, f"{sweep}@{sweep_id}", uri=uri, home=home)
        return str(own.experiment_id)
    raise UserError(
        f"the MLflow experiment {found.name} at {masked(uri)} {fault}",
        key="tracking.experiment",
        remedy="give this sweep a name of its own (name=OTHER), or run it with --new, which calls "
        f"its experiment {sweep}@ID",
    )


def open_board(client: "MlflowClient", *, uri: str, home: Path) -> tuple[str, Mapping[str, str]]:
    """The id and the tags of the experiment that holds the leaderboard, made or found."""
    found = _made_or_found(client, BOARD, uri=uri, home=home)
    return str(found.experiment_id), found.tags


def retire_experiment(client: "MlflowClient", *, sweep: str, sweep_id: str, name: str) -> None:
    """Rename the experiment that bears the sweep's name, if it is the one with this id.

    Where the name is taken it is called `<name>@<id>`.
    """
    found = client.get_experiment_by_name(sweep)
    if found is None or found.lifecycle_stage != "active":
        return
    ours = {"mcl.kind": "sweep", "mcl.sweep_id": sweep_id}
    if any(True for _ in find_runs(client, found.experiment_id, ours)):
        taken = client.get_experiment_by_name(name) is not None
        client.rename_experiment(found.experiment_id, f"{name}@{sweep_id}" if taken else name)


def _made_or_found(
    client: "MlflowClient", name: str, *, uri: str, home: Path
) -> "MlflowExperiment":
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is not None:
        return found
    try:
        made = client.create_experiment(name, artifact_location=_artifacts(uri, home, name))
    except MlflowException:
        # Another driver may have made it since; if none has, the name is at fault.
        found = client.get_experiment_by_name(name)
        if found is None:
            raise
        return found
    return client.get_experiment(made)


def _fault(
    client: "MlflowClient",
    found: "MlflowExperiment",
    *,
    sweep: str,
    sweep_id: str,
    shared: str | None,
) -> str | None:
    """Why this experiment can't be the sweep's; None if it can."""
    if found.lifecycle_stage != "active":
        return (
            "has been deleted; `mlflow experiments restore -x "
            f"{found.experiment_id}` brings it back"
        )
    for run in find_runs(client, found.experiment_id, {"mcl.kind": "sweep"}):
        of = run.data.tags.get("mcl.sweep")
        id_found = run.data.tags.get("mcl.sweep_id")
        if id_found != sweep_id and (shared is None or of == sweep):
            owner = run.data.tags.get(USER, "somebody")
            return (
                f"holds the sweep {of} with the id {id_found}, started by {owner}; this sweep's "
                f"id is {sweep_id}"
            )
    return None


def find_runs(
    client: "MlflowClient",
    experiment_id: str,
    tags: Mapping[str, str],
    *,
    status: str | None = None,
) -> Iterator["Run"]:
    """The experiment's runs with these tags (and this status), the oldest first."""
    wanted = [f"tags.`{key}` = '{value}'" for key, value in tags.items()]
    if status is not None:
        wanted.append(f"attributes.status = '{status}'")
    token: str | None = None
    while True:
        page = client.search_runs(
            [experiment_id],
            filter_string=" and ".join(wanted),
            max_results=PAGE,
            order_by=["attributes.start_time ASC"],
            page_token=token,
        )
        yield from page
        token = page.token
        if not token:
            return


def _artifacts(uri: str, home: Path, name: str) -> str | None:
    """Where a new experiment keeps artifacts; None leaves it to the server."""
    if urlsplit(uri).scheme in {"http", "https"}:
        return None
    return (home / "mlartifacts" / quote(name, safe="")).absolute().as_uri()
