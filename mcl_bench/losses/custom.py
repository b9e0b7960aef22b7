"""A loss of the user's own, named `package.module:Class` in the experiment file.

The class is a torch module. It is made once for each trial, as

    Class(num_classes=K, embedding_size=D, class_weights=None, **options)

where `class_weights` are K numbers if `data.balance` asks for them, and `options` are those of the
experiment file. Called with the network's `Outputs` and B class indices it returns the loss, a
scalar. Its parameters are trained with the network and saved with it. It may have a method
`logits(output)`, B×K, which says how the outputs predict a class; else the head's logits do.

    class Sharpened(nn.Module):
        def __init__(self, *, num_classes, embedding_size, class_weights, gamma=2.0):
            super().__init__()
            self.register_buffer("class_weights", class_weights, persistent=False)
            self.gamma = gamma

        def forward(self, output, target):
            return F.cross_entropy(self.logits(output), target, weight=self.class_weights)

        def logits(self, output):
            return self.gamma * output.logits

`mcl_bench.testing.LossContract` has the tests that such a class should pass.
"""

import hashlib
import inspect
import sys
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from mcl_bench.losses.main import MainLoss, Outputs
from mcl_bench.records import UserError
from mcl_bench.spec.faults import suggestion
from mcl_bench.spec.loss import CustomLossSpec, LossSpec

GIVEN = ("num_classes", "embedding_size", "class_weights")
"""What every class is given; the rest of what it takes are its options."""


class CustomLoss(MainLoss):
    """The user's own loss, made of its settings.

    Raises UserError where its class cannot be imported, or not be made with its options.
    """

    def __init__(
        self,
        spec: CustomLossSpec,
        *,
        num_classes: int,
        embedding_size: int,
        class_weights: Tensor | None,
    ) -> None:
        super().__init__(
            spec, num_classes=num_classes, embedding_size=embedding_size, class_weights=None
        )
        made = load_class(spec.name)
        _check_options(made, spec)
        try:
            self.loss = made(
                num_classes=num_classes,
                embedding_size=embedding_size,
                class_weights=class_weights,
                **spec.options,
            )
        except Exception as error:  # the user's code may raise anything
            raise UserError(
                f"{spec.name} cannot be made with the options {dict(spec.options)}: {told(error)}",
                key="loss.options",
                remedy=f"it is called with {', '.join(GIVEN)} and its options, all by name",
            ) from error

    def forward(self, output: Outputs, target: Tensor) -> Tensor:
        """What the user's module returns."""
        loss: Tensor = self.loss(output, target)
        return loss

    def logits(self, output: Outputs) -> Tensor:
        """What the user's module says, or the head's logits."""
        if not hasattr(self.loss, "logits"):
            return output.logits
        logits_BK: Tensor = self.loss.logits(output)
        return logits_BK


def source_sha256(loss: LossSpec) -> str | None:
    """SHA-256 (64 hex digits) of the file that a loss of the user's own is written in, else None.

    It is that of the file when first asked for in this process; what the file imports is not part
    of it. Raises UserError where the class cannot be imported or has no source.
    """
    return _source_sha256(loss.name) if isinstance(loss, CustomLossSpec) else None


@cache
def _source_sha256(name: str) -> str:
    path = getattr(sys.modules[load_class(name).__module__], "__file__", None)
    if path is None:
        raise UserError(f"{name} has no source file", key="loss.name")
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def load_class(name: str) -> Any:
    """The class of this name. Raises UserError where there is none that is a torch module."""
    module_name, _, class_name = name.partition(":")
    try:
        module = import_module(module_name)
    except Exception as error:  # the user's code may raise anything
        raise UserError(
            f"{name} cannot be imported: {told(error)}",
            key="loss.name",
            remedy="install it, or set PYTHONPATH to the folder that holds it, here and where "
            "the workers run; the folder of the experiment file is not searched by itself",
        ) from error
    found = getattr(module, class_name, None)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        classes = [
            key
            for key, value in vars(module).items()
            if isinstance(value, type) and issubclass(value, nn.Module)
        ]
        what = "has no" if found is None else "holds no torch module"
        raise UserError(
            f"{module_name} {what} {class_name}{suggestion(class_name, classes)}",
            key="loss.name",
        )
    return found


def told(error: Exception) -> str:
    """An exception as one line of a message."""
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__


def _check_options(made: type[nn.Module], spec: CustomLossSpec) -> None:
    """Refuse an option that the class does not take."""
    taken = inspect.signature(made).parameters
    if any(one.kind is inspect.Parameter.VAR_KEYWORD for one in taken.values()):
        return
    own = [name for name in taken if name not in GIVEN]
    for option in spec.options:
        if option not in own:
            raise UserError(
                f"{spec.name} takes no option {option}{suggestion(option, own)}",
                key=f"loss.options.{option}",
                remedy=f"its options: {', '.join(own)}" if own else "it has no options",
            )
