"""Static drawings: HTML with its own style, light and dark, no script. It stays readable in a saved notebook.

What can be looked into (a rule's text, a whole object) folds open by the browser's own <details>.
"""

from __future__ import annotations

import base64
import itertools
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

Json = dict[str, Any]


def bundle(thing: Any) -> dict[str, str]:
    """Jupyter's MIME bundle: HTML, and text for everybody else."""
    draw = _DRAWINGS.get(type(thing).__name__, _plain)
    return {"text/plain": _text(thing), "text/html": draw(thing)}


def register(shell: Any) -> None:
    """Draw single Kubernetes objects (lightkube's classes, not ours to teach) as YAML."""
    html = shell.display_formatter.formatters["text/html"]
    html.for_type_by_name("lightkube.core.resource", "Resource", _object)


def card(title: str, body: str) -> str:
    """A box with a title; `body` is HTML, the title text."""
    head = f'<div class="mk-bar"><b>{escape(title)}</b></div>' if title else ""
    return f'<style>{_style()}</style><div class="mk">{head}{body}</div>'


def table(heads: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """An HTML table of texts."""
    head = "".join(f"<th>{escape(h)}</th>" for h in heads)
    body = "".join("<tr>" + "".join(f"<td>{escape(str(v))}</td>" for v in row) + "</tr>" for row in rows)
    return f'<div class="mk-scroll"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'


@cache
def _style() -> str:
    return (Path(__file__).parent / "style.css").read_text()


def _text(thing: Any) -> str:
    if isinstance(thing, list):
        return "\n".join(_line(one) for one in thing) or "(none)"
    return str(thing)


def _line(one: Any) -> str:
    if getattr(one, "metadata", None) is None:
        return str(one)
    return "  ".join(_cells(one)[1])


def _plain(thing: Any) -> str:
    return card("", f"<pre>{escape(str(thing))}</pre>")


# -- one drawing per class -----------------------------------------------------------------------------------------
def _cluster(cluster: Any) -> str:
    try:
        picture = cluster.topology()
    except Exception as error:  # it may be down: then that is what there is to see
        return card(repr(cluster), f'<p class="mk-bad">{escape(str(error))}</p>')
    pods = [pod for node in picture.nodes for pod in node.pods]
    ready = sum(pod.ready for pod in pods)
    about = f"{len(picture.nodes)} nodes · {ready} of {len(pods)} pods ready · {len(picture.services)} Services"
    follow = "<code>notebook.Live(c)</code> follows it as it changes"
    return card(repr(cluster), f'<p class="mk-dim">{about} · {follow}</p>{_picture(picture)}')


def _picture(topology: Any) -> str:
    """As an image, so that its style stays in it and its @media follows the colour scheme of where it stands."""
    data = base64.b64encode(topology.svg().encode()).decode()
    text = escape(str(topology), quote=True)
    return f'<img alt="{text}" src="data:image/svg+xml;base64,{data}"/>'


def _exec(result: Any) -> str:
    out = f"<pre>{escape(result.stdout)}</pre>" if result.stdout else ""
    err = f'<pre class="mk-bad">{escape(result.stderr)}</pre>' if result.stderr else ""
    end = "" if result.exit_code == 0 else f'<p class="mk-bad">exit status {result.exit_code}</p>'
    return card("", out + err + end or '<p class="mk-dim">(it printed nothing)</p>')


def _trace(trace: Any) -> str:
    groups = []
    for (place, direction), stations in itertools.groupby(trace.stations, lambda s: (s.place, s.direction)):
        items = "".join(_station(station) for station in stations)
        way = "" if direction == "out" else " (the way back)"
        groups.append(f"<details open><summary><b>{escape(place)}</b>{way}</summary>{items}</details>")
    gaps = "".join(f'<p class="mk-dim">not seen: {escape(gap)}</p>' for gap in trace.gaps)
    verdict = f'<span class="mk-verdict mk-{escape(trace.verdict)}">{escape(trace.verdict)}</span>'
    because = f'<p>{verdict} {escape(trace.because)} <span class="mk-dim">notebook.Replay(trace) plays it</span></p>'
    return card(f"{trace.source} → {trace.target}", because + "".join(groups) + gaps)


def _station(s: Any) -> str:
    by = f" for <b>{escape(s.written_by)}</b>" if s.written_by else ""
    nat = f" <code>{escape(s.before)} → {escape(s.after)}</code>" if s.before else ""
    line = f'{s.number}. <span class="mk-tag">{escape(s.layer)}</span> {escape(s.what)}{by}{nat}'
    if not s.detail:
        return f"<div>{line}</div>"
    return f"<details><summary>{line}</summary><pre>{escape(s.detail)}</pre></details>"


def _reach(reach: Any) -> str:
    sources = list(dict.fromkeys(c.source for c in reach.cells))
    targets = list(dict.fromkeys(c.target for c in reach.cells))
    cells = {(c.source, c.target): c for c in reach.cells}
    head = "".join(f'<th scope="col">{escape(t)}</th>' for t in targets)
    rows = "".join(
        f'<tr><th scope="row">{escape(s)}</th>' + "".join(_cell(cells.get((s, t))) for t in targets) + "</tr>"
        for s in sources
    )
    body = f'<div class="mk-scroll"><table class="mk-grid"><tr><th>from ↓ to →</th>{head}</tr>{rows}</table></div>'
    wrong = f"{len(reach.wrong)} against policy; o: reached, but refused"
    return card(f"who reaches whom, {reach.protocol}/{reach.port}", f'{body}<p class="mk-dim">{wrong}</p>')


def _cell(cell: Any) -> str:
    if cell is None:
        return "<td></td>"
    kind = ("mk-yes" if cell.reached else "mk-no") + (" mk-wrong" if cell.wrong else "")
    return f'<td class="{kind}" title="{escape(cell.measured)}">{cell.mark}</td>'


def _objects(things: list[Any]) -> str:
    if not things:
        return card("", '<p class="mk-dim">(none)</p>')
    if getattr(things[0], "metadata", None) is None:
        return card(
            "", table(["object", "what was done"], [(getattr(t, "what", t), getattr(t, "verb", "")) for t in things])
        )
    heads = _cells(things[0])[0]
    return card(type(things[0]).__name__, table(heads, (_cells(thing)[1] for thing in things)))


def _object(thing: Any) -> str:
    import yaml

    tree = thing.to_dict()
    tree.get("metadata", {}).pop("managedFields", None)
    meta = thing.metadata
    name = f"{type(thing).__name__} {meta.namespace + '/' if meta.namespace else ''}{meta.name}"
    heads, cells = _cells(thing)
    text = escape(yaml.safe_dump(tree, sort_keys=False))
    return card(
        name, table(heads, [cells]) + f"<details><summary>the whole object</summary><pre>{text}</pre></details>"
    )


def _cells(thing: Any) -> tuple[list[str], list[str]]:
    """(heads, values) of one object: its name, and what matters of its kind."""
    more = _COLUMNS.get(type(thing).__name__, lambda _: {})(thing)
    row = {"namespace": thing.metadata.namespace or "", "name": thing.metadata.name, **more}
    return list(row), [str(value) if value is not None else "" for value in row.values()]


def _pod(pod: Any) -> Json:
    status = pod.status
    ready = any(c.type == "Ready" and c.status == "True" for c in status.conditions or [])
    phase = "Terminating" if pod.metadata.deletionTimestamp else status.phase
    return {"ready": "✓" if ready else "–", "phase": phase, "ip": status.podIP, "node": pod.spec.nodeName}


def _service(service: Any) -> Json:
    ports = ", ".join(f"{p.port}→{p.targetPort}/{p.protocol}" for p in service.spec.ports or [])
    return {"type": service.spec.type, "cluster ip": service.spec.clusterIP, "ports": ports}


def _node(node: Any) -> Json:
    ready = any(c.type == "Ready" and c.status == "True" for c in node.status.conditions or [])
    address = next((a.address for a in node.status.addresses or [] if a.type == "InternalIP"), "")
    return {"ready": "✓" if ready else "–", "address": address, "pods": node.spec.podCIDR}


_COLUMNS: dict[str, Callable[[Any], Json]] = {"Pod": _pod, "Service": _service, "Node": _node}
_DRAWINGS: dict[str, Callable[[Any], str]] = {
    "Cluster": _cluster,
    "ExecResult": _exec,
    "Trace": _trace,
    "Reach": _reach,
    "Objects": _objects,
}
