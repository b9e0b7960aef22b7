"""The verbs that pack a data set, and show what was packed."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mcl_bench import files
from mcl_bench.cli.bars import counted
from mcl_bench.cli.experiment import Json, placed, read
from mcl_bench.records import UserError

if TYPE_CHECKING:
    from mcl_bench.data import Packed
    from mcl_bench.spec import DataSpec

Name = Annotated[str, typer.Argument(help="One of `data list`.", show_default=False)]
Root = Annotated[
    str | None,
    typer.Option(help="data.root; by default the official folder in $MCL_DATA, else in ./data."),
]
Options = Annotated[
    list[str] | None,
    typer.Option("--option", help="key=value: one of data.options; may be repeated."),
]
Size = Annotated[
    int | None, typer.Option(min=1, help="data.resize: the side that images are stored with.")
]


def prepare(
    name: Annotated[
        str | None, typer.Argument(help="One of `data list`.", show_default=False)
    ] = None,
    root: Root = None,
    size: Size = None,
    option: Options = None,
    file: Annotated[
        Path | None, typer.Option(help="All the data of an experiment file, in place of NAME.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Pack the images of a data set into the store, as a sweep would do before its first trial."""
    if (name is None) == (file is None):
        raise UserError("data prepare needs a NAME or --file FILE, one of them")
    if file is not None and (root is not None or size is not None or option):
        raise UserError("--root, --size and --option go with a NAME; a file says them itself")
    chosen = _of_file(file) if file is not None else [_chosen(str(name), root, size, option)]
    packs = [(data, packed(data)) for data in chosen]
    if as_json:
        typer.echo(json.dumps({"data": [_document(data, pack) for data, pack in packs]}))
        return
    from rich import filesize

    for data, pack in packs:
        typer.echo(f"{data.name}: {len(pack.classes)} classes, {_images(pack)} at {data.resize} px")
        typer.echo(f"  digest  {pack.digest}")
        typer.echo(f"  train   {pack.train_path}")
        typer.echo(f"  test    {pack.test_path}")
        typer.echo(f"  size    {filesize.decimal(pack.nbytes)}, both files")


def show(
    name: Name,
    root: Root = None,
    out: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Where to write; by default sheets/NAME in $MCL_HOME."),
    ] = None,
    size: Size = None,
    augment: Annotated[str | None, typer.Option(help="data.augment: the recipe shown.")] = None,
    classes: Annotated[int | None, typer.Option(min=1, help="Only the first so many.")] = None,
    option: Options = None,
    as_json: Json = False,
) -> None:
    """Write a contact sheet for each class: training images as a model sees them."""
    from mcl_bench.data.contact_sheets import write_sheets

    data = _chosen(name, root, size, option, augment=augment)
    pack = packed(data)
    folder = files.home() / "sheets" / name if out is None else out
    with counted("writing sheets") as progress:
        written = write_sheets(pack, data, folder=folder, classes=classes, progress=progress)
    if as_json:
        sheets = [
            {
                "class": sheet.name,
                "file": str(sheet.path),
                "train": sheet.train,
                "validation": sheet.validation,
                "shown": list(sheet.shown),
            }
            for sheet in written.sheets
        ]
        typer.echo(json.dumps({"page": str(written.page), "sheets": sheets}))
        return
    typer.echo(f"{len(written.sheets)} sheets; open {written.page}")


def packed(data: "DataSpec") -> "Packed":
    """The packed images of some data, made now if they are not there."""
    from mcl_bench.data import prepare

    with counted(f"packing {data.name}") as progress:
        return prepare(data, store=files.home() / "store", progress=progress)


def _chosen(
    name: str, root: str | None, size: int | None, option: list[str] | None, **changes: Any
) -> "DataSpec":
    """The data that the words of a call name, checked."""
    from mcl_bench import data

    home = files.data_home()
    chosen = data.choose(name, home=home, root=root, options=option or (), resize=size, **changes)
    data.check_one(chosen)
    return chosen


def _of_file(file: Path) -> "list[DataSpec]":
    """The data of an experiment file, checked, each once."""
    from mcl_bench import data

    experiment = read(file, None)
    with placed(experiment):
        data.check(experiment)
    packs: dict[str, DataSpec] = {}
    for cell in experiment.cells:
        packs.setdefault(cell.data_label, cell.spec.data)
    return list(packs.values())


def _images(pack: "Packed") -> str:
    return f"{pack.num_train:,} training and {pack.num_test:,} test images"


def _document(data: "DataSpec", pack: "Packed") -> dict[str, Any]:
    return {
        "name": data.name,
        "root": data.root,
        "size": data.resize,
        "digest": pack.digest,
        "train": str(pack.train_path),
        "test": str(pack.test_path),
        "bytes": pack.nbytes,
        "classes": len(pack.classes),
        "images": {"train": pack.num_train, "test": pack.num_test},
    }
