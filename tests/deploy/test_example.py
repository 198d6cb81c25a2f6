"""The example of the documentation is run, with stand-ins for the camera and for what runs the engine."""

import json
import runpy
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from tests.agent import fake_pycuda, fake_tensorrt

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "classify_camera.py"


class Camera(types.ModuleType):
    """OpenCV as far as the example uses it: two frames, the one dark and the other bright."""

    COLOR_BGR2RGB, COLOR_BGR2GRAY = 4, 6

    def __init__(self):
        super().__init__("cv2")
        self.frames = [np.full((48, 64, 3), value, np.uint8) for value in (0, 255)]

    def VideoCapture(self, number):  # noqa: N802  # OpenCV's name
        return types.SimpleNamespace(read=lambda: (True, self.frames.pop(0)) if self.frames else (False, None))

    def resize(self, frame, size):
        return frame[: size[1], : size[0]]

    def cvtColor(self, frame, code):  # noqa: N802  # OpenCV's name
        return frame[:, :, ::-1] if code == self.COLOR_BGR2RGB else frame[:, :, 0]


def test_it_is_short():
    code = [line for line in EXAMPLE.read_text().splitlines() if line.strip() and not line.strip().startswith("#")]
    assert len(code) <= 42


@pytest.mark.parametrize("channels", [1, 3])
def test_it_runs(tmp_path, monkeypatch, capsys, channels):
    trt = fake_tensorrt.make("8.2")

    class Logger(trt.ILogger):
        WARNING = 2

        def __init__(self, least):
            trt.ILogger.__init__(self)

        def log(self, severity, words):
            raise AssertionError(words)

    trt.Logger = Logger
    driver = fake_pycuda.make(trt=trt)
    driver.contexts.append("that of autoinit")
    package = types.ModuleType("pycuda")
    package.autoinit, package.driver = types.ModuleType("pycuda.autoinit"), driver
    modules = {"cv2": Camera(), "tensorrt": trt, "pycuda": package, "pycuda.autoinit": package.autoinit}
    for name, module in {**modules, "pycuda.driver": driver}.items():
        monkeypatch.setitem(sys.modules, name, module)
    shape = [1, channels, 8, 8]
    io = [["image", True, shape, "FLOAT"], ["scores", False, [1, 10], "FLOAT"]]
    (tmp_path / "engine.plan").write_text(json.dumps({"release": "8.2", "io": io, "profiles": []}))
    manifest = {
        "inputs": [{"name": "image", "shape": shape, "mean": [0.5] * channels, "std": [0.25] * channels}],
        "outputs": [{"name": "scores", "shape": [1, 10], "classes": [f"class {index}" for index in range(10)]}],
        "files": {"engine": {"path": "engine.plan"}},
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    monkeypatch.setattr(sys, "argv", ["classify_camera.py", str(tmp_path)])
    seen = runpy.run_path(str(EXAMPLE))
    # The last of the ten is always the greatest; the first is the mean of the image, normalised.
    assert capsys.readouterr().out == "class 9\nclass 9\n"
    assert seen["host"]["scores"][0, 0] == pytest.approx((1 - 0.5) / 0.25)
    assert seen["host"]["image"].shape == tuple(shape)
