"""Faults of the engine, for tests: while one of these files is there, ONNX Runtime fails in that way."""

import os

import onnxruntime

FOLDER = "/etc/virtual-device/faults"

_Session = onnxruntime.InferenceSession


class InferenceSession(_Session):
    """As ONNX Runtime's, unless "engine-build" (no network loads) or "parity" (answers are wrong) is asked for."""

    def __init__(self, *arguments, **options):
        if os.path.exists(os.path.join(FOLDER, "engine-build")):
            raise RuntimeError("Could not find any implementation for node Conv_0 (a fault that a test asked for)")
        super().__init__(*arguments, **options)

    def run(self, *arguments, **options):
        answers = super().run(*arguments, **options)
        if os.path.exists(os.path.join(FOLDER, "parity")):
            return [answer + 1 for answer in answers]
        return answers
