"""A batch of the spool's entries as calls of MLflow: the epochs of one trial go together."""

from collections.abc import Callable, Sequence
from pathlib import Path

from mcl_bench.records import Costs, EpochRecord, TrialConfig, TrialName, TrialRecord
from mcl_bench.results.spool import Entry
from mcl_bench.results.tracking import MlflowTracker

Learn = Callable[[TrialName, str], None]
"""Told the run id of a trial whenever one has been started or ended."""


def deliver(entries: Sequence[Entry], mlflow: MlflowTracker, *, learn: Learn) -> None:
    """Send entries in their order, but for epochs, which wait for the trial's next other entry.

    The epochs of a trial that ends here come with its record.
    """
    ended = {entry.trial for entry in entries if entry.call == "finish"}
    waiting: dict[TrialName, list[EpochRecord]] = {}
    for entry in entries:
        if entry.call == "epochs":
            assert entry.trial is not None
            if entry.trial not in ended:
                records = [EpochRecord(**plain) for plain in entry.words["records"]]
                waiting.setdefault(entry.trial, []).extend(records)
            continue
        for trial in [entry.trial] if entry.trial is not None else list(waiting):
            if trial in waiting:
                mlflow.log_epochs(trial, waiting.pop(trial))
        CALLS[entry.call](entry, mlflow)
        run_id = None if entry.trial is None else mlflow.run_id(entry.trial)
        if entry.trial is not None and run_id is not None and entry.call in {"start", "finish"}:
            learn(entry.trial, run_id)
    for trial, records in waiting.items():
        mlflow.log_epochs(trial, records)


def _start(entry: Entry, mlflow: MlflowTracker) -> None:
    config = TrialConfig.from_dict(entry.words["config"])
    mlflow.start_trial(config, known_run_id=entry.words["known"], at=entry.at)


def _finish(entry: Entry, mlflow: MlflowTracker) -> None:
    """The trial's end; a file that has gone since is what `doctor` finds lacking."""
    paths = [mlflow.folder / path for path in entry.words["artifacts"]]
    artifacts = [path for path in paths if path.is_file()]
    mlflow.finish_trial(TrialRecord.from_json(entry.words["record"]), artifacts=artifacts)


def _interrupt(entry: Entry, mlflow: MlflowTracker) -> None:
    assert entry.trial is not None
    mlflow.interrupt_trial(entry.trial)


def _cell(entry: Entry, mlflow: MlflowTracker) -> None:
    words = entry.words
    records = [TrialRecord.from_json(record) for record in words["records"]]
    paths = {int(number): mlflow.folder / path for number, path in words["weights"].items()}
    mlflow.finish_cell(
        words["cell"],
        state=words["state"],
        records=records,
        weights={number: path for number, path in paths.items() if path.is_file()},
        ended=entry.at,
    )


def _sweep(entry: Entry, mlflow: MlflowTracker) -> None:
    costs = entry.words["costs"]
    mlflow.finish_sweep(
        state=entry.words["state"],
        costs=None if costs is None else Costs(**costs),
        ended=entry.at,
    )


def _page(entry: Entry, mlflow: MlflowTracker) -> None:
    page: Path = mlflow.folder / entry.words["path"]
    if page.is_file():
        mlflow.keep_page(page)


CALLS: dict[str, Callable[[Entry, MlflowTracker], None]] = {
    "start": _start,
    "finish": _finish,
    "interrupt": _interrupt,
    "cell": _cell,
    "sweep": _sweep,
    "page": _page,
}
