"""A trained network that names what image files show; all that it needs is its weights' file.

Legend: N images, K classes.
"""

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from mcl_bench import data
from mcl_bench.losses import build_objective
from mcl_bench.records import DataError
from mcl_bench.spec import TrialSpec, trial_spec
from mcl_bench.training.checkpoint import read_weights
from mcl_bench.training.models import build_network
from mcl_bench.training.weights import normalisation

AT_ONCE = 32
"""Images that are worked on together."""


class Predictor:
    """The network of one training, read from the weights that it left.

    Raises DataError where the file is absent, damaged or does not say what it is of, and what
    building the network raises: a backbone or a loss of the user's own must be importable.
    """

    def __init__(self, weights: Path, *, device: torch.device | str = "cpu") -> None:
        tensors, words = read_weights(weights)
        if not {"settings", "classes"} <= words.keys():
            raise DataError(f"{weights} does not say with what settings it was trained")
        self._spec: TrialSpec = trial_spec(json.loads(words["settings"]))
        self._device = torch.device(device)
        self.classes: tuple[str, ...] = tuple(json.loads(words["classes"]))
        unloaded = self._spec.model.model_copy(update={"weights": "none"})
        network = build_network(unloaded, len(self.classes), seed=0)
        objective = build_objective(
            self._spec.loss,
            groups=network.groups,
            embedding_size=network.head.embedding_size,
            class_weights=None,
            generator=torch.Generator(),
        )
        modules: dict[str, nn.Module] = {"network": network, "objective": objective}
        for name, module in modules.items():  # without class weights: they only teach
            keys = module.state_dict().keys()
            own = {key: tensors[f"{name}.{key}"] for key in keys if f"{name}.{key}" in tensors}
            module.load_state_dict(own)
            module.to(self._device).eval()
        self._network, self._objective = network, objective

    @torch.inference_mode()
    def __call__(self, files: Sequence[bytes]) -> Tensor:
        """The probability of each class for each image file, N×K float32 on the CPU.

        Raises DataError that names the place of a file that is no image.
        """
        norm = normalisation(self._spec.model)
        found = [torch.empty(0, len(self.classes))]
        for first in range(0, len(files), AT_ONCE):
            images = data.shown(
                files[first : first + AT_ONCE],
                data=self._spec.data,
                mean=norm.mean,
                std=norm.std,
                device=self._device,
            )
            output = self._network(images).full()
            found.append(self._objective.logits(output).softmax(1).cpu())
        return torch.cat(found)
