"""Generated requests never end in a 5xx or a hang (benchmarks/apiserver.py sends 10 000)."""

from __future__ import annotations

from .generated import run
from .serving import Api


def test_two_thousand_generated_requests(api: Api) -> None:
    codes, failed = run(api, seed=1, count=2000)
    assert not failed, failed[:3]
    assert min(codes[200], codes[201], codes[400], codes[404], codes[422]) > 20, codes
    assert api("GET", "/healthz").code == 200
