"""The page: README.md and accuracy.svg, from result files alone."""

from collections import Counter
from collections.abc import Sequence

from benchmarks.classification.cells import HERE, Places, cells_of, read_result
from benchmarks.classification.family_section import family_section
from benchmarks.classification.figures import Band, Row, Table, tables
from benchmarks.classification.plot import accuracy_plot
from benchmarks.classification.protocol import CONTESTANTS, FAMILY, Protocol
from benchmarks.classification.trust import trust
from edgesynth.synthesis.storage import write_file

__all__ = ["page", "write_page"]

HEAD = (
    "contestant",
    "test accuracy (least to greatest)",
    "to the prototype, points",
    "edgesynth minus it, points",
    "MMACs",
    "parameters",
    "search, CPU-s",
    "finishing, CPU-s",
    "CPU latency / prototype's",
    "Jetson TX2, mJ (estimated)",
)
NOT_KNOWN = "·"


def write_page(protocol: Protocol, places: Places) -> None:
    """The full protocol's page lies beside this file, any other's in its results folder."""
    folder = HERE if protocol.name == "full" and places.results == HERE / "results" else places.results
    prototype, found = tables(protocol, places)
    write_file(folder / "accuracy.svg", f"{accuracy_plot(prototype, found)}\n".encode())
    write_file(folder / "README.md", page(protocol, places).encode())


def page(protocol: Protocol, places: Places) -> str:
    """The text of README.md. Every figure in it is the protocol's, or in a result file."""
    prototype, found = tables(protocol, places)
    parts = [
        "# edgesynth against what one would pick instead",
        "Written by `python -m benchmarks.classification page` from the files in `results/`; do not edit.",
        _question(protocol),
        *(["![Test accuracy by contestant](accuracy.svg)"] if any(_has_results(table) for table in found) else []),
        *(_section(prototype, table, protocol) for table in found),
        trust(protocol, places),
        family_section(FAMILY, places.results / "family"),
        _contestants(),
        _rules(protocol),
        _how(protocol),
        _where(protocol, places),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _question(protocol: Protocol) -> str:
    budgets = " and ".join(f"1/{budget}" for budget in protocol.budgets)
    return (
        f"One trained `{protocol.prototype}`, {protocol.data}, and {budgets} of its multiply-accumulates: which small "
        "network is the most accurate? Everyone gets the same prototype, the same counter, the same fine-tuning with "
        f"the same seeds, and the test images are read once per finished network. Seeds: {_list(protocol.seeds)}."
    )


def _section(prototype: Row, table: Table, protocol: Protocol) -> str:
    limit = "" if table.macs_limit is None else f" (at most {table.macs_limit:,})"
    lines = [
        f"## A {_part(table.budget)} of the multiply-accumulates{limit}",
        *_in_short(table, len(protocol.seeds)),
        _table([prototype, *table.rows], protocol),
    ]
    notes = [
        f"- **{row.contestant}**, seed {seed}: failed. {_one_line(reason)}"
        for row in table.rows
        for seed, reason in row.failures.items()
    ]
    notes += [
        f"- **{row.contestant}**: not run yet for seed {_list(row.missing)}."
        for row in (prototype, *table.rows)
        if row.missing
    ]
    notes += _computed_otherwise([prototype, *table.rows])
    return "\n\n".join([*lines, "\n".join(notes)] if notes else lines)


def _in_short(table: Table, seeds: int) -> list[str]:
    """edgesynth's median against the best one of the others, of those that have all seeds; and seed by seed."""
    rows = {row.contestant: row for row in table.rows if len(row.accuracies) == seeds}
    own = rows.pop("edgesynth", None)
    rows.pop("edgesynth-first", None)
    medians = {name: row.accuracy.median for name, row in rows.items() if row.accuracy is not None}
    if own is None or own.accuracy is None or not medians:
        return []
    best = max(medians, key=lambda name: medians[name])
    ahead = 100 * (own.accuracy.median - medians[best])
    where = "above" if ahead >= 0 else "**below**"
    lead = rows[best].lead
    disagree = ": the seeds disagree" if lead is not None and lead.low < 0 < lead.high else ""
    return [
        f"edgesynth's median, {_median(own.accuracy, 100, 2)} %, is {abs(ahead):.2f} points {where} that of {best}, "
        f"the best of the {len(medians)} others that have all {seeds} seeds. Seed by seed the difference is "
        f"{_band(lead, 100, 2, sign=True)}{disagree}."
    ]


def _computed_otherwise(rows: Sequence[Row]) -> list[str]:
    """What was not computed as most of the table was: accuracies differ a little for that, CPU-seconds a lot."""
    ways = Counter(way for row in rows for way in row.computed.values())
    if len(ways) < 2:
        return []
    usual, _ = ways.most_common(1)[0]
    notes = [f"- Computed {usual} where nothing else is said."]
    for row in rows:
        for way in ways:
            seeds = [seed for seed, computed in row.computed.items() if computed == way]
            if seeds and way != usual:
                notes.append(f"- **{row.contestant}**: {way} for seed {_list(seeds)}.")
    return notes


def _table(rows: Sequence[Row], protocol: Protocol) -> str:
    lines = [" | ".join(HEAD), " | ".join(["---", *["---:"] * (len(HEAD) - 1)])]
    lines += [" | ".join(_cells(row, protocol)) for row in rows]
    return "\n".join(f"| {line} |" for line in lines)


def _cells(row: Row, protocol: Protocol) -> list[str]:
    seeds = len(row.accuracies)
    some = f" [{seeds} of {len(protocol.seeds)} seeds]" if 0 < seeds < len(protocol.seeds) else ""
    accuracy = _band(row.accuracy, 100, 2, " %") + some
    if row.accuracy is None:
        accuracy = "failed" if row.failures else "not run yet"
    return [
        row.contestant,
        accuracy,
        _band(row.behind, 100, 2, sign=True),
        _band(row.lead, 100, 2, sign=True),
        _median(row.macs, 1e-6, 2),
        _median(row.params, 1, 0),
        _median(row.search_cpu_s, 1, 0),
        _median(row.finish_cpu_s, 1, 0),
        _median(row.latency_ratio, 1, 2),
        _median(row.tx2_mj, 1, 1),
    ]


def _contestants() -> str:
    return "## Contestants\n\n" + "\n".join(f"- **{name}**: {what}." for name, what in CONTESTANTS.items())


def _rules(protocol: Protocol) -> str:
    sl, taylor = protocol.settings["torch-pruning-group-sl"], protocol.settings["torch-pruning-taylor"]
    fastnas, evolution = protocol.settings["fastnas"], protocol.settings["evolution"]
    own = protocol.settings["edgesynth"]["run"]
    rules = [
        f"Prototype: `{protocol.prototype}`, {protocol.prototype_epochs} epochs, another one for each seed.",
        f"Data: {protocol.data}, split as edgesynth splits it. The last {protocol.scoring_images:,} training images, "
        "or a tenth where that is less, are for scoring candidates and never trained on; choices between finished "
        "networks look at validation images, and nothing looks at test images.",
        "Counter: `edgesynth.space.cost.count`, the multiply-accumulates of convolutions and linear layers.",
        f"Finishing, for all: batch norm measured anew, then {protocol.finish_epochs} epochs of edgesynth's recipe "
        f"(peak learning rate {protocol.peak_lr}), mirrored images where the data allows it, distilled from the "
        "prototype, the seed derived from the cell's alone. Only `uniform-scratch` has labels alone.",
        "Difference to the prototype, and edgesynth's lead, are taken seed by seed; the table has their median, and "
        "the least and greatest. Elsewhere it has the median over seeds.",
        "CPU-seconds are of one thread. Search is all that comes before finishing: the weights that random networks, "
        "evolution and edgesynth inherit, sparse learning, FastNAS's sensitivities; each contestant is charged in "
        "full, also for what two budgets share. Training the prototype and working out its answers to the training "
        "images is charged to nobody. edgesynth's finishing is that of all networks it chose from.",
        f"Torch-Pruning takes no budget, so it is stepped, {taylor['steps']} steps at most, until the counter says "
        f"that the budget is met; Taylor gradients are of {taylor['batches_a_step']} fresh batches a step, and at "
        f"least {100 - 100 * taylor['most_of_a_layer']:.0f} % of every layer stays. Sparse learning runs for "
        f"{sl['epochs']} epochs (regularisation {sl['reg']}, learning rate {sl['lr']}); its authors give it a hundred "
        "(https://github.com/VainF/Torch-Pruning, reproduce/main.py), which nobody else here gets.",
        f"FastNAS (https://github.com/NVIDIA/Model-Optimizer) gets channel divisor {fastnas['divisor']}, as its own "
        "default of 32 leaves it next to no choice in layers this thin; it scores on the scoring images. It tends to "
        f"land below what it is asked for, so what it is asked for is bisected {fastnas['bisections']} times, and the "
        "largest answer under the budget counts.",
        "Random networks are drawn gene by gene, uniformly, and kept when their multiply-accumulates lie between "
        f"{100 * protocol.settings['random']['least_of_budget']:.0f} % and 100 % of the budget.",
        f"Evolution: population {evolution['population']}, sample {evolution['sample']}, one gene changed a child, "
        "budget as a hard constraint; for each budget as many different networks scored as edgesynth scored for all.",
        f"edgesynth: `synth --require 'macs<=prototype/{own['learned_for']}' --performance {own['performance']} "
        f"--cycles {own['cycles']} --count {own['count']} --epochs {protocol.finish_epochs}`, then for further budgets "
        f"`generate --require … --count {own['count']}`; of the networks under a budget the one that is best on "
        "validation images. It finishes several networks where all others finish one.",
    ]
    return "## Rules\n\n" + "\n".join(f"- {rule}" for rule in rules)


def _how(protocol: Protocol) -> str:
    smoke = "" if protocol.name == "full" else " --smoke"
    return "\n".join(
        [
            "## Repeat it",
            "",
            "```sh",
            f"python -m benchmarks.classification run{smoke} --jobs 2   # what is missing, latencies and this page",
            *([] if smoke else ["python -m benchmarks.classification family"]),
            "```",
            "",
            "Both may be stopped at any time and go on with the same command. The peers get a virtual environment of "
            "their own in `work/`, made on first use. A cell that has a result of this protocol is not run again: "
            "delete its file in `results/` to repeat it. What several cells share (prototypes, runs of edgesynth, "
            "sparse learning, sensitivities) is taken from `prototypes/`, `runs/` and `work/` where it is there.",
        ]
    )


def _where(protocol: Protocol, places: Places) -> str:
    """The environments of all results that count, each once."""
    paths = [places.result(cell) for cell in cells_of(protocol)]
    paths += [places.prototype_result(seed) for seed in protocol.seeds] + [places.results / "latency.json"]
    found: dict[str, set[str]] = {}
    for path in paths:
        result = read_result(path)
        if result is None:
            continue
        environment = result["environment"]
        versions = environment["versions"]
        values = {
            "processor": f"{environment['cpu']}, {environment['cores']} cores",
            **({} if path.name == "latency.json" else {"training in": environment.get("precision", "float32")}),
            "Python": environment["python"],
            "commit": str(environment["commit"]),
            "day": environment["date"][:10],
            **versions,
        }
        for key, value in values.items():
            found.setdefault(key, set()).add(value)
    if not found:
        return "## Where\n\nNothing has been run yet."
    return "## Where\n\n" + "\n".join(f"- {key}: {_list(sorted(values))}" for key, values in found.items())


def _has_results(table: Table) -> bool:
    return any(row.accuracies for row in table.rows)


def _part(budget: int) -> str:
    return {2: "half", 3: "third", 4: "quarter", 5: "fifth", 8: "eighth", 10: "tenth"}.get(budget, f"1/{budget}")


def _list(values: Sequence[object]) -> str:
    return ", ".join(map(str, values))


def _one_line(reason: str) -> str:
    return " ".join(reason.split()).replace("|", "\\|")


def _band(band: Band | None, factor: float, digits: int, unit: str = "", sign: bool = False) -> str:
    if band is None:
        return NOT_KNOWN
    form = f"{'+' if sign else ''}.{digits}f"
    median, low, high = (format(value * factor, form) for value in (band.median, band.low, band.high))
    return f"{median}{unit}" if low == high else f"{median}{unit} ({low} to {high})"


def _median(band: Band | None, factor: float, digits: int) -> str:
    return NOT_KNOWN if band is None else f"{band.median * factor:,.{digits}f}"
