"""CRI's verbs: what a sandbox and a container are to the runtime, and how each moves from state to state.

container   created ──start──► running ──ends──► exited ──remove──► (gone)
sandbox     ready ──stop──► not ready (its containers killed, its namespaces let go) ──remove──► (gone)
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from . import container, execs, ids, images, names, rootfs, sandbox
from .syscalls import CLONE_NEWNS, CLONE_NEWPID, MOUNT_ATTR_RDONLY, clone_tree, fork_into

if TYPE_CHECKING:
    from .server import Request, Server

Json = dict[str, Any]


class Sandbox:
    """`namespaces`: kind (net, uts, ipc) -> descriptor."""

    def __init__(self, status: Json, namespaces: dict[str, int], owns_netns: bool) -> None:
        self.status, self.namespaces, self.owns_netns = status, namespaces, owns_netns


class Container:
    """`init` is its PID 1 as the runtime counts, 0 unless it lives; `init_on_host` the same on the host."""

    def __init__(self, status: Json, spec: Json, place: str) -> None:
        self.status, self.spec, self.place = status, spec, place
        self.init = self.init_on_host = 0
        self.told = False  # TERM was sent: once, however often it is asked for
        self.error = ""
        self.reported = False  # all that the report of its start had to say is known
        self.ended: list[Callable[[], None]] = []


class Verbs:
    """Each public method is a verb: it answers its request at once, or keeps it and answers later."""

    def __init__(self, server: Server, cluster: str, host_names: int | None) -> None:
        self._server, self._cluster, self._host_names = server, cluster, host_names
        self._home = sandbox.Home()
        self._proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._null = clone_tree("/dev/null", MOUNT_ATTR_RDONLY)
        self._sandboxes: dict[str, Sandbox] = {}
        self._containers: dict[str, Container] = {}
        self._places = 0
        self._waiting_for_template: list[Callable[[], None]] | None = []

    def call(self, request: Request, verb: str, args: Json) -> None:
        from .server import Refused

        method = getattr(self, verb, None) if verb in VERBS else None
        if method is None:
            raise Refused("Unimplemented", f'unknown verb "{verb}"')
        try:
            method(request, **args)
        except images.UnknownImage as unknown:
            raise Refused(unknown.reason, str(unknown)) from None

    def template_ready(self, code: int) -> None:
        waiting, self._waiting_for_template = self._waiting_for_template or [], None
        for start in waiting:
            start()

    # -- network namespaces that are no pods -----------------------------------------------------------------
    def ensure_netns(self, request: Request, name: str) -> None:
        if not os.path.exists(sandbox.netns_path(name)):
            self._make_netns(name)
        else:
            names.publish(self._host_names, self._server.pid, name)
        request.answer()

    def unnamed_netns(self, request: Request) -> None:
        """The namespaces whose names in the host's /run/netns are gone; `ensure_netns` names one again."""
        request.answer(names.missing(self._host_names, os.listdir(sandbox.NETNS_DIR)))

    def remove_netns(self, request: Request, name: str) -> None:
        self._drop_netns(name)
        request.answer()

    def _make_netns(self, name: str) -> None:
        sandbox.make_netns(self._home, name)
        names.publish(self._host_names, self._server.pid, name)

    def _drop_netns(self, name: str) -> None:
        names.withdraw(self._host_names, self._server.pid, name)
        sandbox.drop_netns(name)

    # -- sandboxes -------------------------------------------------------------------------------------------
    def run_pod_sandbox(self, request: Request, config: Json) -> None:
        number = f"{config['uid']}-{config['attempt']}"
        if existing := self._sandboxes.get(number):
            request.answer(existing.status)
            return
        name = config["netns"] or sandbox.netns_name(self._cluster, config["namespace"], config["name"])
        if owns := config["netns"] is None:
            if os.path.exists(sandbox.netns_path(name)):  # a predecessor of the same name, still ending
                name = sandbox.netns_name(self._cluster, config["namespace"], f"{config['name']}.{number[-12:]}")
            self._make_netns(name)
        elif not os.path.exists(sandbox.netns_path(name)):
            self._refuse("NotFound", f'network namespace "{name}" not found')
        net = os.open(sandbox.netns_path(name), os.O_RDONLY | os.O_CLOEXEC)
        uts, ipc = sandbox.make_uts_ipc(self._home, config["hostname"])
        status = {"id": number, "config": config, "netns": name, "created_at": time.time(), "ready": True}
        self._sandboxes[number] = Sandbox(status, {"net": net, "uts": uts, "ipc": ipc}, owns)
        request.answer(status)

    def stop_pod_sandbox(self, request: Request, sandbox_id: str) -> None:
        if found := self._sandboxes.get(sandbox_id):
            self._kill_all(sandbox_id)
            self._release(found)
        request.answer()

    def remove_pod_sandbox(self, request: Request, sandbox_id: str) -> None:
        if (found := self._sandboxes.get(sandbox_id)) is None:
            request.answer()
            return
        self._kill_all(sandbox_id)
        self._release(found)
        mine = [c for c in self._containers.values() if c.status["sandbox_id"] == sandbox_id]
        living = [c for c in mine if c.init]

        def gone() -> None:
            if any(c.init for c in living):
                return
            if self._sandboxes.pop(sandbox_id, None) is not None:  # else somebody asked for the same before us
                for one in mine:
                    self._forget(one)
            request.answer()

        for one in living:
            one.ended.append(gone)
        if not living:
            gone()

    def list_pod_sandboxes(self, request: Request) -> None:
        request.answer([found.status for found in self._sandboxes.values()])

    def _kill_all(self, sandbox_id: str) -> None:
        for one in self._containers.values():
            if one.status["sandbox_id"] == sandbox_id and one.init:
                os.kill(one.init, signal.SIGKILL)

    def _release(self, found: Sandbox) -> None:
        if not found.status["ready"]:
            return
        found.status["ready"] = False
        for fd in found.namespaces.values():
            os.close(fd)
        if found.owns_netns:
            self._drop_netns(found.status["netns"])

    # -- containers ------------------------------------------------------------------------------------------
    def create_container(self, request: Request, sandbox_id: str, config: Json) -> None:
        home = self._sandboxes.get(sandbox_id)
        if home is None or not home.status["ready"]:
            self._refuse("NotFound", f'sandbox "{sandbox_id}" not found or not ready')
            return
        number = f"{sandbox_id}-{config['name']}-{config['attempt']}"
        if number in self._containers:
            self._refuse("AlreadyExists", f'container "{number}" already exists')
        image = images.find(config["image"])
        entry, argv = images.program(image, config["command"], config["args"])
        of_pod = home.status["config"]
        spec = {
            "config": config,
            "argv": argv,
            "entry": entry,
            "hostname": of_pod["hostname"],
            "writable": image["writable"],
            "workdir": image.get("workdir", "/"),
            "single_id": ids.is_single(),
            "etc": {
                "hostname": of_pod["hostname"] + "\n",
                "hosts": of_pod["hosts"] or "127.0.0.1\tlocalhost\n::1\tlocalhost\n",
                "resolv.conf": of_pod["resolv_conf"],
            },
        }
        status = {"id": number, "sandbox_id": sandbox_id, "config": config, "state": "created", "pid": 0}
        status |= {"created_at": time.time(), "started_at": 0.0, "finished_at": 0.0}
        status |= {"exit_code": 0, "reason": "", "message": ""}
        self._places += 1
        spec["place"] = str(self._places)
        self._containers[number] = Container(status, spec, f"{rootfs.ROOTS}/{self._places}")
        self._server.publish(status)
        request.answer(number)

    def start_container(self, request: Request, container_id: str) -> None:
        one = self._container(container_id)
        if one.status["state"] != "created" or one.init:
            self._refuse("Unavailable", f'container "{container_id}" is {one.status["state"]}, not created')
        if self._waiting_for_template is not None:
            self._waiting_for_template.append(lambda: self._start(request, one))
        else:
            self._start(request, one)

    def _start(self, request: Request, one: Container) -> None:
        home = self._sandboxes.get(one.status["sandbox_id"])
        if home is None or not home.status["ready"]:
            request.refuse("NotFound", f'sandbox "{one.status["sandbox_id"]}" not ready')
            return
        for name in ("root", "upper", "work"):
            os.makedirs(f"{one.place}/{name}")
        report, report_child = os.pipe2(os.O_CLOEXEC)
        final, final_child = os.pipe2(os.O_CLOEXEC)
        pid = fork_into(CLONE_NEWNS | CLONE_NEWPID)
        if pid == 0:
            container.run(one.spec, home.namespaces, report_child, final_child, self._proc, self._null)
        os.close(report_child)
        os.close(final_child)
        one.init = pid
        self._server.adopt(pid, lambda code: self._ended(one, code, final))
        self._server.read_until_end(report, lambda data: self._started(request, one, data))

    def _started(self, request: Request, one: Container, data: bytes) -> None:
        """The report is complete: the workload runs, or could not be started."""
        told: Json = {}
        for line in data.splitlines():
            told |= json.loads(line)
        one.init_on_host, one.reported = told.get("init", 0), True
        if error := told.get("error"):
            one.error = (
                "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create "
                f"failed: unable to start container process: {error}: unknown"
            )
            self._when_ended(one, lambda: request.refuse("ContainerCannotRun", one.error))
            if not one.init:
                self._finish(one)
            return
        if one.status["state"] == "created":
            one.status |= {"state": "running", "pid": told.get("pid", 0), "started_at": time.time()}
            self._server.publish(one.status)
            if not one.init:
                self._finish(one)
        request.answer()

    def _ended(self, one: Container, code: int, final: int) -> None:
        """Its init is gone, and with it all its processes. Only the whole report tells whether it ever ran."""
        one.init = 0
        os.set_blocking(final, False)
        try:
            message = os.read(final, 4096).decode("utf-8", "replace")
        except BlockingIOError:
            message = ""
        os.close(final)
        one.status |= {"exit_code": code, "message": message}
        if one.reported:
            self._finish(one)

    def _finish(self, one: Container) -> None:
        if one.status["state"] == "exited":
            return
        code = one.status["exit_code"]
        reason = "StartError" if one.error else "Completed" if code == 0 else "Error"
        one.status |= {"state": "exited", "pid": 0, "finished_at": time.time(), "reason": reason}
        one.status |= {"message": one.error or one.status["message"]}
        one.status["started_at"] = one.status["started_at"] or (0.0 if one.error else one.status["created_at"])
        self._server.publish(one.status)
        waiting, one.ended = one.ended, []
        for call in waiting:
            call()

    def _when_ended(self, one: Container, call: Callable[[], None]) -> None:
        if one.status["state"] == "exited":
            call()
        else:
            one.ended.append(call)

    def stop_container(self, request: Request, container_id: str, timeout: float) -> None:
        one = self._containers.get(container_id)
        if one is None or not one.init:
            request.answer()
            return
        init = one.init
        one.ended.append(request.answer)

        def kill() -> None:
            if one.init == init:
                os.kill(init, signal.SIGKILL)

        if timeout > 0:
            if not one.told:
                os.kill(init, signal.SIGTERM)
            one.told = True
            self._server.after(timeout, kill)
        else:
            kill()

    def remove_container(self, request: Request, container_id: str) -> None:
        if (one := self._containers.get(container_id)) is None:
            request.answer()
            return
        if one.init:
            os.kill(one.init, signal.SIGKILL)

        def forget() -> None:
            self._forget(one)
            request.answer()

        if one.init:
            one.ended.append(forget)
        else:
            forget()

    def _forget(self, one: Container) -> None:
        if self._containers.pop(one.status["id"], None) and os.path.exists(one.place):
            self._server.remove_tree(one.place)

    def list_containers(self, request: Request, sandbox_id: str | None = None) -> None:
        every = [one.status for one in self._containers.values()]
        request.answer([s for s in every if sandbox_id in (None, s["sandbox_id"])])

    def container_status(self, request: Request, container_id: str) -> None:
        request.answer(self._container(container_id).status)

    def _container(self, number: str) -> Container:
        if number not in self._containers:
            self._refuse("NotFound", f'container "{number}" not found')
        return self._containers[number]

    def _refuse(self, reason: str, message: str) -> None:
        from .server import Refused

        raise Refused(reason, message)

    def exec(self, request: Request, container_id: str, command: list[str], tty: bool, stdin: bool) -> None:
        one = self._container(container_id)
        if one.status["state"] != "running" or not one.init:
            self._refuse("Unavailable", f'container "{container_id}" is {one.status["state"]}, not running')
        fds = self._proc, self._null
        execs.start(self._server, request, one.spec, one.init_on_host, fds, command, tty, stdin)

    def kill_exec(self, request: Request, container_id: str, pid: int) -> None:
        """End an exec'd process by its pid on the host: only one that is in this container."""
        if (one := self._container(container_id)).init:
            execs.kill(pid, one.init_on_host)
        request.answer()

    # -- images ----------------------------------------------------------------------------------------------
    def image_status(self, request: Request, image: str) -> None:
        try:
            request.answer(_info(image, images.find(image)))
        except images.UnknownImage:
            request.answer(None)

    def list_images(self, request: Request) -> None:
        every = {**images.CATALOGUE, **images.user_catalogue()}
        request.answer([_info(name, entry) for name, entry in sorted(every.items())])


VERBS = frozenset(name for name in vars(Verbs) if not name.startswith("_")) - {"call", "template_ready"}


def _info(name: str, entry: Json) -> Json:
    return {"name": name, "kind": entry["kind"], "description": entry["description"]}
