"""Simulated chest films ("phantoms"): no patient stood before them, and no clinical conclusion may be drawn.

Why: the IU X-ray images may not be shipped and no data host can be relied on, so demonstrations and tests draw a
film for each study and view instead, from the study's indexing terms (`study.terms["mesh"]`).

What is drawn: a thorax whose habitus, heart size, inspiration, age and exposure vary from patient to patient, so that
classes overlap (`anatomy`); on it what the terms name (`findings`, whose table `KINDS` says which term draws what):
heart and aorta, inflation and diaphragm, the spine, opacities, bands, effusions, nodules, calcium, oedema, catheters,
pulse generators, clips, fractures, at the side, height and strength that the term gives (`marks`). Then what any film
shows (`film`): posture, collimation, a side marker, the tone curve, mottle, now and then a button or a lead.
`files` writes them.

How hard: more than a quarter of the findings are drawn next to invisibly, and some terms draw nothing. Strengths were
set so that heads on a frozen ImageNet encoder (EfficientNet-Lite1) tell normal from abnormal films of the IU X-ray
reports with an AUROC of 0.70 to 0.80. Nothing else is calibrated.
"""

from cxremb.datasets.phantoms.files import write_films
from cxremb.datasets.phantoms.film import draw_film

__all__ = ["draw_film", "write_films"]
