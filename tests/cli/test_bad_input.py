"""Bad input by the real command, beside a finished sweep: one message, and nothing is touched."""

import shutil
import sqlite3
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from running import command, environment, mcl_bench

TEXT = """\
version: 1
name: birds
data:
  name: folder
  root: "ROOT"
  resize: 16
  crop: 16
  validation: 0.3
model:
  backbone: convnet
  weights: none
  head: avgmax
arms:
  ce:
    loss: {name: ce}
  mc:
    loss: {name: mc, mu: 0.5, lambda: 5}
train:
  epochs: 1
  batch_size: 8
  optimizer: {name: adamw, lr: 0.01}
search:
  trials: 1
  pruner: none
  space:
    train.optimizer.lr: {log: [0.001, 0.1]}
    arms.mc.loss.mu: {log: [0.1, 2]}
    arms.mc.loss.mask_ratio: {float: [0.2, 0.8]}
confirm:
  seeds: 1
"""
"""The sweep that is on record; every bad file is this one with a slip in it."""


@dataclass(frozen=True, kw_only=True)
class Slip:
    """`old` became `new` in the file; `at` is the line where that must be told."""

    old: str
    new: str
    at: str
    said: tuple[str, ...]

    @property
    def text(self) -> str:
        """The file with the slip."""
        assert TEXT.count(self.old) == 1
        return TEXT.replace(self.old, self.new)

    @property
    def line(self) -> int:
        """The number of the last line that begins with `at`."""
        lines = [line.strip() for line in self.text.splitlines()]
        return max(number for number, line in enumerate(lines, 1) if line.startswith(self.at))


SLIPS = {
    "an unknown key": Slip(
        old="epochs: 1",
        new="epoch: 1",
        at="epoch: 1",
        said=("unknown key train.epoch", "nearest known one is epochs"),
    ),
    "an unknown section": Slip(
        old="train:\n",
        new="trian:\n",
        at="trian:",
        said=("unknown key trian", "nearest known one is train"),
    ),
    "a wrong type": Slip(
        old="epochs: 1",
        new="epochs: three",
        at="epochs:",
        said=("train.epochs must be an integer >= 1, got 'three'",),
    ),
    "a range without values": Slip(
        old="{float: [0.2, 0.8]}",
        new="{choice: []}",
        at="arms.mc.loss.mask_ratio",
        said=("arms.mc.loss.mask_ratio", "at least one value, got []"),
    ),
    "a range from high to low": Slip(
        old="{float: [0.2, 0.8]}",
        new="{float: [0.8, 0.2]}",
        at="arms.mc.loss.mask_ratio",
        said=("arms.mc.loss.mask_ratio", "from low to high, got [0.8, 0.2]"),
    ),
    "a range of impossible values": Slip(
        old="{float: [0.2, 0.8]}",
        new="{float: [0.2, 1.5]}",
        at="arms.mc.loss.mask_ratio",
        said=("arms.mc.loss.mask_ratio", "< 1, got 1.5"),
    ),
    "a log range at 0": Slip(
        old="{log: [0.1, 2]}",
        new="{log: [0, 2]}",
        at="arms.mc.loss.mu",
        said=("arms.mc.loss.mu", "a log range begins above 0, got [0.0, 2.0]"),
    ),
    "a number of maps with native channels": Slip(
        old="  head: avgmax",
        new="  head: avgmax\n  xi: 3",
        at="xi: 3",
        said=("model.xi must be auto with channels: native, got 3",),
    ),
    "an arm without loss": Slip(
        old="    loss: {name: mc, mu: 0.5, lambda: 5}",
        new="    train: {epochs: 1}",
        at="mc:",
        said=("arms.mc.loss is missing",),
    ),
    "two cells with one id": Slip(
        old="confirm:\n",
        new="matrix:\n  model:\n    - {backbone: convnet}\n    - {backbone: convnet, freeze: 0}\n"
        "confirm:\n",
        at="- {backbone: convnet, freeze: 0}",
        said=("folder-convnet-ce", "label"),
    ),
    "a Python tag": Slip(
        old="  trials: 1",
        new="  trials: !!python/object/apply:os.system [exit]",
        at="trials:",
        said=("tags are not read, got", "python/object/apply:os.system"),
    ),
    "a key twice": Slip(
        old="  batch_size: 8",
        new="  batch_size: 8\n  epochs: 2",
        at="epochs: 2",
        said=("the key epochs stands here twice",),
    ),
    "an unclosed bracket": Slip(
        old="{log: [0.1, 2]}",
        new="{log: [0.1, 2}",
        at="arms.mc.loss.mu",
        said=("the text is not YAML", "expected ',' or ']', but got '}'"),
    ),
    "a setting that is no number": Slip(
        old="mu: 0.5",
        new="mu: .nan",
        at="loss: {name: mc",
        said=("numbers are finite, got .nan",),
    ),
    "a name with a path in it": Slip(
        old="name: birds",
        new="name: ../birds",
        at="name: ../birds",
        said=("name is made of", "got '../birds'"),
    ),
    "a version from the future": Slip(
        old="version: 1",
        new="version: 2",
        at="version: 2",
        said=("version 2 is of a later mcl_bench", "reads version 1"),
    ),
    "a missing file to extend": Slip(
        old="name: birds\n",
        new="name: birds\nextends: base/birds.yaml\n",
        at="extends:",
        said=("base/birds.yaml", "cannot be read: No such file or directory"),
    ),
    "more than one GPU for a trial": Slip(
        old="confirm:\n",
        new="resources: {gpus: 2}\nconfirm:\n",
        at="resources:",
        said=("resources.gpus: 2.0 is not supported", "(supported: auto, 0 to 1)"),
    ),
    "more classes than native channels": Slip(
        old="confirm:\n",
        new="matrix:\n  data:\n    - {name: folder}\n"
        "    - {name: parts, root: null, options: {classes: 49, size: 16}}\n"
        "  model:\n    - {backbone: convnet, channels: native}\nconfirm:\n",
        at="- {backbone: convnet, channels: native}",
        said=("convnet's 48 maps, fewer than the 49 classes of parts", "adapter"),
    ),
}


@pytest.fixture(scope="module")
def photographs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of ten small images."""
    root = tmp_path_factory.mktemp("photographs") / "birds"
    for label, name in enumerate(("kauz", "meise")):
        for number in range(10):
            noise = np.random.default_rng((label, number)).integers(0, 80, (16, 16, 3))
            noise[..., label] += 120
            path = root / name / f"{number}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(noise.astype(np.uint8)).save(path)
    return root


@pytest.fixture(scope="module")
def swept(tmp_path_factory: pytest.TempPathFactory, photographs: Path) -> Path:
    """A home with one finished sweep, and its file beside it."""
    folder = tmp_path_factory.mktemp("swept")
    write(folder / "birds.yaml", TEXT, photographs)
    mcl_bench("sweep", str(folder / "birds.yaml"), home=folder / "runs")
    return folder / "runs"


def write(file: Path, text: str, root: Path) -> str:
    file.write_text(text.replace("ROOT", str(root)))
    return str(file)


def kept(home: Path) -> dict[str, bytes | int]:
    """All that a sweep keeps in its folder, what is packed, and what MLflow counts.

    Its lock and the name of its last driver are no record.
    """
    passed_over = {"lock", "driver.json"}
    files = [path for part in ("sweeps", "store") for path in (home / part).rglob("*")]
    found: dict[str, bytes | int] = {
        str(path.relative_to(home)): path.read_bytes()
        for path in files
        if path.is_file()
        and path.name not in passed_over
        and path.suffix != ".lock"
        and path.parent.name != "listings"
    }
    for name in ("records.jsonl", "looks.jsonl", "study.db", "results.parquet"):
        assert found[f"sweeps/birds/{name}"]
    with sqlite3.connect(home / "mlflow.db") as database:
        for table in ("experiments", "runs", "metrics", "params", "tags"):
            ((rows,),) = database.execute(f"select count(*) from {table}")
            assert rows
            found[table] = rows
    return found


@contextmanager
def untouched(home: Path) -> Iterator[None]:
    """Hold a home to what it was."""
    before = kept(home)
    yield
    after = kept(home)
    assert after.keys() == before.keys()
    assert [name for name in after if after[name] != before[name]] == []


def refusal(*arguments: str, home: Path, code: int) -> str:
    """What `sweep` says when it refuses: one message on stderr, and nothing else anywhere."""
    done = mcl_bench("sweep", *arguments, home=home, code=code)
    assert done.stdout == ""
    assert done.stderr.startswith("mcl-bench: ")
    assert "Error" not in done.stderr
    return done.stderr


@pytest.mark.parametrize("slip", SLIPS.values(), ids=SLIPS)
def test_a_slip_in_the_file_is_told_at_its_line(
    slip: Slip, swept: Path, photographs: Path, tmp_path: Path
) -> None:
    file = write(tmp_path / "birds.yaml", slip.text, photographs)
    with untouched(swept):
        message = refusal(file, home=swept, code=2)
    assert message.startswith(f"mcl-bench: {file}:{slip.line}:")
    for words in slip.said:
        assert words in message


@pytest.mark.parametrize("text", ["", "# nothing yet\n"])
def test_an_empty_file_is_told_as_such(text: str, swept: Path, tmp_path: Path) -> None:
    (tmp_path / "birds.yaml").write_text(text)
    with untouched(swept):
        message = refusal(str(tmp_path / "birds.yaml"), home=swept, code=2)
    assert message.startswith(f"mcl-bench: {tmp_path / 'birds.yaml'}:1: the file is empty")


def test_an_override_is_its_own_place(swept: Path) -> None:
    override = "arms.mc.loss.lambda=.nan"
    with untouched(swept):
        message = refusal(str(swept.parent / "birds.yaml"), override, home=swept, code=2)
    assert message.startswith(f"mcl-bench: override {override}: numbers are finite, got .nan")


def test_a_missing_data_root_is_told_at_its_line(swept: Path, tmp_path: Path) -> None:
    nowhere = tmp_path / "nowhere"
    text = TEXT.replace("trials: 1", "trials: 2")
    file = write(tmp_path / "birds.yaml", text, nowhere)
    with untouched(swept):
        message = refusal(file, home=swept, code=3)
    assert f"{file}:5: data.root '{nowhere}' does not exist" in message


def test_every_image_that_cannot_be_read_is_named(
    swept: Path, photographs: Path, tmp_path: Path
) -> None:
    root = tmp_path / "birds"
    shutil.copytree(photographs, root)
    (root / "kauz/0.png").write_bytes(b"")
    (root / "meise/3.png").write_bytes((root / "meise/3.png").read_bytes()[:200])
    file = write(tmp_path / "birds.yaml", TEXT.replace("trials: 1", "trials: 2"), root)
    with untouched(swept):
        message = refusal(file, home=swept, code=3)
    rule = f"{file}:3: 2 images of {root} cannot be read, data.max_faults allows 0: "
    assert message.startswith(f"mcl-bench: {rule}kauz/0.png (")
    assert "empty" in message.split("kauz/0.png (")[1].split(")")[0]
    assert "truncated" in message.split("meise/3.png (")[1].split(")")[0]


def test_a_home_that_is_a_file_is_told_with_what_to_set(swept: Path, tmp_path: Path) -> None:
    home = tmp_path / "runs"
    home.write_text("mine")
    message = refusal(str(swept.parent / "birds.yaml"), home=home, code=2)
    assert f"the sweep's folder {home / 'sweeps/birds'} can't be written: Not a dir" in message
    assert "set MCL_HOME" in message
    assert home.read_text() == "mine"


@pytest.mark.parametrize(
    ("where", "said"),
    [
        ("sweeps/birds/lock", "the sweep's folder {home}/sweeps/birds can't be written: Is a dir"),
        ("store/listings", "the store's folder {home}/store/listings can't be written"),
    ],
)
def test_a_folder_that_cannot_be_written_is_named(
    where: str, said: str, swept: Path, tmp_path: Path
) -> None:
    home = tmp_path / "runs"
    shutil.copytree(swept, home)
    (home / "store/listings").mkdir(exist_ok=True)  # of files that are older than seconds only
    taken(home / where)
    with untouched(home):
        file = str(swept.parent / "birds.yaml")
        message = refusal(file, "search.trials=2", home=home, code=2)
    assert said.format(home=home) in message
    assert "set MCL_HOME" in message


def taken(path: Path) -> None:
    """Put a file where a folder should be, or a folder where a file should be."""
    if path.is_dir():
        shutil.rmtree(path)
        path.touch()
    else:
        path.unlink(missing_ok=True)
        path.mkdir()


def test_a_second_sweep_of_the_name_is_told_who_holds_it(swept: Path, tmp_path: Path) -> None:
    home, reached = tmp_path / "runs", tmp_path / "reached"
    shutil.copytree(swept, home)
    file = str(swept.parent / "birds.yaml")
    with held_sweep(file, "search.trials=2", home=home, reached=reached) as first, untouched(home):
        for overrides in (("search.trials=2",), ("--new",)):
            message = refusal(file, *overrides, home=home, code=2)
            assert f"sweep birds is being run by another driver (process {first.pid} " in message
            assert "mcl-bench status birds" in message
        assert first.poll() is None


@contextmanager
def held_sweep(*arguments: str, home: Path, reached: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A sweep that stands still in the middle of an ask; it and all it started go at the end."""
    with (
        (home.parent / "first.txt").open("wb") as out,
        subprocess.Popen(
            command("sweep", *arguments),
            env={**environment(home), "MCL_BENCH_FAULT": f"in-ask={reached}"},
            stdout=out,
            stderr=out,
            start_new_session=True,
        ) as sweep,
    ):
        try:
            deadline = time.monotonic() + 60
            while not reached.exists():
                assert sweep.poll() is None, (home.parent / "first.txt").read_text()
                assert time.monotonic() < deadline, "the sweep did not come to an ask"
                time.sleep(0.05)
            yield sweep
        finally:
            driver = psutil.Process(sweep.pid)
            family = [*driver.children(recursive=True), driver]
            for process in family:
                if process.is_running():
                    process.kill()
            psutil.wait_procs(family, timeout=10)
