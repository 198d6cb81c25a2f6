"""Networks to export, good and bad, and what is asked for."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import torch
from edgesynth_exporters.subject import Metric, Order, Subject
from edgesynth_exporters.targets import find_target
from torch import nn

from tests.networks import Residual, example, make

HERE = "from tests.exporters.exports import {kind}\n\nmodule = {kind}()"
IMAGES = example(256).numpy()
CODE = """\
from tests.networks import {kind}, make

module = make({kind})"""
LABELS = np.arange(256) % 4


def subject(kind=Residual, module=None, **changes):
    given = {
        "name": "net",
        "module": make(kind) if module is None else module,
        "images": IMAGES,
        "inputs": "real",
        "origin": "toys, validation split",
        "source": {"kind": "toy"},
        "code": CODE.format(kind=kind.__name__),
        "mean": (0.5,),
        "std": (0.25,),
        "classes": ("a", "b", "c", "d"),
    }
    return Subject(**given | changes)


def order(folder, target="tx2", precision="fp32", format_="onnx", name="m.onnx", **changes):
    return Order(find_target(target), precision, format_, folder / name, **changes)


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def accuracy(images=256, labels=LABELS):
    return Metric(
        "accuracy",
        images,
        lambda answers: float((answers.argmax(axis=1) == labels[: len(answers)]).mean()),
        labels,
        "def evaluate(answers):\n    return float((answers.argmax(axis=1) == labels[: len(answers)]).mean())",
    )


def left(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def reproduced(folder):
    """Exit code and last line of the script in a folder."""
    done = subprocess.run(
        [sys.executable, str(folder / "reproduce.py")],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, (done.stdout + done.stderr).strip().splitlines()


class Doubtful(nn.Module):
    """Its answers hang on small differences of large numbers: fp16 loses them."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 8)

    def forward(self, x):
        return (self.conv(x).flatten(1) + 5000.0) - 5000.0


def doubtful(**changes):
    torch.manual_seed(0)
    module = Doubtful().eval()
    with torch.no_grad():
        answers = module(torch.from_numpy(IMAGES)).argmax(dim=1).numpy()
    code = HERE.format(kind="Doubtful")
    return subject(module=module, metric=accuracy(256, answers), code=code, **changes)


class Folding(nn.Module):
    """Calls something that no ONNX operator stands for."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)

    def forward(self, x):
        return torch.fft.fft(self.conv(x)).real.mean(dim=(2, 3))


class Pretending(nn.Module):
    """Computes something else while it is exported."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)

    def forward(self, x):
        return self.conv(x).mean(dim=(2, 3)) + (1.0 if torch.onnx.is_in_onnx_export() else 0.0)


class Sampling(nn.Module):
    """Reads its image through a grid: an operator that TensorRT 8.2 lacks, under a name that any opset has."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(1, 4, 3)

    def forward(self, x):
        grid = x.new_zeros(1, 8, 8, 2).expand(x.shape[0], 8, 8, 2)
        return self.conv(torch.nn.functional.grid_sample(x, grid, align_corners=False)).mean(dim=(2, 3))
