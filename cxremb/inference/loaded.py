"""A loaded run that takes films and reports too, not vectors alone."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from cxremb.inference.cases import read_cases
from cxremb.inference.choice import ready
from cxremb.inference.judge import Judge, judge_of, judged
from cxremb.inference.results import Judgements
from cxremb.inference.rows import rows_of
from cxremb.training.bundle import Bundle, load_bundle
from cxremb.training.runs import dataset_of
from cxremb.types import Progress, unwatched


@dataclass(frozen=True)
class LoadedRun(Bundle):
    """The models of a run, and its data set and stores behind them."""

    def predict_files(
        self,
        files: str | Path | Sequence[str | Path] = (),
        *,
        report_text: str | None = None,
        neighbours: int = 5,
        progress: Progress = unwatched,
    ) -> Judgements:
        """As `cxremb.predict` with this run. Ids are those of its own data set."""
        listed = [files] if isinstance(files, str | Path) else files
        given = read_cases(listed, report_text, [dataset_of(self.run)])
        return judged(self.judge, given, rows_of(self.judge.model, given, progress=progress), neighbours=neighbours)

    @cached_property
    def judge(self) -> Judge:
        """It with all that it needs, kept from one call to the next."""
        return judge_of(ready(self, "the run that was named"))


def load_run(folder: Path) -> LoadedRun:
    """The models of the run in `folder`. Raises as `load_bundle`."""
    return LoadedRun(**vars(load_bundle(folder)))
