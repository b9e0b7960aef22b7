"""From a cell and its parameters to one training: settings, network, seed and effective key."""

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

from mcl_bench import __version__, data, losses, training
from mcl_bench.records import CellWords, Stage
from mcl_bench.spec import Cell, TrialSpec, effective_key, named_seed, trial_spec

Progress = Callable[[str, int, int], None]
"""Told (name of the data, images done, images in all) while data is packed."""


OF_METRIC_LEARNING = frozenset({"arcface", "cosface", "sphereface"})
"""The losses whose code is pytorch-metric-learning's."""

MAX_SEEDS = 10_000
"""More confirm seeds than any sweep has."""


def installed() -> dict[str, str]:
    """The versions that a result depends on."""
    names = ("torch", "torchvision")
    return {"mcl_bench": __version__, **{name: metadata.version(name) for name in names}}


@dataclass(frozen=True, kw_only=True)
class Setting:
    """One configuration of one cell with one seed: all that decides a training's result."""

    spec: TrialSpec
    settings: Mapping[str, Any]
    network: training.NetworkFacts
    digest: str
    seed: int
    key: str


class Settings:
    """Makes the settings of every cell's trials, once the data of their cells is prepared."""

    def __init__(self, *, seed: int, store: Path) -> None:
        self._seed = seed
        self.store = store
        self._versions = installed()
        self._packed: dict[str, data.Packed] = {}
        self._networks: dict[str, training.NetworkFacts] = {}

    def prepare(self, cells: Iterable[Cell], progress: Progress | None = None) -> dict[str, str]:
        """Pack the data of all cells; returns the source digest of each data label."""
        digests = {}
        for cell in cells:
            if cell.data_label not in digests:
                told = None if progress is None else _named(progress, cell.data_label)
                packed = data.prepare(cell.spec.data, store=self.store, progress=told)
                self._packed[cell.data_label] = packed
                digests[cell.data_label] = packed.digest
        return digests

    def packed(self, cell: Cell) -> data.Packed:
        """The packed data of a cell."""
        return self._packed[cell.data_label]

    def setting(
        self,
        cell: Cell,
        params: Mapping[str, Any],
        *,
        stage: Stage,
        k: int,
        device: str,
        pieces: int = 1,
    ) -> Setting:
        """The setting of these parameters: common seed in search, confirm seed `k` in confirm.

        Where images are kept encoded, its `data.store` says so, whoever chose it. In how many
        `pieces` batches are trained it says only where there are more than the cell's own.
        """
        packed = self.packed(cell)
        settings = cell.settings(params)
        if packed.mode == "encoded":
            settings["data.store"] = packed.mode
        if pieces > cell.spec.train.micro_batches:
            settings["train.micro_batches"] = pieces
        spec = trial_spec(settings)
        seed = named_seed(self._seed, "search") if stage == "search" else self.confirm_seed(k)
        network = self._network(spec, len(packed.classes))
        sources = (
            network.source_sha256,
            losses.source_sha256(spec.loss),
            *(f"{name}=={metadata.version(name)}" for name in libraries(spec)),
        )
        whole = stage == "confirm" and spec.confirm.refit
        key = effective_key(
            settings,
            seed=seed,
            digest=packed.digest,
            split="train+validation" if whole else "train",
            groups=network.groups,
            weights_sha256=network.weights_sha256,
            device_type=device,
            map_size=network.map_size,
            versions=self._versions,
            sources=tuple(source for source in sources if source is not None),
        )
        return Setting(
            spec=spec,
            settings=settings,
            network=network,
            digest=packed.digest,
            seed=seed,
            key=key,
        )

    def confirm_seed(self, k: int) -> int:
        """Confirm seed `k`: the same over arms, cells and sweeps, so that arms are paired."""
        return named_seed(self._seed, "confirm", k)

    def confirm_number(self, seed: int) -> int:
        """Which confirm seed this is, the inverse of `confirm_seed`."""
        return next(k for k in range(MAX_SEEDS) if self.confirm_seed(k) == seed)

    def _network(self, spec: TrialSpec, num_classes: int) -> training.NetworkFacts:
        plain = json.dumps([spec.model.model_dump(), spec.data.crop, num_classes])
        if plain not in self._networks:
            self._networks[plain] = training.describe(spec, num_classes)
        return self._networks[plain]


def libraries(spec: TrialSpec) -> list[str]:
    """The packages, beside torch's, that this training's loss and network are code of."""
    found = []
    if spec.model.backbone.startswith("timm/"):
        found.append("timm")
    if spec.model.backbone == "efficientnet_lite0":
        found.append("efficientnet-lite-pytorch")
    if spec.loss.name in OF_METRIC_LEARNING:
        found.append("pytorch-metric-learning")
    return found


def sources(cells: Iterable[Cell]) -> dict[str, str]:
    """The SHA-256 of the file of every loss and backbone of the user's own, by what names it."""
    found = {}
    for cell in cells:
        loss, model = cell.spec.loss, cell.spec.model
        found[f"loss {loss.name}"] = losses.source_sha256(loss)
        found[f"backbone {model.backbone}"] = training.source_sha256(model)
    return {name: digest for name, digest in found.items() if digest is not None}


def cell_words(cell: Cell) -> CellWords:
    """What the record says of a cell."""
    return CellWords(
        id=cell.id,
        dataset=cell.spec.data.name,
        backbone=cell.spec.model.backbone,
        weights=cell.spec.model.weights or "none",
        arm=cell.arm,
    )


def _named(progress: Progress, name: str) -> Callable[[int, int], None]:
    return lambda done, total: progress(name, done, total)
