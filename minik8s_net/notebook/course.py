"""A lab in a notebook: `shop = nb.lab(6, c)`, then start, check, hint, solve, reset. The checks are the lab's own."""

from __future__ import annotations

from html import escape
from typing import Any

from ..cluster import Cluster
from ..lab.check import SETTLE, Check, Result
from ..lab.check import run as run_checks
from ..lab.labs import Lab, find
from .display import card

Json = dict[str, Any]


class Exercise:
    """A lab and the cluster it is done in. `passed` is what the last check said."""

    def __init__(self, lab: Lab, cluster: Cluster) -> None:
        self._lab, self._cluster = lab, cluster
        self._hints = 0
        self.passed = False

    def start(self) -> None:
        """Make what the exercise begins with, and wait until its pods are ready."""
        for line in self._lab.start(self._cluster):
            print(line)
        for pod in self._cluster.get("pods"):
            self._cluster.wait(f"pod/{pod.metadata.name}")

    def check(self, settle: float = SETTLE) -> None:
        """Look at the cluster's state; shows each check as it is done, and then the whole."""
        from IPython.display import display

        from .widgets.progress import Progress

        checks = self._lab.checks()
        bar = Progress(f"checking lab {self._lab.number:02}", len(checks))
        shown = display(bar, display_id=True)
        results: list[Result] = []
        for one in checks:
            results += run_checks([one], self._cluster, settle)
            bar.step(f"{'✓' if results[-1].verdict.ok else '✗'} {one.name}")
            if not results[-1].verdict.ok:
                break
        report = Report(self._lab, checks, results)
        self.passed = report.passed
        if shown:
            shown.update(report)  # plain HTML: it is still there when the notebook is opened without a kernel
        bar.close()

    def hint(self) -> None:
        """Print the next hint; after the last one, the last one again."""
        hints = self._lab.about["hints"]
        self._hints = min(self._hints + 1, len(hints))
        print(str(hints[self._hints - 1]).strip())

    def solve(self) -> None:
        """Apply the reference solution."""
        for line in self._lab.solve(self._cluster):
            print(line)

    def reset(self) -> None:
        """Remove what the lab and its solution made."""
        self._lab.reset(self._cluster)

    def __repr__(self) -> str:
        return f"Lab {self._lab.number:02}: {self._lab.about['title']}\n{self._lab.about['idea']}"

    def _repr_mimebundle_(self, **_: Any) -> Json:
        title = f"Lab {self._lab.number:02}: {self._lab.about['title']}"
        return {"text/plain": repr(self), "text/html": card(title, f"<p>{escape(self._lab.about['idea'])}</p>")}


class Report:
    """What a run of the checks showed."""

    def __init__(self, lab: Lab, checks: list[Check], results: list[Result]) -> None:
        self._lab, self._checks, self._results = lab, checks, results
        self.passed = len(results) == len(checks) and all(r.verdict.ok for r in results)

    def _rows(self) -> list[tuple[str, str, str, str]]:
        rows = [("✓" if r.verdict.ok else "✗", r.name, r.verdict.observed, r.verdict.expected) for r in self._results]
        return rows + [("–", later.name, "not looked at yet", "") for later in self._checks[len(rows) :]]

    def __repr__(self) -> str:
        lines = [f"{mark} {name}: {observed}" for mark, name, observed, _ in self._rows()]
        if not self.passed:
            lines += [f"  expected: {self._results[-1].verdict.expected}", f"  hint: {self._results[-1].hint}"]
        return "\n".join(lines)

    def _repr_mimebundle_(self, **_: Any) -> Json:
        kinds = {"✓": "mk-good", "✗": "mk-bad", "–": "mk-dim"}
        rows = "".join(
            f'<tr><td><b class="{kinds[mark]}">{mark}</b></td><td>{escape(name)}</td><td>{escape(observed)}</td></tr>'
            for mark, name, observed, _ in self._rows()
        )
        body = f"<table><thead><tr><th></th><th>check</th><th>observed</th></tr></thead>{rows}</table>"
        if not self.passed:
            last = self._results[-1]
            body += f"<p><b>expected:</b> {escape(last.verdict.expected)}<br><b>hint:</b> {escape(last.hint)}</p>"
        done = sum(r.verdict.ok for r in self._results)
        title = f"Lab {self._lab.number:02}: {done} of {len(self._checks)} checks passed"
        return {"text/plain": repr(self), "text/html": card(title, body)}


def lab(number: int | str, cluster: Cluster) -> Exercise:
    """Raises LabError for one that there is not."""
    return Exercise(find(str(number)), cluster)
