"""The main losses by the names that an experiment file gives them."""

from collections.abc import Callable, Mapping
from types import MappingProxyType

from torch import Tensor

from mcl_bench.losses.baselines import Cosine, Focal, LabelSmoothing
from mcl_bench.losses.centres import Center, GaussianMixture
from mcl_bench.losses.custom import CustomLoss
from mcl_bench.losses.main import CrossEntropy, MainLoss
from mcl_bench.losses.margins import MarginLoss
from mcl_bench.spec.loss import CUSTOM, MainLossSpec, loss_kind

MAIN_LOSSES: Mapping[str, Callable[..., MainLoss]] = MappingProxyType(
    {
        "ce": CrossEntropy,
        "label_smoothing": LabelSmoothing,
        "focal": Focal,
        "cosine": Cosine,
        "center": Center,
        "sphereface": MarginLoss,
        "cosface": MarginLoss,
        "arcface": MarginLoss,
        "lgm": GaussianMixture,
        CUSTOM: CustomLoss,
    }
)
"""The main losses by kind; each takes what `MainLoss` takes."""


def build_main_loss(
    spec: MainLossSpec, *, num_classes: int, embedding_size: int, class_weights: Tensor | None
) -> MainLoss:
    """The main loss of these settings, for K classes and embeddings of D numbers.

    Raises UserError where a loss of the user's own cannot be imported or made.
    """
    return MAIN_LOSSES[loss_kind(spec)](
        spec,
        num_classes=num_classes,
        embedding_size=embedding_size,
        class_weights=class_weights,
    )
