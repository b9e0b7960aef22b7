"""How trials end: the record of each, written everywhere, and what the plan is told of it."""

from mcl_bench.records import TrialRecord, TrialState
from mcl_bench.spec import Experiment
from mcl_bench.sweep.book import Book
from mcl_bench.sweep.plan import COMPLETE, Plan, Standing
from mcl_bench.sweep.settings import cell_words, installed
from mcl_bench.sweep.trials import Running, trial_record


class Ends:
    """Ends the trials of one sweep."""

    def __init__(self, experiment: Experiment, *, book: Book, plan: Plan) -> None:
        self._sweep = experiment.name
        self._words = {cell.id: cell_words(cell) for cell in experiment.cells}
        self._metric = experiment.spec.search.metric
        self._versions = installed()
        self._book = book
        self._plan = plan

    def finish(
        self,
        running: Running,
        state: TrialState,
        *,
        cause: str | None = None,
        twin: TrialRecord | None = None,
    ) -> TrialRecord:
        """End a trial in this state; a duplicate takes the values of its `twin`."""
        record = trial_record(
            running,
            sweep=self._sweep,
            cell=self._words[running.cell],
            metric=self._metric if running.stage == "search" else "test/top1",
            state=state,
            cause=cause,
            twin=twin,
            versions=self._versions,
        )
        self._book.finish(running, record)
        self._stand(running, record)
        return record

    def finish_again(self, running: Running, record: TrialRecord) -> None:
        """Do what follows from the record of a trial whose driver died over it."""
        self._book.tell(running, record)
        self._stand(running, record)

    def _stand(self, running: Running, record: TrialRecord) -> None:
        """Tell the plan how a trial ended."""
        value = record.value if record.state in COMPLETE else None
        standing = Standing(outcome=record.state, value=value)
        if running.of is None:
            self._plan.searched(running.cell, running.number, standing)
        else:
            self._plan.confirmed(running.cell, running.of, running.k, standing)
