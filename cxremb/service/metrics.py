"""What the service has done, in the text format that Prometheus reads. Nothing in it is of one sender or one study."""

import threading
from collections import Counter

KIND = "text/plain; version=0.0.4; charset=utf-8"
LINES = (
    ("cxremb_batches_total", "counter", "calls of the judge, each of all studies that waited"),
    ("cxremb_studies_total", "counter", "studies that were judged or found to be no film"),
    ("cxremb_judging_seconds_total", "counter", "seconds that the judge took"),
    ("cxremb_waiting", "gauge", "studies that wait"),
)


class Metrics:
    """Counts since the start."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.answers: Counter[int] = Counter()  # by status
        self.batches = self.studies = 0
        self.seconds = 0.0

    def answered(self, status: int) -> None:
        """Count an answer to POST /predict."""
        with self.lock:
            self.answers[status] += 1

    def judged(self, studies: int, seconds: float) -> None:
        """Count a call of the judge."""
        with self.lock:
            self.batches += 1
            self.studies += studies
            self.seconds += seconds

    def text(self, waiting: int) -> str:
        """All of them."""
        with self.lock:
            values = (self.batches, self.studies, round(self.seconds, 6), waiting)
            answers = sorted(self.answers.items())
        lines = ["# HELP cxremb_answers_total answers to POST /predict", "# TYPE cxremb_answers_total counter"]
        lines += [f'cxremb_answers_total{{status="{status}"}} {n}' for status, n in answers]
        for (name, kind, means), value in zip(LINES, values, strict=True):
            lines += [f"# HELP {name} {means}", f"# TYPE {name} {kind}", f"{name} {value}"]
        return "\n".join(lines) + "\n"
