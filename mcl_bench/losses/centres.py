"""Losses that learn a point in the space of embeddings for each class."""

from typing import Any

import torch
from torch import Tensor, nn

from mcl_bench.losses.main import MainLoss, Outputs
from mcl_bench.spec.loss import CenterSpec, GaussianMixtureSpec

# B batch, K classes, D embedding


class _WithCentres(MainLoss):
    """A main loss with one learnt point per class, K×D numbers drawn from N(0, 1)."""

    def __init__(
        self,
        spec: Any,
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
        self.centres_KD = nn.Parameter(torch.randn(num_classes, embedding_size))


class Center(_WithCentres):
    """Cross-entropy + weight/2 · the mean of ‖x - c_y‖², x the embedding, c_y its class's centre.

    Source: Wen et al., "A Discriminative Feature Learning Approach for Deep Face Recognition",
    ECCV 2016. The centres follow the embeddings as there, at a pace that does not depend on the
    weight: the gradient of c_j is Σ_{b: y_b = j} (c_j - x_b) / (1 + n_j), n_j the images of class
    j in the batch, and the optimiser's learning rate stands for the paper's α. Class weights
    weigh the cross-entropy only.
    """

    spec: CenterSpec

    def forward(self, output: Outputs, target: Tensor) -> Tensor:
        """The cross-entropy and the pull towards the centres."""
        embedding_BD = output.embedding
        own_BD = self.centres_KD[target]
        images_K = target.bincount(minlength=len(self.centres_KD))
        pull_B = (embedding_BD - own_BD.detach()).square().sum(1)
        follow_B = (embedding_BD.detach() - own_BD).square().sum(1) / (1 + images_K[target])
        follow = follow_B.sum() / 2
        loss = self.cross_entropy(output.logits, target) + self.spec.weight / 2 * pull_B.mean()
        # Worth nothing, but for the gradient that it gives the centres.
        return loss + (follow - follow.detach())


class GaussianMixture(_WithCentres):
    """The large-margin Gaussian mixture loss, with the identity as every class's covariance.

    With d_k = ‖x - μ_k‖²/2, x the embedding and μ_k the learnt mean of class k:

    L = mean of -log [ exp(-(1 + α)·d_y) / (exp(-(1 + α)·d_y) + Σ_{k≠y} exp(-d_k)) ] + λ·mean of d_y

    where α is `margin` and λ `likelihood`. Predictions come from the logits -d_k. Class weights
    weigh the first term only. The authors let α grow while they train; here it is constant, and
    more than the data can bear leaves the network at chance.

    Source: Wan et al., "Rethinking Feature Distribution for Loss Functions in Image
    Classification", CVPR 2018, whose experiments fix the covariance in the same way.
    """

    spec: GaussianMixtureSpec

    def forward(self, output: Outputs, target: Tensor) -> Tensor:
        """The cross-entropy with the margin, and the likelihood's share."""
        logits_BK = self.logits(output)
        index_B1 = target[:, None]
        own_B1 = logits_BK.gather(1, index_B1)
        with_margin_BK = logits_BK.scatter_add(1, index_B1, self.spec.margin * own_B1)
        loss = self.cross_entropy(with_margin_BK, target)
        return loss - self.spec.likelihood * own_B1.mean()

    def logits(self, output: Outputs) -> Tensor:
        """-d_k, B×K: the logarithm of the class's density up to a constant."""
        embedding_BD, centres_KD = output.embedding, self.centres_KD.to(output.embedding)
        product_BK = embedding_BD @ centres_KD.T
        squares_B1 = embedding_BD.square().sum(1, keepdim=True)
        return product_BK - (squares_B1 + centres_KD.square().sum(1)) / 2
