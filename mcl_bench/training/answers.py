"""What a network said of each test image, as files that a finished confirm trial leaves."""

# K classes, N images

import json
from collections.abc import Sequence
from pathlib import Path

from mcl_bench import data, files
from mcl_bench.training.evaluation import Evaluation


def write_answers(
    folder: Path, found: Evaluation, *, ids: Sequence[str], classes: Sequence[str]
) -> None:
    """Write `predictions.parquet` and `confusion.json`; `ids` has the names of all images."""
    data.write_predictions(
        folder / "predictions.parquet",
        image_ids=[ids[index] for index in found.indices_N.tolist()],
        label=found.label_N.tolist(),
        predicted=found.predicted_N.tolist(),
        correct=(found.predicted_N == found.label_N).tolist(),
        top5=found.in_top5_N.tolist(),
        probability=found.probability_N.tolist(),
    )
    table = {"classes": list(classes), "counts": found.confusion_KK.tolist()}
    files.write_whole(folder / "confusion.json", json.dumps(table, ensure_ascii=False) + "\n")
