"""Everything that the stages of a run work with, put together from the question before anything is trained."""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from edgesynth_exporters.outputs import named_outputs
from edgesynth_exporters.targets import Target, model_of

from edgesynth.data import DataSet, Split, find_source
from edgesynth.devices import Oracle, Patience, open_answering
from edgesynth.devices.screen import Residual
from edgesynth.energy.estimate import find_model
from edgesynth.errors import DataError, PrototypeError, RequirementError, RunError
from edgesynth.prototypes import load_prototype
from edgesynth.records import DataInfo
from edgesynth.requirements import METRICS, Requirement, check_consistent
from edgesynth.space.cost import CostModel, Costs, count
from edgesynth.space.genome import allowed_widths, canonical
from edgesynth.space.trace import Space, trace
from edgesynth.space.trial import trial_surgery
from edgesynth.synthesis.compute import device, precision
from edgesynth.synthesis.executors import Executor, InProcess
from edgesynth.synthesis.journal import Journal
from edgesynth.synthesis.progress import Progress
from edgesynth.synthesis.question import Question
from edgesynth.synthesis.training import seed_of
from edgesynth.tasks import Classification, Task

__all__ = ["WAIT_S", "Workshop", "open_workshop", "smallest"]

SCORING_IMAGES = 2000
WAIT_S = 60.0
"""A board that is gone is waited for so long, unless the user says otherwise: a reboot takes no longer."""


@dataclass(frozen=True)
class Workshop:
    """The tools of one run. `requirements` are what its next networks are to meet. `train` and `scoring` are the two
    parts of the data's training split: what is trained on, and what candidates are scored on. `full` are the
    prototype's own costs. `oracles` answer for the record, for every target; `screens` answer quickly about candidates,
    for the targets that requirements name."""

    question: Question
    requirements: Sequence[Requirement]
    run: Path
    journal: Journal
    data: DataSet
    train: Split
    scoring: Split
    task: Task
    space: Space
    costs: CostModel
    full: Costs
    oracles: Mapping[str, Oracle]
    screens: Mapping[str, Oracle]
    executor: Executor
    progress: Progress

    def seed(self, *use: int) -> int:
        """A seed of its own for each use of randomness in the run."""
        return seed_of(self.question.seed, *use)

    def data_info(self) -> DataInfo:
        """What the data set and its splits were, for the record."""
        sizes = {"train": len(self.train), "scoring": len(self.scoring)}
        sizes |= {"val": len(self.data.val), "test": len(self.data.test)}
        return DataInfo(
            name=self.data.name,
            metric=self.task.metric,
            input_shape=list(self.data.input_shape),
            classes=list(self.data.classes),
            split_seed=self.data.split_seed,
            sizes=sizes,
            digests=self.data.digests,
        )


@contextmanager
def open_workshop(
    question: Question,
    journal: Journal,
    progress: Progress,
    executor: Executor | None = None,
    asked: Sequence[Requirement] | None = None,
    wait_s: float = WAIT_S,
) -> Iterator[Workshop]:
    """Load data and prototype, trace, check the requirements, reach the targets. The executor, one that is entered,
    works in this process unless given.

    `asked` are requirements to meet instead of the question's. A board that is gone is waited for, `wait_s` at most.

    Raises the EdgesynthError of whatever is wrong with the question, before any time is spent on training.
    """
    requirements = question.parsed() if asked is None else list(asked)
    addresses = question.addresses()
    check_consistent(requirements, {})
    data = find_source(question.data).load().limit(question.train_images)
    task = Classification()
    _check_metrics(requirements, task)
    train, scoring = _split_off_scoring(data)
    channels, height, width = data.input_shape
    torch.manual_seed(seed_of(question.seed))
    weights = _weights(question, journal)
    prototype = load_prototype(question.prototype, channels, len(data.classes), weights)
    space = trial_surgery(
        trace(prototype, torch.zeros(1, channels, height, width), question.frozen, question.least_side)
    )
    _check_outputs(space, len(data.classes), question.prototype)
    costs, full = CostModel.from_space(space), count(space.module, space.example)
    check_consistent(requirements, {"params": full.params, "macs": full.macs})
    _check_reachable(requirements, space, costs, full)
    _check_same_data(journal, data)
    executor = executor or InProcess()
    _keep_threads(executor, journal, progress)
    required = [r.target for r in question.parsed() if r.target is not None]
    with open_answering(addresses, required, _patience(question, journal, progress, wait_s)) as answering:
        yield Workshop(
            question=question,
            requirements=requirements,
            run=journal.run,
            journal=journal,
            data=data,
            train=train,
            scoring=scoring,
            task=task,
            space=space,
            costs=costs,
            full=full,
            oracles=answering.record,
            screens=answering.screens,
            executor=executor,
            progress=progress,
        )


def _patience(question: Question, journal: Journal, progress: Progress, wait_s: float) -> Patience:
    """What boards said is recorded as it comes in: a run that is resumed goes on with what it knew, as long as it is
    about the same model."""
    models = {name: _model_behind(places[0].target) for name, places in question.addresses().items()}
    facts = journal.all("residual")
    count = len(facts)
    of_now = [fact for fact in facts if fact.get("model") == models.get(fact["target"])]
    if len(of_now) < count:
        progress.note(
            f"not learned from, since it was compared with another model: {count - len(of_now)} of {count} measurements"
        )
    told = [(fact["target"], Residual.model_validate(fact["residual"])) for fact in of_now]

    def record(target: str, residual: Residual) -> None:
        nonlocal count
        fact = {"target": target, "model": models[target], "residual": residual.model_dump(mode="json")}
        journal.put("residual", str(count), fact)
        count += 1

    return Patience(
        measure=question.measure,
        anew=question.anew,
        wait_s=wait_s,
        residuals={name: [r for target, r in told if target == name] for name, _ in told},
        on_residual=record,
        say=progress.note,
    )


def _model_behind(target: Target) -> str | None:
    """Name and version of the model that estimates for a board; None for what is no board."""
    model = model_of(target) if target.kind == "board" else None
    return None if model is None else f"{model.name} {find_model(model.name)[1].version}"


def _keep_threads(executor: Executor, journal: Journal, progress: Progress) -> None:
    """Candidates are computed with the number of threads that the run began with, whatever the executor: another
    number rounds otherwise. So does another precision, which is the processor's."""
    recorded = journal.get("run", "threads")
    if recorded is None:
        journal.put("run", "threads", executor.threads)
    elif recorded != executor.threads:
        progress.note(f"each candidate is computed with {recorded} threads, as when the run began")
        executor.threads = recorded
    here = str(precision(device()))
    began = journal.get("run", "precision")
    if began is None:
        journal.put("run", "precision", here)
    elif began != here:
        progress.note(f"the run began on a processor that trains in {began}, this one trains in {here}: results differ")


def _split_off_scoring(data: DataSet) -> tuple[Split, Split]:
    """The last tenth of the training split, 2,000 images at most, is for scoring candidates alone."""
    images = len(data.train)
    scoring = min(SCORING_IMAGES, images // 10)
    if scoring < len(data.classes):
        raise DataError(
            f"{data.name} has {images} images to train on, too few: {10 * len(data.classes)} are the least for "
            f"{len(data.classes)} classes"
        )
    cut = images - scoring
    return (
        Split(data.train.images[:cut], data.train.targets[:cut]),
        Split(data.train.images[cut:], data.train.targets[cut:]),
    )


def _check_metrics(requirements: Sequence[Requirement], task: Task) -> None:
    for requirement in requirements:
        if requirement.quantity in METRICS and requirement.quantity != task.metric:
            raise RequirementError(f"requirement '{requirement.text}': the metric of this task is {task.metric}")


def _weights(question: Question, journal: Journal) -> Path | None:
    """The user's weights, as long as the run has none of its own. Raises RunError where they are not the same file."""
    if question.weights is None or journal.get("prototype", "trained") is not None:
        return None
    path = Path(question.weights)
    try:
        digest = hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError as error:
        raise PrototypeError(f"cannot read the weights {path}: {error.strerror}") from error
    if digest != question.weights_digest:
        raise RunError(f"{path} is not the file that {journal.run} was started with: start a new run")
    return path


def _check_outputs(space: Space, classes: int, name: str) -> None:
    with torch.no_grad():
        answers = named_outputs(space.module(space.example))
    shapes = [tuple(tensor.shape) for tensor in answers.values()]
    if shapes != [(1, classes)]:
        what = f"a tensor of shape {shapes[0]}" if len(shapes) == 1 else f"{len(shapes)} tensors ({', '.join(answers)})"
        raise PrototypeError(
            f"prototype {name} answers one image with {what}, the data has {classes} classes: (1, {classes}) is wanted"
        )


def smallest(space: Space, costs: CostModel) -> Costs:
    """The sizes of the smallest network that can be made."""
    return costs.of(
        canonical(
            {g.name: allowed_widths(g.channels)[0] for g in space.groups},
            {b.name: False for b in space.blocks},
            space.groups,
            space.blocks,
            space.resolutions[-1],
        )
    )


def _check_reachable(requirements: Sequence[Requirement], space: Space, costs: CostModel, full: Costs) -> None:
    """A size below the smallest network of the space, or above the prototype's, is no use searching for."""
    least = smallest(space, costs)
    for requirement in requirements:
        if requirement.quantity not in ("macs", "params"):
            continue
        lowest, greatest = getattr(least, requirement.quantity), getattr(full, requirement.quantity)
        bound = requirement.bound(greatest)
        if requirement.operator == "<=" and bound < lowest:
            raise RequirementError(
                f"requirement '{requirement.text}' asks for at most {bound:,.0f}, the smallest network that can be "
                f"made of this prototype has {lowest:,}: relax it, or take a smaller prototype"
            )
        if requirement.operator == ">=" and bound > greatest:
            raise RequirementError(
                f"requirement '{requirement.text}' asks for at least {bound:,.0f}, "
                f"the prototype itself has {greatest:,}"
            )


def _check_same_data(journal: Journal, data: DataSet) -> None:
    recorded = journal.get("data", "digests")
    if recorded is None:
        journal.put("data", "digests", data.digests)
    elif recorded != data.digests:
        raise RunError(
            f"the images of {data.name} are not those that {journal.run} was started with: "
            "bring the old ones back, or start a new run with another --out"
        )
