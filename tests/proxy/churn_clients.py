"""Clients that connect all the time, in a process of their own: the proxiers must not wait for these threads.

`python -m tests.proxy.churn_clients NETNS-PATH…` prints `begin end name answerer` for each answer (seconds of the
monotonic clock), until its standard input ends. By cluster IP and node port, TCP, and UDP always from the same port.
"""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from pathlib import Path

from minik8s_net.kernel.netns import Netns

from .wiring import ask, ask_udp

NAMES = [f"s{n}" for n in range(6)]  # the even ones TCP with a node port, the odd ones UDP
THREADS, PAUSE = 4, 0.005


def vip(name: str) -> str:
    return f"10.96.8.{int(name[1:]) + 1}"


def node_port(name: str) -> int:
    return 30100 + int(name[1:])


def is_udp(name: str) -> bool:
    return int(name[1:]) % 2 == 1


def client(number: int, sources: list[Netns], stop: threading.Event) -> None:
    choice = random.Random(number)
    while not stop.wait(PAUSE):
        name, where = choice.choice(NAMES), choice.choice(sources)
        begin = time.monotonic()
        try:
            if is_udp(name):
                answered = ask_udp(where, vip(name), 53, 4000 + number, timeout=0.1)[0]
            else:
                to = choice.choice([(vip(name), 80), ("172.18.1.1", node_port(name))])
                answered = ask(where, *to, timeout=0.3)[0]
        except (OSError, ValueError):
            continue  # nobody there just now, or gone before it said its name
        # in one, and past sys.stdout, which threads break for each other when it is flushed (CPython's gh-119506)
        os.write(1, f"{begin} {time.monotonic()} {name} {answered}\n".encode())


def main(paths: list[str]) -> None:
    sources, stop = [Netns(path, Path(path)) for path in paths], threading.Event()
    threads = [threading.Thread(target=client, args=(n, sources, stop)) for n in range(THREADS)]
    for thread in threads:
        thread.start()
    sys.stdin.read()
    stop.set()
    for thread in threads:
        thread.join()


if __name__ == "__main__":
    main(sys.argv[1:])
