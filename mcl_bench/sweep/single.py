"""One trial in this process, without Ray, Optuna or a tracker: for looking and debugging."""

import dataclasses
import secrets
from collections.abc import Callable
from pathlib import Path

from mcl_bench import data, training
from mcl_bench.records import (
    Decision,
    EpochRecord,
    RunError,
    Stage,
    TrialConfig,
    TrialId,
    TrialRecord,
    UserError,
)
from mcl_bench.spec import Cell, Experiment, trial_spec
from mcl_bench.sweep.cluster import threads, trial_cpus
from mcl_bench.sweep.folder import SweepFolder, recorded_digests
from mcl_bench.sweep.settings import Settings

Listener = Callable[[EpochRecord], None]


def train_one(
    experiment: Experiment, cell: Cell, *, home: Path, confirm: bool, listener: Listener
) -> EpochRecord:
    """Train a cell's own settings once; `confirm` makes it a look at test, written down first.

    Its checkpoints and predictions go to `<home>/train/<sweep>/<cell>`.
    """
    stage: Stage = "confirm" if confirm else "search"
    settings = Settings(seed=experiment.spec.train.seed, store=home / "store")
    settings.prepare([cell])
    device = training.default_device()
    setting = settings.setting(cell, {}, stage=stage, k=0, device=device)
    config = TrialConfig(
        id=TrialId(sweep=experiment.name, cell=cell.id, stage=stage, number=0),
        settings=setting.settings,
        seed=setting.seed,
        key=setting.key,
        lease=secrets.token_hex(4),
        device=device,
        threads=threads(trial_cpus(cell.resources)),
        folder=str(home / "train" / experiment.name / cell.id),
        digest=setting.digest,
        store=str(home / "store"),
    )
    folder = SweepFolder(home / "sweeps" / experiment.name)
    return _train(experiment, config, folder, listener=listener)


def train_again(
    experiment: Experiment, record: TrialRecord, *, sweep: str, home: Path, listener: Listener
) -> EpochRecord:
    """Train a recorded trial again: its settings, its seed, its stage; returns the last epoch.

    `sweep` names the folder of its record. The images are looked for where the experiment says
    now, which may have changed since. A confirm trial's look is the one that it had. Its files go
    to `<home>/train/<sweep>/…`.

    Raises:
        UserError: the images are not those that it was trained on.
    """
    store = home / "store"
    (cell,) = (cell for cell in experiment.cells if cell.id == record.cell)
    settings = {**record.config, "data.root": cell.spec.data.root}
    packed = data.prepare(trial_spec(settings).data, store=store)
    digest = recorded_digests(home / "sweeps" / sweep).get(cell.data_label)
    if packed.digest != digest:
        raise UserError(
            f"the images of {cell.data_label} are not those of sweep {sweep}: their digest was "
            f"{str(digest)[:12]}, now it is {packed.digest[:12]}",
            key="data.root",
            remedy="put the old images back",
        )
    name = f"{record.stage}-{record.trial}"
    config = TrialConfig(
        id=TrialId(sweep=record.sweep, cell=record.cell, stage=record.stage, number=record.trial),
        settings=settings,
        seed=record.seed,
        key=record.key,
        lease=secrets.token_hex(4),
        device=training.default_device(),
        threads=threads(trial_cpus(cell.resources)),
        folder=str(home / "train" / sweep / record.cell / name),
        digest=packed.digest,
        store=str(store),
    )
    folder = SweepFolder(home / "sweeps" / sweep)
    return _train(experiment, config, folder, listener=listener, of=record.of)


def _train(
    experiment: Experiment,
    config: TrialConfig,
    folder: SweepFolder,
    *,
    listener: Listener,
    of: int | None = None,
) -> EpochRecord:
    if config.id.stage == "confirm":
        folder.open(experiment)
        try:
            grant = folder.look(cell=config.id.cell, key=config.key, seed=config.seed, of=of)
        finally:
            folder.close()
        config = dataclasses.replace(config, grant=grant)

    def report(record: EpochRecord) -> Decision:
        listener(record)
        return "go"

    try:
        return training.run_trial(config, report)
    except training.Diverged as error:
        raise RunError(f"the training diverged: {error}") from error
