"""One run of edgesynth a seed: its networks for every budget, and what the controls inherit from it.

`edgesynth synth` learns a generator under the widest budget; `edgesynth generate --require` has the same generator
answer for the others. Both are called as the command line calls them.
"""

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.classification.environment import environment
from benchmarks.classification.material import Material, Stopwatch, prototype_weights
from benchmarks.classification.protocol import Protocol
from edgesynth.records import Cycle, Network
from edgesynth.requirements import parse_requirements
from edgesynth.synthesis.journal import FILE, Journal
from edgesynth.synthesis.progress import Progress, Work
from edgesynth.synthesis.question import Question, recorded_question
from edgesynth.synthesis.run import generate, own_networks, synthesize
from edgesynth.synthesis.storage import write_file, write_json

__all__ = ["GENERATE_FROM", "Inheritance", "Spent", "inheritance", "make_run", "question_of", "run_folder"]

GENERATE_FROM = 1000
"""First seed given to the generator for a further budget, as by the command line's default."""


PUBLISHED = Path(__file__).parent / "runs"
"""The runs that the results in the repository come from, a folder a protocol: what others inherit from them."""
INHERITED = ("shared.safetensors", "results.json", "inheritance.json")
"""In this order: the last says that all are there."""


@dataclass(frozen=True)
class Inheritance:
    """What a finished run leaves: its folder, its networks by budget, channel ranking, number of candidates scored,
    and CPU-seconds by what they were spent on (`edgesynth.synthesis.progress.Work`); where it was made."""

    run: Path
    networks: Mapping[int, list[Network]]
    ranking: Mapping[str, list[int]]
    evaluations: int
    spent: Mapping[str, float]
    environment: Mapping[str, Any]

    @property
    def learning_cpu_s(self) -> float:
        """What the generator cost: shared weights, cycles, pilot."""
        return round(self.spent["shared"] + self.spent["learning"] + self.spent.get("pilot", 0.0), 2)

    @property
    def search_cpu_s(self) -> float:
        """All that comes before finishing, for all budgets: the same, and scoring what the learned generator makes."""
        return round(self.learning_cpu_s + self.spent["choosing"], 2)


class Spent(Progress):
    """CPU-seconds of a run by what they went to, kept on the disk so that an interrupted run does not lose them.

    Finishing is told apart by budget: `finishing macs10`.
    """

    def __init__(self, file: Path, say: Callable[[str], None]) -> None:
        self._file, self._say = file, say
        self._known: dict[str, float] = json.loads(file.read_text()) if file.is_file() else {}
        self._watch, self._counted = Stopwatch(), 0.0
        self.budget = 0
        """That networks are finished for from now on."""
        self._on = "prototype"

    def seconds(self) -> dict[str, float]:
        """By what they were spent on, up to now."""
        self._count()
        return dict(self._known)

    def work(self, on: Work) -> None:
        self._count()
        if on == "shared":
            # It begins from nothing, also after an interruption: what was lost is charged to nobody, as for all others.
            self._known.pop(on, None)
        self._on = f"{on} macs{self.budget}" if on == "finishing" else on

    def stage(self, title: str) -> None:
        self._say(title)

    def note(self, text: str) -> None:
        self._say(text)

    def scored(self, done: int, total: int) -> None:
        self._count()

    def epoch(self, what: str, done: int, total: int, loss: float) -> None:
        self._count()
        self._say(f"{what}: epoch {done}/{total}, loss {loss:.3f}")

    def cycle(self, cycle: Cycle, total: int) -> None:
        self._count()
        self._say(f"cycle {cycle.cycle + 1}/{total}")

    def network(self, network: Network, satisfied: int, wanted: int) -> None:
        self._count()
        self._say(f"{network.name}: {network.val_metric:.2%} of the validation images at {network.macs:,} MACs")

    def _count(self) -> None:
        now = self._watch.cpu_s
        self._known[self._on] = round(self._known.get(self._on, 0.0) + now - self._counted, 2)
        self._counted = now
        write_json(self._file, self._known)


def run_folder(material: Material) -> Path:
    """One folder for each seed and each way of running edgesynth."""
    return material.places.work / "runs" / f"seed{material.seed}-{material.protocol.digest('edgesynth')}"


def make_run(material: Material, say: Callable[[str], None]) -> None:
    """Do, or go on with, everything that edgesynth does for this seed; nothing if that is done."""
    run = run_folder(material)
    done = run / "inheritance.json"
    if not done.is_file():
        _take_published(material.protocol, run)
    if done.is_file():
        return
    protocol, settings = material.protocol, material.protocol.settings["edgesynth"]["run"]
    run.mkdir(parents=True, exist_ok=True)
    spent = Spent(run / "spent.json", say)
    networks: dict[int, list[str]] = {}
    with _journal(material, run) as journal:
        widest = settings["learned_for"]
        spent.budget = widest
        results = synthesize(recorded_question(journal), journal, spent)
        networks[widest] = [network.name for network in own_networks(journal, results)]
        for budget in protocol.budgets:
            if budget != widest:
                spent.budget = budget
                asked = parse_requirements([_requirement(budget)])
                made = generate(journal, settings["count"], GENERATE_FROM, None, asked, spent)
                networks[budget] = [network.name for network in made]
        left = {
            "networks": networks,
            "ranking": journal.get("prototype", "ranking"),
            "evaluations": len(journal.all("score")),
            "spent": spent.seconds(),
            "environment": environment(),
        }
    write_json(done, left)


def inheritance(material: Material) -> Inheritance:
    """What the run of this seed left. The run must have been made."""
    run = run_folder(material)
    left: dict[str, Any] = json.loads((run / "inheritance.json").read_text())
    results = json.loads((run / "results.json").read_text())
    by_name = {network["name"]: Network.model_validate(network) for network in results["networks"]}
    networks = {int(budget): [by_name[name] for name in names] for budget, names in left["networks"].items()}
    return Inheritance(run, networks, left["ranking"], left["evaluations"], left["spent"], left["environment"])


def _take_published(protocol: Protocol, run: Path) -> None:
    """Bring the run that the results in the repository come from, if there is one of this protocol and seed."""
    source = PUBLISHED / protocol.name / run.name
    run.mkdir(parents=True, exist_ok=True)
    for name in INHERITED if source.is_dir() else ():
        write_file(run / name, (source / name).read_bytes())


def _journal(material: Material, run: Path) -> Journal:
    if (run / FILE).is_file():
        return Journal.open(run)
    requirement = _requirement(material.protocol.settings["edgesynth"]["run"]["learned_for"])
    return Journal.create(run, question_of(material, requirement).model_dump(mode="json"))


def question_of(material: Material, requirement: str) -> Question:
    """What a run of the protocol asks for under that requirement, from the prototype of the material's seed."""
    protocol = material.protocol
    settings = protocol.settings["edgesynth"]["run"]
    weights = prototype_weights(material.places, material.seed).resolve()
    return Question(
        data=protocol.data,
        prototype=protocol.prototype,
        weights=str(weights),
        weights_digest=hashlib.sha256(weights.read_bytes()).hexdigest(),
        requirements=(requirement,),
        targets=("tx2-sim",),
        count=settings["count"],
        seed=material.seed,
        cycles=settings["cycles"],
        epochs=protocol.finish_epochs,
        train_images=protocol.train_images,
        performance=settings["performance"],
    )


def _requirement(budget: int) -> str:
    return f"macs<=prototype/{budget}"
