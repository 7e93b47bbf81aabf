"""A saved graph loads and runs where numpy and safetensors are all there is."""

from __future__ import annotations

import subprocess

import numpy as np
import pytest

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("wheel")]

RUN = """
import sys
from importlib.util import find_spec
import numpy as np
from synfire.export.graph import SpikeGraph
assert find_spec("torch") is None
folder, mode = sys.argv[1:]
graph = SpikeGraph.load(folder + "/graph")
np.save(f"{folder}/{mode}.npy", graph.run(np.load(folder + "/x.npy"), mode=mode))
assert "torch" not in sys.modules
"""


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """Graph and input of a net with dyadic weights (sums are exact), and what torch makes of it."""
    import torch

    import synfire
    from synfire.export import trace
    from synfire.neurons import LIF, IntegerLIF

    draw = torch.Generator().manual_seed(0)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(2, 6, 3, padding=1),
        IntegerLIF(levels=4, timesteps=3, decay=0.5),
        torch.nn.AvgPool2d(2),
        torch.nn.Conv2d(6, 8, 3, groups=2),
        LIF(timesteps=3, decay=0.5),
        torch.nn.Flatten(),
        torch.nn.Linear(8 * 9, 10),
    )
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.copy_((torch.randn(parameter.shape, generator=draw) * 24).round() / 64)
    net = synfire.TimeFolded(net, timesteps=3, readout="none").eval()
    x = (torch.rand(3, 5, 2, 10, 10, generator=draw) * 32).round() / 16
    graph = trace(net, x)
    folder = tmp_path_factory.mktemp("saved")
    graph.save(folder / "graph")
    np.save(folder / "x.npy", x.numpy())
    with torch.no_grad():
        return folder, net(x).numpy(), graph.run(x).numpy()


@pytest.mark.parametrize("mode", ["integer", "slots"])
def test_graph_runs_without_torch(saved, bare_python, mode):
    folder, of_the_net, of_the_graph = saved
    subprocess.run([bare_python, "-c", RUN, folder, mode], check=True, cwd=folder)
    result = np.load(folder / f"{mode}.npy")
    assert result.shape == (3, 5, 10)
    assert np.array_equal(result, of_the_graph)
    assert np.array_equal(result, of_the_net)
    assert len(np.unique(result)) > 10
