"""First stage: a trained prototype, its figures, and what its channels are worth."""

from dataclasses import dataclass

from edgesynth_exporters.targets import find_target

from edgesynth.data import Split
from edgesynth.errors import DeviceError, RequirementError, RunError
from edgesynth.performance import LEAST_METRIC, netscore
from edgesynth.records import Measurement, PrototypeInfo
from edgesynth.requirements import METRICS, ON_TARGET, check_consistent
from edgesynth.space.genome import full_genome
from edgesynth.space.groups import in_words
from edgesynth.space.surgery import Ranking
from edgesynth.synthesis.delivery import deliver
from edgesynth.synthesis.judging import ask_again
from edgesynth.synthesis.probe import probe
from edgesynth.synthesis.scoring import is_proof, measured_value
from edgesynth.synthesis.storage import digest_of, load_weights, save_weights, to_bytes, write_file
from edgesynth.synthesis.training import Recipe, Teacher, outputs, train
from edgesynth.synthesis.workshop import Workshop

__all__ = ["Prototype", "prepare_prototype"]

RANKING_IMAGES = 512
MODEL, WEIGHTS = "prototype/model.onnx", "prototype/weights.safetensors"


@dataclass(frozen=True)
class Prototype:
    """The trained prototype. `values` are its figures by requirement key, `proven` those of them that no model made up
    for a board; `scored` its metric on the scoring split; `ranking` its channels by importance; `teacher` its outputs
    for the training images."""

    info: PrototypeInfo
    values: dict[str, float]
    proven: dict[str, float]
    scored: float
    ranking: Ranking
    teacher: Teacher


def prepare_prototype(workshop: Workshop) -> Prototype:
    """Train it if it came without weights and the journal has none; then evaluate, export, measure, once.

    The workshop's space holds the trained weights afterwards.
    """
    weights = workshop.run / WEIGHTS
    trained = workshop.journal.get("prototype", "trained")
    if trained is None:
        _train(workshop)
        save_weights(weights, workshop.space.module)
        digest = digest_of(workshop.space.module.state_dict())
        workshop.journal.put("prototype", "trained", {"digest": digest})
    else:
        workshop.progress.note("prototype: trained before, taken from the run")
        workshop.space.module.load_state_dict(load_weights(weights, trained["digest"]))
    described = workshop.journal.get("prototype", "info")
    if described is None:
        info = _describe(workshop)
        workshop.journal.put("prototype", "info", info.model_dump(mode="json"))
    else:
        info = PrototypeInfo.model_validate(described)
        asked = [*workshop.question.parsed(), *workshop.requirements]
        measurements = ask_again(workshop, "prototype", workshop.run / MODEL, info.measurements, asked)
        info = info.model_copy(update={"measurements": measurements})
    (workshop.run / "checkpoints" / "prototype.safetensors").unlink(missing_ok=True)
    if info.groups != list(workshop.space.groups) or info.blocks != list(workshop.space.blocks):
        raise RunError(f"the prototype {info.name} is not built as it was when {workshop.run} was started")
    values = _values(workshop, info)
    check_consistent(workshop.requirements, values)
    return Prototype(info, values, _proven(info, values), _scored(workshop), _rank(workshop), _teacher(workshop))


def _train(workshop: Workshop) -> None:
    question = workshop.question
    workshop.progress.note(f"stays whole: {in_words(workshop.space.whole)}")
    if question.weights is not None:
        workshop.progress.note(f"prototype: weights from {question.weights}")
        return
    workshop.progress.stage(f"training the prototype {question.prototype}")
    train(
        workshop.space.module,
        workshop.task,
        workshop.train,
        Recipe(question.epochs),
        seed=workshop.seed(1),
        mirror=workshop.data.mirror,
        checkpoint=workshop.run / "checkpoints" / "prototype.safetensors",
        on_epoch=lambda done, loss: workshop.progress.epoch(question.prototype, done, question.epochs, loss),
    )


def _describe(workshop: Workshop) -> PrototypeInfo:
    space = workshop.space
    answers = outputs(space.module, workshop.data.val.images)
    metric = workshop.task.evaluate(answers, workshop.data.val.targets)
    workshop.progress.stage(f"exporting the prototype, then {', '.join(workshop.oracles)}")
    parity, measurements = deliver(workshop, space.module, workshop.run / MODEL, answers)
    return PrototypeInfo(
        name=workshop.question.prototype,
        val_metric=metric,
        test_metric=None,
        params=workshop.full.params,
        macs=workshop.full.macs,
        netscore=netscore(max(metric, LEAST_METRIC), workshop.full.params, workshop.full.macs),
        onnx=MODEL,
        parity=parity,
        measurements=measurements,
        groups=list(space.groups),
        blocks=list(space.blocks),
        resolutions=list(space.resolutions),
        whole=space.whole,
    )


def _teacher(workshop: Workshop) -> Teacher:
    """The prototype's outputs for the training images, worked out once a run."""
    path = workshop.run / "prototype" / "answers.safetensors"
    if workshop.journal.get("prototype", "answers") is None:
        teacher = Teacher.of(workshop.space.module, workshop.task, workshop.train, workshop.data.mirror)
        write_file(path, to_bytes(teacher.tensors()))
        workshop.journal.put("prototype", "answers", True)
    return Teacher(**load_weights(path))


def _scored(workshop: Workshop) -> float:
    """The prototype's metric on the scoring split."""
    recorded = workshop.journal.get("prototype", "scored")
    if recorded is None:
        answers = outputs(workshop.space.module, workshop.scoring.images)
        recorded = workshop.task.evaluate(answers, workshop.scoring.targets)
        workshop.journal.put("prototype", "scored", recorded)
    return float(recorded)


def _values(workshop: Workshop, info: PrototypeInfo) -> dict[str, float]:
    """The prototype's figures by requirement key. Raises RequirementError for one that its target cannot tell, and
    DeviceError for one that a board has not told: it may the next time."""
    values = dict.fromkeys(METRICS, info.val_metric) | {"macs": float(info.macs), "params": float(info.params)}
    by_target: dict[str, Measurement] = {m.target: m for m in info.measurements}
    for requirement in [*workshop.question.parsed(), *workshop.requirements]:
        if requirement.quantity not in ON_TARGET or requirement.target is None:
            continue
        measurement = by_target[requirement.target]
        value = measured_value(requirement.quantity, measurement)
        if value is None:
            reason = "; ".join(measurement.warnings) or "no reason given"
            if find_target(requirement.target).kind == "board":
                raise DeviceError(
                    f"{requirement.target} has not told {requirement.quantity} of the prototype ({reason}); see to the "
                    "board, and go on with --resume: it is asked again"
                )
            raise RequirementError(
                f"requirement '{requirement.text}': {requirement.target} cannot tell {requirement.quantity} ({reason})"
            )
        values[requirement.key] = value
    return values


def _proven(info: PrototypeInfo, values: dict[str, float]) -> dict[str, float]:
    """Without what only an estimate says of a board: a bound relative to that is known to nobody."""
    estimated = {m.target for m in info.measurements if not is_proof(m)}
    return {key: value for key, value in values.items() if key.partition("@")[2] not in estimated}


def _rank(workshop: Workshop) -> Ranking:
    """Channels of every group by the prototype's own Taylor scores, most important first; on record once."""
    recorded = workshop.journal.get("prototype", "ranking")
    if recorded is None:
        space = workshop.space
        stimuli = Split(workshop.train.images[:RANKING_IMAGES], workshop.train.targets[:RANKING_IMAGES])
        genome = full_genome(space.groups, space.blocks)
        responses = probe(space.module, genome, space.groups, space.blocks, workshop.task, stimuli)
        recorded = {
            name: sorted(range(len(response.taylor)), key=lambda c: -response.taylor[c])
            for name, response in responses.groups.items()
        }
        workshop.journal.put("prototype", "ranking", recorded)
    ranking: dict[str, list[int]] = recorded
    return ranking
