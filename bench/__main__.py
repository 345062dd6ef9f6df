"""``python -m bench``: starts this server and each peer that is there, drives them in turn, prints the tables."""

from __future__ import annotations

import argparse
import contextlib
import http.client
import signal
import sys
import tempfile
from collections.abc import Sequence as ReadOnly
from pathlib import Path

import psutil

from bench import peers, report
from bench.bare_loop import BareLoop
from bench.client import Refused
from bench.peers import Peer, Setup
from bench.processes import CpuWatch, Server, game
from bench.report import Measurement
from bench.scenarios import SCENARIOS, Scenario

ROUNDS = 5
CONTEXT = 8192
RESULTS = Path(__file__).with_name("RESULTS.md")


class Bench:
    """One run. All servers stay loaded, and are driven one at a time."""

    def __init__(self, found: ReadOnly[Peer], setup: Setup, rounds: int, repeated: bool) -> None:
        self.measurements: list[Measurement] = []
        self.notes: list[str] = []
        self.watch = CpuWatch()
        self._found = found
        self._setup = setup
        self._rounds = rounds
        self._repeated = repeated

    def run(self, scenarios: ReadOnly[Scenario], levels: ReadOnly[int]) -> None:
        """All rounds of scenarios that need the same servers."""
        setup = Setup(self._setup.model, self._setup.threads, self._setup.context, scenarios[0].slots)
        with contextlib.ExitStack() as stack:
            servers = self._start(setup, scenarios, stack)
            for number in range(self._rounds):
                for busy in levels:
                    with game(busy):
                        for scenario in scenarios:
                            if busy in scenario.busy:
                                self._alternate(scenario, servers, busy, number)
            self.notes += [
                f"{server.name} ended {server.short} of {server.replies} replies before the length asked for."
                for server in servers
                if isinstance(server, Server) and server.short
            ]

    def _start(
        self, setup: Setup, scenarios: ReadOnly[Scenario], stack: contextlib.ExitStack
    ) -> list[Server | BareLoop]:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tavernkeep-bench-")))
        servers: list[Server | BareLoop] = []
        for peer in self._found:
            print(f"Starting {peer.name} ...", file=sys.stderr, flush=True)
            servers.append(Server(peer, setup, folder))
            stack.callback(servers[-1].end)
        if any(scenario.bare for scenario in scenarios):
            servers.append(BareLoop(setup, folder))
            stack.callback(servers[-1].end)
        for server in servers:
            server.stream("The first words are not measured.", 16)
        return servers

    def _alternate(self, scenario: Scenario, servers: ReadOnly[Server | BareLoop], busy: int, number: int) -> None:
        for repeat in range(scenario.repeats if self._repeated else 1):
            story = f"{scenario.name} {busy} {number} {repeat}"
            for server in servers:
                if busy and isinstance(server, BareLoop):  # it shows what the server costs, not how it copes
                    continue
                try:
                    with self.watch.driving(server, servers, quiet=not busy):
                        values = _figures(scenario, server, story)
                except (OSError, http.client.HTTPException, Refused, ArithmeticError) as error:
                    self.notes.append(f"{server.name} failed at {story!r}: {error!r}.")
                    continue
                if values:
                    figures = zip(scenario.rows, values, strict=True)
                    self.measurements += [Measurement(row, server.name, busy, value) for row, value in figures]
                    print(f"{story}, {server.name}:", *(f"{value:.1f}" for value in values), file=sys.stderr)


def _figures(scenario: Scenario, server: Server | BareLoop, story: str) -> tuple[float, ...]:
    if isinstance(server, Server):
        return scenario.run(server, story)
    return scenario.bare(server, story) if scenario.bare else ()


def main() -> None:
    """Read the command line, measure, print."""
    options = _options()
    names = options.only.split(",") if options.only else [scenario.name for scenario in SCENARIOS]
    chosen = [scenario for scenario in SCENARIOS if scenario.name in names]
    if len(chosen) < len(names):
        sys.exit(f"The rows are {', '.join(scenario.name for scenario in SCENARIOS)}.")
    levels = [0] if options.quick else [int(level) for level in options.busy.split(",")]
    found = peers.find(options.llama_server, options.llama_cpp_python, options.koboldcpp)
    setup = Setup(Path(options.model).resolve(), options.threads, CONTEXT)
    if not setup.model.is_file():
        sys.exit(f"There is no file {setup.model}.")
    load = psutil.getloadavg()[0]
    bench = Bench(found, setup, 1 if options.quick else options.rounds, repeated=not options.quick)
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        for slots in dict.fromkeys(scenario.slots for scenario in chosen):
            bench.run([scenario for scenario in chosen if scenario.slots == slots], levels)
    except KeyboardInterrupt:
        bench.notes.append("The run was stopped before its end.")
    notes = [
        f"{setup.threads} threads, a context of {setup.context} tokens; load before the run {load:.1f}.",
        *bench.watch.sentences(),
        *bench.notes,
    ]
    versions = [f"{peer.name}: {peer.version()}." for peer in found]
    text = f"{report.circumstances(setup.model, versions, notes)}\n\n{report.tables(bench.measurements)}"
    print(text)
    if options.write:
        report.write(RESULTS, text)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser("python -m bench", description=__doc__.partition(": ")[2])
    rows = ", ".join(scenario.name for scenario in SCENARIOS)
    cores = psutil.cpu_count(logical=False) or 1
    starter = peers.ROOT / "assets/models/SmolLM2-135M-Instruct.Q4_1.gguf"
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"rounds of all rows [{ROUNDS}]")
    parser.add_argument("--only", default="", metavar="ROW,...", help=f"of {rows}")
    parser.add_argument("--busy", default="0,1,2", metavar="N,...", help="beside how many busy processes [0,1,2]")
    parser.add_argument("--quick", action="store_true", help="one round on the quiet machine")
    parser.add_argument("--model", default=starter, metavar="FILE", help="GGUF file [the starter model]")
    parser.add_argument("--threads", type=int, default=cores, help=f"threads of each server [{cores}]")
    parser.add_argument("--llama-server", default="", metavar="PATH", help="llama-server's program")
    parser.add_argument("--llama-cpp-python", default="", metavar="PYTHON", help="a Python that has llama_cpp.server")
    parser.add_argument("--koboldcpp", default="", metavar="PATH", help="KoboldCpp's program")
    parser.add_argument("--write", action="store_true", help="put the tables into bench/RESULTS.md as well")
    return parser.parse_args()


if __name__ == "__main__":
    main()
