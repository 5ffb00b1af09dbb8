"""What the loaded models of a run do with files and ids, be they heads on vectors or networks from pixels."""

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, cast

from cxremb.inference.cases import read_cases
from cxremb.inference.choice import ready
from cxremb.inference.judge import Judge, judge_of, judged
from cxremb.inference.results import Judgements
from cxremb.inference.rows import rows_of
from cxremb.types import Progress, unwatched

if TYPE_CHECKING:
    from cxremb.training.bundle import Bundle
    from cxremb.training.pixels.predict import Networks


class OnFiles:
    """What both kinds have beside their own `predict`, which takes vectors or pixels."""

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
        given = read_cases(listed, report_text, [self.judge.model.dataset])
        return judged(self.judge, given, rows_of(self.judge.model, given, progress=progress), neighbours=neighbours)

    @cached_property
    def judge(self) -> Judge:
        """The run with its data set, stores and scales, kept from one call to the next."""
        return judge_of(ready(cast("Bundle | Networks", self), "the run that was named"))
