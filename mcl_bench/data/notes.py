"""What is allowed of an experiment's data, but is not what its writer may expect."""

from mcl_bench.data.catalog.folder import has_validation
from mcl_bench.data.check import CheckedExperiment
from mcl_bench.spec.defaults import validation_of


def notes(experiment: CheckedExperiment) -> list[str]:
    """One line for each folder of images whose own `val/` is not validated on.

    To be asked once the data have been checked; reads the folders' names and no image.
    """
    told = []
    for cell in experiment.cells:
        data = cell.spec.data
        share = validation_of(data)
        if data.name == "folder" and share != "official" and has_validation(data):
            told.append(
                f"the images in val/ of {data.root} are taken as training images like those of "
                f"train/, and {share} of both is validated on; data.validation: official "
                "validates on val/"
            )
    return list(dict.fromkeys(told))
