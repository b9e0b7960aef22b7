"""The folder of one sweep: its id, its lock, and the append-only files that a resume reads."""

import contextlib
import glob
import itertools
import json
import os
import secrets
import socket
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import filelock

from mcl_bench import __version__, files
from mcl_bench.records import DataError, Stage, TestGrant, TrialName, TrialRecord, UserError
from mcl_bench.spec import Experiment, dump_yaml
from mcl_bench.sweep.faults import reach
from mcl_bench.sweep.looks import Looks, read_object

APPENDED = ("looks.jsonl", "events.jsonl", "records.jsonl")
"""The files that only grow; a tail torn by a crash is cut when the sweep is opened."""

RECORDS = ("looks.jsonl", "records.jsonl", "events.jsonl")
"""What must not be lost, whatever else of a sweep is."""

AT_THE_START = (
    "experiment.yaml",
    "study.db",
    "sweep.json",
    "driver.json",
    "lock",
    "stop-request",
)
"""What a sweep's folder holds before its first trial."""


class SweepFolder:
    """`runs/sweeps/<name>`, held by one driver at a time while it is open.

    Opening it makes the sweep, with a fresh id, or finds it. The lock is the operating system's:
    it goes with the process that holds it.
    """

    def __init__(self, path: Path, *, files_at: str | None = None) -> None:
        self.path = path
        self._files = None if files_at is None else Path(files_at).expanduser().absolute()
        self._facts: dict[str, Any] = {}
        self._lock = filelock.FileLock(path / "lock", timeout=1)
        self._looks = Looks(path)
        self._made = False

    @property
    def database(self) -> str:
        """The URL of the Optuna storage in this folder."""
        return f"sqlite:///{self.path / 'study.db'}"

    @property
    def exists(self) -> bool:
        """Whether a sweep has been made here."""
        return (self.path / "sweep.json").exists()

    def next_name(self) -> str:
        """The name that this sweep takes when a new one takes its place."""
        numbers = itertools.count(1)
        names = (f"{self.path.name}.{number}" for number in numbers)
        return next(name for name in names if not (self.path.parent / name).exists())

    def retire(self, name: str) -> None:
        """Keep this folder under another name; its looks go over to the new sweep's folder.

        They are laid ready first, where `open` finds them if this process dies half-way.
        """
        looks = "".join(f"{line}\n" for line in files.read_lines(self.path / "looks.jsonl"))
        files.write_whole(self._ready / "looks.jsonl", looks)
        self.path.rename(self.path.parent / name)
        self._ready.rename(self.path)

    def open(self, experiment: Experiment) -> bool:
        """Take the lock; make the sweep or mend its files. True if it was there before.

        Raises:
            UserError: another driver holds the sweep, or the folder can't be written.
            DataError: a file of it is damaged, or its looks have been tampered with.
        """
        self._take(experiment.name)
        for name in APPENDED:
            files.mend_tail(self.path / name)
        self._made = not self.exists
        if self._made:
            self._facts = {
                "id": secrets.token_hex(4),
                "created": time.time(),
                "version": __version__,
                "digests": {},
            }
            self._write_facts()
        try:
            self.read()
            self._looks.open(self._facts.get("looks"))
        except DataError:
            self.close()
            raise
        self._seal_looks()
        return (self.path / "experiment.yaml").exists()

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Hold the lock of a sweep that is there, without opening it for a driver.

        Raises:
            UserError: a driver holds the sweep, or the folder can't be written.
            DataError: the file that says which sweep it is has been damaged.
        """
        self._take(self.path.name)
        try:
            self.read()
            yield
        finally:
            self.close()

    def read(self) -> None:
        """Read which sweep this is, without taking it.

        Raises:
            DataError: the file that says so has been damaged.
        """
        file = self.path / "sweep.json"
        try:
            self._facts = read_object(file, 1, file.read_text())
        except FileNotFoundError as error:
            raise DataError(
                f"the file that says which sweep this is has gone: {file}",
                remedy="put the file back from a copy, or start the sweep afresh with --new",
            ) from error

    def _take(self, name: str) -> None:
        """Take the lock and say who holds it."""
        try:
            if self._ready.exists() and not self.path.exists():
                self._ready.rename(self.path)
            self.path.mkdir(parents=True, exist_ok=True)
            self._lock.acquire()
            driver = {"pid": os.getpid(), "host": socket.gethostname()}
            files.write_whole(self.path / "driver.json", json.dumps(driver) + "\n")
        except filelock.Timeout as error:
            raise UserError(
                f"sweep {name} is being run by another driver ({self._holder()})",
                remedy=f"wait for it, or look at it: mcl-bench status {name}",
            ) from error
        except OSError as error:
            raise UserError(
                f"the sweep's folder {self.path} can't be written: {error.strerror}",
                remedy="set MCL_HOME to a folder that you can write to",
            ) from error

    @property
    def _ready(self) -> Path:
        """Where the next sweep of this name is laid ready while this one is being renamed."""
        return self.path.parent / f".{self.path.name}.next"

    @property
    def id(self) -> str:
        """The sweep's id: 8 hex digits, made once."""
        return str(self._facts["id"])

    @property
    def version(self) -> str:
        """The version of mcl_bench that made this sweep."""
        return str(self._facts["version"])

    def hold_digests(self, digests: Mapping[str, str]) -> None:
        """Remember digests of images and of source files, or compare them with those remembered.

        Raises:
            UserError: the images or the code are not those that this sweep was started with.
        """
        known = self._facts["digests"]
        changed = [label for label in digests if known.get(label, digests[label]) != digests[label]]
        if changed:
            lines = [
                f"  {label}: digest {known[label][:12]} -> {digests[label][:12]}"
                for label in changed
            ]
            raise UserError(
                "the images or the code are not those of the sweep's trials:\n" + "\n".join(lines),
                remedy="put the old files back, or start afresh with --new",
            )
        if not digests.items() <= known.items():
            self._facts["digests"] = {**known, **digests}
            self._write_facts()

    def kept_ids(self) -> frozenset[str]:
        """The ids of the sweeps that had this name before, and are kept under `<name>.<n>`."""
        found = self.path.parent.glob(f"{glob.escape(self.path.name)}.*/sweep.json")
        return frozenset(str(read_object(file, 1, file.read_text()).get("id")) for file in found)

    def discard(self) -> None:
        """Take away a folder that this process made, if nothing has been recorded of the sweep.

        Its first event is written when the tracker knows its id.
        """
        if not self._made or any((self.path / name).exists() for name in RECORDS):
            return
        for name in AT_THE_START:
            (self.path / name).unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # something of somebody else's lies there
            self.path.rmdir()

    @property
    def has_asked(self) -> bool:
        """Whether a trial of this sweep has ever been asked."""
        lines = files.read_lines(self.path / "events.jsonl")
        return any('"event": "ask"' in line for line in lines)

    def events(self) -> Iterator[dict[str, Any]]:
        """Every line of `events.jsonl`, in order."""
        path = self.path / "events.jsonl"
        for number, line in enumerate(files.read_lines(path), 1):
            yield read_object(path, number, line)

    def spent(self) -> dict[TrialName, tuple[float, float]]:
        """When each trial was first launched (unix seconds), and its steps' seconds so far."""
        spent: dict[TrialName, tuple[float, float]] = {}
        for event in self.events():
            if event["event"] not in {"launch", "report", "spend"}:
                continue
            name = (event["cell"], event["stage"], event["trial"])
            started, seconds = spent.get(name, (event["time"], 0.0))
            spent[name] = (started, seconds + event.get("seconds", 0.0))
        return spent

    @property
    def closed(self) -> bool:
        """Whether the last driver came to the sweep's end."""
        last = list(files.read_lines(self.path / "events.jsonl"))[-1:]
        if not last:
            return False
        event = json.loads(last[0])
        return event["event"] == "end" and event["state"] in {"budget", "complete", "failed"}

    def close(self) -> None:
        """Let the lock go."""
        self._lock.release()

    def keep(self, experiment: Experiment) -> None:
        """Write the resolved experiment file beside the records, if it is not what stands there."""
        path = self.path / "experiment.yaml"
        text = f"# sweep {self.id}\n{dump_yaml(experiment.resolved)}"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            files.write_whole(path, text)

    def event(self, event: str, **details: Any) -> dict[str, Any]:
        """Append one line to `events.jsonl`; returns what was written.

        `time` is the wall clock's, `clock` counts on whatever is done to that.
        """
        line = {"time": time.time(), "clock": time.monotonic(), "event": event, **details}
        files.append_line(self.path / "events.jsonl", line, sync=event != "report")
        return line

    def record(self, record: TrialRecord) -> None:
        """Append one trial's record; the last line of a trial wins."""
        files.append_line(self.path / "records.jsonl", record.to_json())

    def records(self) -> Iterator[TrialRecord]:
        """Every record line, in the order written."""
        path = self.path / "records.jsonl"
        for number, line in enumerate(files.read_lines(path), 1):
            read_object(path, number, line)
            try:
                yield TrialRecord.from_json(line)
            except (TypeError, KeyError) as error:
                raise DataError(
                    f"damaged: it is no record of a trial: {error}",
                    place=f"{path}:{number}",
                    remedy="put the file back from a copy, or start the sweep afresh with --new",
                ) from error

    def look(self, *, cell: str, key: str, seed: int, of: int | None) -> TestGrant:
        """Write down a look at test, once for its cell, key and seed; returns what opens test."""
        reach("before-look")
        grant = self._looks.look(cell=cell, key=key, seed=seed, of=of)
        reach("before-seal")
        self._seal_looks()
        return grant

    def granted(self, grant: TestGrant) -> bool:
        """Whether this grant's look is the one written down."""
        return self._looks.granted(grant)

    @property
    def files(self) -> Path:
        """What every node that runs trials can see: here, or where the experiment says."""
        return self.path if self._files is None else self._files / f"{self.path.name}@{self.id}"

    @property
    def stop_file(self) -> Path:
        """The file that says stop to running trials, while it exists."""
        return self.files / "stop"

    @property
    def stop_request(self) -> Path:
        """The file by which another process asks this sweep's driver to end."""
        return self.path / "stop-request"

    def trial(self, cell: str, stage: Stage, number: int) -> Path:
        """The folder of one trial."""
        return self.files / "trials" / cell / f"{stage}-{number}"

    def _seal_looks(self) -> None:
        """Keep the ledger's seal beside it, if it is another."""
        if self._facts.get("looks") != self._looks.sealed:
            self._facts["looks"] = self._looks.sealed
            self._write_facts()

    def _write_facts(self) -> None:
        files.write_whole(self.path / "sweep.json", json.dumps(self._facts) + "\n")

    def _holder(self) -> str:
        try:
            held = json.loads((self.path / "driver.json").read_text())
        except FileNotFoundError:
            return "just started"
        return f"process {held['pid']} on {held['host']}"


def recorded_digests(path: Path) -> Mapping[str, str]:
    """The digest of each data label's images, as the sweep in this folder was started with.

    Raises:
        DataError: the file that says so has been damaged.
    """
    file = path / "sweep.json"
    digests: Mapping[str, str] = read_object(file, 1, file.read_text())["digests"]
    return digests
