"""The channels of a confirm trial's network on test: where they look, by class and as a figure."""

# B batch, K classes, C maps, X channels of the widest class (ξ), c crop's pixels a side,
# H×W positions

import json
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from mcl_bench import files
from mcl_bench.data import ImageSet, augment
from mcl_bench.training.channels.figure import MOST_TILES, Row, draw_rows
from mcl_bench.training.channels.landmarks import landmarks
from mcl_bench.training.channels.localisation import Localisation, Sights
from mcl_bench.training.channels.own import OwnChannels
from mcl_bench.training.channels.sums import ChannelFacts

ROWS = 6
"""The most classes in the figure."""

CHANNELS_FILE = "channels.json"
FIGURE_FILE = "channels.png"


class ChannelReport:
    """Watches an evaluation of a whole image set, then says and draws what its channels look at.

    Args:
        images: the image set; its landmarks are used where it has any.
        crop: the crop's side in pixels.
        classes: the K classes' names.
        groups: channels per class, K positive integers.
    """

    def __init__(
        self, images: ImageSet, *, crop: int, classes: Sequence[str], groups: Sequence[int]
    ) -> None:
        self._images = images
        self._crop = crop
        self._classes = classes
        self._groups = groups
        self._own = OwnChannels(groups)
        self._landmarks = landmarks(images, crop=crop)
        self._sights = None if self._landmarks is None else Sights(self._landmarks)
        self._picked = picked_images(images.labels)
        self._maps: dict[int, Tensor] = {}

    def add(self, maps_BCHW: Tensor, target_B: Tensor, indices_B: Tensor) -> None:
        """Count one batch; `indices_B` (on the CPU) are those of its images in the set."""
        own_BXHW = self._own.of(maps_BCHW, target_B)
        if self._sights is not None:
            self._sights.add(own_BXHW, target_B, indices_B)
        for place, index in enumerate(indices_B.tolist()):
            if index in self._picked:
                xi = self._groups[self._picked[index]]
                self._maps[index] = own_BXHW[place, :xi].float().cpu()

    def write(self, folder: Path, facts: ChannelFacts, *, predicted_N: Tensor) -> dict[str, float]:
        """Write `channels.json` and `channels.png`; the localisation's metrics by their names.

        Those are none where the set has neither parts nor boxes. `predicted_N` holds predicted
        classes in the images' order.
        """
        found = None if self._sights is None else self._sights.localisation(self._groups)
        table = {"classes": self._table(facts, found)}
        text = json.dumps(table, ensure_ascii=False, indent=1)
        files.write_whole(folder / CHANNELS_FILE, text + "\n")
        rows = [self._row(index, predicted_N) for index in self._picked]
        files.write_whole(folder / FIGURE_FILE, draw_rows(rows))
        return {} if found is None else found.metrics("channels")

    def _table(
        self, facts: ChannelFacts, localisation: Localisation | None
    ) -> list[dict[str, str | int | float | None]]:
        columns = {
            "diversity": facts.diversity_K,
            "alignment": facts.alignment_K,
            "own_energy": facts.own_energy_K,
        }
        if localisation is not None:
            columns["pointing"] = localisation.pointing_K
        rows: list[dict[str, str | int | float | None]] = [
            {"class": name, "xi": self._groups[label], "images": int(facts.images_K[label])}
            for label, name in enumerate(self._classes)
        ]
        for label, row in enumerate(rows):
            row |= {key: _number(values_K[label]) for key, values_K in columns.items()}
        return rows

    def _row(self, index: int, predicted_N: Tensor) -> Row:
        label = self._picked[index]
        stored, crop = self._images.pixels.shape[-1], self._crop
        corner = augment.centre(1, stored, crop)
        pixels_13cc = np.empty((1, 3, crop, crop), dtype=np.uint8)
        self._images.pixels.windows(
            np.array([index]), top=corner.top, left=corner.left, out=pixels_13cc
        )
        parts, box = [], None
        if self._landmarks is not None:
            known = self._landmarks.of(torch.tensor([index]))
            parts = known.parts_NP2[known.visible_NP].tolist()
            if known.box_N4 is not None and known.known()[0]:
                box = known.box_N4[0].tolist()
        return Row(
            pixels_cc3=pixels_13cc[0].transpose(1, 2, 0),
            maps_XHW=self._maps[index][:MOST_TILES].numpy(),
            first_channel=sum(self._groups[:label]),
            num_channels=self._groups[label],
            name=self._classes[label],
            predicted=self._classes[int(predicted_N[index])],
            parts=parts,
            box=box,
        )


def picked_images(label_N: Tensor) -> dict[int, int]:
    """The figure's images and their classes: the first image of each of the first ROWS classes.

    Whatever the network says of them, so that a figure shows its failures too.
    """
    first: dict[int, int] = {}
    for index, label in enumerate(label_N.tolist()):
        first.setdefault(label, index)
    return {first[label]: label for label in sorted(first)[:ROWS]}


def _number(value: Tensor) -> float | None:
    return None if math.isnan(value) else value.item()
