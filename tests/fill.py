"""Weights by rule: a tensor follows from its key and shape, so that tests need no stored weights."""

import zlib

import numpy as np
import torch


def fill(salt: str, key: str, shape: tuple[int, ...]) -> torch.Tensor:
    """Return the float32 tensor of the given shape that `salt` and `key` stand for.

    Examples
    --------
    >>> fill("salt", "bn.running_var", (3,)).min() >= 0.5
    tensor(True)
    """
    rng = np.random.default_rng(zlib.crc32(f"{salt}:{key}".encode()))
    if key.endswith("running_var"):
        values = 0.5 + rng.random(shape)
    else:
        normal = rng.standard_normal(shape)
        if key.endswith("running_mean"):
            values = 0.1 * normal
        elif key.endswith("afms.alpha"):
            values = 1 + 0.1 * normal
        elif len(shape) <= 1:
            values = 1 + 0.1 * normal if key.endswith("weight") else 0.05 * normal
        elif key == "attention":
            values = 3 * normal / np.sqrt(shape[0])
        else:
            values = 1.2 * normal / np.sqrt(np.prod(shape[1:]))
    return torch.from_numpy(np.asarray(values, dtype=np.float32))


def fill_state(module: torch.nn.Module, salt: str, original_keys: dict[str, str] | None = None) -> None:
    """Fill every parameter and running statistic of `module` in place, except the edges of sinc filters.

    `original_keys` maps keys of the module to the keys that the rule was applied to, where they differ.
    """
    names = original_keys or {}
    state = {
        key: fill(salt, names.get(key, key), tuple(value.shape))
        for key, value in module.state_dict().items()
        if not key.endswith(("num_batches_tracked", "low_hz", "band_hz"))
    }
    module.load_state_dict(state, strict=False)
