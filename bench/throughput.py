"""``python -m bench.throughput [rounds]``: total tokens per second of 1, 2, 4 and 8 streams, as ratios of one run.

Starts the server with the starter model on a free port, asks over HTTP, and goes round the stream counts several
times, so that a busy moment of the machine falls on all of them. Prints medians.
"""

from __future__ import annotations

import statistics
import sys
import time

from bench.client import total_speed
from server.controller import Controller
from server.events import EngineState
from server.settings import Settings

STREAMS = (1, 2, 4, 8)
TOKENS = 128
ROUNDS = 5


def main(rounds: int) -> None:
    """Print the table."""
    controller = Controller()
    controller.start(Settings(model=controller.starter_model(), port=0, contextsize=4096))
    while controller.snapshot().state is EngineState.LOADING:
        time.sleep(0.05)
    now = controller.snapshot()
    if not now.model:
        sys.exit(now.sentence)
    total_speed(now.address, 1, 16)
    speeds: dict[int, list[float]] = {count: [] for count in STREAMS}
    for _ in range(rounds):
        for count in STREAMS:
            speeds[count].append(total_speed(now.address, count, TOKENS))
    controller.stop()
    print(f"{now.model.name}, {now.model.cpu_variant}, {TOKENS} tokens a stream, median of {rounds} rounds")
    print("streams | tokens/s in all | times one stream | slowest | fastest")
    one = statistics.median(speeds[1])
    for count, measured in speeds.items():
        middle = statistics.median(measured)
        print(f"{count:7} | {middle:15.1f} | {middle / one:16.2f} | {min(measured):7.1f} | {max(measured):7.1f}")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else ROUNDS)
