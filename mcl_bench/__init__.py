"""mcl_bench: does the Mutual-Channel Loss help, where, and by more than the noise?

`MCLoss` and `mc_loss` are reachable from here; they are loaded when first asked for, so that
importing the package loads no torch.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["MCLoss", "__version__", "mc_loss"]


def __getattr__(name: str) -> Any:
    if name in {"MCLoss", "mc_loss"}:
        from mcl_bench import losses

        return getattr(losses, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
