"""What `edgesynth export` exports: a network of a run, or a module of the user's, with images to compare answers on."""

import hashlib
from collections.abc import Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np
import torch
from edgesynth_exporters.on_images import PARITY_IMAGES
from edgesynth_exporters.subject import FloatArray, Metric, Subject
from edgesynth_exporters.torch_runner import refuse_bad_weights, torch_runner
from torch import Tensor, fx, nn

from edgesynth.data import DataSet, find_source
from edgesynth.errors import EdgesynthError, RunError
from edgesynth.prototypes import PROTOTYPES, load_prototype
from edgesynth.records import Genome, Network
from edgesynth.space.surgery import identity_ranking, materialise
from edgesynth.space.trace import trace
from edgesynth.synthesis.journal import FILE, Journal
from edgesynth.synthesis.prototype import WEIGHTS
from edgesynth.synthesis.question import recorded_question
from edgesynth.synthesis.storage import load_weights
from edgesynth.tasks import Classification

__all__ = ["open_subject", "rebuild"]

PROTOTYPE = "prototype"
"""Name of the prototype among the networks of a run."""
METRIC_IMAGES, CALIBRATION_IMAGES = 2000, 256
"""For int8: validation images that accuracy is taken on, and training images that ranges are taken from."""
NOISE_SEED = 0
NOISE_BYTES = 1 << 30
"""So much noise is made at most."""
SHOWN = 5
_CODE_OF_MODULE = """\
import sys

from edgesynth.prototypes import load_prototype

sys.path.insert(0, {folder!r})
module = load_prototype({spec!r}, {channels}, {classes})"""
_CODE_OF_METRIC = """\
import torch

from edgesynth.tasks import Classification


def evaluate(answers):
    return Classification().evaluate(torch.from_numpy(answers), torch.from_numpy(labels[: len(answers)]))"""
_CODE_OF_NETWORK = """\
from edgesynth.records import Genome
from edgesynth.synthesis.exporting import rebuild

genome = {genome}
module = rebuild({0!r}, {1}, {2}, {3}, None if genome is None else Genome(**genome))"""


def open_subject(
    source: str,
    *,
    int8: bool,
    weights: Path | None = None,
    data: str | None = None,
    input_shape: Sequence[int] | None = None,
    classes: int | None = None,
) -> Subject:
    """The network that `source` names: RUN/NAME, RUN/prototype, a built-in prototype, or package.module:function.

    A network of a run is compared on the run's validation images, another one on those of `data`, or on noise of
    `input_shape` (C, H, W) where there is none. With `int8` there are more of them, and others to calibrate on.

    Raises the EdgesynthError of what is missing, contradicts another, or cannot be read.
    """
    if ":" in source or source in PROTOTYPES:
        return _module(source, int8, weights, data, input_shape, classes)
    path = Path(source)
    run = path.parent.parent if path.parent.name == "networks" else path.parent
    if not (run / FILE).is_file():
        raise RunError(
            f"there is no network {source!r}: it may be RUN/NAME of a run directory, RUN/{PROTOTYPE}, "
            f"{', '.join(PROTOTYPES)}, or package.module:function"
        )
    given = {"--weights": weights, "--data": data, "--input-shape": input_shape, "--classes": classes}
    for option, value in given.items():
        if value is not None:
            raise EdgesynthError(f"{option} is no use here: a network of a run has its own; leave it out")
    return _of_run(run, path.name, int8)


def rebuild(
    prototype: str, input_shape: Sequence[int], classes: int, frozen: Sequence[str], genome: Genome | None
) -> fx.GraphModule:
    """The network of a genome (None: the prototype) without its trained weights, in eval mode.

    Raises PrototypeError where the prototype cannot be made, RunError where it has other layers than the genome tells.
    """
    module = load_prototype(prototype, input_shape[0], classes)
    space = trace(module, torch.zeros(1, *input_shape), tuple(frozen))
    if genome is None:
        return space.module
    # Trial surgery, which takes longer than all the rest, has shown long ago which parts these are.
    groups = tuple(group for group in space.groups if group.name in genome.widths)
    blocks = tuple(block for block in space.blocks if block.name in genome.blocks)
    if len(groups) < len(genome.widths) or len(blocks) < len(genome.blocks):
        raise RunError(f"the prototype {prototype} is not built as it was when the run was started")
    # Which channels are kept makes no difference to a network whose weights are still to come.
    return materialise(replace(space, groups=groups, blocks=blocks), genome, identity_ranking(groups))


def _of_run(run: Path, name: str, int8: bool) -> Subject:
    with Journal.open(run) as journal:
        question = recorded_question(journal)
        genome, facts, path, digest = _network(journal, name)
        digests = journal.get("data", "digests")
    data = find_source(question.data).load().limit(question.train_images)
    if digests != data.digests:
        raise RunError(f"the images of {data.name} are not those that {run} was started with: bring the old ones back")
    build = (question.prototype, data.input_shape, len(data.classes), question.frozen)
    module = rebuild(*build, genome)
    try:
        module.load_state_dict(load_weights(path, digest))
    except RuntimeError as error:
        raise RunError(f"the prototype {question.prototype} is not built as it was when {run} was started") from error
    source = {"kind": "run", "run": str(run), "network": name, "prototype": question.prototype, **facts}
    return _with_data(
        name,
        module,
        data,
        source,
        _CODE_OF_NETWORK.format(*build, genome=None if genome is None else genome.model_dump()),
        int8,
    )


def _network(journal: Journal, name: str) -> tuple[Genome | None, dict[str, Any], Path, str]:
    """Genome, facts for the record, weights and their digest."""
    run = journal.run
    if name == PROTOTYPE:
        trained = journal.get("prototype", "trained")
        if trained is None:
            raise RunError(
                f"the prototype of {run} is not trained yet: go on with edgesynth synth --resume --out {run}"
            )
        return None, {}, run / WEIGHTS, trained["digest"]
    networks = {value["name"]: value for value in journal.all("network")}
    if name not in networks:
        there = ", ".join([PROTOTYPE, *networks][:SHOWN])
        more = f" and {len(networks) + 1 - SHOWN} more" if len(networks) >= SHOWN else ""
        raise RunError(f"{run} has no network {name!r}: it has {there}{more}")
    network = Network.model_validate(networks[name])
    trained = journal.get("trained", f"{network.genome_digest} {network.epochs} epochs")
    if trained is None:
        raise RunError(f"the journal of {run} lacks the training of {name}: it is damaged")
    facts = {"genome_digest": network.genome_digest, "seed": network.seed, "val_metric": network.val_metric}
    return network.genome, facts, run / "networks" / name / "weights.safetensors", trained["digest"]


def _module(
    spec: str,
    int8: bool,
    weights: Path | None,
    data: str | None,
    input_shape: Sequence[int] | None,
    classes: int | None,
) -> Subject:
    loaded = None if data is None else find_source(data).load()
    shape, classes = _shape(loaded, input_shape), classes if loaded is None else len(loaded.classes)
    torch.manual_seed(0)
    module = load_prototype(spec, shape[0], classes, weights).cpu().eval()
    digest = None if weights is None else hashlib.sha256(weights.read_bytes()).hexdigest()
    source = {
        "kind": "module",
        "function": spec,
        "weights": None if weights is None else str(weights),
        "weights_sha256": digest,
    }
    name = spec.rpartition(":")[2]
    code = _CODE_OF_MODULE.format(folder=str(Path.cwd()), spec=spec, channels=shape[0], classes=classes)
    warnings = () if weights is not None else (f"no --weights: {name} has the weights that {spec} gives it",)
    if loaded is not None:
        subject = _with_data(name, module, loaded, source, code, int8)
        return replace(subject, warnings=(*warnings, *subject.warnings))
    noise = _noise(shape)
    few = () if len(noise) == PARITY_IMAGES else (f"images are so large that only {len(noise)} were compared",)
    return Subject(
        name=name,
        module=module,
        images=noise,
        inputs="noise",
        origin=f"normal noise, seed {NOISE_SEED}",
        source=source,
        code=code,
        warnings=(*warnings, "compared on noise, not on images: --data compares on a data set", *few),
    )


def _shape(data: DataSet | None, input_shape: Sequence[int] | None) -> tuple[int, int, int]:
    """(C, H, W) of the images."""
    if data is None:
        if input_shape is None:
            raise EdgesynthError("which images does it take? give --data, or --input-shape C,H,W to export without any")
        channels, height, width = input_shape
        if 4 * prod(input_shape) > NOISE_BYTES:
            raise EdgesynthError(
                f"--input-shape {_shown(input_shape)}: one image would take more than {NOISE_BYTES >> 20} MiB"
            )
        return channels, height, width
    if input_shape is not None and tuple(input_shape) != data.input_shape:
        raise EdgesynthError(
            f"--input-shape is {_shown(input_shape)}, the images of {data.name} are {_shown(data.input_shape)}: "
            "leave one of them out"
        )
    return data.input_shape


def _noise(shape: Sequence[int]) -> FloatArray:
    """As many images (N, C, H, W) as are compared, or as NOISE_BYTES hold."""
    count = min(PARITY_IMAGES, NOISE_BYTES // (4 * prod(shape)))
    return np.random.default_rng(NOISE_SEED).standard_normal((count, *shape), dtype=np.float32)


def _with_data(name: str, module: nn.Module, data: DataSet, source: dict[str, Any], code: str, int8: bool) -> Subject:
    refuse_bad_weights(name, module)
    wanted = METRIC_IMAGES if int8 else PARITY_IMAGES
    val = data.val.images[:wanted]
    # Any image will do to compare answers; labels are used of validation images alone.
    images = torch.cat([val, data.train.images[: max(0, PARITY_IMAGES - len(val))]])
    return Subject(
        name=name,
        module=module,
        images=_array(images),
        inputs="real",
        origin=f"{data.name}, validation split" + (" and training split" if len(val) < len(images) else ""),
        source={**source, "data": data.name, "data_digests": data.digests},
        code=code,
        calibration=_array(data.train.images[:CALIBRATION_IMAGES]) if int8 else None,
        calibration_origin=f"{data.name}, training split",
        metric=_metric(name, module, data, len(val)),
        mean=data.mean,
        std=data.std,
        classes=data.classes,
        warnings=() if len(images) >= PARITY_IMAGES else (f"{data.name} has only {len(images)} images to compare on",),
    )


def _metric(name: str, module: nn.Module, data: DataSet, images: int) -> Metric | None:
    """Accuracy, where the module answers an image with one number for each class and nothing else."""
    answers = torch_runner(name, module)(_array(data.val.images[:1]))
    if [answer.shape for answer in answers.values()] != [(1, len(data.classes))]:
        return None
    task, targets = Classification(), data.val.targets[:images]
    return Metric(
        name=task.metric,
        images=images,
        evaluate=lambda found: task.evaluate(torch.from_numpy(found), targets),
        labels=targets.numpy(),
        code=_CODE_OF_METRIC,
    )


def _array(images: Tensor) -> FloatArray:
    return images.numpy().astype(np.float32, copy=False)


def _shown(shape: Sequence[int]) -> str:
    return ",".join(map(str, shape))
