"""Losses of the head's logits that have nothing of their own to learn."""

import torch
from torch import Tensor
from torch.nn import functional as F

from mcl_bench.losses.main import MainLoss, Outputs
from mcl_bench.spec.loss import CosineLossSpec, FocalSpec, LabelSmoothingSpec

# B batch, K classes


class LabelSmoothing(MainLoss):
    """Cross-entropy with the target (1 - ε)·one-hot + ε/K, ε = `smoothing`: torch's own.

    Source: Szegedy et al., "Rethinking the Inception Architecture", CVPR 2016. With class weights
    w it is torch's convention: Σ_b [(1 - ε)·w[y_b]·l(y_b) + ε/K·Σ_k w[k]·l(k)] / Σ_b w[y_b].
    """

    spec: LabelSmoothingSpec

    def forward(self, output: Outputs, target: Tensor) -> Tensor:
        """The cross-entropy with the smoothed target."""
        weights = None if self.class_weights is None else self.class_weights.to(output.logits)
        return F.cross_entropy(
            output.logits, target, weight=weights, label_smoothing=self.spec.smoothing
        )


class Focal(MainLoss):
    """The mean of (1 - p)^γ·(-log p), p the softmax's probability of the target's class.

    Source: Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017, whose α are the class
    weights. The paper's own and torchvision's are of a sigmoid for each class; one label an image
    asks for the softmax. γ = 0 is cross-entropy.
    """

    spec: FocalSpec

    def forward(self, output: Outputs, target: Tensor) -> Tensor:
        """The focal loss."""
        log_p_B = output.logits.log_softmax(1).gather(1, target[:, None]).squeeze(1)
        # Where p rounds to 1, (1 - p)^γ with γ < 1 has an infinite slope: it stops just above 0.
        missing_B = (-log_p_B.expm1()).clamp(min=torch.finfo(log_p_B.dtype).tiny)
        return self.weighted_mean(missing_B**self.spec.gamma * -log_p_B, target)


class Cosine(MainLoss):
    """1 - z[y]/‖z‖ of the logits z, the cosine with the one-hot target, + ce_weight·cross-entropy.

    Source: Barz and Denzler, "Deep Learning on Small Datasets without Pre-Training using Cosine
    Loss", WACV 2020; there the cross-entropy is of one more layer, here of the same logits. Class
    weights weigh both. Without the cross-entropy the length of z means nothing, so that
    probabilities and val/loss say less than the order of the classes does.
    """

    spec: CosineLossSpec

    def forward(self, output: Outputs, target: Tensor) -> Tensor:
        """The cosine loss and its share of cross-entropy."""
        cosines_BK = F.normalize(output.logits, dim=1)
        own_B = cosines_BK.gather(1, target[:, None]).squeeze(1)
        loss = self.weighted_mean(1 - own_B, target)
        if self.spec.ce_weight == 0:
            return loss
        return loss + self.spec.ce_weight * self.cross_entropy(output.logits, target)
