"""BERT-base over reports: this package against a plain loop, transformers' pipeline and sentence-transformers.

    python benchmarks/embed_texts.py [--reports indiana_reports.csv --vocab vocab.txt] [--rounds 3] [--texts 256]
                                     [--quick] [--out benchmarks/results/embed_texts.json]

Random weights (speed does not depend on them). Without --reports: made-up texts as long as those of IU X-ray (median
66 tokens, a twentieth above 142). The plain loop is transformers in float32, batches of 8, padded to 512; it and the
pipeline (batches of 8, padded to their longest) get only the first texts, since they are slow: rates are compared.
sentence-transformers (if installed) sorts by length and gets batches of 32, its default. Every way starts from strings
and ends with CLS vectors.
"""

import argparse
import csv
import importlib.util
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from side_by_side import HERE, take_turns, write
from transformers import BertConfig, BertModel, BertTokenizer, pipeline

from cxremb.embedding.encode import token_batches
from cxremb.encoders.base import Machine, TextEncoder, What, load_encoder
from cxremb.encoders.forward import least_cosine
from cxremb.encoders.machine import choose_machine, openvino_version, with_precision

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = [f"word{number}" for number in range(1000)]
PLAIN_TEXTS, PLAIN_BATCH = 16, 8


def read_texts(path: Path, n: int) -> list[str]:
    """Findings and impression of n studies, different ones, in an order drawn once."""
    with path.open(encoding="utf-8") as file:
        texts = sorted({f"{row['findings']} {row['impression']}".strip() for row in csv.DictReader(file)} - {""})
    return [texts[index] for index in np.random.default_rng(0).permutation(len(texts))[:n]]


def made_texts(n: int) -> list[str]:
    """As long as reports are: log-normal, fitted to the median and the 95th percentile of IU X-ray."""
    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(np.log(66), np.log(142 / 66) / 1.645, n), 3, 370).astype(int)
    return [" ".join(random.choice(WORDS, length - 2)) for length in lengths]


def plain_loop(network: BertModel, tokeniser: BertTokenizer, texts: list[str]) -> np.ndarray:
    """What a notebook does."""
    found = []
    with torch.inference_mode():
        for start in range(0, len(texts), PLAIN_BATCH):
            batch = tokeniser(
                texts[start : start + PLAIN_BATCH],
                padding="max_length",
                truncation=True,
                max_length=512,
                return_tensors="pt",
            )
            found.append(network(**batch).last_hidden_state[:, 0].numpy())
    return np.concatenate(found)


def by_pipeline(pipe: Any, texts: list[str]) -> np.ndarray:
    """As the documentation of feature extraction has it; it gives every token of each text."""
    found = pipe(texts, batch_size=PLAIN_BATCH, truncation=True, max_length=512, return_tensors=True)
    return np.stack([one[0, 0].numpy() for one in found])


def sentence_model(folder: Path) -> Any:
    """The same network in sentence-transformers, pooled by its first token; None where that is not installed."""
    if importlib.util.find_spec("sentence_transformers") is None:
        return None
    from sentence_transformers import SentenceTransformer, models

    words = models.Transformer(str(folder), max_seq_length=512)
    pooling = models.Pooling(words.get_word_embedding_dimension(), pooling_mode="cls")
    return SentenceTransformer(modules=[words, pooling], device="cpu")


def batched(encoder: TextEncoder, texts: list[str], budget: int) -> tuple[np.ndarray, int, int]:
    """(CLS vectors in the order of `texts`, tokens forwarded, real tokens), as an embed job does it."""
    lengths = [min(length, encoder.max_tokens) for length in encoder.lengths(texts)]
    vectors: dict[int, np.ndarray] = {}
    forwarded = 0
    for batch in token_batches(sorted(range(len(texts)), key=lengths.__getitem__), lengths, budget):
        vectors |= dict(zip(batch, encoder.encode([texts[index] for index in batch])["cls"], strict=True))
        forwarded += len(batch) * lengths[batch[-1]]
    return np.stack([vectors[index] for index in range(len(texts))]), forwarded, sum(lengths)


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reports", type=Path)
    parser.add_argument("--vocab", type=Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--quick", action="store_true", help="a small network and few texts: to see that it runs")
    parser.add_argument("--out", type=Path, default=HERE / "results" / "embed_texts.json")
    options = parser.parse_args()
    rounds, n = (1, 24) if options.quick else (options.rounds, options.texts)
    texts = read_texts(options.reports, n) if options.reports else made_texts(n)
    vocabulary = options.vocab.read_text(encoding="utf-8") if options.vocab else "\n".join([*SPECIAL, *WORDS])
    torch.manual_seed(0)
    layers = 1 if options.quick else 12
    network = BertModel(BertConfig(vocab_size=len(vocabulary.splitlines()), num_hidden_layers=layers)).eval()
    auto = with_precision(choose_machine(["cpu"]), "auto")
    machines = {"auto": auto}
    if not options.quick:
        machines |= {"torch bf16": Machine(precision="bf16"), "torch fp32": Machine()}
    if openvino_version() and not options.quick:
        machines |= {f"openvino {kind}": Machine(precision=kind, engine="openvino") for kind in ("bf16", "fp32")}
    with tempfile.TemporaryDirectory() as folder:
        network.save_pretrained(folder)
        (Path(folder) / "vocab.txt").write_text(vocabulary, encoding="utf-8")
        tokeniser = BertTokenizer.from_pretrained(folder, do_lower_case=False)
        encoders = {name: load_encoder(What("biobert", Path(folder)), machine) for name, machine in machines.items()}
        first = texts[:PLAIN_TEXTS]
        expected = plain_loop(network, tokeniser, first)
        agreement = {name: least_cosine([one.encode(first)["cls"]], [expected]) for name, one in encoders.items()}
        pipe = pipeline("feature-extraction", model=network, tokenizer=tokeniser, device="cpu")
        sentences = sentence_model(Path(folder))
    ways = {
        "transformers fp32, padded": (len(first), lambda: plain_loop(network, tokeniser, first)),
        "transformers, pipeline": (len(first), lambda: by_pipeline(pipe, first)),
    }
    agreement["pipeline"] = least_cosine([by_pipeline(pipe, first)], [expected])
    if sentences is not None:
        agreement["sentence-transformers"] = least_cosine([sentences.encode(first)], [expected])
        ways["sentence-transformers, encode"] = (n, lambda: sentences.encode(texts))
    budget = auto.token_budget
    ways |= {f"cxremb, {name}": (n, lambda one=one: batched(one, texts, budget)) for name, one in encoders.items()}
    _, forwarded, real = batched(encoders["auto"], texts, budget)
    found = {
        "benchmark": "embed_texts",
        "command": f"python benchmarks/embed_texts.py --rounds {rounds} --texts {n}",
        "model": f"BERT-base, {layers} layers, random weights",
        "texts": "IU X-ray findings and impression" if options.reports else "made up, as long as those of IU X-ray",
        "tokens": {"real": real, "forwarded": forwarded, "ratio": round(forwarded / real, 4), "budget": budget},
        "ways": take_turns(ways, rounds),
        "least_cosine_to_plain": {name: round(value, 6) for name, value in agreement.items()},
        "auto": [auto.precision, auto.engine, *encoders["auto"].notes],
    }
    write(options.out, found, ("torch", "transformers", "sentence-transformers", "openvino"))


if __name__ == "__main__":
    main()
