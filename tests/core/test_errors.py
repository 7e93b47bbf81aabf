"""Deliberate errors: one family, clear messages, whole after a journey between processes."""

from __future__ import annotations

import pickle

import pytest

from synfire.core import errors
from synfire.core.errors import LoweringError, Problem, SynfireError, UnknownNameError

PROBLEM = Problem("stages.0", "aten.sin", "has no rule", "use a neuron")
EXAMPLES = [
    *(
        kind("what came, what to do")
        for kind in vars(errors).values()
        if isinstance(kind, type)
        and issubclass(kind, SynfireError)
        and kind not in (UnknownNameError, LoweringError)
    ),
    UnknownNameError("model", "spikng", ["spiking", "other"]),
    LoweringError([PROBLEM, Problem("", "aten.cos", "too", "none")]),
]


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_one_family_that_survives_pickling(error):
    copy = pickle.loads(pickle.dumps(error))
    assert isinstance(error, SynfireError)
    assert type(copy) is type(error)
    assert str(copy) == str(error)


def test_usual_bases_catch_them_too():
    pairs = {
        errors.ConfigError: ValueError,
        errors.InputError: ValueError,
        errors.DataError: ValueError,
        errors.MissingDependencyError: ImportError,
        errors.RunExistsError: FileExistsError,
        UnknownNameError: KeyError,
    }
    assert all(issubclass(kind, base) for kind, base in pairs.items())


def test_unknown_names_offer_the_nearest():
    near = UnknownNameError("model", "spiking_cnn_tini", ["spiking_cnn_tiny", "resnet"])
    assert str(near) == "unknown model 'spiking_cnn_tini': did you mean spiking_cnn_tiny?"
    assert str(UnknownNameError("model", "zzz", ["b", "a"])) == "unknown model 'zzz': known: a, b."
    assert str(UnknownNameError("model", "zzz", [])) == "unknown model 'zzz': known: none."


def test_lowering_error_lists_everything():
    error = EXAMPLES[-1]
    lines = str(error).splitlines()
    assert lines[0] == "2 operation(s) cannot be lowered:"
    assert lines[1].strip() == "stages.0: aten.sin: has no rule; use a neuron"
    assert lines[2].strip().startswith("<top level>: aten.cos")
    assert pickle.loads(pickle.dumps(error)).problems == error.problems
