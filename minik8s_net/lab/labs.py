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

from ..api.errors import StatusError, is_not_found
from ..client import manifests
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
        """Make what the exercise begins with."""
        return self.make(cluster, self.folder / "start")

    def started(self, cluster: Cluster) -> bool:
        """Whether anything that the exercise begins with is there (or it begins with nothing)."""
        start = self.folder / "start"
        objects = manifests.read(start) if any(start.glob("*.yaml")) else []
        return not objects or any(_is_there(cluster, one) for one in objects)

    def check(self, cluster: Cluster, settle: float = check.SETTLE) -> list[check.Result]:
        """Look at the cluster's state: results up to and including the first that fails."""
        return check.run(self.checks(), cluster, settle)

    def solve(self, cluster: Cluster) -> list[str]:
        """Make what the lab's solution says; says what was done."""
        self._run(cluster, self.folder / "reset")  # what was made by hand is made anew
        return self.make(cluster, self.folder / "solution")

    def reset(self, cluster: Cluster) -> None:
        """Remove what the lab (and its solution) made."""
        for part in ("start", "solution"):
            if any((self.folder / part).glob("*.yaml")):
                cluster.delete(self.folder / part)
        self._run(cluster, self.folder / "reset")

    def make(self, cluster: Cluster, part: Path) -> list[str]:
        """Apply a folder's manifests, then run its scripts: `outside.sh` is run by a shell in the place "outside".

        Raises LabError with what a script said when it failed.
        """
        done = [str(one) for one in cluster.apply(part)] if any(part.glob("*.yaml")) else []
        return done + self._run(cluster, part)

    def _run(self, cluster: Cluster, part: Path) -> list[str]:
        done = []
        for script in sorted(part.glob("*.sh")):
            said = cluster.shell(script.stem, ["sh", "-e", "-c", script.read_text()])
            if not said:
                raise LabError(f"{script}: {said}")
            done.append(f"{script.stem}: commands run")
        return done


def _is_there(cluster: Cluster, obj: dict[str, Any]) -> bool:
    meta = obj["metadata"]
    try:
        cluster.get(obj["kind"].lower(), meta["name"], meta.get("namespace"))
    except StatusError as error:
        if is_not_found(error):
            return False
        raise
    return True


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
