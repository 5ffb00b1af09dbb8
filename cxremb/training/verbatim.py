"""What a model may know by heart: test rows whose text stands word for word in train. Stock phrases are such texts."""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from cxremb.predictions import Predictions
from cxremb.splits.group import repeated_texts
from cxremb.store.texts import edited, report_texts
from cxremb.training.parts import Parts
from cxremb.training.plan import FitJob


def in_train(job: FitJob, rows: Predictions, parts: Mapping[tuple[int, int], Parts]) -> NDArray[np.bool_] | None:
    """(n,) whether each row's text, as the arm reads it, is that of a row of train in its fold; None if it reads none.

    parts: (repeat, fold) -> the part of each row of the features. Case, white space and punctuation do not count. None
    too where texts or labels are shuffled, texts are taken away when it is tested, or few rows are learnt from (shots).
    """
    features = job.features
    if "text" not in job.blocks or features.text is None or job.shuffles or job.shots or job.missing == "text":
        return None
    codes = text_codes(job, features.study_ids.tolist())
    of_study = dict(zip(features.study_ids.tolist(), codes.tolist(), strict=True))
    own = np.array([of_study[study] for study in rows.studies.tolist()], dtype=np.int64)
    found = np.zeros(len(own), dtype=bool)
    for (repeat, fold), part in parts.items():
        here = (rows.repeat == repeat) & (rows.fold == fold)
        found[here] = np.isin(own[here], codes[part == "train"])
    return found & (own >= 0)


def text_codes(job: FitJob, studies: Sequence[str]) -> NDArray[np.int64]:
    """(n,) equal for studies of equal text; -1 where no other study has it."""
    features = job.features
    written = {
        study: edited(text, features.xxxx)
        for study, name, text in report_texts(job.dataset.reports)
        if name == features.text
    }
    known = list(dict.fromkeys(studies))
    texts = repeated_texts([written.get(study, "") for study in known])
    number = {text: code for code, text in enumerate(dict.fromkeys(filter(None, texts)))}
    of_study = {study: number.get(text, -1) for study, text in zip(known, texts, strict=True)}
    return np.array([of_study[study] for study in studies], dtype=np.int64)
