"""The forward pass alone, on inputs that lie on the device: what an embed job can reach at most."""

from typing import Any

import torch

from gpu_steps import package
from gpu_steps.setting import Setting, rounded

LENGTH = 96  # tokens of each text: as long as a report is on average


def film_batch(setting: Setting) -> tuple[torch.Tensor, ...]:
    """As many films as a job hands over at once, of random pixels."""
    shape = (setting.sizes.film_batch, *[package.film_side(setting)] * 2)
    return (torch.randint(0, 256, shape, dtype=torch.uint8, device=setting.device),)


def text_batch(setting: Setting) -> tuple[torch.Tensor, ...]:
    """Ids and mask of as many tokens as a job hands over at once."""
    ids = torch.randint(5, 1000, (max(1, setting.sizes.token_budget // LENGTH), LENGTH), device=setting.device)
    return ids, torch.ones_like(ids)


def operations_each(network: torch.nn.Module, batch: tuple[torch.Tensor, ...]) -> int:
    """Multiplications and additions of the pass of one item."""
    return package.forward_flops(network, *(part[:1] for part in batch))


def bare_rate(setting: Setting, encoder: Any, batch: tuple[torch.Tensor, ...], each: int) -> dict[str, Any]:
    """Items a second through the very network of an encoder that has encoded, and its share of the rate of products."""
    with torch.inference_mode(), package.arithmetic(encoder):
        seconds = setting.seconds(lambda: package.network_of(encoder)(*batch), least=1.0)
    found = len(batch[0]) / seconds
    share = setting.share(found * each, f"{encoder.machine.precision}_operations")
    return {"a_second": rounded(found), "of_products": share}
