"""What precision, memory layout and waiting policy do to a training step: ratios within one run.

    python benchmarks/training_step.py            prints one JSON document; takes about three minutes on two cores

Each configuration runs in a process of its own, in turn, several rounds; the figure is the median of a round's steps,
the ratio is taken round by round. "busy" runs beside one process that does nothing but count.
"""

import json
import os
import statistics
import subprocess
import sys
import time

ROUNDS = 3
STEPS = 12
BATCH = 128
PROTOTYPES = ("resnet8", "resnet20")


def step_ms(prototype: str, layout: str, precision: str) -> float:
    """Median milliseconds of a step: forward, backward and SGD on 128 images of 1x28x28."""
    import torch

    from edgesynth.prototypes import PROTOTYPES as BUILTIN
    from edgesynth.synthesis.compute import layout_of

    network = BUILTIN[prototype](1, 10).train()
    chosen = layout_of(network, torch.bfloat16 if precision == "bfloat16" else torch.float32)
    formats = {"chosen": chosen, "contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
    memory_format = formats[layout]
    network.to(memory_format=memory_format)  # type: ignore[call-overload]
    images = torch.randn(BATCH, 1, 28, 28).contiguous(memory_format=memory_format)
    targets = torch.randint(10, (BATCH,))
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, nesterov=True)
    times = []
    for _ in range(STEPS):
        start = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bfloat16"):
            answers = network(images)
        torch.nn.functional.cross_entropy(answers.float(), targets).backward()
        optimizer.step()
        times.append(1e3 * (time.perf_counter() - start))
    return statistics.median(times[2:])


def measured(prototype: str, layout: str, policy: str, precision: str, busy: bool) -> float:
    """`step_ms` in a fresh process, with the policy in its environment."""
    neighbour = subprocess.Popen([sys.executable, "-c", "while True: pass"]) if busy else None
    try:
        done = subprocess.run(
            [sys.executable, __file__, prototype, layout, precision],
            env={**os.environ, "OMP_WAIT_POLICY": policy},
            capture_output=True,
            text=True,
            check=True,
        )
    finally:
        if neighbour is not None:
            neighbour.kill()
            neighbour.wait()
    return float(done.stdout)


def compare(prototype: str, ours: dict[str, str], theirs: dict[str, str], busy: bool) -> dict[str, object]:
    """Both configurations in turn; medians, and the median ratio of theirs to ours."""
    pairs = [(measured(prototype, **ours, busy=busy), measured(prototype, **theirs, busy=busy)) for _ in range(ROUNDS)]
    return {
        "prototype": prototype,
        "busy_neighbour": busy,
        "ours": {**ours, "step_ms": round(statistics.median(a for a, _ in pairs), 1)},
        "theirs": {**theirs, "step_ms": round(statistics.median(b for _, b in pairs), 1)},
        "theirs_over_ours": round(statistics.median(b / a for a, b in pairs), 2),
    }


def ours_precision() -> str:
    """What edgesynth trains in on this machine."""
    from edgesynth.synthesis.compute import device, precision

    return str(precision(device())).removeprefix("torch.")


def other_than(precision: str) -> str:
    return "float32" if precision == "bfloat16" else "bfloat16"


def main() -> None:
    ours = {"layout": "chosen", "policy": "PASSIVE", "precision": ours_precision()}
    rows = []
    for prototype in PROTOTYPES:
        rows.append(compare(prototype, ours, {**ours, "precision": other_than(ours["precision"])}, busy=False))
        in_float32 = {**ours, "precision": "float32"}
        rows.append(compare(prototype, in_float32, {**in_float32, "layout": "contiguous"}, busy=False))
        rows += [compare(prototype, ours, {**ours, "policy": "ACTIVE"}, busy=busy) for busy in (False, True)]
    sys.stdout.write(json.dumps({"cpus": os.cpu_count(), "rounds": ROUNDS, "rows": rows}, indent=2) + "\n")


if __name__ == "__main__":
    if len(sys.argv) == 4:
        sys.stdout.write(f"{step_ms(*sys.argv[1:])}\n")
    else:
        main()
