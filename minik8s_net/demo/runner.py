"""Tells the story: section by section, statement by statement; the verdict at the end is the exit status."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from typing import Any

from ..cluster import Cluster
from . import cluster_networking, discovery, dns, pods
from .stage import Stage
from .statements import Finding, Statement

SECTIONS = (cluster_networking.section, dns.section, pods.section, discovery.section)


def statements() -> list[Statement]:
    """All statements, in the order of the text."""
    return [statement for section in SECTIONS for statement in section.statements]


def play(cluster: Cluster, tell: Callable[[Statement, list[Finding]], None]) -> list[dict[str, Any]]:
    """Prove every statement on a fresh cluster. Returns `{id, section, statement, observed, ok}` for each.

    A proof that breaks off is a statement that does not hold, with the error as what was observed.
    """
    stage = Stage(cluster)
    stage.set()
    results = []
    for statement in statements():
        try:
            findings = statement.prove(stage)
        except Exception as error:
            findings = [Finding("the proof broke off", f"{type(error).__name__}: {error}", False)]
        tell(statement, findings)
        results.append(
            {
                "id": statement.id,
                "section": statement.section,
                "statement": statement.sentence,
                "observed": [vars(finding) for finding in findings],
                "ok": all(finding.ok for finding in findings),
            }
        )
    return results


def narrate(statement: Statement, findings: list[Finding], paint: Callable[[str, str], str]) -> str:
    """One statement as text, 80 columns."""
    lines = textwrap.wrap(f"“{statement.sentence}”", 74)
    head = f"{statement.id}  " + paint(lines[0], "bold")
    body = ["     " + paint(line, "bold") for line in lines[1:]]
    for finding in findings:
        mark = paint("true ", "green") if finding.ok else paint("FALSE", "red")
        done = textwrap.wrap(finding.done, 66)
        body += [f"     {mark}  {done[0]}", *(f"            {line}" for line in done[1:])]
        body += [f"            → {line}" for line in textwrap.wrap(finding.observed, 66)[:3]]
    return "\n".join([head, *body, ""])
