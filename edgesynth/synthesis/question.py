"""What a run was asked: everything that its outcome depends on, recorded once, so that resuming needs no repeating."""

from collections.abc import Iterable
from typing import Any, Literal

from edgesynth.devices.address import Address
from edgesynth.devices.opening import parse_addresses
from edgesynth.errors import RunError
from edgesynth.records import Record
from edgesynth.requirements import Requirement, parse_requirements
from edgesynth.space.resolution import LEAST_SIDE
from edgesynth.synthesis.journal import Journal

__all__ = ["Question", "recorded_question", "same_question"]


class Question(Record):
    """The parameters of `edgesynth synth`. `weights` is a path, `weights_digest` the SHA-256 of the file's bytes;
    `targets` are addresses. At most `measure` candidates are measured on a kind of board; `anew`: what other runs have
    measured is not taken."""

    data: str
    prototype: str
    weights: str | None = None
    weights_digest: str | None = None
    frozen: tuple[str, ...] = ()
    requirements: tuple[str, ...]
    targets: tuple[str, ...] = ("host", "tx2-sim")
    count: int = 3
    seed: int = 0
    cycles: int = 12
    epochs: int = 8
    least_side: int = LEAST_SIDE
    performance: Literal["netscore", "metric"] = "netscore"
    train_images: int | None = None
    measure: int = 16
    anew: bool = False

    def parsed(self) -> list[Requirement]:
        """The requirements. Raises RequirementError."""
        return parse_requirements(self.requirements)

    def addresses(self) -> dict[str, list[Address]]:
        """Where the targets are that are to be reported on, or that a requirement names; by the target's name.

        Raises EdgesynthError for an unknown one, and for a board without an address.
        """
        return parse_addresses(self.targets, [r.target for r in self.parsed() if r.target is not None])


def recorded_question(journal: Journal) -> Question:
    """The question that a run was started with. Raises RunError where it never got that far, or is damaged."""
    recorded = journal.get("run", "question")
    if recorded is None:
        raise RunError(f"{journal.run} was given up before it began: start again with another --out")
    try:
        return Question.model_validate(recorded)
    except ValueError as error:
        raise RunError(f"the question recorded in {journal.run} is damaged: start a new run") from error


def same_question(recorded: Question, given: dict[str, Any]) -> None:
    """Raise RunError if an option that was given says something else than the run was started with.

    Requirements are compared by what they say: spaces, order and repetition make no difference. Raises RequirementError
    for one that does not parse.
    """
    for name, value in given.items():
        was = getattr(recorded, name)
        if name == "requirements" and value is not None and _said(value) == _said(was):
            continue
        if value is not None and value != was:
            raise RunError(
                f"this run was started with {name} = {_shown(was)}, not {_shown(value)}: "
                "leave the option out, or start a new run with another --out"
            )


def _said(texts: Iterable[str]) -> set[str]:
    return {requirement.text for requirement in parse_requirements(texts)}


def _shown(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, tuple) else str(value)
