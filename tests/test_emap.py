"""EMAP: an additive model is its own projection, and exclusive-or has none better than chance."""

import numpy as np
import pytest

from cxremb.errors import DataError
from cxremb.evaluation.emap import emap, interaction_share
from cxremb.evaluation.ranking import auroc


def network(seed: int, n: int, outputs: int = 2):
    """Logits of all pairings of a small network on image and text vectors."""
    rng = np.random.default_rng(seed)
    image, text = rng.standard_normal((n, 5)), rng.standard_normal((n, 3))
    first, second, out = rng.standard_normal((5, 8)), rng.standard_normal((3, 8)), rng.standard_normal((8, outputs))
    return lambda images, texts: np.maximum((image @ first)[images, None] + (text @ second)[None, texts], 0) @ out


@pytest.mark.parametrize("block", [1, 7, 40, 1000])
def test_equal_to_the_definition(block):
    n, pairs = 40, network(0, 40)
    table = np.array([[pairs(np.array([i]), np.array([j]))[0, 0] for j in range(n)] for i in range(n)])
    expected = [table[i].mean(axis=0) + table[:, i].mean(axis=0) - table.mean(axis=(0, 1)) for i in range(n)]
    found = emap(pairs, n, block=block)
    assert found.additive == pytest.approx(np.array(expected))
    assert found.actual == pytest.approx(np.array([table[i, i] for i in range(n)]))
    assert (found.rows.tolist(), found.note) == (list(range(n)), "")


def test_it_is_the_best_additive_fit_of_all_pairings():
    n, pairs = 30, network(1, 30, 1)
    table = pairs(np.arange(n), np.arange(n))[:, :, 0]
    design = np.array([[*np.eye(n)[i], *np.eye(n)[j]] for i in range(n) for j in range(n)])
    fit = np.linalg.lstsq(design, table.ravel(), rcond=None)[0]
    assert emap(pairs, n).additive[:, 0] == pytest.approx(fit[:n] + fit[n:])


def test_an_additive_model_equals_itself():
    rng = np.random.default_rng(0)
    image, text = rng.standard_normal((200, 3)), rng.standard_normal((200, 3))
    found = emap(lambda i, t: np.sin(image)[i, None] + (text**3)[None, t], 200)
    assert found.additive == pytest.approx(found.actual)


def test_exclusive_or_collapses_to_chance():
    rng = np.random.default_rng(0)
    image, text = rng.choice([-1.0, 1.0], (2, 1000))
    y = image * text > 0
    found = emap(lambda i, t: (image[i, None] * text[None, t])[:, :, None], 1000)
    assert auroc(y, found.actual[:, 0]) == 1.0
    additive = auroc(y, found.additive[:, 0])
    assert abs(additive - 0.5) < 0.05
    assert interaction_share(1.0, additive, 0.5) == pytest.approx(1, abs=0.1)


def test_too_many_rows_are_drawn_and_told():
    asked = []

    def pairs(images, texts):
        asked.append((len(images), len(texts)))
        return (images[:, None] * 1.0 + texts[None])[:, :, None]

    found = emap(pairs, 5000, block=128, most=300, seed=4)
    assert set(asked) == {(128, 300), (44, 300)}
    assert len(set(found.rows.tolist())) == 300
    assert found.rows.tolist() == sorted(found.rows.tolist()) == emap(pairs, 5000, most=300, seed=4).rows.tolist()
    assert found.rows.tolist() != emap(pairs, 5000, most=300, seed=5).rows.tolist()
    assert found.note == "300 of 5,000 rows, drawn with seed 4: all pairings of more would take too long"
    assert found.actual[:, 0] == pytest.approx(2.0 * found.rows)


def test_shares():
    assert interaction_share(0.9, 0.85, 0.8) == pytest.approx(0.5)
    assert interaction_share(0.9, 0.9, 0.8) == 0
    assert interaction_share(0.8, 0.8, 0.8) is None
    assert interaction_share(0.7, 0.7, 0.8) is None


def test_what_cannot_be_projected():
    for bad, told in (
        (lambda i, t: np.zeros((len(i), len(t))), r"shape \(5, 5\)"),
        (lambda i, t: np.zeros((len(i), 2, 1)), r"5 images with 5 texts gave logits of shape \(5, 2, 1\)"),
        (lambda i, t: np.full((len(i), len(t), 1), np.nan), "25 of 25 logits are not finite"),
    ):
        with pytest.raises(DataError, match=told):
            emap(bad, 5)
    with pytest.raises(DataError, match="1 rows"):
        emap(network(0, 1), 1)
