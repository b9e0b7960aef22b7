"""One training: an iterator of epochs that can be stopped anywhere and go on bit for bit."""

import json
import logging
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from itertools import chain
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from mcl_bench import data
from mcl_bench.losses import Mixed, ObjectiveTerms, Outputs, build_objective
from mcl_bench.records import WEIGHTS, EpochRecord, Report, TrialConfig, Word
from mcl_bench.spec import named_seed, trial_spec
from mcl_bench.training.answers import write_answers
from mcl_bench.training.channels import ChannelReport
from mcl_bench.training.checkpoint import (
    Checkpoint,
    installed_versions,
    read_checkpoint,
    write_checkpoint,
    write_weights,
)
from mcl_bench.training.epoch import Diverged, EpochSums
from mcl_bench.training.evaluation import Evaluation, Watch, evaluate
from mcl_bench.training.inputs import open_inputs
from mcl_bench.training.models import build_network
from mcl_bench.training.optimisation import build_optimizer, lr_factor, set_lr
from mcl_bench.training.pieces import joined, pieces_of
from mcl_bench.training.precision import Precision
from mcl_bench.training.spent import Spent
from mcl_bench.training.usage import Usage

log = logging.getLogger(__name__)

Control = Callable[[], Word]
"""Asked between batches: go on, write a checkpoint, or write one and leave."""


class Interrupted(Exception):
    """A training was told to leave; `checkpoint` is where it can be taken up."""

    def __init__(self, checkpoint: Path) -> None:
        super().__init__(f"left, to be taken up from {checkpoint}")
        self.checkpoint = checkpoint

    def __reduce__(self) -> tuple[Any, ...]:
        return (Interrupted, (self.checkpoint,))


def always_go() -> Word:
    """The word of a control that never interrupts."""
    return "go"


class Training(Iterator[EpochRecord]):
    """One training of one configuration with one seed: yields a record per epoch.

    `records` are those so far, the ones out of `checkpoint` included; `spent` tells what the time
    since it was opened went to. With a checkpoint the training goes on where it was written, and
    leaves the same tensors and, but for times and `system/*`, the same records as one that never
    stopped (on one build of torch, on a CPU).

    It sets torch's number of threads and seeds its global generator: one at a time in a process.

    Raises ValueError where stage and grant do not fit, DataError where a packed file is missing,
    CheckpointError for a checkpoint that is not this trial's; while iterating, Diverged for a loss
    that is not finite, before that epoch's record, and Interrupted when told to leave.
    """

    def __init__(
        self,
        config: TrialConfig,
        checkpoint: Path | None = None,
        *,
        control: Control = always_go,
    ) -> None:
        torch.set_num_threads(config.threads)
        self.config = config
        self.spec = trial_spec(dict(config.settings))
        self.records: list[EpochRecord] = []
        self._control = control
        self._device = torch.device(config.device)
        self._precision = Precision(name=self.spec.train.precision, device_type=self._device.type)
        self._inputs = open_inputs(config, self.spec, device=self._device)
        network = build_network(
            self.spec.model, len(self._inputs.classes), seed=named_seed(config.seed, "init")
        )
        self.network = network.to(self._device)
        torch.manual_seed(named_seed(config.seed, "loss"))
        self._mask_generator = torch.Generator()
        self._mask_generator.manual_seed(named_seed(config.seed, "mask"))
        self.objective = build_objective(
            self.spec.loss,
            groups=network.groups,
            embedding_size=network.head.embedding_size,
            class_weights=self._inputs.class_weights,
            generator=self._mask_generator,
        ).to(self._device)
        self.optimizer = build_optimizer(
            self.spec.train.optimizer, network=self.network, objective=self.objective
        )
        self._sums = EpochSums(epoch=1, device_type=self._device.type)
        self._usage = Usage(self._device)
        self._mark: float | None = None
        self._closed = False
        self.spent = Spent()
        if checkpoint is not None:
            self._restore(read_checkpoint(checkpoint, key=config.key))
            self.spent = Spent(carried=self._sums.seconds)

    @property
    def finished(self) -> bool:
        """True once every epoch has its record."""
        return len(self.records) == self.spec.train.epochs

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> EpochRecord:
        if self._closed or self.finished:
            raise StopIteration
        self._mark = time.perf_counter()
        try:
            self._train_epoch()
            record = self._finish_epoch()
        except (Diverged, Interrupted):
            self.close()
            raise
        self._mark = None
        self.records.append(record)
        self._sums = EpochSums(epoch=record.epoch + 1, device_type=self._device.type)
        return record

    def close(self) -> None:
        """End the training; it yields no more. Closing twice does nothing."""
        self._closed = True

    def write_checkpoint(self) -> Path:
        """Write `checkpoint.pt` into the trial's folder, at an epoch's end or in its middle."""
        self._count_seconds()
        generators = {"torch": torch.get_rng_state(), "mask": self._mask_generator.get_state()}
        if self._device.type == "cuda":
            generators["cuda"] = torch.cuda.get_rng_state(self._device)
        path = Path(self.config.folder) / "checkpoint.pt"
        write_checkpoint(
            path,
            Checkpoint(
                key=self.config.key,
                versions=installed_versions(),
                sums=self._sums.to_dict(),
                records=[record.to_dict() for record in self.records],
                network=self.network.state_dict(),
                objective=self.objective.state_dict(),
                optimizer=self.optimizer.state_dict(),
                generators=generators,
            ),
        )
        return path

    def _restore(self, checkpoint: Checkpoint) -> None:
        versions = installed_versions()
        if dict(checkpoint.versions) != versions:
            log.warning(
                "%s goes on with %s from a checkpoint of %s: the numbers may differ",
                self.config.id,
                versions,
                checkpoint.versions,
            )
        self.network.load_state_dict(checkpoint.network)
        self.objective.load_state_dict(checkpoint.objective)
        self.optimizer.load_state_dict(dict(checkpoint.optimizer))
        torch.set_rng_state(checkpoint.generators["torch"])
        self._mask_generator.set_state(checkpoint.generators["mask"])
        if self._device.type == "cuda":
            torch.cuda.set_rng_state(checkpoint.generators["cuda"], self._device)
        self.records = [EpochRecord(**record) for record in checkpoint.records]
        self._sums = EpochSums.from_dict(checkpoint.sums, device_type=self._device.type)
        if self.finished and self._inputs.test is not None:
            # The checkpoint may come from another lease, whose folder keeps the answers.
            self._judge_on_test()
        if self.finished and self.config.keep_weights:
            self._write_weights()

    def _write_weights(self) -> None:
        path = Path(self.config.folder) / WEIGHTS
        words = {
            "settings": json.dumps(dict(self.config.settings), ensure_ascii=False),
            "classes": json.dumps(self._inputs.classes, ensure_ascii=False),
        }
        write_weights(path, words, network=self.network, objective=self.objective)

    def _obey(self) -> None:
        word = self._control()
        if word == "go":
            return
        path = self.write_checkpoint()
        if word == "leave":
            raise Interrupted(path)

    def _count_seconds(self) -> None:
        if self._mark is None:
            return
        now = time.perf_counter()
        self._sums.seconds += now - self._mark
        self._mark = now

    def _train_epoch(self) -> None:
        self.network.train()
        self.objective.train()
        epoch = self._inputs.train.epoch(self._sums.epoch - 1, start=self._sums.steps)
        with closing(epoch) as batches:
            while True:
                self._obey()
                asked = time.perf_counter()
                batch = next(batches, None)
                waited = time.perf_counter() - asked
                self._sums.wait_seconds += waited
                self.spent.wait += waited
                if batch is None:
                    return
                self._step(batch)

    def _step(self, batch: data.Batch) -> None:
        steps_per_epoch = len(self._inputs.train)
        factor = lr_factor(
            self.spec.train.schedule,
            step=(self._sums.epoch - 1) * steps_per_epoch + self._sums.steps,
            steps_per_epoch=steps_per_epoch,
            epochs=self.spec.train.epochs,
        )
        set_lr(self.optimizer, factor)
        pieces = pieces_of(batch, self.spec.train.micro_batches)
        shares = [len(piece.target) / len(batch.target) for piece in pieces]
        self.optimizer.zero_grad()
        seen = [self._descend(*both) for both in zip(pieces, shares, strict=True)]
        self.optimizer.step()
        with torch.no_grad():
            correct = torch.stack(
                [
                    (self.objective.logits(output).argmax(1) == _shown(piece)).sum()
                    for piece, (output, _) in zip(pieces, seen, strict=True)
                ]
            ).sum()
        terms = joined([terms for _, terms in seen], shares)
        self._sums.add(terms, correct=correct, images=len(batch.target))

    def _descend(self, piece: data.Batch, share: float) -> tuple[Outputs, ObjectiveTerms]:
        """Add a piece's share of the batch's gradient; its outputs and terms, whose graph is gone.

        The step's gradient is the mean over the batch of what each image adds to its piece's loss.
        """
        with self._precision.autocast():
            output: Outputs = self.network(piece.images)
        output = output.full()
        terms = self._loss(output, piece)
        (share * terms.total).backward()  # type: ignore[no-untyped-call]
        told = {name: part.detach() for name, part in terms.parts.items()}
        terms = ObjectiveTerms(total=terms.total.detach(), parts=told)
        return Outputs(*(value.detach() for value in output)), terms

    def _loss(self, output: Outputs, batch: data.Batch) -> ObjectiveTerms:
        terms: ObjectiveTerms
        if batch.mix is None:
            terms = self.objective(output, batch.target)
        else:
            mixed = Mixed(target=batch.mix.target, share=batch.mix.share)
            terms = self.objective(output, batch.target, mixed)
        return terms

    def _finish_epoch(self) -> EpochRecord:
        epoch = self._sums.epoch
        last = epoch == self.spec.train.epochs
        scores = self._validation_scores() | self._test_scores(last=last)
        if last and self.config.keep_weights:
            self._write_weights()
        self._count_seconds()
        return EpochRecord(
            epoch=epoch,
            timestamp_ms=time.time_ns() // 1_000_000,
            metrics=self._sums.metrics() | self._usage.metrics() | scores,
            last=last,
        )

    def _evaluate(
        self, batches: data.Batches, name: str, *, watch: Watch | None = None
    ) -> Evaluation:
        self.objective.eval()
        with self.spent.evaluating():
            evaluation = evaluate(
                self.network,
                batches,
                logits_of=self.objective.logits,
                precision=self._precision,
                between=self._obey,
                head=self.network.head,
                watch=watch,
            )
        if not torch.tensor(evaluation.loss).isfinite():
            raise Diverged(f"{name}/loss", epoch=self._sums.epoch, step=self._sums.steps)
        return evaluation

    def _validation_scores(self) -> dict[str, float]:
        if self._inputs.validation is None:
            return {}
        found = self._evaluate(self._inputs.validation, "val")
        scores = _accuracies("val", found) | {"val/loss": found.loss}
        if self._inputs.test is None:
            scores |= found.channels.metrics("channels")
        return scores | self._best(found.top1)

    def _best(self, val_top1: float) -> dict[str, float]:
        """The best epoch so far by val/top1, ties to the earlier: recorded, never used."""
        epoch = self._sums.epoch
        if self.records and self.records[-1].metrics["best/val/top1"] >= val_top1:
            before = self.records[-1].metrics
            return {"best/val/top1": before["best/val/top1"], "best/epoch": before["best/epoch"]}
        return {"best/val/top1": val_top1, "best/epoch": float(epoch)}

    def _test_scores(self, *, last: bool) -> dict[str, float]:
        gap = self.spec.confirm.gap
        if self._inputs.test is None or not (last or gap):
            return {}
        if last:
            found, scores = self._judge_on_test()
        else:
            found, scores = self._evaluate(self._inputs.test, "test"), {}
        if gap:
            scores |= {"gap/top1": found.top1} | found.channels.metrics("gap/channels")
        return scores

    def _judge_on_test(self) -> tuple[Evaluation, dict[str, float]]:
        """The trained network on test, and its scores; what it said is left in the folder."""
        images, batches = self._inputs.test_images, self._inputs.test
        assert images is not None, "test is opened with its batches"
        assert batches is not None, "test is judged on where it is granted"
        classes, folder = self._inputs.classes, Path(self.config.folder)
        crop = self.spec.data.crop
        assert crop is not None, "a trial's crop is resolved"
        report = ChannelReport(images, crop=crop, classes=classes, groups=self.network.groups)
        found = self._evaluate(batches, "test", watch=report.add)
        write_answers(folder, found, ids=images.ids, classes=classes)
        scores = _accuracies("test", found) | found.channels.metrics("channels")
        return found, scores | report.write(folder, found.channels, predicted_N=found.predicted_N)


def _shown(batch: data.Batch) -> Tensor:
    """The class that most of each image shows, which is what train/top1 counts."""
    if batch.mix is None or batch.mix.share >= 0.5:
        return batch.target
    return batch.mix.target


def _accuracies(split: str, found: Evaluation) -> dict[str, float]:
    return {
        f"{split}/top1": found.top1,
        f"{split}/top5": found.top5,
        f"{split}/macro_top1": found.macro_top1,
    }


def run_trial(
    config: TrialConfig,
    report: Report,
    *,
    checkpoint: Path | None = None,
    control: Control = always_go,
) -> EpochRecord:
    """Train in this process and return the last record; stops early when `report` says so.

    The records out of `checkpoint` are reported again first. Raises what Training raises.
    """
    training = Training(config, checkpoint, control=control)
    try:
        for record in chain(tuple(training.records), training):
            if report(record) == "stop":
                return record
    finally:
        training.close()
    return training.records[-1]
