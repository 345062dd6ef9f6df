"""What the PC is doing, measured on this one."""

import os

import psutil

from server.machine import Machine


def test_memory_is_that_of_the_pc_and_of_our_processes():
    use = Machine().use(0)
    assert use.memory_total == psutil.virtual_memory().total
    assert 0 < use.own < use.memory <= use.memory_total
    assert 0 <= use.processor <= 1


def test_the_engines_memory_counts_as_ours():
    assert Machine().use(os.getppid()).own > Machine().use(0).own


def test_an_engine_that_ended_counts_nothing():
    assert Machine().use(2**22 + 1).own > 0


def test_it_measures_at_most_once_a_second(monkeypatch):
    machine = Machine()
    first = machine.use(0)
    monkeypatch.setattr(psutil, "virtual_memory", None)
    assert machine.use(0) is first
