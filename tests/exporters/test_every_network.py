"""Every network that the generator can make of a built-in prototype can be exported for a TX2, and TensorRT takes it.

67 random genomes of each of the three prototypes, 201 different networks, all of them through all of it: exported at
opset 13, simplified, checked for a TX2, compared with PyTorch within the bounds of fp32, and built by TensorRT-RTX;
every fourth is built in fp16. It takes half a second of one core for each. Weights are random, and batch-norm
statistics too, so that folding them matters. TensorRT-RTX takes its precision from the file and compiles for other GPUs
than a TX2's: what it proves is that TensorRT parses and compiles the graph.
"""

import importlib.util
import random

import numpy as np
import pytest
import torch
from edgesynth_exporters.errors import EdgesynthError
from edgesynth_exporters.pipeline import export_network
from edgesynth_exporters.subject import Order, Subject
from edgesynth_exporters.targets import find_target
from torch import nn

from edgesynth.prototypes import PROTOTYPES
from edgesynth.space.genome import allowed_widths, canonical, digest, full_genome
from edgesynth.space.surgery import materialise
from edgesynth.space.trace import trace
from tests.needs import need

NETWORKS = 67
"""Of each prototype: more than 200 together."""
SHAPE = (3, 32, 32)
LEAST_SIDE = 16
"""So that images of that size can be made smaller, as larger ones are."""
IMAGES = 16


@pytest.fixture(autouse=True)
def one_thread(tmp_path, monkeypatch):
    """Networks this small lose more than they gain by a second one. Caches are the test's own."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


def space_of(name):
    torch.manual_seed(0)
    module = PROTOTYPES[name](SHAPE[0], 10).eval()
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.3)
            layer.running_var.uniform_(0.5, 2.0)
            layer.weight.data.uniform_(0.5, 1.5)
            layer.bias.data.normal_(0, 0.3)
    return trace(module, torch.zeros(1, *SHAPE), least_side=LEAST_SIDE)


def genomes(space, seed):
    """Different ones: the prototype itself, the smallest network with and without blocks, and random ones."""
    rng = random.Random(seed)
    groups, blocks = space.groups, space.blocks
    least = {group.name: allowed_widths(group.channels)[0] for group in groups}
    found = [full_genome(groups, blocks)]
    found += [
        canonical(least, {b.name: kept for b in blocks}, groups, blocks, space.resolutions[-1])
        for kept in (True, False)
    ]
    seen = {digest(genome) for genome in found}
    while len(found) < NETWORKS:
        widths = {group.name: rng.choice(allowed_widths(group.channels)) for group in groups}
        kept = {block.name: rng.random() < 0.6 for block in blocks}
        genome = canonical(widths, kept, groups, blocks, rng.choice([None, *space.resolutions[1:]]))
        if digest(genome) not in seen:
            seen.add(digest(genome))
            found.append(genome)
    return found


def random_ranking(space, seed):
    generator = torch.Generator().manual_seed(seed)
    return {group.name: torch.randperm(group.channels, generator=generator).tolist() for group in space.groups}


@pytest.mark.parametrize("name", PROTOTYPES)
def test_every_network_can_be_exported_checked_compared_and_compiled(name, tmp_path):
    need(importlib.util.find_spec("tensorrt_rtx"), "tensorrt-rtx (pip install 'edgesynth[tensorrt-rtx]')")
    space = space_of(name)
    assert len(space.resolutions) > 1
    made = genomes(space, seed=f"{name} 0")
    assert len({genome.resolution for genome in made}) == len(space.resolutions)
    assert {kept for genome in made for kept in genome.blocks.values()} == {True, False}
    for number, genome in enumerate(made):
        images = np.random.default_rng(number).standard_normal((IMAGES, *SHAPE), dtype=np.float32)
        subject = Subject(
            name=f"{name} {genome.model_dump_json()}",
            module=materialise(space, genome, random_ranking(space, number)),
            images=images,
            inputs="noise",
            origin="normal noise",
            source={},
            code="",
        )
        precision = "fp16" if number % 4 == 3 else "fp32"
        order = Order(find_target("tx2"), precision, "tensorrt-rtx", tmp_path / "m.plan")
        try:
            record = export_network(subject, order)
        except EdgesynthError as error:
            error.add_note(subject.name)
            raise
        assert (record.opset, record.check.ok, record.engine.module) == (13, True, "tensorrt_rtx"), subject.name
        parity = record.parity["fp32"]["output"]
        assert parity.max_abs_error <= parity.tolerance <= max(1e-4, 1e-5 * parity.greatest), subject.name
        assert parity.argmax_agreement == 1.0, subject.name
        assert record.engine.plan.bytes == (tmp_path / "m.plan").stat().st_size > 0, subject.name
