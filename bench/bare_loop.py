"""One stream without a server: what the bindings can do. Shows what this project's server costs.

:class:`BareLoop` starts this module as a process of its own and drives it, one line of JSON for each reply. The process
uses the server's own way into llama.cpp, and so its library, back ends and environment; nothing else is shared.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from bench.client import SAMPLING, Reply
from bench.peers import Setup
from bench.processes import Process
from server.engine.neighbours import waiting_environment

BATCH = 512


class BareLoop(Process):
    """The loop as the scenarios see it."""

    def __init__(self, setup: Setup, folder: Path) -> None:
        values = (str(setup.model), str(setup.threads), str(setup.context))
        command = [sys.executable, "-m", "bench.bare_loop", *values]
        super().__init__("bare loop", command, folder / "bare_loop.log", piped=True)

    def stream(self, prompt: str, tokens: int) -> Reply:
        """Exactly ``tokens`` tokens; there is no text."""
        assert self.popen.stdin
        assert self.popen.stdout
        self.popen.stdin.write(json.dumps([prompt, tokens]).encode() + b"\n")
        self.popen.stdin.flush()
        answer = self.popen.stdout.readline()
        if not answer:
            self.give_up("ended")
        began, *arrivals = json.loads(answer)
        return Reply("", len(arrivals), began, tuple(arrivals), arrivals[-1])


class Loop:
    """The model, one context, one sequence."""

    def __init__(self, path: str, threads: int, context: int) -> None:
        # Before libgomp is loaded, as the launcher does it for the engine process.
        os.environ.update(waiting_environment(game_mode=False))
        from server.engine.llama.library import llama, load_backends

        self._llama: Any = llama
        load_backends()
        params = llama.llama_model_default_params()
        self._model = llama.llama_model_load_from_file(path.encode(), params)
        self._vocab = llama.llama_model_get_vocab(self._model)
        options = llama.llama_context_default_params()
        options.n_ctx = context
        options.n_batch = options.n_ubatch = BATCH
        options.n_threads = options.n_threads_batch = threads
        self._context = llama.llama_init_from_model(self._model, options)

    def reply(self, prompt: str, tokens: int) -> list[float]:
        """The moment it began, and those at which each token was drawn."""
        llama = self._llama
        sampler = self._sampler()
        began = time.perf_counter()
        llama.llama_memory_clear(llama.llama_get_memory(self._context), True)
        text = prompt.encode()
        pending = (llama.llama_token * (len(text) + 8))()
        count = llama.llama_tokenize(self._vocab, text, len(text), pending, len(pending), True, True)
        arrivals = []
        for _ in range(tokens):
            if llama.llama_decode(self._context, llama.llama_batch_get_one(pending, count)):
                sys.exit("llama.cpp could not decode.")
            pending[0] = llama.llama_sampler_sample(sampler, self._context, -1)
            count = 1
            arrivals.append(time.perf_counter())
        llama.llama_sampler_free(sampler)
        return [began, *arrivals]

    def _sampler(self) -> Any:
        """The chain that the client's sampler settings mean to the server, with the model's end forbidden."""
        llama = self._llama
        size = llama.llama_vocab_n_tokens(self._vocab)
        ends = [token for token in range(size) if llama.llama_vocab_is_eog(self._vocab, token)]
        biases = (llama.llama_logit_bias * len(ends))(*(llama.llama_logit_bias(end, float("-inf")) for end in ends))
        chain = llama.llama_sampler_chain_init(llama.llama_sampler_chain_default_params())
        for link in (
            llama.llama_sampler_init_logit_bias(size, len(ends), biases),
            llama.llama_sampler_init_top_k(SAMPLING["top_k"]),
            llama.llama_sampler_init_top_p(SAMPLING["top_p"], 1),
            llama.llama_sampler_init_min_p(SAMPLING["min_p"], 1),
            llama.llama_sampler_init_temp(SAMPLING["temperature"]),
            llama.llama_sampler_init_dist(SAMPLING["seed"]),
        ):
            llama.llama_sampler_chain_add(chain, link)
        return chain


def main(path: str, threads: int, context: int) -> None:
    """Answer lines until there are no more."""
    loop = Loop(path, threads, context)
    for line in sys.stdin:
        print(json.dumps(loop.reply(*json.loads(line))), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
