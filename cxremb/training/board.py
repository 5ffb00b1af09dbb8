"""The history of a run for TensorBoard. An extra: nothing else needs it."""

from importlib.util import find_spec
from pathlib import Path

from cxremb.errors import TrainError
from cxremb.training.runs import Run

FIGURES = ("loss", "accuracy", "precision", "recall", "f1")


def check_board() -> None:
    """Raises `TrainError` if TensorBoard is not installed."""
    if find_spec("tensorboard") is None:
        raise TrainError("TensorBoard is not installed", hint='pip install "cxremb[tensorboard]"')


def write_board(run: Run, folder: Path) -> None:
    """The figures of every epoch as scalars: one line per model and phase, under `folder`/run id/model/phase.

    An undefined figure has no point. Raises `TrainError` if TensorBoard is not installed or `folder` not writable.
    """
    check_board()
    from torch.utils.tensorboard import SummaryWriter

    rows = run.history.to_pylist()
    for one in run.record.members:
        own = [row for row in rows if all(row[name] == getattr(one, name) for name in ("repeat", "fold", "seed"))]
        for phase in dict.fromkeys(row["phase"] for row in own):
            try:
                writer = SummaryWriter(str(folder / run.run_id / one.name / phase))
            except OSError as error:
                raise TrainError(f"{folder}: cannot be written ({error})", hint="name another folder") from error
            with writer:
                for row in own:
                    for name in FIGURES:
                        if row["phase"] == phase and row[name] is not None:
                            writer.add_scalar(name, row[name], row["epoch"])
