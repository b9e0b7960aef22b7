"""A trial's checkpoint: one file, whole or absent, of plain values and tensors."""

import io
import pickle
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch

import mcl_bench
from mcl_bench import files
from mcl_bench.records import DataError

FORMAT = 1
"""The version of the checkpoint's form."""


class CheckpointError(Exception):
    """A checkpoint that cannot be taken up: damaged, of another form, or of another trial."""


@dataclass(frozen=True, kw_only=True, eq=False)
class Checkpoint:
    """Everything a training needs to go on as if it had never stopped.

    `key` is the trial's effective key and `versions` those of the libraries that wrote it. `sums`
    is the place (epoch and steps taken in it) with the partial sums; `records` the EpochRecords so
    far, as plain values; `generators` the states of torch's generators by name.
    """

    key: str
    versions: Mapping[str, str]
    sums: dict[str, Any]
    records: list[dict[str, Any]]
    network: Mapping[str, Any]
    objective: Mapping[str, Any]
    optimizer: Mapping[str, Any]
    generators: Mapping[str, torch.Tensor]


def installed_versions() -> dict[str, str]:
    """The versions of the libraries that a training's numbers depend on."""
    return {
        "mcl_bench": mcl_bench.__version__,
        "torch": version("torch"),
        "torchvision": version("torchvision"),
    }


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write the file; it appears whole or not at all, and an older one stays until then."""
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **vars(checkpoint)}, buffer)
    files.write_whole(path, buffer.getvalue())


def write_weights(path: Path, words: Mapping[str, str], **modules: torch.nn.Module) -> None:
    """Write the states of these modules as one safetensors file, each key after its module's name.

    `words` is what the file says of itself. It appears whole or not at all.
    """
    from safetensors.torch import save

    tensors = {
        f"{name}.{key}": value.detach().cpu().contiguous().clone()
        for name, module in modules.items()
        for key, value in module.state_dict().items()
    }
    files.write_whole(path, save(tensors, metadata=dict(words)))


def read_weights(path: Path) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors of a file of weights, on the CPU, and what it says of itself.

    Raises DataError if it is absent or damaged.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
            return tensors, file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise DataError(f"{path} holds no weights that can be read: {error}") from error


def read_checkpoint(path: Path, *, key: str) -> Checkpoint:
    """The checkpoint of the trial with this effective key, on the CPU; no code in it is run.

    Raises CheckpointError if it is damaged, of another form, or of a trial with another key.
    """
    try:
        plain = torch.load(path, map_location="cpu", weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError) as error:
        raise CheckpointError(f"{path} is damaged: {error}") from error
    if not isinstance(plain, dict) or plain.get("format") != FORMAT:
        raise CheckpointError(f"{path} is no checkpoint of form {FORMAT}")
    del plain["format"]
    checkpoint = Checkpoint(**plain)
    if checkpoint.key != key:
        raise CheckpointError(
            f"{path} belongs to another trial: its key is {checkpoint.key}, this one's is {key}"
        )
    return checkpoint
