"""Operators that torch has no way to write at an opset, found in what its exporter says."""

import re

from edgesynth_exporters.rules import remedy

__all__ = ["unwritable_operator", "what_to_do"]

_SAID = (
    r"Exporting the operator '(?:\w+::)?(\w+)'",
    r"operator with unrecognized namespace (?:\w+::)?(\w+)",
    r"Unsupported: ONNX export of (?:operator )?(\w+)",
)
"""torch/onnx/errors.py and torch/onnx/_internal/torchscript_exporter/symbolic_helper.py in
https://github.com/pytorch/pytorch. These messages also advise opsets that a target may not take."""
_NAMES = {"grid_sampler": "GridSample", "roi_align": "RoiAlign", "max_unpool2d": "MaxUnpool"}
"""Where the name in ONNX is not the one in torch in other letters."""
_OTHERWISE = "write it with other operators, or do it outside of the network"
_FFT = "do it outside of the network, or multiply by constant matrices of sines and cosines"


def unwritable_operator(error: BaseException | None) -> str | None:
    """The operator that torch's exporter says it cannot write, in torch's words; None where it says something else."""
    found = (re.search(pattern, str(error)) for pattern in _SAID)
    return next((match.group(1) for match in found if match), None)


def what_to_do(operator: str) -> str:
    """The remedy for an operator in torch's words."""
    if operator.startswith(("fft", "_fft", "stft", "istft")):
        return _FFT
    name = _NAMES.get(operator) or "".join(part.capitalize() for part in operator.split("_"))
    known = remedy(name)
    # Another opset is no remedy: torch writes at the greatest that the target takes.
    return _OTHERWISE if known is None or known.startswith("export at") else known
