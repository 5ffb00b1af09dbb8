"""One target tried for some seconds, in a process of its own: `python -m fuzz_steps.worker TARGET FOLDER SECONDS SEED`.

atheris (libFuzzer) chooses the inputs by the branches that they reach in cxremb, Pillow and pydicom, as far as these
are Python. Whatever is found is kept once for each place where it was raised, and the search goes on; a crash of a
library of C, a hang or too much memory ends the process, with the input beside it.
"""

import json
import logging
import sys
import time
import traceback
import warnings
from dataclasses import dataclass, field
from pathlib import Path

import atheris
import numpy as np

with atheris.instrument_imports(include=["cxremb", "PIL", "pydicom", "fuzz_steps.targets"]):
    from fuzz_steps import seeds, targets

OFTEN = 5.0  # seconds between two reports
SLOWEST = 70  # seconds for one input: films are given up after 60
MEMORY_MB = 6_000
LONGEST = 1 << 16  # bytes of an input


@dataclass
class Trial:
    """One target, what it has been given and what was found."""

    target: targets.Target
    place: targets.Place
    folder: Path
    seconds: float
    began: float = field(default_factory=time.monotonic)
    executions: int = 0
    reported: float = 0.0
    found: dict[str, str] = field(default_factory=dict)  # where -> the file of the input

    def __call__(self, content: bytes) -> None:
        """Try one input."""
        self.executions += 1
        try:
            self.target.check(self.place, content)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException as error:
            self.keep(content, error)
        now = time.monotonic()
        if now - self.reported > OFTEN or now - self.began > self.seconds:
            self.report(now)

    def keep(self, content: bytes, error: BaseException) -> None:
        """The input, if nothing was found at that place before."""
        frames = traceback.extract_tb(error.__traceback__)
        ours = [one for one in frames if "/cxremb/" in one.filename] or frames
        where = f"{type(error).__name__} in {Path(ours[-1].filename).name}:{ours[-1].name}: {ours[-1].line}"
        if where not in self.found:
            self.found[where] = f"found-{len([*self.folder.glob('found-*.txt')])}"
            (self.folder / self.found[where]).write_bytes(content)
            text = "".join(traceback.format_exception(error))
            (self.folder / f"{self.found[where]}.txt").write_text(text, encoding="utf-8", errors="replace")

    def report(self, now: float) -> None:
        """How far it has come, for whoever started this."""
        self.reported = now
        (self.folder / "report.json").write_text(
            json.dumps({"executions": self.executions, "seconds": round(now - self.began, 1), "found": self.found})
        )


def main() -> None:
    """Try the target until its time is up."""
    name, folder, seconds, seed = sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])
    logging.disable()
    warnings.simplefilter("ignore")
    place = targets.Place(folder, folder / "root")
    target = targets.TARGETS[name]
    corpus = folder / "corpus"
    corpus.mkdir(exist_ok=True)
    for number, content in enumerate(seeds.seeds(name, place.root)):
        (corpus / f"seed-{number}").write_bytes(content)

    def mutate(content: bytes, longest: int, seed: int) -> bytes:
        random = np.random.default_rng(seed)
        if random.random() < 0.15:
            return atheris.Mutate(content, longest)
        return targets.changed_json(content, random, target.mend)[:longest]

    options = {"custom_mutator": mutate} if target.json else {}
    words = [f"-max_total_time={seconds:.0f}", f"-timeout={SLOWEST}", f"-rss_limit_mb={MEMORY_MB}", f"-seed={seed}"]
    words += [f"-artifact_prefix={folder}/", f"-max_len={LONGEST}", "-use_value_profile=1", "-verbosity=0"]
    trial = Trial(target, targets.Place(folder, place.root), folder, seconds)
    atheris.Setup([sys.argv[0], *words, str(corpus)], trial, **options)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
