"""Names what a camera sees, by a deployed network: python3 classify_camera.py [/var/lib/edgesynth/models/NAME/current]

On the board: TensorRT 8, pycuda, OpenCV, as in JetPack 4 and 5. edgesynth itself is not needed.
"""

import json
import os
import sys

import cv2
import numpy as np
import pycuda.autoinit  # makes the CUDA context
import pycuda.driver as cuda
import tensorrt as trt

# Resolved once: manifest and engine are then of one release, whatever is deployed meanwhile.
folder = os.path.realpath(sys.argv[1] if len(sys.argv) > 1 else "/var/lib/edgesynth/models/cam/current")
with open(os.path.join(folder, "manifest.json")) as file:
    manifest = json.load(file)
image, answer = manifest["inputs"][0], manifest["outputs"][0]
batch, channels, height, width = image["shape"]
mean, std = (np.reshape(image[key] or default, (-1, 1, 1)) for key, default in (("mean", 0.0), ("std", 1.0)))

logger = trt.Logger(trt.Logger.WARNING)
trt.init_libnvinfer_plugins(logger, "")
runtime = trt.Runtime(logger)
with open(os.path.join(folder, manifest["files"]["engine"]["path"]), "rb") as file:
    engine = runtime.deserialize_cuda_engine(file.read())
context = engine.create_execution_context()
host = {each["name"]: np.zeros(each["shape"], np.float32) for each in (image, answer)}
device = {name: cuda.mem_alloc(values.nbytes) for name, values in host.items()}
bindings = [int(device[engine.get_binding_name(index)]) for index in range(engine.num_bindings)]

camera = cv2.VideoCapture(0)
while True:
    there, frame = camera.read()  # (height, width, 3), blue green red
    if not there:
        break
    frame = cv2.resize(frame, (width, height))
    frame = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB if channels == 3 else cv2.COLOR_BGR2GRAY)
    host[image["name"]][0] = (frame.reshape(height, width, channels).transpose(2, 0, 1) / 255.0 - mean) / std
    cuda.memcpy_htod(int(device[image["name"]]), host[image["name"]])
    context.execute_v2(bindings)
    cuda.memcpy_dtoh(host[answer["name"]], int(device[answer["name"]]))
    best = int(host[answer["name"]][0].argmax())
    print(answer["classes"][best] if answer["classes"] else best)
