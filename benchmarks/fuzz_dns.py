"""Coverage-guided fuzzing of the DNS server: `python -m benchmarks.fuzz_dns [--runs 200000] [--corpus FOLDER]`.

atheris (libFuzzer for Python; pip install atheris, Python 3.11 to 3.13) mutates packets towards code that none before
reached, over the whole way of a message: wire.parse, answers from the cluster's zone, an empty root zone and hosts,
wire.build; and forward.read_reply for what an upstream sends. Every reply is read by dnspython. Any exception but the
documented one, or an unreadable reply, ends the run with the packet that did it. Prints runs, coverage, corpus.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import tempfile
from pathlib import Path

CORPUS = Path(__file__).parents[1] / "tests" / "dns" / "corpus.txt"  # a packet in hexadecimal on each line


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=200_000)
    parser.add_argument("--seconds", type=int, default=120, help="the run ends then at the latest")
    parser.add_argument("--keep", action="store_true", help="add to the corpus what reached new code")
    parser.add_argument("--inside", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.inside:
        fuzz(options.inside.split(","))
    if importlib.util.find_spec("atheris") is None:
        print("NOTHING WAS FUZZED: atheris is missing: pip install atheris")
        return 0
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for part in ("old", "new"):
            (folder / part).mkdir()
        for number, line in enumerate(CORPUS.read_text().split()):
            (folder / "old" / f"{number:04}").write_bytes(bytes.fromhex(line))
        status = libfuzzer(folder, f"-runs={options.runs}", f"-max_total_time={options.seconds}", "new", "old")
        if options.keep and status == 0:
            found = {each.read_bytes() for part in ("old", "new") for each in (folder / part).iterdir()} - {b""}
            CORPUS.write_text("".join(f"{packet.hex()}\n" for packet in sorted(found, key=lambda p: (len(p), p))))
    return status


def libfuzzer(folder: Path, *words: str) -> int:
    """Run it in a process of its own, on folders below `folder`; print what it found. Its exit status."""
    places = [word if word.startswith("-") else str(folder / word) for word in words]
    fixed = ["-max_len=1500", "-seed=6", "-print_final_stats=1", f"-artifact_prefix={folder}/"]
    command = [sys.executable, "-m", "benchmarks.fuzz_dns", f"--inside={','.join([*fixed, *places])}"]
    done = subprocess.run(command, stderr=subprocess.PIPE, text=True)
    lines = done.stderr.splitlines()
    told = [line for line in lines if "INITED" in line or line.startswith(("Done", "stat::"))]
    seen = [line for line in lines if "cov:" in line][-1:]
    print("\n".join([*told, *seen] if done.returncode == 0 else lines[-40:]))
    for crash in folder.glob("crash-*"):
        print(f"{crash.name}: {crash.read_bytes().hex()}")
    return done.returncode


def fuzz(flags: list[str]) -> None:
    """Run libFuzzer in this process; it never returns."""
    import atheris

    with atheris.instrument_imports(include=["minik8s_net.dns"]):
        importlib.import_module("minik8s_net.dns.listener")  # and all that it needs
    from tests.dns.dns_fuzz import Target

    target = Target()
    atheris.Setup([sys.argv[0], *flags], target.one)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
