"""Benchmarks against other servers, and a soak: run by hand. README.md says how, RESULTS.md has the figures.

__main__.py            ``python -m bench``: starts the servers, drives them in turn, prints the tables
scenarios.py           what is measured: one function and its rows for each
client.py              asks a server over HTTP and takes the time; the same for all servers
prompts.py             prompts of a wanted length that no server has seen
peers.py               how each server is found, started and asked
processes.py           servers as processes: start, memory, processor time, end; the busy "game"
bare_loop.py           one stream without a server, on the same bindings
report.py              measurements -> Markdown
llama_cpp_server.py    start script of one peer, run by its Python
soak.py                ``python -m bench.soak``: minutes of mixed traffic, good and bad, and whether the server held
traffic.py             the kinds of visits in it: one function and its right outcomes for each
mischief.py            those that leave, stall, or send what is no request
crowd.py               many streams at once, and how soon the status is told beside them
visitor.py             one client at its socket
holdings.py            what the processes hold: memory, files, threads, connections
soak_report.py         what was found -> Markdown, and what of it is a fault
get_peers.py           ``python -m bench.get_peers``: fetches and builds the peers
"""
