"""The index of the command line: every command, its flags, and the function that does it.

Exit status 0 only if the command did what it says. Errors are one clear screen on stderr.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
from collections.abc import Callable
from typing import Any

from ..version import __version__

EPILOG = """\
A first look:
  minik8s up                      start a cluster (about a second)
  minik8s demo                    watch the text of the course become true
  kubectl get pods -A             any kubectl works; or: minik8s get pods -A
  minik8s topology                see it
  minik8s down                    end it without a trace
"""


def run(argv: list[str] | None = None) -> None:
    """Parse, do, and end the process with the command's exit status."""
    head, tail = _split(sys.argv[1:] if argv is None else argv)
    args = parser().parse_args(head)
    args.chosen = args.cluster or os.environ.get("MINIK8S_CLUSTER")  # None: nobody named one
    args.cluster = args.chosen or "minik8s"
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(errors="replace")  # type: ignore[union-attr]  # a terminal that knows ASCII only
    if tail:
        args.argv = [*getattr(args, "argv", []), *tail]
    try:
        status = _load(args.do)(args)
        sys.stdout.flush()  # here, where a reader that has gone is no surprise
    except KeyboardInterrupt as stop:
        print("; ".join(["interrupted", *getattr(stop, "__notes__", [])]), file=sys.stderr)
        status = 130
    except BrokenPipeError:  # `minik8s get pods | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        status = 141
    except OSError as error:  # a full disk, a folder that is none, a file that is not ours
        if _is_expected(error):
            print(f"error: {error}", file=sys.stderr)
        else:
            print(f"error: {f'{error.filename}: ' if error.filename else ''}{error.strerror or error}", file=sys.stderr)
        status = 1
    except Exception as error:
        if not _is_expected(error):
            raise
        print(f"error: {error}", file=sys.stderr)
        status = 1
    sys.exit(status)


def _split(argv: list[str]) -> tuple[list[str], list[str]]:
    """What is ours, and the command after `--`: flags may stand before it in any order."""
    if "--" not in argv:
        return argv, []
    at = argv.index("--")
    return argv[:at], argv[at + 1 :]


def _load(target: str) -> Callable[[argparse.Namespace], int]:
    module, function = target.split(":")
    loaded: Callable[[argparse.Namespace], int] = getattr(importlib.import_module(f"minik8s_net.{module}"), function)
    return loaded


def _is_expected(error: Exception) -> bool:
    """Errors whose text is meant for the user; anything else is our own bug and shows its traceback."""
    expected = {
        "StatusError", "Unreachable", "KubeconfigError", "ManifestError", "ConfigError", "StartError", "UsageError",
        "CheckError", "TimeoutError", "LabError", "PermissionError",
    }  # fmt: skip
    return any(cls.__name__ in expected for cls in type(error).__mro__)


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = argparse.ArgumentParser(
        prog="minik8s",
        description="A real Kubernetes network small enough to see all of.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    top.add_argument("--version", action="version", version=f"minik8s {__version__}")
    commands = top.add_subparsers(metavar="COMMAND", required=True)

    common = argparse.ArgumentParser(add_help=False)
    common.add_argument(
        "--cluster",
        metavar="NAME",
        help="which cluster (default: $MINIK8S_CLUSTER, else minik8s)",
    )

    def command(name: str, do: str, help: str, **kwargs: Any) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=help, description=help, parents=[common], **kwargs)
        made.set_defaults(do=do)
        return made

    _cluster_commands(command)
    _object_commands(command)
    _look_commands(command)
    _course_commands(command)
    _fault_commands(command)
    return top


def _output(command: argparse.ArgumentParser, *choices: str) -> None:
    command.add_argument("-o", "--output", choices=choices or ("json",), help="output format")


def _cluster_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    up = command("up", "cli.cluster:up", "start or resume a cluster; returns when DNS answers from inside")
    up.add_argument("--nodes", type=int, metavar="N", help="how many nodes (default 2)")
    up.add_argument("--config", metavar="FILE", help="a YAML file of settings")
    up.add_argument("--cni", metavar="MODE", help="how nodes are wired: host-gw (default) or vxlan")
    up.add_argument("--proxy-mode", metavar="MODE", help="how Services are made: iptables (default) or nftables")
    up.add_argument("--runtime", metavar="KIND", help="what runs containers: process (docker is not built yet)")
    up.add_argument("--from", dest="from_file", metavar="FILE", help="as `minik8s export FILE` wrote it")
    up.add_argument("--no-heal", action="store_true", help="leave what breaks broken")
    up.add_argument("-q", "--quiet", action="store_true", help="no progress")

    down = command("down", "cli.cluster:down", "end a cluster without a trace")
    down.add_argument("--all", action="store_true", help="all clusters of this user")
    _output(command("list", "cli.cluster:list_", "all clusters of this user"))
    _output(command("status", "cli.cluster:status", "health of each part"))
    _output(command("doctor", "cli.cluster:doctor", "what this machine lacks, and the command that mends it"))
    command("kubeconfig", "cli.cluster:kubeconfig", "print the kubeconfig")

    node = command("node", "cli.cluster:node", "add or remove a node at run time")
    node.add_argument("action", choices=("add", "rm"))
    node.add_argument("name", nargs="?", help="e.g. node-4 (default for add: the next free one)")
    image = command("image", "cli.images:image", "what `image:` may name here, and images of your own")
    image.add_argument("action", choices=("list", "add", "rm"))
    image.add_argument("name", nargs="?", help="e.g. shop")
    image.add_argument("--command", default="sh", metavar="CMD", help="what it runs (default: sh)")
    image.add_argument("--description", default="your own", metavar="TEXT")
    _output(image)

    shell = command("shell", "cli.shell:shell", "a shell or command inside a node, a pod, the fabric or outside")
    shell.add_argument("place", metavar="PLACE", help="client, shop/client, pod/client, node-1, fabric or outside")
    shell.add_argument("-n", "--namespace", default="default", help="of the pod (default: default)")
    shell.add_argument("argv", nargs="*", default=[], metavar="-- CMD", help="what to run (default: a shell)")


def _object_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    def namespaced(made: argparse.ArgumentParser) -> argparse.ArgumentParser:
        made.add_argument("-n", "--namespace", help="namespace (default: the context's)")
        return made

    apply = namespaced(command("apply", "cli.objects:apply", "create or update what a manifest says"))
    apply.add_argument("-f", "--filename", action="append", required=True, metavar="FILE", help="file, folder or -")

    get = namespaced(command("get", "cli.objects:get", "list objects"))
    get.add_argument("what", nargs="*", metavar="KIND [NAME…]", help="e.g. pods, svc/web, pods,services")
    get.add_argument("-A", "--all-namespaces", action="store_true")
    get.add_argument("-l", "--selector", metavar="LABELS")
    get.add_argument("-w", "--watch", action="store_true", help="then follow the changes")
    get.add_argument("--kinds", action="store_true", help="which kinds there are")
    _output(get, "json", "yaml", "wide", "name")

    describe = namespaced(command("describe", "cli.objects:describe", "an object with all that belongs to it"))
    describe.add_argument("what", nargs="+", metavar="KIND NAME")

    delete = namespaced(command("delete", "cli.objects:delete", "delete objects"))
    delete.add_argument("what", nargs="*", metavar="KIND NAME…")
    delete.add_argument("-f", "--filename", action="append", metavar="FILE", default=[])
    delete.add_argument("-l", "--selector", metavar="LABELS")
    delete.add_argument("--ignore-not-found", action="store_true")
    delete.add_argument("--no-wait", action="store_true", help="do not wait until they are gone")

    exec_ = namespaced(command("exec", "cli.objects:exec_", "run a command in a container"))
    exec_.add_argument("-c", "--container")
    exec_.add_argument("-i", "--stdin", action="store_true")
    exec_.add_argument("-t", "--tty", action="store_true")
    exec_.add_argument("pod")
    exec_.add_argument("argv", nargs="*", metavar="-- CMD")

    logs = namespaced(command("logs", "cli.objects:logs", "what a container printed"))
    logs.add_argument("pod")
    logs.add_argument("-c", "--container")
    logs.add_argument("-f", "--follow", action="store_true")
    logs.add_argument("-p", "--previous", action="store_true")
    logs.add_argument("--tail", type=int)

    wait = namespaced(command("wait", "cli.objects:wait", "wait for a condition"))
    wait.add_argument("what", nargs="+", metavar="KIND/NAME")
    wait.add_argument("--for", dest="condition", required=True, help="condition=Ready, delete, or create")
    wait.add_argument("--timeout", default="30s", metavar="TIME", help="e.g. 90s (default 30s; negative: a week)")


def _look_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    topology = command("topology", "cli.look:topology", "the live picture: nodes, bridges, pods, Services")
    topology.add_argument("--svg", metavar="FILE", help="write a picture")
    topology.add_argument("--trace", nargs=2, metavar=("POD", "TARGET"), help="draw a real packet's way over it")
    _output(topology)

    explain = command("explain", "cli.explain:explain", "why a pod reaches a target, or why not: one cause, one remedy")
    explain.add_argument("source", metavar="POD", help="client, shop/client, node-1 or outside; or the word rule")
    explain.add_argument("target", help="as for trace; after `rule`: a chain, a printed rule, or a part of one")
    explain.add_argument("--node", help="after `rule`: only this node's rules")
    explain.add_argument("-n", "--namespace", help="of the pod (default: the context's)")
    _output(explain)

    reach = command("reach", "cli.explain:reach", "who reaches whom: measured, beside what the policies say")
    reach.add_argument("--port", type=int, default=80, metavar="P")
    reach.add_argument("--protocol", choices=("tcp", "udp"), default="tcp")
    reach.add_argument("-n", "--namespace", help="of the pods (default: the context's)")
    reach.add_argument("-A", "--all-namespaces", action="store_true")
    reach.add_argument("--services", action="store_true", help="to Services instead of to pods")
    _output(reach)

    trace = command("trace", "cli.trace:trace", "one real packet's way, station by station, as the kernel saw it")
    trace.add_argument("source", metavar="POD", help="client, shop/client, node-1 or outside")
    trace.add_argument("target", help="http://web[:PORT][/PATH], tcp://… udp://HOST:PORT, IP:PORT, dns:NAME, svc/web")
    trace.add_argument("-n", "--namespace", help="of the pod (default: the context's)")
    trace.add_argument("--brief", action="store_true", help="one line a station, without the evidence")
    trace.add_argument("--seconds", type=float, metavar="S", help="how long to wait for an answer (default 0.6)")
    trace.add_argument(
        "--beside", nargs=2, metavar=("POD", "TARGET"), help="a second trace beside it, the first difference marked"
    )
    _output(trace)

    dns = command("dns", "cli.dns:dns", "one lookup from inside a pod: each try along its search path, with its answer")
    dns.add_argument("pod", metavar="POD", help="client, shop/client, node-1 or outside")
    dns.add_argument("name", metavar="NAME", help="e.g. web, web.shop, 10.96.0.10 (with PTR)")
    dns.add_argument("type", nargs="?", default="A", metavar="TYPE", help="A (default), SRV, PTR, TXT, …")
    dns.add_argument("-n", "--namespace", help="of the pod (default: the context's)")
    _output(dns)

    capture = command(
        "capture", "cli.trace:capture", "packets of a pod, node, the fabric or outside, decoded, as they pass"
    )
    capture.add_argument("place", metavar="PLACE", help="client, shop/client, node-1, fabric or outside")
    capture.add_argument("-n", "--namespace", help="of the pod (default: the context's)")
    capture.add_argument("-i", "--interface", metavar="NAME", help="one device only, e.g. eth0, cni0 (default: all)")
    capture.add_argument(
        "-f", "--filter", metavar="WORDS", help="e.g. 'tcp port 80 and not host 10.244.1.2', 'dns or arp'"
    )
    capture.add_argument("--count", type=int, metavar="N", help="end after N packets (default 10000)")
    capture.add_argument("--seconds", type=float, metavar="S", help="end after S seconds (default 60)")
    capture.add_argument("-w", "--write", metavar="FILE", help="also write a pcap file, for Wireshark or tcpdump -r")
    _output(capture)


def _course_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    told = "every statement of the course's text, shown and proved in a cluster of its own (minik8s-demo)"
    demo = command("demo", "cli.demo:demo", told)
    demo.add_argument("--keep", action="store_true", help="leave the cluster running afterwards")
    demo.add_argument("--nodes", type=int, default=2, metavar="N")
    _output(demo)

    lab = command("lab", "cli.course:lab", "the course: exercises with checks")
    actions = ("list", "start", "check", "hint", "solution", "reset", "ui")
    lab.add_argument("action", choices=actions)
    lab.add_argument("number", nargs="?", help="a lab's number, e.g. 6 (ui: none)")
    _output(lab)


def _fault_commands(command: Callable[..., argparse.ArgumentParser]) -> None:
    fault = command("fault", "cli.faults:fault", "break it on purpose, and mend it; pause healing")
    fault.add_argument("action", choices=("list", "inject", "clear", "pause", "resume"))
    fault.add_argument("what", nargs="*", metavar="NAME [KEY=VALUE…]", help="a fault, its number, or a component")
    fault.add_argument("--seed", type=int, metavar="N", help="of `inject random`: the same seed, the same fault")
    fault.add_argument("--quiet-name", action="store_true", help="do not say which fault it is: find out")
    fault.add_argument("--reveal", action="store_true", help="list hidden faults by name")
    _output(fault)
    diff = command("diff", "cli.diff:diff", "where the kernel differs from what was written, or what a command changes")
    diff.add_argument("place", nargs="?", help="node-1, fabric, outside or NAMESPACE/POD (default: everywhere)")
    diff.add_argument("--last", action="store_true", help="what has changed since the last `minik8s apply`")
    diff.epilog = "`minik8s diff -- COMMAND…` runs a command and shows what it changed in the kernel and in DNS."
    _output(diff)
    snapshot = command("snapshot", "cli.snapshot:snapshot", "keep objects and faults, and come back to them")
    snapshot.add_argument("action", choices=("save", "restore", "list", "delete"))
    snapshot.add_argument("name", nargs="?", help="e.g. before-lab-6")
    _output(snapshot)
    export = command("export", "cli.snapshot:export", "one readable file with everything, for `up --from`")
    export.add_argument("file", metavar="FILE", help="where to write it; - prints it")
    top = command("top", "cli.top:top", "packets and bytes per pod, Service and policy rule, by the kernel's counters")
    top.add_argument("what", nargs="?", choices=("pods", "services", "policies"), help="only this table")
    _output(top)
