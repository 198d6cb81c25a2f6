"""Networks with several outputs: a name for every tensor that one answers with."""

from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

__all__ = ["OUTPUT", "named_outputs"]

OUTPUT = "output"


def named_outputs(answers: Any) -> dict[str, Tensor]:
    """The tensors of a network's answer in their order: "output" for a single one; in a tuple or list "output_0",
    "output_1" …, in a dictionary "output_<key>", nested likewise. None is no output.

    Raises TypeError for an answer that holds something else, or in which two tensors would have one name.
    """
    pairs = list(_walk(OUTPUT, answers))
    named = dict(pairs)
    if len(named) < len(pairs):
        raise TypeError(
            f"two of the network's outputs would have the same name: {', '.join(name for name, _ in pairs)}"
        )
    return named


def _walk(name: str, answers: Any) -> Iterator[tuple[str, Tensor]]:
    if isinstance(answers, Tensor):
        yield name, answers
    elif isinstance(answers, Mapping):
        for key, part in answers.items():
            yield from _walk(f"{name}_{key}", part)
    elif isinstance(answers, tuple | list):
        for index, part in enumerate(answers):
            yield from _walk(f"{name}_{index}", part)
    elif answers is not None:
        raise TypeError(f"the network answers with {type(answers).__name__}, not with tensors")
