"""How one lookup's walk is told: what counts as found, and what to do where nothing was."""

from __future__ import annotations

import pytest

from minik8s_net.dns.walk import Try, Walk


def tried(name: str, rcode: str | None, *answers: tuple[str, str], kind: str = "A", server: str = "10.96.0.10") -> Try:
    return Try(name, kind, "", server, rcode, list(answers), 0.5, "" if rcode else "no answer in 2 s")


@pytest.mark.parametrize(
    ("tries", "found", "words"),
    [
        ([tried("web.a", "NXDOMAIN"), tried("web", "NOERROR", ("A", "10.96.0.1"))], True, "Found at try 2."),
        ([tried("ext", "NXDOMAIN", ("CNAME", "example.com"))], False, "Found nowhere, after 1 try."),
        ([tried("ext", "NOERROR", ("CNAME", "web"), kind="AAAA")], False, "AAAA NODATA"),
        ([tried("ext", "NOERROR", ("CNAME", "web"), kind="CNAME")], True, "Found at try 1."),
        ([tried("web", "NOERROR", ("NS", "ns"), kind="ANY")], True, "Found at try 1."),
        ([tried("web", "SERVFAIL")], False, "10.96.0.10 could not find out (SERVFAIL).\nWhy: kubectl"),
        ([tried("web", None)], False, "Nobody answered at 10.96.0.10.\nDo the servers run, and does a policy"),
        ([tried("web", None, server="10.96.0.99"), tried("web", "NOERROR", ("A", "10.96.0.1"))], True,
         "Nobody answered at 10.96.0.99: the next nameserver was asked, after a wait."),
    ],
)  # fmt: skip
def test_what_is_found_and_what_is_said(tries: list[Try], found: bool, words: str) -> None:
    walk = Walk(["10.96.0.99", "10.96.0.10"], [], 5, tries)
    assert walk.found is found
    assert words in str(walk)
    assert all(len(line) <= 80 for line in str(walk).splitlines())
    assert Walk.from_dict(walk.to_dict()) == walk
