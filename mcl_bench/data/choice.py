"""One dataset as the command line names it, without an experiment file."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mcl_bench.data.store import dataset_named
from mcl_bench.records import UserError
from mcl_bench.spec.defaults import with_defaults
from mcl_bench.spec.schema import DataSpec
from mcl_bench.spec.source import read_value
from mcl_bench.spec.tree import plain


def choose(
    name: str, *, home: Path, root: str | None = None, options: Iterable[str] = (), **changes: Any
) -> DataSpec:
    """The data that these words name, its defaults filled in.

    Without a `root` a dataset that needs one is looked for in its official folder under `home`.
    An option is `key=value`, its value as the experiment file would have it; `changes` are other
    keys of `data`, None meaning the default. UserError for what the experiment file would refuse.
    """
    facts = dataset_named(name).facts
    if root is None and facts.needs_root and facts.folder is not None:
        root = str(home / facts.folder)
    given = {key: value for key, value in changes.items() if value is not None}
    try:
        data = DataSpec(name=name, root=root, options=dict(map(_option, options)), **given)
    except ValidationError as error:
        fault = error.errors()[0]
        key = ".".join(["data", *(str(part) for part in fault["loc"])])
        raise UserError(f"{key}: {fault['msg']}, got {fault['input']!r}", key=key) from error
    return with_defaults(data)


def _option(text: str) -> tuple[str, Any]:
    key, sign, value = text.partition("=")
    if not sign or not key.strip():
        raise UserError(f"an option is key=value, got {text!r}", remedy="--option types=mono")
    return key.strip(), plain(read_value(value, f"option {text}"))
