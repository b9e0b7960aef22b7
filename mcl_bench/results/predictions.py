"""The stored predictions of a row's confirm trials: whether each seed was right, image by image."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from mcl_bench.records import DataError
from mcl_bench.results.bootstrap import Correct
from mcl_bench.results.folder import read_id
from mcl_bench.results.scores import SeedScore
from mcl_bench.spec import load

ROUNDING = 1e-6
"""How far a record's top-1 may be from that of its predictions."""


class NoPredictionsError(Exception):
    """There are no predictions to resample, for the reason that it tells."""


def answers_folder(folder: Path) -> Path:
    """Where the trials of the sweep in this folder leave their files."""
    files_at = load(folder / "experiment.yaml").spec.files
    if files_at is None:
        return folder / "trials"
    return Path(files_at).expanduser().absolute() / f"{folder.name}@{read_id(folder)}" / "trials"


def paired_predictions(
    a: tuple[Path, Sequence[SeedScore]], b: tuple[Path, Sequence[SeedScore]]
) -> tuple[Correct, Correct]:
    """Whether each seed of two rows was right about each image: seeds × images, in one order.

    Each row is given by the folder of its sweep's trials and by its scores, one for each seed of
    both, in one order.

    Raises:
        NoPredictionsError: some are not kept, or they are not of the same images.
        DataError: a file is damaged.
    """
    pairs = [_read(folder, score) for folder, scores in (a, b) for score in scores]
    ids = pairs[0][0]
    for other, _ in pairs[1:]:
        if not np.array_equal(ids, other):
            raise NoPredictionsError("the predictions are not of the same images")
    correct = np.array([right for _, right in pairs])
    half = len(a[1])
    return correct[:half], correct[half:]


def _read(folder: Path, score: SeedScore) -> tuple[np.ndarray, np.ndarray]:
    """The images' ids in order, and whether the trial was right about each."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    path = folder / score.answers / "predictions.parquet"
    try:
        table = pq.read_table(path, columns=["image_id", "correct"])
    except FileNotFoundError as error:
        raise NoPredictionsError(f"no predictions are kept of {score.answers}") from error
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, str(error)) from error
    if table.column_names != ["image_id", "correct"]:
        raise _damaged(path, "it lacks image_id or correct")
    ids = np.array(table["image_id"].to_pylist(), dtype=object)
    right = table["correct"].to_numpy().astype(np.bool_)
    order = np.argsort(ids, kind="stable")
    if len(right) == 0 or abs(float(right.mean()) - score.top1) > ROUNDING:
        raise _damaged(path, f"its record has top-1 {score.top1:.4f}, which it has not")
    return ids[order], right[order]


def _damaged(path: Path, what: str) -> DataError:
    first = what.partition("\n")[0]
    return DataError(
        f"the predictions {path} are damaged: {first}",
        remedy="put the file back from a copy; or move it away, and nothing is resampled",
    )
