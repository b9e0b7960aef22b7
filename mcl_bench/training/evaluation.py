"""How good a network is on a set of images that it does not learn from."""

# B batch, K classes, C maps, N images, H×W positions

from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from mcl_bench.data import Batches
from mcl_bench.losses import Outputs
from mcl_bench.training.channels import ChannelFacts, ChannelSums
from mcl_bench.training.heads import Head
from mcl_bench.training.models import Network
from mcl_bench.training.precision import Precision


@dataclass(frozen=True, kw_only=True, eq=False)
class Evaluation:
    """A network's answers on N images, in the images' order, and their scores.

    `loss` is the mean plain cross-entropy of the main head, without class weights. `top1` and
    `top5` (`top_k` with k = min(5, K)) are shares of images, `macro_top1` the mean of the recalls
    of the classes that are present, all 0..1. `probability_N` is that of the predicted class.
    `confusion_KK` counts images by true class (row) and predicted class (column). All tensors are
    on the CPU.
    """

    loss: float
    top1: float
    top5: float
    macro_top1: float
    channels: ChannelFacts
    indices_N: Tensor
    label_N: Tensor
    predicted_N: Tensor
    in_top5_N: Tensor
    probability_N: Tensor
    confusion_KK: Tensor


Watch = Callable[[Tensor, Tensor, Tensor], None]
"""Shown each batch's maps B×C×H×W, target B and indices B (on the CPU)."""


@torch.inference_mode()
def evaluate(
    network: Network,
    batches: Batches,
    *,
    logits_of: Callable[[Outputs], Tensor],
    precision: Precision,
    between: Callable[[], None],
    head: Head | None = None,
    watch: Watch | None = None,
) -> Evaluation:
    """The evaluation of `network` on all of `batches`; calls `between` before each batch.

    `logits_of` says what the network's outputs predict: the objective's `logits`. With the
    network's `head` the channels' `own_top1` is measured; `watch` sees each batch. The network is
    left in evaluation mode; no generator is drawn from.
    """
    network.eval()

    def read(maps_BCHW: Tensor) -> Tensor:
        assert head is not None
        with precision.autocast():
            embedding_BD = head.embed(maps_BCHW)
            logits_BK = head.classify(embedding_BD)
        output = Outputs(logits=logits_BK, maps=maps_BCHW, embedding=embedding_BD)
        return logits_of(output.full())

    channels = ChannelSums(network.groups, read=None if head is None else read)
    logits, labels, indices = [], [], []
    with closing(batches.epoch(0)) as epoch:
        for batch in epoch:
            between()
            with precision.autocast():
                output = network(batch.images).full()
            channels.add(output.maps, batch.target)
            if watch is not None:
                watch(output.maps, batch.target, batch.indices)
            logits.append(logits_of(output))
            labels.append(batch.target)
            indices.append(batch.indices)
    return _score(
        torch.cat(logits).cpu(), torch.cat(labels).cpu(), torch.cat(indices).cpu(), channels.facts()
    )


def _score(
    logits_NK: Tensor, label_N: Tensor, indices_N: Tensor, channels: ChannelFacts
) -> Evaluation:
    num_classes = logits_NK.shape[1]
    top_Nk = logits_NK.topk(min(5, num_classes), dim=1).indices
    predicted_N = top_Nk[:, 0]
    hits_Nk = top_Nk == label_N.unsqueeze(1)
    confusion_KK = confusion(label_N, predicted_N, num_classes)
    return Evaluation(
        loss=F.cross_entropy(logits_NK.double(), label_N).item(),
        top1=hits_Nk[:, 0].double().mean().item(),
        top5=hits_Nk.any(1).double().mean().item(),
        macro_top1=macro_top1(confusion_KK),
        channels=channels,
        indices_N=indices_N,
        label_N=label_N,
        predicted_N=predicted_N,
        in_top5_N=hits_Nk.any(1),
        probability_N=logits_NK.softmax(1).gather(1, predicted_N.unsqueeze(1)).squeeze(1),
        confusion_KK=confusion_KK,
    )


def confusion(label_N: Tensor, predicted_N: Tensor, num_classes: int) -> Tensor:
    """Counts of images by true class (row) and predicted class (column), K×K, int64."""
    pairs = label_N * num_classes + predicted_N
    return pairs.bincount(minlength=num_classes**2).reshape(num_classes, num_classes)


def macro_top1(confusion_KK: Tensor) -> float:
    """The mean recall of the classes that have images, 0..1; each class weighs the same."""
    images_K = confusion_KK.sum(1)
    present_K = images_K > 0
    recall = confusion_KK.diagonal()[present_K].double() / images_K[present_K]
    return recall.mean().item()
