"""Which of llama.cpp's samplers run, and in which order."""

import pytest

from server.engine.sampling import Sampler, chain
from server.events import Sampling

EVERYTHING = Sampling(top_k=40, top_p=0.9, min_p=0.05, typical=0.8, rep_pen=1.1)


def names(sampling: Sampling) -> list[str]:
    return [sampler.name for sampler in chain(sampling, seed=1)]


def test_by_default_only_the_temperature_shapes_the_draw():
    assert chain(Sampling(), seed=7) == [Sampler("temp", (0.75,)), Sampler("dist", (7,))]


def test_the_default_order_is_koboldcpps():
    assert names(EVERYTHING) == ["penalties", "top_k", "typical", "top_p", "min_p", "temp", "dist"]


def test_the_order_of_the_request_counts():
    order = (5, 2, 0, 6, 4)
    sampling = Sampling(top_k=40, top_p=0.9, rep_pen=1.1, typical=0.8, order=order)
    assert names(sampling) == ["temp", "top_p", "top_k", "penalties", "typical", "dist"]


def test_a_sampler_that_the_order_leaves_out_does_not_run():
    assert names(Sampling(top_k=40, order=(5,))) == ["temp", "dist"]


@pytest.mark.parametrize("order", [(1, 3), (99, -1), ()])
def test_indices_that_llama_cpp_does_not_have_add_nothing(order):
    assert names(Sampling(order=order)) == ["dist"]


@pytest.mark.parametrize("temperature", [0.0, -1.0])
def test_temperature_zero_or_less_is_greedy(temperature):
    assert names(Sampling(temperature=temperature, top_k=40, top_p=0.9)) == ["greedy"]


def test_greedy_still_heeds_penalties_and_bias():
    sampling = Sampling(temperature=0, rep_pen=1.1, logit_bias=((5, -100.0),))
    assert names(sampling) == ["logit_bias", "penalties", "greedy"]


def test_bias_comes_before_everything_else():
    sampling = Sampling(logit_bias=((5, 1.0),), rep_pen=1.2)
    assert names(sampling)[0] == "logit_bias"


@pytest.mark.parametrize("top_k", [0, -1])
def test_top_k_zero_or_less_is_off(top_k):
    assert "top_k" not in names(Sampling(top_k=top_k))


def test_min_p_works_without_top_p():
    assert names(Sampling(min_p=0.1)) == ["min_p", "temp", "dist"]


@pytest.mark.parametrize(
    "sampling", [Sampling(rep_pen=1.1), Sampling(presence_penalty=0.5), Sampling(frequency_penalty=0.5)]
)
def test_any_one_penalty_switches_the_penalties_on(sampling):
    assert "penalties" in names(sampling)


def test_penalties_carry_their_values_in_llama_cpps_order():
    sampling = Sampling(rep_pen=1.1, rep_pen_range=64, presence_penalty=0.2, frequency_penalty=0.3)
    assert Sampler("penalties", (64, 1.1, 0.3, 0.2)) in chain(sampling, seed=1)


def test_the_draw_comes_last_and_has_the_seed():
    assert chain(EVERYTHING, seed=42)[-1] == Sampler("dist", (42,))


@pytest.mark.parametrize(("version", "name"), [(1, "mirostat"), (2, "mirostat_v2")])
def test_mirostat_replaces_all_but_penalties_and_temperature(version, name):
    asked = Sampling(mirostat=version, mirostat_tau=4.0, mirostat_eta=0.2, top_k=5, rep_pen=1.2, temperature=0.9)
    assert [sampler.name for sampler in chain(asked, 7)] == ["penalties", "temp", name]
    assert chain(asked, 7)[-1].values == (7, 4.0, 0.2)
