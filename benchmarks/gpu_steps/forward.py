"""The forward pass alone, on inputs that lie on the device: what an embed job can reach at most."""

from dataclasses import dataclass
from typing import Any

import torch

from gpu_steps import package
from gpu_steps.setting import Setting, rounded

LENGTH = 96  # tokens of each text: as long as a report is on average


@dataclass(frozen=True)
class Network:
    """A batch that lies on the device, and what one item of it costs."""

    batch: tuple[torch.Tensor, ...]
    operations: int  # multiplications and additions
    length: int = 1  # tokens: texts differ in length, so rates of theirs are compared in tokens


def film_network(setting: Setting) -> Network:
    """As many films as a job hands over at once, of random pixels."""
    shape = (setting.sizes.film_batch, *[package.film_side(setting)] * 2)
    batch = torch.randint(0, 256, shape, dtype=torch.uint8, device=setting.device)
    return Network((batch,), package.forward_flops(package.bare_film_network(setting), batch[:1]))


def text_network(setting: Setting) -> Network:
    """Ids and mask of as many tokens as a job hands over at once."""
    ids = torch.randint(5, 1000, (max(1, setting.sizes.token_budget // LENGTH), LENGTH), device=setting.device)
    mask = torch.ones_like(ids)
    each = package.forward_flops(package.bare_text_network(setting), ids[:1], mask[:1])
    return Network((ids, mask), each, LENGTH)


def bare_rate(setting: Setting, encoder: Any, network: Network) -> dict[str, Any]:
    """Items a second through the very network of an encoder that has encoded, and its share of the rate of products."""
    with torch.inference_mode(), package.arithmetic(encoder):
        seconds = setting.seconds(lambda: package.network_of(encoder)(*network.batch), least=1.0)
    found = len(network.batch[0]) / seconds
    share = setting.share(found * network.operations, f"{encoder.machine.precision}_operations")
    return {"a_second": rounded(found), "of_products": share}
