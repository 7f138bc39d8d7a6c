from __future__ import annotations

import functools

import numba
import numpy as np
import pytest

from aisle_smc.targets import Target, as_target


def density(x, scale=1.0):
    return -scale * x @ x


class Model:
    def __init__(self, data, options=None):
        self.data = np.asarray(data)
        self.options = {"tolerance": 1e-3} if options is None else options

    def __call__(self, x):
        return -np.sum((self.data - x) ** 2)

    def log_density(self, x):
        return self(x)


class Other(Model):
    def __call__(self, x):
        return -np.sum(np.abs(self.data - x))


def scaled(factor):
    class Scaled(Model):
        def log_density(self, x):
            return self.scale() * self(x)

        if factor == 2:

            def scale(self):
                return 2.0
        else:

            def scale(self):
                return 3.0

    return Scaled([1.0]).log_density


def prints(*functions):
    return {Target(function).fingerprint()["target"] for function in functions}


def test_a_bare_function_is_a_target():
    target = as_target(density)
    assert target == Target(density)
    assert as_target(target) is target


@pytest.mark.parametrize(
    "make",
    [
        lambda: density,
        lambda: functools.partial(density, scale=2.0),
        lambda: Model([1.0, 2.0]),
        lambda: Model([1.0, 2.0]).log_density,
        lambda: lambda x: -x,
        lambda: numba.njit(density),
    ],
)
def test_the_same_function_made_again_has_the_same_fingerprint(make):
    assert len(prints(make(), make())) == 1


def test_other_code_or_data_have_other_fingerprints():
    different = [
        density,
        functools.partial(density, scale=2.0),
        functools.partial(density, scale=3.0),
        Model([1.0, 2.0]),
        Model([1.0, 2.5]),
        Model([1.0, 2.0], {"tolerance": 1e-4}),
        Other([1.0, 2.0]),
        Model([1.0, 2.0]).log_density,
        Model([1.0, 2.5]).log_density,
        scaled(2),
        scaled(3),
        Model([1.0, 2.0], {"model": Model([3.0])}),
        Model([1.0, 2.0], {"model": Model([4.0])}),
        lambda x: -x,
        lambda x: -2 * x,
    ]
    assert len(prints(*different)) == len(different)


def test_gradients_are_part_of_it():
    one = Target(density, gradient=lambda x: -2 * x).fingerprint()
    other = Target(density, gradient=lambda x: -3 * x).fingerprint()
    assert set(one) == {"target", "gradient"}
    assert one["target"] == other["target"]
    assert one["gradient"] != other["gradient"]


def test_a_holder_of_itself_has_an_end():
    model = Model([1.0])
    model.options = {"me": model}
    assert len(prints(model, model)) == 1
