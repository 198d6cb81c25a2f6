"""A made-up run, plausible and without any need for torch: what the report tests read."""

import hashlib
import math
from collections.abc import Callable
from typing import Any

from edgesynth.performance import netscore
from edgesynth.records import (
    BlockInfo,
    BlockInsight,
    Cycle,
    DataInfo,
    Engine,
    GeneratorInfo,
    Genome,
    GroupInfo,
    GroupInsight,
    Insight,
    Latency,
    LayerCost,
    Measurement,
    Network,
    Parity,
    PrototypeInfo,
    ResolutionInsight,
    Results,
    Source,
    Trace,
    Window,
)
from edgesynth.synthesis.rungs import rungs

__all__ = ["OTHERS", "asked_again", "changed", "long_run", "made_up_run", "on_board", "wide_run", "with_board"]

NO_SENSOR = "this host has no power sensor that edgesynth can read, so joules are unknown"
MODEL = "tx2-sim is a model: no board took part"
REQUIREMENTS = [
    "accuracy>=prototype-0.02",
    "macs<=prototype/4",
    "params<=50k",
    "inferences_per_joule@tx2-sim>=2*prototype",
]


def digest(text: str) -> str:
    """A stand-in for a SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()


def on_host(p50: float) -> Measurement:
    """Latency from the agent; no joules."""
    return Measurement(
        target="host",
        source="measured",
        device={"name": "workstation", "cores": 2},
        engine=Engine(backend="onnxruntime", version="1.22.0", precision="fp32", batch=1, flags={"threads": 1}),
        windows=[Window(duration_s=2.0, inferences=int(2000 / p50), energy_j=None, samples=0)] * 5,
        idle_power_w=None,
        power_w=None,
        latency_ms=Latency(mean=p50 * 1.02, p50=p50, p90=p50 * 1.1, p99=p50 * 1.4),
        energy_mj=None,
        inferences_per_joule=None,
        ci95={"latency_ms": (p50 * 0.98, p50 * 1.03), "inferences_per_joule": None},
        warnings=[NO_SENSOR],
    )


def on_tx2(p50: float, energy_mj: float) -> Measurement:
    """The model's estimate, with its uncertainty."""
    per_joule = 1e3 / energy_mj
    return Measurement(
        target="tx2-sim",
        source="estimated",
        device={"name": "tx2-sim"},
        engine=Engine(backend="model", version="1", precision="fp16", batch=1),
        windows=[],
        idle_power_w=3.0,
        power_w=energy_mj / p50,
        latency_ms=Latency(mean=p50, p50=p50, p90=p50, p99=p50),
        energy_mj=energy_mj,
        inferences_per_joule=per_joule,
        ci95={
            "latency_ms": (p50 * 0.85, p50 * 1.2),
            "energy_mj": (energy_mj * 0.8, energy_mj * 1.25),
            "inferences_per_joule": (per_joule / 1.25, per_joule / 0.8),
        },
        warnings=[MODEL],
    )


def on_board(mean: float, energy_mj: float | None, source: Source = "measured") -> Measurement:
    """What an agent on a TX2 said; an estimate in its place has no trace and says why."""
    measured = source != "estimated"
    per_joule = None if energy_mj is None else 1e3 / energy_mj
    sha256 = digest(f"{mean} {energy_mj}")
    return Measurement(
        target="tx2",
        source=source,
        device={
            "hostname": "shelf-3",
            "model": "NVIDIA Jetson TX2",
            "serial": "0421318042",
            "agent": "0.1.0",
            "l4t": "32.7.1",
            "power_mode": {"id": 0, "name": "MAXN"},
        },
        engine=Engine(backend="tensorrt", version="8.2.1", precision="fp16", batch=1),
        windows=[Window(duration_s=10.0, inferences=2000, energy_j=40.0, samples=900)] * 5,
        idle_power_w=3.1,
        power_w=None if energy_mj is None else energy_mj / mean,
        latency_ms=Latency(mean=mean, p50=mean * 0.99, p90=mean * 1.05, p99=mean * 1.3),
        energy_mj=energy_mj,
        inferences_per_joule=per_joule,
        ci95={
            "latency_ms": (mean * 0.99, mean * 1.01),
            "energy_mj": None if energy_mj is None else (energy_mj * 0.98, energy_mj * 1.02),
            "inferences_per_joule": None if per_joule is None else (per_joule / 1.02, per_joule / 0.98),
        },
        warnings=[] if measured else ["unverified: tx2 did not measure it: no tx2 answers"],
        tier="quick" if measured else None,
        trace=Trace(file=f"traces/{sha256}.jsonl.gz", sha256=sha256, bytes=123_456) if measured else None,
        measured_unix_s=1_790_000_000.0 if measured else None,
    )


STAGES = (16, 32, 64)
BLOCKS = [
    f"layer{stage}.{block}" for stage in (1, 2, 3) for block in range(3) if (stage, block) not in {(2, 0), (3, 0)}
]


def resnet20() -> PrototypeInfo:
    """12 groups and 7 droppable blocks, as a resnet20 for 28 × 28 images has them."""
    groups = []
    for stage, channels in enumerate(STAGES, 1):
        stem = "conv1" if stage == 1 else f"layer{stage}.0.conv2"
        ends = [f"layer{stage}.{block}.conv2" for block in range(3)]
        groups.append(GroupInfo(name=stem, channels=channels, layers=list(dict.fromkeys([stem, *ends]))))
        for block in range(3):
            name = f"layer{stage}.{block}.conv1"
            groups.append(GroupInfo(name=name, channels=channels, layers=[name]))
    return PrototypeInfo(
        name="resnet20",
        val_metric=0.9312,
        test_metric=0.9268,
        params=272_186,
        macs=31_021_952,
        netscore=netscore(0.9312, 272_186, 31_021_952),
        onnx="prototype/model.onnx",
        parity=Parity(images=256, max_abs_error=4.1e-6, argmax_agreement=1.0),
        measurements=[on_host(1.84), on_tx2(6.9, 31.5)],
        groups=groups,
        blocks=[BlockInfo(name=name, layers=[f"{name}.conv1", f"{name}.conv2"]) for name in BLOCKS],
    )


def fermi(
    prototype: PrototypeInfo,
    index: int,
    *,
    keep: Callable[[int], float],
    dropped: set[str],
    accuracy: float,
    params: int,
    macs: int,
    host_ms: float,
    tx2: tuple[float, float],
    verdicts: list[bool | None],
) -> Network:
    """One FermiNet; `keep` gives the share of channels kept by the index of the group."""
    widths = {
        group.name: max(8, 8 * round(group.channels * keep(place) / 8)) for place, group in enumerate(prototype.groups)
    }
    name = f"fermi-{index:03}"
    return Network(
        name=name,
        seed=100 + index,
        epochs=8,
        genome=Genome(widths=widths, blocks={block.name: block.name not in dropped for block in prototype.blocks}),
        genome_digest=digest(name),
        val_metric=accuracy,
        test_metric=accuracy - 0.0031,
        params=params,
        macs=macs,
        netscore=netscore(accuracy, params, macs),
        onnx=f"networks/{name}/model.onnx",
        parity=Parity(images=64, max_abs_error=1.4e-6 * index, argmax_agreement=1.0),
        measurements=[on_host(host_ms), on_tx2(*tx2)],
        satisfied=all(verdicts),
        requirements=dict(zip(REQUIREMENTS, verdicts, strict=True)),
    )


def layers_of(latency_ms: float, energy_mj: float, dropped: set[str]) -> list[LayerCost]:
    """Of a resnet20 without some blocks: layers that cost much the same, in a tenth of overhead."""
    blocks = [f"layer{stage}.{block}" for stage in (1, 2, 3) for block in range(3)]
    convolutions = [f"{block}.conv{index}" for block in blocks if block not in dropped for index in (1, 2)]
    named = [("conv1", "convolution"), *((name, "convolution") for name in convolutions)]
    named += [("pooling before fc", "pooling"), ("fc", "matrix product")]
    weights = [1 + 0.4 * math.sin(2.3 * place) for place in range(len(named))]
    times_ms = [0.9 * latency_ms * weight / sum(weights) for weight in weights]
    own_mj = energy_mj - 3.0 * latency_ms
    costs = [
        LayerCost(layer=name, kind=kind, latency_ms=time_ms, energy_mj=own_mj * time_ms / latency_ms)
        for (name, kind), time_ms in zip(named, times_ms, strict=True)
    ]
    rest_mj = energy_mj - sum(cost.energy_mj or 0 for cost in costs)
    rest = LayerCost(layer="overhead and idle", kind="rest", latency_ms=0.1 * latency_ms, energy_mj=rest_mj)
    return [*costs, rest]


def with_board() -> Results:
    """The same run with five networks and a TX2 that measured all but one, each beside what the model says of it."""
    run = made_up_run()
    made = [*run.networks]
    for index, like in ((4, 0), (5, 2)):
        name = f"fermi-{index:03}"
        other = run.networks[like]
        accuracy = other.val_metric + 0.004
        made.append(other.model_copy(update={"name": name, "genome_digest": digest(name), "val_metric": accuracy}))
    asked = [*REQUIREMENTS[:3], "inferences_per_joule@tx2>=2*prototype"]
    networks = []
    for place, network in enumerate(made):
        latency_ms, energy_mj = 2.5 + 0.9 * place, 8.9 + 3.7 * place
        estimate = on_tx2(latency_ms, energy_mj)
        gone = {name for name, kept in network.genome.blocks.items() if not kept}
        estimate = estimate.model_copy(
            update={"layers": layers_of(latency_ms, energy_mj, gone), "device": {"board": "tx2"}}
        )
        said = on_board(latency_ms * 1.06, energy_mj * (1.05 - 0.03 * place), "estimated" if place == 4 else "measured")
        per_joule = said.inferences_per_joule or 0.0
        verdicts = [*network.requirements.values()][:3]
        met = None if place == 4 else per_joule >= 2e3 / 33.0
        requirements = dict(zip(asked, [*verdicts, met], strict=True))
        update = {
            "measurements": [network.measurements[0], said, estimate],
            "requirements": requirements,
            "satisfied": all(requirements.values()),
        }
        networks.append(network.model_copy(update=update))
    layers = layers_of(6.9, 31.5, set())
    model = on_tx2(6.9, 31.5).model_copy(update={"layers": layers, "device": {"board": "tx2"}})
    prototype = run.prototype.model_copy(
        update={"measurements": [run.prototype.measurements[0], on_board(7.2, 33.0), model]}
    )
    return changed(run, prototype=prototype, networks=networks, requirements=asked)


def cycles(count: int) -> list[Cycle]:
    """Learning that gets somewhere, with an inquisitor that cannot rank at first."""
    made = []
    for cycle in range(1, count + 1):
        done = 1 - math.exp(-cycle / (count / 3))
        wobble = math.sin(1.7 * cycle)
        made.append(
            Cycle(
                cycle=cycle,
                mean_u=66 + 14 * done + 0.8 * wobble,
                best_u=72 + 13 * done,
                satisfied_share=min(1.0, max(0.0, 0.04 + 0.9 * done + 0.05 * wobble)),
                mean_macs=26e6 - 20e6 * done + 0.9e6 * wobble,
                mean_score=0.86 + 0.04 * done,
                rank_correlation=None if cycle <= 2 or cycle == 9 else 0.25 + 0.6 * done + 0.12 * wobble,
            )
        )
    return made


def insight(prototype: PrototypeInfo) -> Insight:
    """Of a prototype whose later groups are redundant, as those of a network for small images are."""
    total = len(prototype.groups)
    groups = [
        GroupInsight(
            name=group.name,
            kept=0.2 + 0.7 * math.exp(-4 * place / total),
            price=0.031 * math.exp(-6 * place / total) * (1.3 + math.sin(2.1 * place)),
            taylor=(1.4 + math.sin(1.3 * place)) / (1.4 * total),
            mean_abs=0.3 + 0.9 * abs(math.cos(place)),
            dead=max(0.0, 0.4 * (place / total - 0.5)),
        )
        for place, group in enumerate(prototype.groups)
    ]
    blocks = [
        BlockInsight(name=block.name, kept=kept, price=0.012 * kept**2, change=0.9 * kept)
        for place, block in enumerate(prototype.blocks)
        for kept in [0.15 + 0.8 * ((3 * place) % 7) / 7]
    ]
    return Insight(
        probed=232,
        groups=groups,
        blocks=blocks,
        resolutions=[
            ResolutionInsight(resolution=(28, 28), kept=0.7, price=0.0),
            ResolutionInsight(resolution=(20, 20), kept=0.3, price=0.0142),
        ],
    )


def made_up_run() -> Results:
    """Three FermiNets of a resnet20: one meets everything, one is too inaccurate, one is not fully known."""
    prototype = resnet20()
    networks = [
        fermi(
            prototype,
            1,
            keep=lambda place: 0.55 - 0.02 * place,
            dropped={"layer1.2", "layer3.1"},
            accuracy=0.9194,
            params=41_208,
            macs=5_433_216,
            host_ms=0.612,
            tx2=(4.1, 14.2),
            verdicts=[True, True, True, True],
        ),
        fermi(
            prototype,
            2,
            keep=lambda place: 0.3,
            dropped={"layer1.1", "layer1.2", "layer2.2", "layer3.1", "layer3.2"},
            accuracy=0.8967,
            params=12_930,
            macs=1_887_104,
            host_ms=0.318,
            tx2=(2.7, 8.9),
            verdicts=[False, True, True, True],
        ),
        fermi(
            prototype,
            3,
            keep=lambda place: 0.8 if place % 2 else 0.6,
            dropped={"layer2.2"},
            accuracy=0.9251,
            params=88_420,
            macs=9_120_768,
            host_ms=0.934,
            tx2=(5.6, 21.0),
            verdicts=[True, False, False, None],
        ),
    ]
    return Results(
        version="0.1.0",
        seed=0,
        data=DataInfo(
            name="fashion-mnist",
            metric="accuracy",
            input_shape=[1, 28, 28],
            classes=[f"class {index}" for index in range(10)],
            split_seed=0,
            sizes={"train": 54_000, "val": 6_000, "test": 10_000},
            digests={split: digest(split) for split in ("train", "val", "test")},
        ),
        prototype=prototype,
        requirements=REQUIREMENTS,
        performance="netscore",
        generator=GeneratorInfo(
            file="generator.safetensors",
            digest=digest("g"),
            cycles=cycles(24),
            transfer=0.62,
            rungs=rungs(networks),
            insight=insight(prototype),
        ),
        networks=networks,
        warnings=["fine-tuning of fermi-003 ended at its time limit after 11 of 15 epochs"],
    )


OTHERS = {"macs<=prototype/16": True, "inferences_per_joule@tx2-sim>=3*prototype": None}


def asked_again() -> Results:
    """The same run, of whose generator two more networks were asked later under other requirements: one meets them as
    far as is known, one does not. Both have a greater NetScore than all others."""
    run = made_up_run()
    tiny = run.networks[1].model_copy(
        update={"name": "fermi-004", "macs": 1_200_000, "netscore": 110.0, "requirements": OTHERS, "satisfied": False}
    )
    good = tiny.model_copy(
        update={"name": "fermi-005", "requirements": {"macs<=prototype/16": True}, "satisfied": True}
    )
    return changed(run, networks=[*run.networks, tiny, good])


def wide_run(groups: int = 60) -> Results:
    """The same run with a mobilenet's many groups and blocks."""
    run = made_up_run()
    channels = [
        min(1280, 8 * round((16 + 4 * index**1.35) * (1 + 2 * (index % 3 == 1)) / 8)) for index in range(groups)
    ]
    infos = [
        GroupInfo(name=f"features.{index // 3}.conv.{index % 3}.0", channels=width, layers=[f"layer{index}"])
        for index, width in enumerate(channels)
    ]
    blocks = [BlockInfo(name=f"features.{index}", layers=[f"layer{3 * index}"]) for index in range(groups // 3)]
    networks = []
    for place, network in enumerate(run.networks):
        widths = {
            info.name: max(8, 8 * round(info.channels * (0.3 + 0.25 * place + 0.2 * math.sin(index)) / 8))
            for index, info in enumerate(infos)
        }
        genome = Genome(
            widths=widths, blocks={block.name: (index + place) % 4 > 0 for index, block in enumerate(blocks)}
        )
        networks.append(network.model_copy(update={"genome": genome}))
    prototype = run.prototype.model_copy(update={"name": "mobilenetv2", "groups": infos, "blocks": blocks})
    generator = run.generator.model_copy(update={"insight": insight(prototype)})
    return changed(run, prototype=prototype, networks=networks, generator=generator)


def long_run(networks: int = 16) -> Results:
    """The same run with as many networks as it takes to check every cheap score but the last."""
    run = made_up_run()
    made = []
    for index in range(networks):
        name, done = f"fermi-{index:03}", run.networks[index % len(run.networks)]
        finished = 0.88 + 0.04 * math.sin(1.1 * index) ** 2 + 0.001 * index
        scores = {
            "shared": 0.1 + 0.05 * math.cos(5.3 * index),
            "recalibrated": 0.55 + 7 * (finished - 0.88) + 0.06 * math.cos(3.7 * index),
            "adapted": 0.65 + 6 * (finished - 0.88) + 0.05 * math.cos(2.9 * index),
            "predicted": 0.60 + 5 * (finished - 0.88) + 0.09 * math.cos(2.3 * index),
        }
        update = {"name": name, "genome_digest": digest(name), "val_metric": finished, "scores": scores}
        made.append(done.model_copy(update=update))
    return changed(run, networks=made, generator=run.generator.model_copy(update={"rungs": rungs(made)}))


def changed(run: Results, **fields: Any) -> Results:
    """The run with other fields, not validated again."""
    return run.model_copy(update=fields)
