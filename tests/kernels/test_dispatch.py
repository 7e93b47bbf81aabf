"""The choice between implementations is visible, can be forced, and warns once where a path refuses."""

from __future__ import annotations

import threading
import warnings

import pytest
import torch

from synfire import kernels
from synfire.core.errors import ConfigError, UnknownNameError
from synfire.kernels import SlowPathWarning, dispatch
from synfire.kernels.dispatch import Dispatch, Path


@pytest.fixture
def made():
    """An operator with a fast path that refuses odd sizes, and a reference."""
    fast = Path(
        "fast_for_test",
        lambda: "fast",
        ("cpu",),
        (torch.float32,),
        lambda x, limit=9: (
            f"{x.numel()} elements are more than {limit}" if x.numel() > limit else None
        ),
    )
    operator = Dispatch("made_for_test", fast, Path("plain_for_test", lambda: "plain"))
    yield operator
    del dispatch._dispatches["made_for_test"]
    dispatch._warned.clear()


def test_the_fastest_path_that_takes_the_call_runs(made):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert made.choose(torch.zeros(3)).run() == "fast"
        assert made.choose(torch.zeros(3, dtype=torch.float64)).run() == "plain"  # outside, silent


def test_a_refusal_inside_the_domain_warns_once_for_each_reason(made):
    with pytest.warns(
        SlowPathWarning, match="does not take its fast_for_test path: 10 elements are more than 9"
    ):
        assert made.choose(torch.zeros(10)).run() == "plain"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert made.choose(torch.zeros(10)).run() == "plain"
    with pytest.warns(SlowPathWarning, match="11 elements"):
        made.choose(torch.zeros(11))


def test_explain_names_the_path_and_why_not_the_others(made):
    taken = kernels.explain("made_for_test", torch.zeros(3))
    assert taken.path == "fast_for_test" and not taken.refused
    refused = kernels.explain("synfire::made_for_test", [torch.zeros(10)], limit=2)
    assert refused.path == "plain_for_test"
    assert (
        str(refused)
        == "made_for_test: plain_for_test; not fast_for_test: 10 elements are more than 2"
    )
    outside = kernels.explain("made_for_test", torch.zeros(1, dtype=torch.float64))
    assert outside.refused == {"fast_for_test": "takes float32, the tensor is float64"}
    elsewhere = kernels.explain("made_for_test", torch.zeros(1, device="meta"))
    assert "runs on cpu, the tensor is on meta" in str(elsewhere)


def test_a_path_is_forced_everywhere_in_the_process(made):
    chosen = []
    with kernels.use("plain_for_test"):
        assert made.choose(torch.zeros(3)).run() == "plain"
        thread = threading.Thread(target=lambda: chosen.append(made.choose(torch.zeros(3)).run()))
        thread.start()
        thread.join()
        with kernels.use("fast_for_test"):
            assert made.choose(torch.zeros(3)).run() == "fast"
        assert made.choose(torch.zeros(3)).run() == "plain"
    assert chosen == ["plain"] and made.choose(torch.zeros(3)).run() == "fast"


def test_a_forced_path_that_cannot_run_falls_back_with_one_warning(made):
    with kernels.use("fast_for_test"), pytest.warns(SlowPathWarning, match="takes float32"):
        assert made.choose(torch.zeros(3, dtype=torch.float64)).run() == "plain"


def test_the_real_neuron_operator_explains_itself():
    x = torch.zeros(4, 3)
    for name in (
        "integrate_fire",
        "synfire::integrate_fire",
        torch.ops.synfire.integrate_fire.default,
    ):
        assert kernels.explain(name, x).operator == "integrate_fire"
    assert kernels.explain("integrate_fire", x.double()).path == "reference"
    with kernels.use("reference"):
        assert kernels.explain("integrate_fire", [x]).path == "reference"


def test_unknown_names():
    with pytest.raises(UnknownNameError, match=r"unknown operator 'integrate_fir'.*integrate_fire"):
        kernels.explain("integrate_fir", torch.zeros(1))
    with (
        pytest.raises(UnknownNameError, match=r"unknown path 'refrence'.*reference"),
        kernels.use("refrence"),
    ):
        pass


def test_an_operator_that_nothing_takes_says_so():
    operator = Dispatch("cuda_for_test", Path("cuda_for_test", None, ("cuda",)))
    try:
        with pytest.raises(ConfigError, match="no path of cuda_for_test takes a tensor on cpu"):
            operator.choose(torch.zeros(1))
    finally:
        del dispatch._dispatches["cuda_for_test"]
