"""A learned generator as two files that need nothing else: weights and costs as safetensors, the rest as JSON."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from edgesynth.errors import RunError
from edgesynth.records import BlockInfo, GroupInfo, Record
from edgesynth.requirements import parse_requirements
from edgesynth.space.cost import CostModel
from edgesynth.synthesis.conditions import Conditions
from edgesynth.synthesis.generator import Generator
from edgesynth.synthesis.storage import digest_of, load_weights, to_bytes, under, write_file, write_json

__all__ = ["GENERATOR", "load_generator", "save_generator"]

GENERATOR, DESCRIPTION = "generator.safetensors", "generator.json"
_THETA, _COSTS = "generator.", "costs."


class Description(Record):
    """`edgesynth.generator/2`, generator.json. `conditions` are what it can be asked for; `requirements` what it was
    learned for, relative to the values of `prototype`; `least` the sizes of its smallest network."""

    schema_: Literal["edgesynth.generator/2"] = Field("edgesynth.generator/2", alias="schema")
    digest: str
    prototype: str
    requirements: list[str]
    conditions: list[str]
    values: dict[str, float]
    least: dict[str, float]
    resolutions: list[tuple[int, int]]
    groups: list[GroupInfo]
    blocks: list[BlockInfo]


def save_generator(
    run: Path,
    generator: Generator,
    prototype: str,
    values: Mapping[str, float],
    least: Mapping[str, float],
) -> str:
    """Write both files into the run directory; the digest of θ_G. Raises StorageError."""
    theta = generator.state_dict()
    description = Description(
        schema="edgesynth.generator/2",
        digest=digest_of(theta),
        prototype=prototype,
        requirements=[requirement.text for requirement in generator.conditions.asked],
        conditions=list(generator.conditions.columns),
        values=dict(values),
        least=dict(least),
        resolutions=list(generator.costs.resolutions),
        groups=list(generator.groups),
        blocks=list(generator.blocks),
    )
    tensors = {_THETA + name: tensor for name, tensor in theta.items()}
    tensors |= {_COSTS + name: tensor for name, tensor in generator.costs.tensors().items()}
    write_file(run / GENERATOR, to_bytes(tensors))
    write_json(run / DESCRIPTION, description.model_dump(mode="json"))
    return description.digest


def load_generator(run: Path) -> Generator:
    """G(s, r) as a run has learned it, without its data, prototype or journal. Raises RunError, StorageError."""
    path = run / DESCRIPTION
    try:
        content: Any = json.loads(path.read_text("utf-8"))
        description = Description.model_validate(content)
    except FileNotFoundError:
        raise RunError(
            f"{run} holds no learned generator: finish the run with edgesynth synth --resume first"
        ) from None
    except (OSError, ValueError) as error:
        raise RunError(f"{path} cannot be read: {str(error).splitlines()[0]}") from error
    tensors = load_weights(run / GENERATOR)
    theta, costs = under(_THETA, tensors), under(_COSTS, tensors)
    if digest_of(theta) != description.digest:
        raise RunError(f"{run / GENERATOR} is not the file that belongs to {path}: bring it back, or start a new run")
    asked = parse_requirements(description.requirements)
    generator = Generator(
        description.groups,
        description.blocks,
        CostModel(**costs, resolutions=tuple(description.resolutions)),
        Conditions(asked, description.values, description.least),
        seed=0,
    )
    generator.load_state_dict(theta)
    return generator
