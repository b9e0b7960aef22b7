"""What a training uses of this machine where nobody says."""

import torch


def default_device() -> str:
    """`cuda` where torch sees a GPU, else `cpu`."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def count_gpus() -> int:
    """How many GPUs torch sees."""
    return torch.cuda.device_count()
