"""What a failing export leaves: a script that repeats the step that failed, with everything it needs beside it."""

import platform
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from edgesynth_exporters.subject import Metric
from edgesynth_exporters.versions import tool_versions

__all__ = ["SCRIPT", "STEPS", "leave_reproduction"]

SCRIPT, LOG, WEIGHTS = "reproduce.py", "export.log", "weights.safetensors"

_SCRIPT = """\
{about}

from pathlib import Path

HERE = Path(__file__).resolve().parent

{code}"""

STEPS: Mapping[str, str] = {
    "export": """
import numpy as np
import torch
from safetensors.torch import load_file

from edgesynth_exporters.export import export_onnx

{module}
module.load_state_dict(load_file(HERE / "weights.safetensors"))
example = torch.from_numpy(np.load(HERE / "images.npy", allow_pickle=False)[:1])
export_onnx(module.eval(), example, HERE / "exported.onnx", {opset})
""",
    "simplify": """
import onnx

from edgesynth_exporters.simplify import simplify

onnx.save(simplify(onnx.load(HERE / "exported.onnx")), HERE / "simplified.onnx")
""",
    "fp16": """
import onnx

from edgesynth_exporters.precision import cast_to_fp16

onnx.save(cast_to_fp16(onnx.load(HERE / "simplified.onnx")), HERE / "fp16.onnx")
""",
    "int8": """
import numpy as np
import onnx

from edgesynth_exporters.quantize import calibrate, quantize

model = onnx.load(HERE / "simplified.onnx")
calibration = calibrate(model, np.load(HERE / "calibration.npy", allow_pickle=False))
onnx.save(quantize(model, calibration.amax), HERE / "int8.onnx")
""",
    "check": """
from edgesynth_exporters.check import check_model
from edgesynth_exporters.targets import find_target

report = check_model(HERE / {file!r}, find_target({target!r}), {precision!r})
print(*report.lines(), sep="\\n")
raise SystemExit(0 if report.ok else 1)
""",
    "parity": """
import numpy as np

from edgesynth_exporters.judgement import judge
from edgesynth_exporters.on_images import compare_on_images

images = np.load(HERE / "images.npy", allow_pickle=False)  # the first of {images}
with np.load(HERE / "answers.npz", allow_pickle=False) as archive:
    answers = {{name: archive[name] for name in archive.files}}  # PyTorch's, to these images


def pytorch(start, stop):
    return {{name: values[start:stop] for name, values in answers.items()}}


{metric_code}
seen = compare_on_images(images, pytorch, HERE / "simplified.onnx", {lower}, metric)
print(seen.fp32, seen.lower, seen.metric, sep="\\n")
judge(seen, {name!r}, {precision!r}, {casts}, {max_drop!r})
""",
    "engine": """
from edgesynth_exporters.engine import build_engine

print(
    build_engine(
        HERE / {file!r},
        HERE / {plan!r},
        module={engine_module!r},
        precision={precision!r},
        calibration_cache={calibration},
    )
)
""",
}
"""Step to the code that repeats it; braces name what the pipeline knows."""

_METRIC = """\
from edgesynth_exporters.subject import Metric

labels = np.load(HERE / "labels.npy", allow_pickle=False)
{code}


metric = Metric({name!r}, {images}, evaluate, labels, "")"""


def leave_reproduction(
    folder: Path, step: str, values: Mapping[str, Any], command: str, error: BaseException, module: nn.Module | None
) -> None:
    """Write the script, the log and the weights of `module`, where one is given, into `folder`, where the files of the
    steps before lie already.

    `values` fill in the braces of STEPS; "module" is the code that makes the network, up to its weights, "metric" a
    Metric or None. Weights are safetensors: nothing here is a pickle.
    """
    metric: Metric | None = values["metric"]
    metric_code = "metric = None"
    if metric is not None:
        metric_code = _METRIC.format(name=metric.name, images=metric.images, code=metric.code.strip("\n"))
    code = STEPS[step].format(**values, metric_code=metric_code).strip("\n") + "\n"
    about = [f"Repeats the step '{step}' of an export that failed in it:", f"    {command}", str(error)]
    about += [f"Run it as: python {SCRIPT}. It needs edgesynth; the files that it reads lie beside it."]
    comment = "\n".join(f"# {line}" for line in "\n".join(about).splitlines())
    text = _SCRIPT.format(about=comment, code=code)
    (folder / SCRIPT).write_text(text)
    lines = [command, f"failed in the step: {step}", f"{type(error).__name__}: {error}", ""]
    lines += [f"{name} {version}" for name, version in tool_versions().items()]
    lines += [platform.platform(), "", "".join(traceback.format_exception(error))]
    (folder / LOG).write_text("\n".join(lines))
    if module is None:
        return
    state = {key: tensor for key, tensor in module.state_dict().items() if isinstance(tensor, torch.Tensor)}
    # Tensors that share their memory would be refused; copies do not.
    save_file({key: tensor.detach().cpu().clone().contiguous() for key, tensor in state.items()}, folder / WEIGHTS)
