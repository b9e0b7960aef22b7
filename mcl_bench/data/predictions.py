"""Predictions: what a training said of each test image, as a Parquet file."""

import io
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mcl_bench.files import write_whole


def write_predictions(
    path: Path,
    *,
    image_ids: Sequence[str],
    label: Sequence[int],
    predicted: Sequence[int],
    correct: Sequence[bool],
    top5: Sequence[bool],
    probability: Sequence[float],
) -> None:
    """Write one row per image, whole or not at all; all sequences have one length.

    `probability` is that of the predicted class; `top5` tells whether the label is among the
    five most probable classes.
    """
    table = pa.table(
        {
            "image_id": pa.array(image_ids, pa.string()),
            "label": pa.array(label, pa.int32()),
            "predicted": pa.array(predicted, pa.int32()),
            "correct": pa.array(correct, pa.bool_()),
            "top5": pa.array(top5, pa.bool_()),
            "probability": pa.array(probability, pa.float32()),
        }
    )
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    write_whole(path, buffer.getvalue())
