"""Studies that wait are judged together: one thread takes up all that have come in meanwhile.

Films are encoded in one call, which is what costs; then each study is judged by itself, so that no answer depends on
who asked at the same time.
"""

from __future__ import annotations

import logging
import queue
import threading
import time
from collections.abc import Sequence
from concurrent.futures import Future
from dataclasses import replace
from typing import Any

from cxremb.errors import CxrembError, DataError
from cxremb.inference.cases import Given
from cxremb.inference.judge import Judge, judged
from cxremb.inference.rows import InputRows, rows_of
from cxremb.service.metrics import Metrics
from cxremb.service.study import SentStudy

remarks = logging.getLogger("cxremb")

TOGETHER = 32  # studies in one call, at most
ENDING_SECONDS = 5  # that a call under way has when the service ends
Answered = dict[str, Any] | CxrembError
Job = tuple[SentStudy, "Future[Answered]"]


class Full(Exception):
    """As many studies wait as may, or the service ends."""


class Unable(CxrembError):
    """The run can judge nothing any more: its store or its weights have gone, or there is a fault in cxremb."""


class Batches:
    """The queue, and the thread that empties it."""

    def __init__(self, judge: Judge, *, waiting: int, neighbours: int, metrics: Metrics) -> None:
        self.judge, self.neighbours, self.metrics = judge, neighbours, metrics
        self.waiting: queue.Queue[Job | None] = queue.Queue(waiting)
        self.thread = threading.Thread(target=self.work, name="judge", daemon=True)
        self.ended = False

    def start(self) -> None:
        """Begin to judge."""
        self.thread.start()

    @property
    def full(self) -> bool:
        """Whether one more study would be turned away."""
        return self.ended or self.waiting.full()

    def submit(self, study: SentStudy) -> Future[Answered]:
        """What will become of a study. Raises `Full`."""
        future: Future[Answered] = Future()
        if self.ended:
            raise Full
        try:
            self.waiting.put_nowait((study, future))
        except queue.Full:
            raise Full from None
        return future

    def end(self) -> None:
        """Judge no more: what still waits is turned away."""
        self.ended = True
        while True:
            try:
                job = self.waiting.get_nowait()
            except queue.Empty:
                break
            if job is not None and job[1].set_running_or_notify_cancel():
                job[1].set_exception(Full())
        self.waiting.put(None)
        self.thread.join(ENDING_SECONDS)

    def work(self) -> None:
        """Judge until the end."""
        while (first := self.waiting.get()) is not None:
            jobs, last = [first], False
            while len(jobs) < TOGETHER and not last:
                try:
                    job = self.waiting.get_nowait()
                except queue.Empty:
                    break
                if job is None:
                    last = True
                else:
                    jobs.append(job)
            self.answer(jobs)
            if last:
                return

    def answer(self, jobs: Sequence[Job]) -> None:
        """Judge these studies in one call; one by one where that fails, so that none fails for another."""
        start = time.perf_counter()
        try:
            answers = judge_studies(self.judge, [study for study, _ in jobs], neighbours=self.neighbours)
        except Exception as error:
            if len(jobs) > 1:
                for job in jobs:
                    self.answer([job])
                return
            answers = [unable(error)]
        self.metrics.judged(len(jobs), time.perf_counter() - start)
        for (_, future), answer in zip(jobs, answers, strict=True):
            if future.set_running_or_notify_cancel():  # else nobody waits for it any more
                future.set_result(answer)


def unable(error: Exception) -> Unable:
    """What is said of an error that is not the sender's. Who runs the service reads what it is, not what was sent.

    The one broad `except` of the service ends here: an error of one study must not end the thread of all.
    """
    known = f"{error} ({error.hint})" if isinstance(error, CxrembError) else f"{type(error).__name__} in cxremb"
    remarks.error("a study could not be judged: %s", known)
    return Unable("the run cannot judge this now", hint="tell who runs the service; its terminal says what is wrong")


def judge_studies(judge: Judge, studies: Sequence[SentStudy], *, neighbours: int) -> list[Answered]:
    """What is said of each study: the answer, or a `DataError` where nothing of it could be judged."""
    cases = [case for study in studies for case in study.given.cases]
    rows = rows_of(judge.model, Given(cases))
    places = {case.name: place for place, case in enumerate(cases)}
    answers: list[Answered] = []
    for study in studies:
        mine = InputRows(
            study.given.cases,
            [replace(row, case=0) for row in rows.rows if row.case == places.get(study.name)],
            [one for one in rows.failed if study.owns(one.name)],
            {0: rows.notes[places[study.name]]} if places.get(study.name) in rows.notes else {},
        )
        failed = [*study.given.failed, *mine.failed]
        if mine.rows:
            found = judged(judge, study.given, mine, neighbours=neighbours)
            answers.append(study.answer(found, judge.model.dataset.paths.root))
        else:
            reasons = "; ".join(map(study.reason, failed))
            reads = " and ".join({"image": "films", "text": "a report"}[one] for one in judge.model.reads)
            hint = rows.hints.get(places.get(study.name, -1)) or f"this service reads {reads}"
            answers.append(DataError(f"nothing could be judged: {reasons}", hint=hint))
    return answers
