"""P2: what the Mutual-Channel Loss adds to a training step.

A step is forward, objective, backward and optimiser, of one network with cross-entropy and with
cross-entropy and the Mutual-Channel Loss, whose mask is drawn in the step; the two in turn, on the
same images. The cost is the median over the pairs of what the second took longer.

The networks: a ResNet-18 whose last stage has 600 planes at stride 1, made of torchvision's parts
(batch 16, 224 pixels, 200 classes of 3 maps); a convnet of 0.018 GFLOP (batch 32, 64 pixels, 20
classes of 3 maps); and the quickstart's own net and batch, which has no promise.

Run: `python benchmarks/step_cost.py [N]`: N pairs (default 30). Exit code 1 if a promise is broken.
"""

import statistics
import sys
from collections.abc import Callable
from dataclasses import dataclass

import torch
from rig.measure import verdict
from rig.pairs import conditions, in_turn
from torch import Tensor, nn
from torchvision.models import ResNet
from torchvision.models.resnet import BasicBlock

from mcl_bench.losses import build_objective
from mcl_bench.spec.schema import CrossEntropySpec, MutualChannelSpec
from mcl_bench.training.backbones import conv_bn_relu, convnet
from mcl_bench.training.heads import build_head

THREADS = 2
CE = CrossEntropySpec(name="ce")
MC = MutualChannelSpec(name="mc", mu=1.5, lambda_=10.0, mask_ratio=0.5)


@dataclass(frozen=True, kw_only=True)
class Case:
    """A network, its batch, and how much longer its step may take with the loss."""

    name: str
    body: Callable[[], nn.Module]
    head: str
    num_classes: int
    batch: int
    side: int
    xi: int = 3
    promise: float | None = None


def resnet18_mc() -> nn.Module:
    """A ResNet-18 up to its last ReLU, 600 maps of a 16th of the image's side."""
    net = ResNet(BasicBlock, [2, 2, 2, 2], num_classes=1)
    net.inplanes = 256
    net.layer4 = net._make_layer(BasicBlock, 600, 2, stride=1)
    return nn.Sequential(*(part for name, part in net.named_children() if name not in LEFT_OUT))


LEFT_OUT = ("avgpool", "fc")


def wide_convnet() -> nn.Module:
    """0.018 GFLOP (multiplications and additions) at 64 pixels: 60 maps of 8×8."""
    return nn.Sequential(
        conv_bn_relu(3, 16, kernel=3, stride=2),
        conv_bn_relu(16, 32, kernel=3, stride=2),
        conv_bn_relu(32, 64, kernel=3, stride=2),
        conv_bn_relu(64, 64, kernel=3),
        conv_bn_relu(64, 60, kernel=3),
    )


def quickstart_net() -> nn.Module:
    """The quickstart's backbone and adapter."""
    return nn.Sequential(convnet(), conv_bn_relu(48, 24, kernel=1))


CASES = (
    Case(
        name="resnet18_mc",
        body=resnet18_mc,
        head="mlp",
        num_classes=200,
        batch=16,
        side=224,
        promise=0.02,
    ),
    Case(
        name="convnet of 0.018 GFLOP",
        body=wide_convnet,
        head="avgmax",
        num_classes=20,
        batch=32,
        side=64,
        promise=0.10,
    ),
    Case(
        name="the quickstart's net",
        body=quickstart_net,
        head="avgmax",
        num_classes=8,
        batch=16,
        side=64,
    ),
)


def training_step(
    case: Case, loss: CrossEntropySpec | MutualChannelSpec, images: Tensor, target: Tensor
) -> Callable[[], None]:
    """One step of a network of its own, as the training takes it."""
    torch.manual_seed(0)
    groups = (case.xi,) * case.num_classes
    body = case.body().to(memory_format=torch.channels_last)
    head = build_head(case.head, sum(groups), case.num_classes)
    parameters = [*body.parameters(), *head.parameters()]
    optimizer = torch.optim.SGD(parameters, lr=1e-3, momentum=0.9, weight_decay=5e-4, fused=True)
    objective = build_objective(loss, groups=groups, generator=torch.Generator())

    def step() -> None:
        maps = body(images)
        optimizer.zero_grad()
        objective(head(maps), maps, target).total.backward()
        optimizer.step()

    return step


def report(case: Case, pairs: int) -> tuple[str, bool]:
    """The lines of one network, and whether its promise is kept."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randn(case.batch, 3, case.side, case.side, generator=generator)
    images = images.contiguous(memory_format=torch.channels_last)
    target = torch.randint(case.num_classes, (case.batch,), generator=generator)
    seconds = in_turn(
        {
            "ce": training_step(case, CE, images, target),
            "mc": training_step(case, MC, images, target),
        },
        pairs,
    )
    ce, mc = (statistics.median(times) for times in seconds.values())
    costs = [both / one - 1 for one, both in zip(seconds["ce"], seconds["mc"], strict=True)]
    cost = statistics.median(costs)
    fastest = min(seconds["mc"]) / min(seconds["ce"]) - 1
    lines = [
        f"P2: {case.name}, batch {case.batch}, {case.side} px, {pairs} pairs; {conditions()}",
        f"cross-entropy {ce * 1e3:.2f} ms, with the Mutual-Channel Loss {mc * 1e3:.2f} ms: "
        f"{cost:+.1%} (the fastest of each: {fastest:+.1%})",
    ]
    if case.promise is None:
        return "\n".join(lines), True
    kept = cost <= case.promise
    lines.append(verdict(f"cost <= {case.promise:.0%}", f"{cost:+.1%}", kept=kept))
    return "\n".join(lines), kept


def main() -> int:
    """Measure, print, and say by the exit code whether the promises are kept."""
    pairs = int(sys.argv[1]) if len(sys.argv) > 1 else 30
    if pairs < 1:
        raise SystemExit(f"N must be at least 1, got {pairs}")
    torch.set_num_threads(THREADS)
    reports = [report(case, pairs) for case in CASES]
    sys.stdout.write("\n\n".join(text for text, _ in reports) + "\n")
    return 0 if all(kept for _, kept in reports) else 1


if __name__ == "__main__":
    raise SystemExit(main())
