"""How long a cluster takes: `up --nodes 3` until DNS answers from inside every node, `down`, several rounds.

Prints minimum, median and maximum in seconds. No assertion: machines are noisy.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time

ROUNDS = 5


def timed(*argv: str) -> float:
    """Seconds of the whole command, interpreter start included, as a user waits for it."""
    began = time.perf_counter()
    subprocess.run([sys.executable, "-m", "minik8s_net.cli", *argv], check=True, capture_output=True)
    return time.perf_counter() - began


def line(name: str, seconds: list[float]) -> None:
    low, middle, high = min(seconds), statistics.median(seconds), max(seconds)
    print(f"{name:22} min {low:5.2f} s   median {middle:5.2f} s   max {high:5.2f} s")


def main() -> None:
    with tempfile.TemporaryDirectory() as home:
        os.environ |= {"HOME": home, "MINIK8S_HOME": f"{home}/state", "KUBECONFIG": f"{home}/kubeconfig"}
        rounds = [
            (timed("up", "--cluster", "bench", "--nodes", "3"), timed("down", "--cluster", "bench"))
            for _ in range(ROUNDS)
        ]
    line("up --nodes 3", [up for up, _ in rounds])
    line("down", [down for _, down in rounds])


if __name__ == "__main__":
    main()
