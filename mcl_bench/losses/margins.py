"""Softmax losses of angles, with a margin for the target's class: pytorch-metric-learning's."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn

from mcl_bench.losses.main import MainLoss, Outputs
from mcl_bench.spec.loss import ArcFaceSpec, CosFaceSpec, SphereFaceSpec

# B batch, K classes, D embedding


class MarginLoss(MainLoss):
    """Cross-entropy of scale·cos θ_k, with the target's angle or cosine made worse by a margin.

    θ_k is the angle between the embedding and the learnt direction of class k, a column of `W`.
    Instead of cos θ the target's class has

    - `arcface`: cos(θ + m), m in degrees (Deng et al., CVPR 2019); past θ = 180° - m it goes on as
      cos θ - m·sin m, m in radians, which keeps it falling;
    - `cosface`: cos θ - m (Wang et al., CVPR 2018);
    - `sphereface`: (-1)^k·cos(m·θ) - 2k for θ in [kπ/m, (k + 1)π/m], and all logits are multiplied
      by the embedding's length (Liu et al., CVPR 2017). The paper lets the margin grow while it
      trains; here it is there from the start, and from scratch a margin of 2 can leave the network
      at chance, with embeddings that shrink to nothing.

    Predictions come from the logits without the margin. The head's last layer is not used and
    learns nothing. W is drawn as Xavier's uniform weights, with columns about 1 long, and not from
    N(0, 1), the library's default: columns √D long turn about D times as slowly under SGD.
    """

    def __init__(
        self,
        spec: ArcFaceSpec | CosFaceSpec | SphereFaceSpec,
        *,
        num_classes: int,
        embedding_size: int,
        class_weights: Tensor | None,
    ) -> None:
        super().__init__(
            spec,
            num_classes=num_classes,
            embedding_size=embedding_size,
            class_weights=class_weights,
        )
        # Here, since it takes two seconds that the other losses need not wait for.
        from pytorch_metric_learning import losses, reducers
        from pytorch_metric_learning.utils.common_functions import TorchInitWrapper

        kinds: dict[str, Callable[..., Any]] = {
            "arcface": losses.ArcFaceLoss,
            "cosface": losses.CosFaceLoss,
            "sphereface": losses.SphereFaceLoss,
        }
        self.softmax = kinds[spec.name](
            num_classes=num_classes,
            embedding_size=embedding_size,
            margin=spec.margin,
            scale=spec.scale,
            weight_init_func=TorchInitWrapper(nn.init.xavier_uniform_),
            reducer=reducers.DoNothingReducer(),
        )

    def forward(self, output: Outputs, target: Tensor) -> Tensor:
        """The cross-entropy with the margin."""
        losses_B: Tensor = self.softmax(output.embedding, target)["loss"]["losses"]
        return self.weighted_mean(losses_B, target)

    def logits(self, output: Outputs) -> Tensor:
        """Scale·cos θ_k, B×K, without a margin."""
        logits_BK: Tensor = self.softmax.get_logits(output.embedding)
        return logits_BK
