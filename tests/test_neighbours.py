"""Beside a game: how threads wait, how many there are, and who goes first."""

import logging
import statistics
import sys

import psutil
import pytest

from server.engine import neighbours
from server.engine.neighbours import CoreMeter, ThreadGovernor, lower_priority, waiting_environment

VARIABLES = ("GOMP_SPINCOUNT", "KMP_BLOCKTIME", "OMP_WAIT_POLICY")


@pytest.fixture(autouse=True)
def untouched(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


class Machine:
    """Cores that ``hungry`` programs share evenly with the engine's threads. Every step waits for its slowest thread.

    A thread that shares its core makes the step ``stall`` times longer than its share alone would.
    """

    def __init__(self, cores: int, most: int, hungry: float = 0, stall: float = 3, work: float = 0.02) -> None:
        self.cores, self.most, self.hungry, self.stall, self.work = cores, most, hungry, stall, work
        self.now = 0.0
        self.counts: list[int] = []
        self._taken = self._taken_until = 0.0
        self.governor = ThreadGovernor(most, cores, self._taken_since_last_call)

    def run(self, seconds: float, sizes: tuple[int, ...] = (1,)) -> "Machine":
        """Generate for a while, with batches of ``sizes`` in turn; ``counts`` then holds the threads of each step."""
        self.counts.clear()
        end = self.now + seconds
        while self.now < end:
            self.step(sizes[len(self.counts) % len(sizes)])
        return self

    def step(self, tokens: int = 1, *, generation_only: bool = True) -> None:
        threads = self.governor.threads
        self.counts.append(threads)
        duration = self.step_seconds(threads, tokens)
        self._pass(duration, threads)
        self.governor.after_step(self.now, duration, tokens, generation_only=generation_only)

    def step_seconds(self, threads: int, tokens: int = 1) -> float:
        share = min(1.0, self.cores / (threads + self.hungry))
        crowded = self.stall if share < 1 and threads > 1 else 1.0
        return self.work * (1 + 0.5 * tokens) / threads / share * crowded

    def idle(self, seconds: float) -> None:
        self._pass(seconds, 0)

    @property
    def mostly(self) -> int:
        """The count of threads that most of the last ten steps used: some may belong to a trial."""
        return statistics.mode(self.counts[-10:])

    def tokens_per_second(self) -> float:
        return len(self.counts) / sum(map(self.step_seconds, self.counts))

    def _pass(self, seconds: float, threads: int) -> None:
        self.now += seconds
        self._taken += seconds * self.hungry * min(1.0, self.cores / (threads + self.hungry)) if self.hungry else 0

    def _taken_since_last_call(self) -> float:
        average = self._taken / (self.now - self._taken_until)
        self._taken, self._taken_until = 0.0, self.now
        return average


sizes_of_pcs = pytest.mark.parametrize(("cores", "most"), [(2, 2), (4, 4), (8, 8), (16, 8), (16, 16)])


@sizes_of_pcs
def test_a_quiet_machine_never_leaves_the_full_count(cores, most):
    assert set(Machine(cores, most).run(60).counts) == {most}


@sizes_of_pcs
def test_what_a_desktop_does_by_the_way_changes_nothing(cores, most):
    assert set(Machine(cores, most, hungry=0.4).run(60).counts) == {most}


@pytest.mark.parametrize(("cores", "hungry", "best"), [(2, 1, 1), (4, 1, 3), (8, 2, 6), (16, 8, 8), (16, 1, 15)])
def test_beside_hungry_programs_the_free_cores_are_used_within_two_seconds(cores, hungry, best):
    machine = Machine(cores, cores, hungry).run(2)
    assert machine.mostly == best


def test_programs_that_leave_the_engine_enough_cores_change_nothing():
    assert set(Machine(cores=16, most=8, hungry=7).run(20).counts) == {8}


def test_the_full_count_returns_a_second_after_the_others_left():
    machine = Machine(cores=2, most=2, hungry=1).run(5)
    machine.hungry = 0
    machine.run(1.5)
    assert machine.mostly == 2


def test_more_threads_stay_where_they_are_faster_after_all():
    machine = Machine(cores=2, most=2, hungry=2, stall=1).run(30)
    assert machine.mostly == 2
    assert machine.counts.count(1) < 0.1 * len(machine.counts)


def test_fewer_threads_stay_where_more_gain_next_to_nothing():
    machine = Machine(cores=2, most=2, hungry=1, stall=1.3).run(5)
    assert machine.mostly == 1


def test_trials_cost_little_in_the_long_run():
    machine = Machine(cores=2, most=2, hungry=1, stall=5).run(120)
    alone = 1 / machine.step_seconds(1)
    assert machine.tokens_per_second() > 0.97 * alone


def test_a_second_game_is_noticed():
    machine = Machine(cores=8, most=8, hungry=2).run(10)
    machine.hungry = 5
    machine.run(3)
    assert machine.mostly == 3


def test_a_games_short_pauses_do_not_bring_the_full_count_back():
    machine = Machine(cores=2, most=2, hungry=1).run(5)
    for _ in range(20):
        machine.hungry = 0
        machine.run(0.3)
        machine.hungry = 1
        machine.run(0.7)
        assert machine.mostly == 1


def test_a_game_that_returns_is_known():
    machine = Machine(cores=2, most=2, hungry=1).run(5)
    machine.hungry = 0
    machine.run(5)
    machine.hungry = 1
    assert machine.run(1).counts.count(2) * machine.step_seconds(2) < 0.5


def test_a_program_that_comes_and_goes_costs_no_trial_each_time():
    machine = Machine(cores=2, most=2, hungry=2, stall=1).run(10)
    counts = []
    for _ in range(20):
        machine.hungry = 0
        counts += machine.run(1.5).counts
        machine.hungry = 2
        counts += machine.run(1.5).counts
    assert counts.count(1) < 0.02 * len(counts)


def test_batches_of_changing_size_are_compared_with_their_like():
    machine = Machine(cores=2, most=2, hungry=1).run(4, sizes=(1, 4, 2, 1, 8))
    assert machine.mostly == 1
    machine = Machine(cores=2, most=2, hungry=2, stall=1).run(4, sizes=(1, 4, 2, 1, 8))
    assert machine.mostly == 2


def test_reading_prompts_decides_nothing():
    machine = Machine(cores=2, most=2, hungry=1)
    for _ in range(100):
        machine.step(tokens=64, generation_only=False)
    assert machine.mostly == machine.counts[-1]
    machine.run(1)
    assert machine.mostly == 1


def test_a_large_model_needs_few_steps():
    machine = Machine(cores=2, most=2, hungry=1, work=0.4).run(6)
    assert machine.mostly == 1


def test_what_was_found_lasts_over_a_pause():
    machine = Machine(cores=2, most=2, hungry=1).run(5)
    machine.idle(0.5)
    machine.run(1)
    assert set(machine.counts) == {1}


def test_a_game_that_started_in_a_pause_is_noticed():
    machine = Machine(cores=2, most=2).run(5)
    machine.hungry = 1
    machine.idle(30)
    machine.run(1)
    assert machine.mostly == 1


def test_a_game_that_ended_in_a_pause_is_forgotten():
    machine = Machine(cores=2, most=2, hungry=1).run(5)
    machine.hungry = 0
    machine.idle(30)
    assert machine.run(1).counts.count(1) < 0.4 * len(machine.counts)
    assert machine.mostly == 2


def test_a_program_that_ran_in_a_pause_only_is_never_noticed():
    machine = Machine(cores=2, most=2).run(5)
    machine.hungry = 2
    machine.idle(30)
    machine.hungry = 0
    assert set(machine.run(5).counts) == {2}


def test_a_model_that_is_slower_than_the_looks_is_looked_after():
    machine = Machine(cores=2, most=2, hungry=1, work=4).run(120)
    assert machine.mostly == 1


def test_one_thread_is_all_there_is():
    assert set(Machine(cores=1, most=1, hungry=3).run(10).counts) == {1}


# --- the environment ------------------------------------------------------------------------------------------------


def test_threads_spin_only_briefly():
    assert waiting_environment(game_mode=False) == {"GOMP_SPINCOUNT": "3000", "KMP_BLOCKTIME": "1"}


def test_in_game_mode_every_openmp_library_is_told_to_sleep():
    assert waiting_environment(game_mode=True) == {
        "OMP_WAIT_POLICY": "passive",
        "GOMP_SPINCOUNT": "0",
        "KMP_BLOCKTIME": "0",
    }


def test_what_the_user_has_set_is_left_alone(monkeypatch):
    monkeypatch.setenv("GOMP_SPINCOUNT", "5")
    assert "GOMP_SPINCOUNT" not in waiting_environment(game_mode=True)


@pytest.mark.parametrize("game_mode", [False, True])
def test_a_users_wait_policy_decides_for_all_of_them(monkeypatch, game_mode):
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    assert waiting_environment(game_mode) == {}


# --- what others take -----------------------------------------------------------------------------------------------


class Clock:
    """A PC of two cores whose times are set by hand, in seconds."""

    def __init__(self, monkeypatch) -> None:
        self.now = self.idle = self.own = 0.0
        monkeypatch.setattr(psutil, "cpu_count", lambda: 2)
        monkeypatch.setattr(psutil, "cpu_times", lambda: self)
        monkeypatch.setattr(neighbours.time, "monotonic", lambda: self.now)
        monkeypatch.setattr(neighbours.time, "process_time", lambda: self.own)


@pytest.mark.parametrize(
    ("idle", "own", "taken"), [(20, 0, 0.0), (0, 20, 0.0), (10, 0, 1.0), (0, 10, 1.0), (0, 0, 2.0), (15, 6, 0.0)]
)
def test_taken_is_what_is_neither_idle_nor_our_own(monkeypatch, idle, own, taken):
    clock = Clock(monkeypatch)
    meter = CoreMeter()
    clock.now, clock.idle, clock.own = 10.0, idle, own
    assert meter() == taken


def test_every_call_looks_at_the_time_since_the_one_before(monkeypatch):
    clock = Clock(monkeypatch)
    meter = CoreMeter()
    clock.now, clock.idle = 10.0, 10.0
    assert meter() == 1.0
    clock.now, clock.idle = 11.0, 12.0
    assert meter() == 0.0
    assert meter() == 0.0


def test_the_real_meter_answers_within_the_cores_there_are():
    meter = CoreMeter()
    assert 0 <= meter() <= meter.cores


# --- priority -------------------------------------------------------------------------------------------------------


def test_the_priority_is_lowered(monkeypatch):
    asked = []
    monkeypatch.setattr(psutil.Process, "nice", lambda self, value=None: asked.append(value))
    lower_priority()
    assert asked == [psutil.BELOW_NORMAL_PRIORITY_CLASS if sys.platform == "win32" else 10]


def test_a_priority_that_cannot_be_lowered_is_a_line_in_the_log(monkeypatch, caplog):
    def refuse(self, value=None):
        raise psutil.AccessDenied(self.pid)

    monkeypatch.setattr(psutil.Process, "nice", refuse)
    with caplog.at_level(logging.WARNING, logger="tavernkeep.engine"):
        lower_priority()
    assert "normal priority" in caplog.text
