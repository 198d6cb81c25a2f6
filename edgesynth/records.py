"""The documents that edgesynth writes and reads: measurements and results, as typed, versioned JSON.

Units ride in the names (`_j _mj _w _s _ms`). What is unknown is `None` with a reason in `warnings`, never 0.
"""

from typing import Any, Literal

from edgesynth_exporters.document import Document
from pydantic import ConfigDict, Field

__all__ = [
    "REST",
    "BlockInfo",
    "BlockInsight",
    "Comparison",
    "Cycle",
    "DataInfo",
    "Engine",
    "GeneratorInfo",
    "Genome",
    "GroupInfo",
    "GroupInsight",
    "IdleWindow",
    "Insight",
    "Interval",
    "KernelLoad",
    "Latency",
    "LayerCost",
    "MeasuredNetwork",
    "Measurement",
    "Network",
    "OutputComparison",
    "Parity",
    "PrototypeInfo",
    "Record",
    "ResolutionInsight",
    "Results",
    "Rung",
    "Source",
    "Trace",
    "Window",
]

Source = Literal["measured", "simulated", "estimated"]
Interval = tuple[float, float]


class Record(Document):
    """Immutable; an unknown field is an error, so that a typing slip never passes as data."""


def _newer(schema: dict[str, Any]) -> None:
    """Fields that came later, whose default is None: documents of earlier agents are without them."""
    properties = schema["properties"]
    schema["required"] = [name for name in schema["required"] if properties[name].get("default", ...) is not None]


class Window(Record):
    """One stretch of back-to-back inference. `samples` counts power samples; 0 where there is no sensor.

    `error_j` is half the width of the 95 % interval of `energy_j` as far as sampling goes. `invalid` says why the
    window counts for no figure: the GPU's clock fell.
    """

    model_config = ConfigDict(json_schema_extra=_newer)

    duration_s: float
    inferences: int
    energy_j: float | None
    samples: int
    error_j: float | None = None
    invalid: str | None = None


class IdleWindow(Record):
    """A stretch with the network loaded and nothing running; `reason` says why its power is not known."""

    when: Literal["before", "after"]
    duration_s: float
    power_w: float | None
    samples: int
    reason: str | None


class Latency(Record):
    """Wall time of one inference of the whole batch, over the windows that count. A model knows no percentiles."""

    mean: float
    p50: float | None
    p90: float | None
    p99: float | None


class OutputComparison(Record):
    """One output of the network as it ran there, against that of the export, on all images of the reference.

    Errors in units of the output; `max_abs_error` is None where an answer was no finite number. `argmax_agreement` is
    the share of answers with the same greatest channel, None where there is none to choose.
    """

    max_abs_error: float | None
    tolerance: float
    argmax_agreement: float | None
    passed: bool


class Comparison(Record):
    """All outputs against the reference of the export: the greatest error, the least agreement, and each output."""

    images: int
    max_abs_error: float | None
    argmax_agreement: float | None
    passed: bool
    outputs: dict[str, OutputComparison]


class Engine(Record):
    """What ran the network: back-end name ("onnxruntime", "tensorrt", "model" …), its version, its settings."""

    backend: str
    version: str
    precision: Literal["fp32", "fp16", "int8"]
    batch: int
    flags: dict[str, Any] = Field(default={})


class KernelLoad(Record):
    """What a model of a target needs of one kernel (`edgesynth.energy.kernels.Kernel`), at the measured precision."""

    name: str
    kind: str
    macs: int
    params: int
    bytes_read: int
    bytes_written: int
    output_shape: list[int]
    rows: int
    columns: int
    depth: int
    groups: int
    sums: int


class MeasuredNetwork(Record):
    """The network that was measured: the SHA-256 of its ONNX file, and the kernels that TensorRT is expected to launch
    for it. `edgesynth calibrate` fits a model on them without the file."""

    sha256: str
    kernels: list[KernelLoad]


REST = "rest"
"""Kind of the entry of a list of `LayerCost` that belongs to no kernel."""


class LayerCost(Record):
    """What one kernel of a network costs by a model, per inference of the whole batch; `layer` is the layer that it
    begins with. `latency_ms` is how much later the kernel ends than the one before, its wait for its launch included;
    `energy_mj` what it takes beyond the idle power, None where the model knows no joules.

    The last entry of a list, of kind REST, holds what belongs to no kernel: with it, both add up to the record's.
    """

    layer: str
    kind: str
    latency_ms: float
    energy_mj: float | None


class Trace(Record):
    """The raw samples that a record was computed from. `file` lies beside the shared database of measurements, in
    traces/; in the record of a run its path is relative to the run's directory. `edgesynth-agent recompute FILE` gives
    the record again."""

    file: str
    sha256: str
    bytes: int


class Measurement(Record):
    """`edgesynth.measurement/1`: latency and energy of one network on one target.

    `source` says how the figures came about; only a figure taken on the named device is "measured". Requirements
    judge `latency_ms.mean`, `energy_mj` and `inferences_per_joule`.
    `ci95` holds 95 % intervals over windows (or of the model, for an estimate) by the name of the field.
    Only a measured record has the fields from `tier` on. `statistic` says what the figures of energy are: the median of
    the windows, or those of all windows together. `dynamic_energy_mj` is without the idle power, and judges nothing.
    `conditions` are power mode, clocks and temperatures before and after; `reference` is the comparison of the
    outputs with those of the export. docs/measuring.md has the rules. `network`, `trace` and `measured_unix_s` (when
    the answer came, by the workstation's clock) are added by the workstation, not by the agent, which knows the file
    alone. Only an estimate has `layers`.
    """

    model_config = ConfigDict(json_schema_extra=_newer)

    schema_: Literal["edgesynth.measurement/1"] = Field("edgesynth.measurement/1", alias="schema")
    target: str
    source: Source
    device: dict[str, Any]
    engine: Engine
    windows: list[Window]
    idle_power_w: float | None
    power_w: float | None
    latency_ms: Latency | None
    energy_mj: float | None
    inferences_per_joule: float | None
    ci95: dict[str, Interval | None]
    warnings: list[str]
    tier: Literal["screening", "quick", "reported"] | None = None
    statistic: Literal["median", "pooled"] | None = None
    idle: list[IdleWindow] | None = None
    dynamic_energy_mj: float | None = None
    conditions: dict[str, Any] | None = None
    reference: Comparison | None = None
    network: MeasuredNetwork | None = None
    layers: list[LayerCost] | None = None
    trace: Trace | None = None
    measured_unix_s: float | None = None


class Genome(Record):
    """The architecture code of one network: channels kept per group, for each droppable block whether it stays, and
    the height and width that the input is resized to inside the network (None: not resized).

    Keys are the names of the prototype's groups and blocks (`GroupInfo.name`, `BlockInfo.name`).
    """

    widths: dict[str, int]
    blocks: dict[str, bool]
    resolution: tuple[int, int] | None = None


class Parity(Record):
    """The exported file against PyTorch, on `images` real inputs."""

    images: int
    max_abs_error: float
    argmax_agreement: float


class Network(Record):
    """One FermiNet. `requirements` maps each requirement's text to met / not met / not known (None).

    It is G(seed) of the learned generator or, for a pilot, of the generator before `cycle`; trained for `epochs`.
    `scores` holds what was known of it before it was finished, by the name of the rung (`Rung.name`): metrics on the
    scoring split.
    """

    name: str
    seed: int
    cycle: int | None = None
    epochs: int
    genome: Genome
    genome_digest: str
    val_metric: float
    test_metric: float | None
    params: int
    macs: int
    netscore: float
    scores: dict[str, float] = Field(default={})
    onnx: str
    parity: Parity | None
    measurements: list[Measurement]
    satisfied: bool
    requirements: dict[str, bool | None]


class GroupInfo(Record):
    """A set of layers whose channel counts must be equal; named after the first of them in forward order."""

    name: str
    channels: int
    layers: list[str]


class BlockInfo(Record):
    """A residual block that can be dropped; `layers` vanish with it."""

    name: str
    layers: list[str]


class PrototypeInfo(Record):
    """The network that synthesis starts from, under the same counters and splits as its FermiNets."""

    name: str
    val_metric: float
    test_metric: float | None
    params: int
    macs: int
    netscore: float
    onnx: str | None
    parity: Parity | None
    measurements: list[Measurement]
    groups: list[GroupInfo]
    blocks: list[BlockInfo]
    resolutions: list[tuple[int, int]] = Field(default=[])
    """Input heights and widths that its networks may resize to, its own first."""
    whole: dict[str, str] = Field(default={})
    """Layers that keep all their channels, and why."""


class Cycle(Record):
    """What one cycle of learning showed: all figures over the seeds drawn in that cycle, scored, not predicted.

    U is taken of the scored metric, so cycles can be compared; `satisfied_share` is 1_r with the metric as expected
    after finishing, so it jumps when a pilot network shows how much of a scored fall is left.
    `rank_correlation` is Spearman's, between what the inquisitor predicted before the cycle's scores were
    known and those scores; None where there were too few different scores.
    """

    cycle: int
    mean_u: float
    best_u: float
    satisfied_share: float
    mean_macs: float
    mean_score: float
    rank_correlation: float | None


class Rung(Record):
    """How well one cheap score ranks networks: Spearman's correlation with the finished metric (validation split) over
    the networks that were finished alike, and its 95 % interval. None where there are too few networks to tell, and no
    interval where both orders are the same."""

    name: Literal["shared", "recalibrated", "adapted", "predicted", "short"]
    networks: int
    spearman: float | None
    ci95: Interval | None


class GroupInsight(Record):
    """What the inquisitor learned of one group. `kept` is the mean share of channels that the generator's seeds keep;
    `price` the fall of the scored metric that it expects when this group alone is halved; `taylor` the group's share of
    all Taylor scores, `mean_abs` its mean |activation|, `dead` its share of dead channels, means over the probed
    networks that have the group; None where none has.
    """

    name: str
    kept: float
    price: float
    taylor: float | None
    mean_abs: float | None
    dead: float | None


class BlockInsight(Record):
    """What the inquisitor learned of one droppable block. `kept` is the share of seeds that keep it, `price` the fall
    of the scored metric that it expects when this block alone goes, `change` the relative change ‖F(x)‖ / ‖x‖ that it
    makes to the residual stream, mean over the probed networks that have the block; None where none has."""

    name: str
    kept: float
    price: float
    change: float | None


class ResolutionInsight(Record):
    """One input resolution: the share of seeds that take it, and the fall of the scored metric expected of it alone."""

    resolution: tuple[int, int]
    kept: float
    price: float


class Insight(Record):
    """Why the networks look as they do: what the inquisitor knew at the end of learning."""

    probed: int
    groups: list[GroupInsight]
    blocks: list[BlockInsight]
    resolutions: list[ResolutionInsight]


class GeneratorInfo(Record):
    """The learned generator: where it is, and how it came about. `conditions` are the quantities whose bounds are an
    input of it. `transfer` is the factor by which a fall of the scored metric (shared weights) becomes a fall of the
    finished metric, learned from finished networks."""

    file: str
    digest: str
    conditions: list[str] = Field(default=[])
    cycles: list[Cycle]
    transfer: float
    rungs: list[Rung] = Field(default=[])
    insight: Insight | None = None


class DataInfo(Record):
    """The data set and its splits, fixed by `split_seed`; `digests` are SHA-256 over each one's pixels and labels.

    `train` in the digests is the whole training split; in the sizes, what is left of it without `scoring`, its last
    images, on which candidates are scored.
    """

    name: str
    metric: str
    input_shape: list[int]
    classes: list[str]
    split_seed: int
    sizes: dict[str, int]
    digests: dict[str, str]


class Results(Record):
    """`edgesynth.results/1`: the whole outcome of a run."""

    schema_: Literal["edgesynth.results/1"] = Field("edgesynth.results/1", alias="schema")
    version: str
    seed: int
    data: DataInfo
    prototype: PrototypeInfo
    requirements: list[str]
    performance: str
    generator: GeneratorInfo
    networks: list[Network]
    warnings: list[str]
