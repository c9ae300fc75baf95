"""The labs there are: folders `NN-name` with lab.yaml, README.md, start/, checks.py, solution/ and wrong/.

lab.yaml: title, idea, hints (a list). start/ and solution/ hold manifests; wrong/ holds one folder per wrong solution,
which the checks must reject.
"""

from __future__ import annotations

import importlib.util
import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from ..cluster import Cluster
from . import check


class LabError(Exception):
    """There is no such lab, or it is not complete: says what there is."""


@dataclass(frozen=True)
class Lab:
    """One lab's folder."""

    folder: Path

    @property
    def number(self) -> int:
        """6 for the folder `06-clusterip`."""
        return int(self.folder.name.split("-")[0])

    @cached_property
    def about(self) -> dict[str, Any]:
        """What lab.yaml says: title, goals, hints."""
        import yaml

        return dict(yaml.safe_load((self.folder / "lab.yaml").read_text()))

    def checks(self) -> list[check.Check]:
        """The checks of checks.py, in the order of the file."""
        spec = importlib.util.spec_from_file_location(f"lab_{self.number:02}_checks", self.folder / "checks.py")
        assert spec and spec.loader
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return [value for value in vars(module).values() if isinstance(value, check.Check)]

    def start(self, cluster: Cluster) -> list[str]:
        """Apply the exercise's manifests."""
        return [str(done) for done in cluster.apply(self.folder / "start")]

    def check(self, cluster: Cluster, settle: float = check.SETTLE) -> list[check.Result]:
        """Look at the cluster's state: results up to and including the first that fails."""
        return check.run(self.checks(), cluster, settle)

    def solve(self, cluster: Cluster) -> list[str]:
        """Apply the lab's solution; says what was done."""
        return [str(done) for done in cluster.apply(self.folder / "solution")]

    def reset(self, cluster: Cluster) -> None:
        """Remove what the lab (and its solution) made."""
        cluster.delete(self.folder / "start")
        cluster.delete(self.folder / "solution")


def folder() -> Path:
    """`$MINIK8S_LABS`, else the labs beside the package, else ./labs."""
    if explicit := os.environ.get("MINIK8S_LABS"):
        return Path(explicit)
    beside = Path(__file__).parents[2] / "labs"
    return beside if beside.is_dir() else Path.cwd() / "labs"


def labs() -> list[Lab]:
    """All labs, by number."""
    return sorted((Lab(p.parent) for p in folder().glob("[0-9][0-9]-*/lab.yaml")), key=lambda lab: lab.number)


def find(number: str) -> Lab:
    """Raises LabError."""
    for lab in labs():
        if number.lstrip("0") == str(lab.number) or number == lab.folder.name:
            return lab
    known = ", ".join(lab.folder.name for lab in labs()) or f"none in {folder()}"
    raise LabError(f'there is no lab "{number}"; there are: {known}')
