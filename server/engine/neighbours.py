"""How the engine process behaves beside programs that want the same cores, a game above all.

The launcher sets :func:`waiting_environment`; the engine process asks the :class:`ThreadGovernor` before each step.
"""

from __future__ import annotations

import logging
import os
import time
from collections import deque
from collections.abc import Callable
from collections.abc import Sequence as ReadOnly

import psutil

BRIEFLY = {"GOMP_SPINCOUNT": "3000", "KMP_BLOCKTIME": "1"}
NOT_AT_ALL = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0", "KMP_BLOCKTIME": "0"}
NICE = 10

LOOK_SECONDS, MEMORY_SECONDS = 0.25, 1.0
FIRST_PATIENCE, LONGEST_PATIENCE = 2.0, 32.0

BLOCK_STEPS, BLOCK_SECONDS = 3, 0.1
ROUNDS = 3
CLEAR = 1.5
WORTH_IT = 1.1

log = logging.getLogger("tavernkeep.engine")


def waiting_environment(game_mode: bool) -> dict[str, str]:
    """What to add to the engine process's environment, so that threads that wait for each other do not spin for long.

    Read by libgomp (GOMP_SPINCOUNT), libomp (KMP_BLOCKTIME, in ms) and Microsoft's vcomp (OMP_WAIT_POLICY, which knows
    nothing between spinning and sleeping). In game mode they sleep at once: slower alone, and kinder to the game. What
    the user has set counts.
    """
    if "OMP_WAIT_POLICY" in os.environ:
        return {}
    wanted = NOT_AT_ALL if game_mode else BRIEFLY
    return {name: value for name, value in wanted.items() if name not in os.environ}


def lower_priority() -> None:
    """Let other programs go first. On Linux it counts for the calling thread and those it starts from then on."""
    below_normal = getattr(psutil, "BELOW_NORMAL_PRIORITY_CLASS", NICE)  # exists on Windows only
    try:
        psutil.Process().nice(below_normal)
    except (psutil.Error, OSError) as error:
        log.warning("The engine keeps its normal priority: %s", error)


class CoreMeter:
    """How many cores others take, system-wide: what is neither idle nor used by this process."""

    def __init__(self) -> None:
        self.cores = psutil.cpu_count() or 1
        self._before = self._read()

    def __call__(self) -> float:
        """Cores taken since the last call, on average."""
        before, self._before = self._before, self._read()
        elapsed, idle, own = (new - old for new, old in zip(self._before, before, strict=True))
        return max(self.cores - (idle + own) / elapsed, 0.0) if elapsed > 0 else 0.0

    def _read(self) -> tuple[float, float, float]:
        times = psutil.cpu_times()
        return time.monotonic(), times.idle + getattr(times, "iowait", 0.0), time.process_time()


class ThreadGovernor:
    """How many threads the next step of generation uses: ``threads``, between 1 and ``most``.

    A step ends with its slowest thread, and a thread that shares its core with a game is several times slower. So as
    many threads as there are free cores are usually faster than more; not always, say beside programs of low priority.
    Hence two rules:

    1. Four times a second ``taken`` says how many of the ``cores`` others have taken since it was last called. While
       ``most`` cores are free, that is the answer, without any trial: a quiet machine never runs with fewer.
    2. When cores are scarce, a trial times a few steps each with ``most`` threads and with as many as there are free
       cores; what wins is used whenever they are scarce. While the same count wins again, trials become rarer.

    Times are in seconds.
    """

    def __init__(self, most: int, cores: int, taken: Callable[[], float]) -> None:
        self._most = most
        self._cores = cores
        self._taken = taken
        self._wanted: deque[tuple[float, float]] = deque()
        self._next_look = 0.0
        self._scarce = False
        self._best_when_scarce = self._fewest_tried = most
        self._trial: _Trial | None = None
        self._next_trial = 0.0
        self._patience = FIRST_PATIENCE

    @property
    def threads(self) -> int:
        if self._trial:
            return self._trial.threads
        return self._best_when_scarce if self._scarce else self._most

    def after_step(self, now: float, seconds: float, tokens: int, *, generation_only: bool) -> None:
        """Learn from a step that ended at ``now`` and decoded a batch of ``tokens`` with ``threads``."""
        if self._trial and generation_only:
            self._trial.record(seconds, tokens)
            if self._trial.winner:
                self._settle(now, self._trial.winner)
        if now >= self._next_look:
            taken = self._taken()
            if now - seconds < self._next_look + MEMORY_SECONDS:  # else it tells of a pause, which is over
                self._look(now, taken)
            self._next_look = now + LOOK_SECONDS

    def _look(self, now: float, taken: float) -> None:
        free = self._free_cores(now, taken)
        self._scarce = free < self._most
        if not self._scarce:
            self._trial = None
        elif not self._trial and (free < self._fewest_tried or now >= self._next_trial):
            self._fewest_tried = free
            self._trial = _Trial(sorted({free, self._best_when_scarce, self._most}))

    def _free_cores(self, now: float, taken: float) -> int:
        """Cores that the others leave in their busiest moment of the last second: a game's pauses are not its end."""
        # On a core they share with one of our threads they get as much of it as that thread, and want all of it.
        share = min((self._cores - taken) / self.threads, 1.0)
        self._wanted.append((now, taken / share if share > 0 else self._cores))
        while self._wanted[0][0] < now - MEMORY_SECONDS:
            self._wanted.popleft()
        free = round(self._cores - max(wanted for _, wanted in self._wanted))
        return min(max(free, 1), self._most)

    def _settle(self, now: float, winner: int) -> None:
        confirmed = winner == self._best_when_scarce
        self._patience = min(2 * self._patience, LONGEST_PATIENCE) if confirmed else FIRST_PATIENCE
        self._next_trial = now + self._patience
        self._best_when_scarce = winner
        self._trial = None
        # What was measured beside changing counts of threads says little.
        self._wanted.clear()
        self._taken()
        self._next_look = now + LOOK_SECONDS


class _Trial:
    """Times blocks of a few steps with each count of threads in turn, until one of ``counts`` (ascending) has won.

    Only steps of the same batch size are compared.
    """

    def __init__(self, counts: ReadOnly[int]) -> None:
        self._counts = counts
        self._blocks = 0
        self._block: list[float] = []
        self._steps: dict[tuple[int, int], list[float]] = {}
        self.winner = 0

    @property
    def threads(self) -> int:
        return self._counts[self._blocks % len(self._counts)]

    def record(self, seconds: float, tokens: int) -> None:
        """Count a step with ``threads``; names the ``winner`` when it is certain enough."""
        self._steps.setdefault((self.threads, tokens), []).append(seconds)
        self._block.append(seconds)
        if len(self._block) < BLOCK_STEPS and sum(self._block) < BLOCK_SECONDS:
            return
        self._blocks += 1
        self._block.clear()
        rounds, rest = divmod(self._blocks, len(self._counts))
        if rest == 0:
            self._judge(last=rounds == ROUNDS)

    def _judge(self, *, last: bool) -> None:
        sizes = set.intersection(*({size for count, size in self._steps if count == each} for each in self._counts))
        costs = {count: sum(self._mean(count, size) for size in sizes) for count in self._counts}
        fastest, second = sorted(costs.values())[:2]
        if last or second > CLEAR * fastest:
            self.winner = next(count for count in self._counts if costs[count] <= WORTH_IT * fastest)

    def _mean(self, count: int, size: int) -> float:
        steps = self._steps[count, size]
        return sum(steps) / len(steps)
