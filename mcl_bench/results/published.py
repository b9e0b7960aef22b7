"""Numbers that others have published, with how each was scored; never ours, never averaged.

Each was read where it was first published, or in an issue or a repository that quotes it. None is
given whose data set, network or regime is not known, none that was trained on cropped images, and
none from memory. Reports of failure stand among them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from mcl_bench.results.row import Row


@dataclass(frozen=True, kw_only=True)
class Published:
    """One published top-1 on a set's test images, as a fraction.

    `dataset`, `backbone` and `weights` are named as an experiment file names them; `crop` is the
    pixels that the network sees, None where the source does not say. `arm` is what was trained,
    `scored` how the number came about, as far as the source says.
    """

    dataset: str
    backbone: str
    weights: str
    crop: int | None
    arm: str
    top1: float
    scored: str
    source: str

    def to_dict(self) -> dict[str, Any]:
        """This number as plain values."""
        return dict(vars(self))


Regime = tuple[str, str, str, int | None]

AUTHORS = "PRIS-CV/Mutual-Channel-Loss"
OTHERS = "Kurumi233/Mutual-Channel-Loss"
COSINE = "cvjena/semantic-embeddings, CosineLoss.md"
PLAIN = "cyizhuo/Fine-Grained-Image-Classification"
SURVEY = "Wei et al., TPAMI 2021, table 4"
COVARIANCE = "jiangtaoxie/fast-MPN-COV"
JIGSAW = "PRIS-CV/PMG-Progressive-Multi-Granularity-Training"

BEST_EPOCH = "the authors' code keeps the best test epoch of one run, without a seed"
ONE_RUN = "one run of somebody else; its epoch is not told"
BEST_RATE = "the best epoch of the best learning rate, by the scripts' own val_acc"
NOT_TOLD = "not told"

CUB_VGG: Regime = ("cub200", "vgg16_mc", "none", 224)
CUB_RESNET18: Regime = ("cub200", "resnet18_mc", "none", 224)
CUB_RESNET50: Regime = ("cub200", "resnet50", "imagenet", 448)
CARS_VGG: Regime = ("cars", "vgg16_mc", "none", 224)


def _plain(dataset: str, weights: str = "imagenet", crop: int | None = None) -> Regime:
    """A ResNet-50's regime."""
    return (dataset, "resnet50", weights, crop)


_TABLE: tuple[tuple[Regime, str, float, str, str], ...] = (
    (CUB_VGG, "mc", 65.98, f"the paper's number; {BEST_EPOCH}", f"{AUTHORS} issue 7"),
    (CUB_VGG, "mc", 67.33, ONE_RUN, f"{AUTHORS} issue 7"),
    (CUB_VGG, "mc", 68.0, ONE_RUN, f"{AUTHORS} issue 3"),
    (CUB_VGG, "mc", 64.88, "one run without a seed, μ = 1.5", f"{OTHERS}, ReadMe"),
    (CUB_VGG, "mc", 66.17, "one run, seed 8, μ = 1.5", f"{OTHERS}, ReadMe"),
    (CUB_VGG, "mc", 66.66, "one run without a seed, μ = 2", f"{OTHERS}, ReadMe"),
    (CUB_VGG, "mc", 66.03, "one run, seed 8, μ = 2", f"{OTHERS}, ReadMe"),
    (
        ("cub200", "vgg16_mc", "none", 448),
        "mc",
        20.0,
        "about; reported as a failure to train",
        f"{AUTHORS} issue 3",
    ),
    (CARS_VGG, "mc", 90.85, f"the paper's number; {BEST_EPOCH}", f"{AUTHORS} issue 7"),
    (CARS_VGG, "mc", 90.34, ONE_RUN, f"{AUTHORS} issue 7"),
    (
        CUB_RESNET18,
        "ce",
        45.70,
        f"the paper's number, on a network of 512 maps; {BEST_EPOCH}",
        f"{AUTHORS} issue 8",
    ),
    (CUB_RESNET18, "mc", 59.41, f"the paper's number; {BEST_EPOCH}", f"{AUTHORS} issue 8"),
    (CUB_RESNET18, "ce", 29.89, "one run of somebody else's port", f"{AUTHORS} issue 8"),
    (CUB_RESNET18, "mc", 51.97, "one run of somebody else's port", f"{AUTHORS} issue 8"),
    (CUB_RESNET50, "mc", 87.3, f"the paper's number; {BEST_EPOCH}", f"{AUTHORS} issue 26"),
    (
        CUB_RESNET50,
        "mc",
        87.26,
        "the best of 300 test epochs of one run, on 5,760 of the 5,794 test images",
        f"{AUTHORS}, log in commit 9e495cc",
    ),
    (
        CUB_RESNET50,
        "mc",
        86.25,
        "the last epoch of that same run, whose learning rate was reset in it",
        f"{AUTHORS}, log in commit 9e495cc",
    ),
    (CUB_RESNET50, "mc", 86.6, ONE_RUN, f"{AUTHORS} issue 12"),
    (CUB_RESNET50, "mc", 86.93, ONE_RUN, f"{OTHERS}, ReadMe"),
    (CUB_RESNET50, "mc", 86.56, ONE_RUN, f"{OTHERS} issue 5"),
    (CUB_RESNET50, "ce", 86.38, f"the same head without MC-Loss; {ONE_RUN}", f"{OTHERS} issue 5"),
    (CUB_RESNET50, "mc", 80.0, "about; reported as a failure", f"{OTHERS} issue 5"),
    (_plain("cub200", crop=224), "ce", 81.6, NOT_TOLD, SURVEY),
    (_plain("cub200", crop=280), "ce", 83.3, NOT_TOLD, SURVEY),
    (_plain("cub200", crop=336), "ce", 85.0, NOT_TOLD, SURVEY),
    (_plain("cub200", crop=392), "ce", 85.6, NOT_TOLD, SURVEY),
    (_plain("cub200"), "label smoothing", 86.74, NOT_TOLD, PLAIN),
    (_plain("aircraft"), "label smoothing", 93.25, NOT_TOLD, PLAIN),
    (_plain("cars"), "label smoothing", 94.09, NOT_TOLD, PLAIN),
    (_plain("cub200"), "iSQRT-COV", 88.1, "the paper's number", COVARIANCE),
    (_plain("cub200"), "iSQRT-COV", 87.6, "reproduced; by whom is not told", COVARIANCE),
    (_plain("cub200"), "PMG", 89.6, "the paper's number", JIGSAW),
    (_plain("cub200"), "PMG", 84.06, ONE_RUN, f"{JIGSAW} issue 6"),
    (_plain("aircraft"), "PMG", 87.3, ONE_RUN, f"{JIGSAW} issue 25"),
    *(
        (_plain(dataset, "none"), arm, value, BEST_RATE, COSINE)
        for dataset, values in {
            "cub200": (51.9, 55.9, 67.6, 68.0),
            "cars": (78.2, 78.1, 84.3, 85.0),
            "flowers102": (67.3, 66.8, 71.1, 70.6),
        }.items()
        for arm, value in zip(
            ("ce", "label smoothing", "cosine", "cosine + ce"), values, strict=True
        )
    ),
)

PUBLISHED: tuple[Published, ...] = tuple(
    Published(
        dataset=regime[0],
        backbone=regime[1],
        weights=regime[2],
        crop=regime[3],
        arm=arm,
        top1=round(percent / 100, 6),
        scored=scored,
        source=source,
    )
    for regime, arm, percent, scored, source in _TABLE
)
"""Every published number that is known here."""


def beside(row: Row) -> list[Published]:
    """The published numbers of the row's data set, backbone, weights and resolution.

    One whose source does not tell the resolution stands beside every resolution. None before the
    search has a best trial, whose resolution the row's is.
    """
    protocol = row.aside.protocol
    if protocol is None:
        return []
    of_row = (row.dataset, row.backbone, row.weights)
    crop = protocol.get("data.crop")
    return [
        found
        for found in PUBLISHED
        if (found.dataset, found.backbone, found.weights) == of_row and found.crop in {None, crop}
    ]


def beside_all(rows: Iterable[Row]) -> list[Published]:
    """The published numbers that stand beside any of these rows, each once."""
    return list(dict.fromkeys(one for row in rows for one in beside(row)))


def regime_text(published: Published) -> str:
    """Its data set, network, weights and pixels, as a heading."""
    weights = "from scratch" if published.weights == "none" else published.weights
    pixels = "resolution not told" if published.crop is None else f"{published.crop} px"
    return f"{published.dataset} × {published.backbone}, {weights}, {pixels}"
