"""``python -m bench.soak``: minutes of mixed traffic, good and bad, against one server; and whether it held.

The exit status is 1 if anything was found that must not be: see README.md.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import random
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from collections.abc import Sequence as ReadOnly
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from bench import peers, soak_report
from bench.crowd import Crowd, Probe, half_open
from bench.holdings import Holdings, engine_of, holdings
from bench.peers import Setup
from bench.processes import Server, home
from bench.traffic import KINDS, QUICK, SWAP, Kind, Visit, visit
from bench.visitor import Visitor

KEY = "soak"
# Settings that clients swap between. The RAM for prompts is small, so that it is full before anything is measured.
CONFIGURATIONS = {"large.kcpps": 8192, "small.kcpps": 4096}
CACHE_MIB = 64
# Parts of the run: all is warmed up; the model is swapped; its last engine is warmed up; that engine goes on.
PARTS = (0.25, 0.3, 0.2, 0.25)
QUICK_SHARE = 0.2  # of each part
# glibc keeps freed memory for each thread. With the server's seventy threads that takes 100,000 requests to fill, grows
# by 15 MiB meanwhile, and would hide a leak.
NO_THREAD_CACHES = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
SWAP_SECONDS = 20.0
CROWD_SECONDS = 10.0
PATIENCE = 60.0
GRACE = 240.0
SETTLING = 2.0
TRACEBACK_LINES = 40


@dataclass(frozen=True)
class Plan:
    """How much traffic: ``visitors`` at a time, ``crowd`` streams at once, beside ``half_open`` connections."""

    seconds: float
    seed: int
    visitors: int
    crowd: int
    half_open: int


@dataclass(frozen=True)
class Soaked:
    """The server, started as a user starts it who lets clients swap the model."""

    folder: Path
    name: str = "tavernkeep"
    health: str = "/health"
    fields: dict[str, Any] = field(default_factory=dict)

    def command(self, setup: Setup, port: int) -> list[str]:
        flags = ["--password", KEY, "--admin", "--admindir", str(self.folder), "--cacheram", str(CACHE_MIB)]
        return [*peers.Tavernkeep().command(setup, port), *flags]

    def version(self) -> str:
        return peers.Tavernkeep().version()


@dataclass
class Findings:
    """All that was measured. ``status`` has milliseconds, of status requests beside the crowd."""

    visits: list[Visit] = field(default_factory=list)
    status: list[float] = field(default_factory=list)
    launcher: list[Holdings] = field(default_factory=list)
    engine: list[Holdings] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


class Soak:
    """One run against a server that is ready."""

    def __init__(self, server: Server, plan: Plan) -> None:
        self.findings = Findings()
        self._server = server
        self._plan = plan
        self._process = psutil.Process(server.popen.pid)
        self._rng = random.Random(f"{plan.seed}")
        self._parts = self._swaps = 0

    def run(self) -> None:
        """All parts, one after the other."""
        warm_up, swapping, warm_engine, last = (share * self._plan.seconds for share in PARTS)
        self._say("warming up")
        self._load(warm_up, swap=True)
        self._settle()
        self.findings.launcher.append(holdings(self._process))
        self._say("swapping")
        self._load(swapping, swap=True)
        self._say("warming up the last engine")
        self._load(warm_engine, swap=False)
        self._look()
        self._say("the last part")
        self._load(last, swap=False)
        self._look()
        self._read_log()

    def _load(self, seconds: float, *, swap: bool) -> None:
        """Mixed traffic, then small requests as fast as they go, then the crowd."""
        crowd, quick = min(CROWD_SECONDS, seconds / 3), QUICK_SHARE * seconds
        until = time.monotonic() + seconds - crowd - quick
        with self._visitors(until, KINDS):
            while swap and time.monotonic() + SWAP_SECONDS / 2 < until:
                time.sleep(min(SWAP_SECONDS, (until - time.monotonic()) / 2))
                self._pay(Kind(SWAP, 0, self._swap, frozenset(("200",))), self._rng)
        quick_ones = [dataclasses.replace(kind, name=QUICK) for kind in KINDS if kind.quick]
        with self._visitors(time.monotonic() + quick, quick_ones):
            pass
        self._meet_crowd(crowd)

    @contextlib.contextmanager
    def _visitors(self, until: float, kinds: ReadOnly[Kind]) -> Iterator[None]:
        """Visitors who come again and again beside the block."""
        self._parts += 1
        names = [f"{self._plan.seed} {self._parts} {number}" for number in range(self._plan.visitors)]
        with _threads([threading.Thread(target=self._keep_visiting, args=(name, until, kinds)) for name in names]):
            yield

    def _keep_visiting(self, name: str, until: float, kinds: ReadOnly[Kind]) -> None:
        rng = random.Random(name)
        weights = [kind.weight for kind in kinds]
        while time.monotonic() < until and self._server.popen.poll() is None:
            self._pay(rng.choices(kinds, weights)[0], rng)

    def _pay(self, kind: Kind, rng: random.Random) -> None:
        self.findings.visits.append(visit(kind, self._server.port, KEY, rng))

    def _swap(self, visitor: Visitor) -> str:
        """Load the same model with another context, and wait until it answers."""
        self._swaps += 1
        name, context = list(CONFIGURATIONS.items())[self._swaps % len(CONFIGURATIONS)]
        asked = json.loads(visitor.ask("/api/admin/reload_config", {"filename": name}).body)
        if not asked["success"]:
            return str(asked["error"])
        deadline = time.monotonic() + PATIENCE
        while time.monotonic() < deadline:
            told = json.loads(visitor.ask("/api/extra/true_max_context_length").body)["value"]
            if told == context and visitor.ask("/health").status == 200:
                return "200"
            time.sleep(0.1)
        return "not loaded"

    def _meet_crowd(self, seconds: float) -> None:
        seed = f"crowd {self._plan.seed} {self._parts}"
        with half_open(self._plan.half_open, Visitor(self._server.port, KEY, self._rng)):
            crowd = Crowd(self._plan.crowd, seed, self._pay)
            try:
                if waiting := crowd.wait():
                    self.findings.faults.append(f"{waiting} of {self._plan.crowd} streams could not be opened.")
                probe = Probe(self._server.port, KEY)
                time.sleep(seconds)
                self.findings.status += probe.stop()
            finally:
                crowd.leave()

    def _look(self) -> None:
        """What both hold when nobody wants anything of them any more."""
        self._settle()
        self.findings.launcher.append(holdings(self._process))
        self.findings.engine.append(holdings(engine_of(self._process)))

    def _settle(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while problem := self._unrest():
            if time.monotonic() > deadline:
                self.findings.faults.append(f"{PATIENCE:.0f} seconds after the last visitor left: {problem}.")
                break
            time.sleep(0.2)
        time.sleep(SETTLING)

    def _unrest(self) -> str:
        """What of a visitor is still there, or ""."""
        states = dict(holdings(self._process).connections)
        states.pop(psutil.CONN_LISTEN, None)
        if states:
            return f"connections of the launcher: {states}"
        now = json.loads(Visitor(self._server.port, KEY, self._rng).ask("/api/extra/perf").body)
        held = {name: now[name] for name in ("queue", "kv_cells_used") if now[name]}
        return "" if now["idle"] and not held else f"replies that nobody reads: {held}"

    def _read_log(self) -> None:
        """A traceback there is a fault, whatever the visitors saw; the first one is printed."""
        lines = self._server.log.read_text("utf-8", "replace").splitlines()
        places = [place for place, line in enumerate(lines) if line.startswith("Traceback")]
        if places:
            self.findings.faults.append(f"The log has {len(places)} tracebacks.")
            print("\n".join(lines[max(places[0] - 1, 0) : places[0] + TRACEBACK_LINES]), file=sys.stderr)

    def _say(self, what: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {what}, {len(self.findings.visits)} visits so far", file=sys.stderr)


def main() -> None:
    """Read the command line, let it rain, print, judge."""
    options = _options()
    plan = Plan(60 * options.minutes, options.seed, options.visitors, options.crowd, options.half_open)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with tempfile.TemporaryDirectory(prefix="tavernkeep-soak-") as name, home() as environment:
        folder = Path(name)
        for file, context in CONFIGURATIONS.items():
            values = {"model_param": str(options.model), "contextsize": context, "cacheram": CACHE_MIB}
            (folder / file).write_text(json.dumps({**values, "threads": options.threads}), "utf-8")
        setup = Setup(options.model, options.threads, CONFIGURATIONS["large.kcpps"])
        server = Server(Soaked(folder), setup, folder, {**environment, **NO_THREAD_CACHES})
        end = threading.Timer(plan.seconds + GRACE, server.end)
        end.start()
        soak = Soak(server, plan)
        try:
            soak.run()
        except KeyboardInterrupt:
            soak.findings.faults.append("The run was stopped before its end.")
        except psutil.NoSuchProcess:
            soak.findings.faults.append("The launcher or the engine has ended, or was ended because time was up.")
        finally:
            end.cancel()
            server.end()
    faults = soak_report.faults(soak.findings, options.growth, options.slowest)
    print(soak_report.report(soak.findings, faults))
    sys.exit(1 if faults else 0)


@contextlib.contextmanager
def _threads(threads: list[threading.Thread]) -> Iterator[None]:
    """Threads that run beside the block; it ends when they have ended."""
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        for thread in threads:
            thread.join()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m bench.soak", description=__doc__.partition(": ")[2])
    cores = psutil.cpu_count(logical=False) or 1
    starter = peers.ROOT / "assets/models/SmolLM2-135M-Instruct.Q4_1.gguf"
    parser.add_argument("--minutes", type=float, default=10, help="minutes of traffic [10]")
    parser.add_argument("--seed", type=int, default=1, help="another seed, another mixture [1]")
    parser.add_argument("--visitors", type=int, default=16, help="visitors at a time [16]")
    parser.add_argument("--crowd", type=int, default=32, help="streams at once while the status is asked for [32]")
    parser.add_argument("--half-open", type=int, default=600, help="half requests beside them [600]")
    parser.add_argument("--growth", type=float, default=5, help="%% of memory that each process may grow by [5]")
    parser.add_argument("--slowest", type=float, default=200, help="milliseconds a status may take then [200]")
    parser.add_argument("--model", type=Path, default=starter, metavar="FILE", help="GGUF file [the starter model]")
    parser.add_argument("--threads", type=int, default=cores, help=f"threads of the engine [{cores}]")
    return parser.parse_args()


if __name__ == "__main__":
    main()
