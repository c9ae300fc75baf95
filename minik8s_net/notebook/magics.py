"""The magics: `%%apply`, `%kubectl`, `%%in`, `%%node`, `%%predict`, `%reveal`. Thin: each calls the Python API.

They use the cluster of the notebook's variable (`c = Cluster.up()`); with several, the one named last; with none, the
one that runs.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from typing import Any

from IPython.core.magic import Magics, cell_magic, line_cell_magic, line_magic, magics_class
from IPython.core.magic_arguments import argument, magic_arguments, parse_argstring

from ..api.errors import StatusError
from ..client.exec import ExecResult
from ..client.yamllines import documents, excerpt, fields_of, line_of
from ..cluster import Cluster
from ..drawn import Objects
from ..state import State
from .predict import Prediction, predict, reveal


class Refused(Exception):
    """What was typed is not possible: shown without a traceback, which would say nothing of it."""

    def _render_traceback_(self) -> list[str]:
        return str(self).splitlines()


@magics_class
class ClusterMagics(Magics):
    """Registered by `%load_ext minik8s_net.notebook`."""

    @magic_arguments()
    @argument("-n", "--namespace", help="where objects go that name no namespace")
    @cell_magic
    def apply(self, line: str, cell: str) -> Objects:
        """Apply the cell's YAML. What is wrong with it is shown at its line."""
        namespace = parse_argstring(self.apply, line).namespace
        return apply_text(self._cluster(), cell, namespace)

    @line_cell_magic
    def kubectl(self, line: str, cell: str | None = None) -> None:
        """Run the real kubectl on this cluster; the cell, if any, is its standard input. Else `minik8s` itself."""
        run_kubectl(self._cluster(), shlex.split(line), cell)

    @magic_arguments()
    @argument("place", help="pod/NAME")
    @argument("-n", "--namespace", help="the pod's namespace")
    @argument("-c", "--container", help="which container")
    @cell_magic("in")
    def in_(self, line: str, cell: str) -> None:
        """Run the cell as a shell script in a pod."""
        args = parse_argstring(self.in_, line)
        kind, _, name = args.place.rpartition("/")
        if kind not in ("", "pod", "pods", "po"):
            raise Refused(f"%%in runs in a pod: %%in pod/NAME, not {args.place}. For nodes: %%node node-1")
        command = ["sh", "-c", cell]
        _print(self._cluster().exec(name, command, container=args.container, namespace=args.namespace))

    @cell_magic
    def node(self, line: str, cell: str) -> None:
        """Run the cell as a shell script in a node (or `fabric`, `outside`), with the machine's own tools."""
        _print(self._cluster().shell(line.strip(), ["sh", "-c", cell]))

    @cell_magic("predict")
    def predict_(self, line: str, cell: str) -> Prediction:
        """Commit to an answer before seeing it: `%%predict NAME`, the answer below."""
        if not line.strip() or cell.strip() in ("", "…"):
            raise Refused("write your answer below the line `%%predict NAME`: believe something first, then look")
        return predict(line.strip(), cell)

    @line_magic("reveal")
    def reveal_(self, line: str) -> Prediction:
        """`%reveal NAME EXPRESSION`: lay what was seen beside what was predicted."""
        name, _, expression = line.strip().partition(" ")
        if not expression.strip():
            raise Refused("what was observed? %reveal NAME EXPRESSION")
        return reveal(name, self.shell.ev(expression))

    def _cluster(self) -> Cluster:
        named = [v for k, v in self.shell.user_ns.items() if isinstance(v, Cluster) and not k.startswith("_")]
        return named[-1] if named else Cluster.connect()


def apply_text(cluster: Cluster, text: str, namespace: str | None = None) -> Objects:
    """Apply document by document. Raises Refused with the lines around the one that is wrong."""
    import yaml

    from ..client import manifests

    try:
        roots = documents(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f"\n{excerpt(text, min(mark.line + 1, text.count(chr(10)) or 1))}" if mark else ""
        raise Refused(f"line {mark.line + 1 if mark else '?'}: not YAML: {error.problem}{where}") from None
    try:
        objects = manifests.parse(text, "the cell")
    except manifests.ManifestError as error:
        raise Refused(f"{error}") from None
    done = Objects()
    for number, obj in enumerate(objects):
        try:
            done += cluster.apply(obj, namespace)
        except StatusError as error:
            root = roots[number] if len(roots) == len(objects) else None
            raise Refused("\n".join([*map(str, done), _refusal(error, text, root)])) from None
    return done


def _refusal(error: StatusError, text: str, root: Any) -> str:
    lines = [line_of(root, field) for field in fields_of(error.message, error.details)] if root else []
    known = sorted({line for line in lines if line})
    if not known and root:
        known = [root.start_mark.line + 1]
    head = f"line {', '.join(map(str, known))}: " if known else ""
    return "\n".join([f"{head}{error}", *(excerpt(text, line) for line in known)])


def run_kubectl(cluster: Cluster, argv: list[str], stdin: str | None = None) -> None:
    """Print what kubectl prints. Raises Refused for an exit status other than 0."""
    env = dict(os.environ)
    if cluster.name:
        env |= {"KUBECONFIG": str(State.of(cluster.name).kubeconfig), "MINIK8S_CLUSTER": cluster.name}
    found = shutil.which("kubectl")
    if not found:
        print("(kubectl is not installed: this is `minik8s`, which knows its most used commands)")
    command = [found] if found else [sys.executable, "-m", "minik8s_net.cli"]
    done = subprocess.run([*command, *argv], input=stdin or "", env=env, capture_output=True, text=True)
    print(done.stdout, end="")
    if done.returncode:
        raise Refused(done.stderr.strip() or f"kubectl: exit status {done.returncode}")
    print(done.stderr, end="", file=sys.stderr)


def _print(result: ExecResult) -> None:
    print(result.stdout, end="")
    print(result.stderr, end="", file=sys.stderr)
    if result.exit_code:
        print(f"(exit status {result.exit_code})")
