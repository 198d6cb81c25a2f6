"""PyTorch's answers to images, as named arrays."""

from collections.abc import Callable

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from edgesynth_exporters.errors import EdgesynthError, first_line
from edgesynth_exporters.outputs import named_outputs

__all__ = ["refuse_bad_weights", "torch_runner"]

FloatArray = NDArray[np.float32]


def refuse_bad_weights(name: str, module: nn.Module) -> None:
    """Raise EdgesynthError for the first parameter or buffer that holds a NaN or an infinity."""
    for key, tensor in module.state_dict().items():
        if isinstance(tensor, torch.Tensor) and tensor.is_floating_point() and not torch.isfinite(tensor).all():
            found = "NaN" if torch.isnan(tensor).any() else "an infinity"
            raise EdgesynthError(f"{name}: weight '{key}' holds {found}; train it again, or give other weights")


def torch_runner(name: str, module: nn.Module, together: bool = True) -> Callable[[FloatArray], dict[str, FloatArray]]:
    """A function from images (N, C, H, W) to the module's answers by the names of `named_outputs`, each (N, …). It runs
    them together, or one by one where the module does not take several, or not `together`.

    Neither the images nor the answers are what the module goes on to work on in place. The function raises
    EdgesynthError where the module fails on one image, ends the process, or answers with a NaN or an infinity.
    """
    network = module.eval()

    def run(images: FloatArray) -> dict[str, FloatArray]:
        nonlocal together
        found = _answers(network, images) if together else None
        if found is None:
            together = False
            parts = [_one(name, network, images[index : index + 1]) for index in range(len(images))]
            found = {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}
        for key, values in found.items():
            if not np.isfinite(values).all():
                raise EdgesynthError(
                    f"{name}: PyTorch itself answers with NaN or infinity, in '{key}'; look at its weights and inputs"
                )
        return found

    return run


def _answers(network: nn.Module, images: FloatArray) -> dict[str, FloatArray] | None:
    """The answers to several images at once, None where the module does not give one answer an image."""
    try:
        found = _run(network, images)
    except (Exception, SystemExit):
        return None
    return found if all(values.ndim and len(values) == len(images) for values in found.values()) else None


def _one(name: str, network: nn.Module, image: FloatArray) -> dict[str, FloatArray]:
    try:
        found = _run(network, image)
    except SystemExit as error:
        raise EdgesynthError(f"{name} ends the process on an input of shape {image.shape}: SystemExit") from error
    except Exception as error:
        raise EdgesynthError(f"{name} fails on an input of shape {image.shape}: {first_line(error)}") from error
    for key, values in found.items():
        if not values.ndim:
            raise EdgesynthError(f"{name} answers with a number, '{key}', where one for each image is wanted")
    return found


@torch.no_grad()
def _run(network: nn.Module, images: FloatArray) -> dict[str, FloatArray]:
    answers = named_outputs(network(torch.tensor(images)))
    return {name: tensor.numpy().copy() for name, tensor in answers.items()}
