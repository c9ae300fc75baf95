"""What an `image:` means here: nothing is pulled, the catalogue says which program it stands for.

A *server* image runs a small built-in server; a *tool* image gives the machine's own tools. Users add their own in
`~/.config/minik8s/images.json`: {"shop": {"kind": "tool", "command": ["python3", "-m", "http.server", "8080"]}}.
"""

from __future__ import annotations

import json
import os
import re
from typing import Any

Json = dict[str, Any]
_REFERENCE = re.compile(
    r"(?:(?:localhost|[\w.-]*[.:][\w.:-]*)/)?(?P<path>[a-z0-9]+(?:[._-]+[a-z0-9]+)*(?:/[a-z0-9]+(?:[._-]+[a-z0-9]+)*)*)"
    r"(?::[\w][\w.-]{0,127})?(?:@sha256:[0-9a-f]{64})?"
)
_SERVERS = "minik8s_net.runtime.servers"


def _server(entry: str, names: str, description: str, **more: Any) -> Json:
    """`names` are the programs by which the image's own server may be called in command or args."""
    return {
        "kind": "server",
        "entry": f"{_SERVERS}.{entry}",
        "names": names.split(),
        "description": description,
        **more,
    }


def _tool(description: str, command: str = "sh", entrypoint: str = "") -> Json:
    return {
        "kind": "tool",
        "command": command.split(),
        "entrypoint": entrypoint.split(),
        "description": description,
    }


CATALOGUE: dict[str, Json] = {
    "nginx": _server(
        "web:nginx", "nginx", "web server on port 80", writable=["/usr/share/nginx/html"], command=["nginx"]
    ),
    "httpd": _server(
        "web:httpd",
        "httpd httpd-foreground apachectl",
        "web server on port 80",
        writable=["/usr/local/apache2/htdocs"],
        command=["httpd-foreground"],
        workdir="/usr/local/apache2",
    ),
    "agnhost": _server(
        "agnhost:main",
        "agnhost",
        "Kubernetes' test servers: netexec, serve-hostname, porter, connect",
        entrypoint=["agnhost"],
        command=["agnhost", "pause"],
    ),
    "hello-app": _server("web:hello", "hello-app", "says hello on port 8080 ($PORT)", command=["hello-app"]),
    "pause": _server("agnhost:pause", "pause", "does nothing", command=["pause"]),
    "minik8s/dns": {
        **_server("dns", "minik8s-dns", "the cluster's DNS server", entrypoint=["minik8s-dns"]),
        "entry": "minik8s_net.dns.server:main",
        "command": ["minik8s-dns"],
    },
    "busybox": _tool("the machine's shell and tools"),
    "alpine": _tool("the machine's shell and tools"),
    "bash": _tool("the machine's bash", "bash"),
    "debian": _tool("the machine's shell and tools", "bash"),
    "ubuntu": _tool("the machine's shell and tools", "bash"),
    "python": _tool("the machine's Python", "python3"),
    "perl": _tool("the machine's Perl", "perl -de0"),
    "netshoot": _tool("the machine's network tools", "bash"),
    "curl": _tool("the machine's curl", "curl --help", "curl"),
    "dnsutils": _tool("the machine's DNS tools", "sleep infinity"),
}
_ALIASES = {
    "e2e-test-images/agnhost": "agnhost",
    "google-samples/hello-app": "hello-app",
    "google_containers/pause": "pause",
    "nicolaka/netshoot": "netshoot",
    "curlimages/curl": "curl",
    "e2e-test-images/jessie-dnsutils": "dnsutils",
    "e2e-test-images/busybox": "busybox",
    "e2e-test-images/nginx": "nginx",
    "kubernetes-e2e-test-images/dnsutils": "dnsutils",
    "tutum/dnsutils": "dnsutils",
    "radial/busyboxplus": "busybox",
}


class UnknownImage(Exception):
    """`reason` is ErrImagePull or InvalidImageName."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def repository(image: str) -> str:
    """`docker.io/library/nginx:1.27` -> `nginx`. Raises UnknownImage for what is no image name."""
    match = _REFERENCE.fullmatch(image)
    if not match:
        raise UnknownImage("InvalidImageName", f'couldn\'t parse image name "{image}": invalid reference format')
    return match["path"].removeprefix("library/")


def user_catalogue_path() -> str:
    """`$XDG_CONFIG_HOME/minik8s/images.json`, else below ~/.config."""
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.environ.get("HOME", "/"), ".config")
    return os.path.join(config, "minik8s", "images.json")


def write_user_catalogue(entries: dict[str, Json]) -> str:
    """Replace the user's own images, whole or not at all; the file's path. Raises OSError."""
    path = user_catalogue_path()
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(f"{path}.new", "w") as file:
        json.dump(entries, file, indent=2)
    os.replace(f"{path}.new", path)
    return path


def user_catalogue() -> dict[str, Json]:
    """The user's own images, read anew each time."""
    path = user_catalogue_path()
    try:
        with open(path) as file:
            entries = json.load(file)
        return {
            name: {"description": "your own", "entrypoint": [], "command": ["sh"], **e} for name, e in entries.items()
        }
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        raise UnknownImage("ErrImagePull", f"{path}: {error}") from None


def find(image: str) -> Json:
    """The catalogue's entry. Raises UnknownImage."""
    name = repository(image)
    own = user_catalogue()
    for candidates, key in ((own, name), (CATALOGUE, _ALIASES.get(name, name))):
        if key in candidates:
            return {
                "writable": [],
                "names": [],
                "entrypoint": [],
                "command": [],
                "name": key,
                **candidates[key],
            }
    raise UnknownImage(
        "ErrImagePull",
        f'failed to pull and unpack image "{image}": nothing is pulled here, and the catalogue has no "{name}". '
        "See what there is with: minik8s image list. Add your own with: "
        f"minik8s image add {name} --command 'CMD ARGS'",
    )


def program(image: Json, command: list[str], args: list[str]) -> tuple[str | None, list[str]]:
    """What to run: (built-in server's entry or None, argv), by the rules for ENTRYPOINT and CMD.

    https://kubernetes.io/docs/tasks/inject-data-application/define-command-argument-container/
    """
    if command:
        argv = [*command, *args]
    else:
        prefix = image["entrypoint"] if image["kind"] == "server" or (args[:1] and _is_option(args[0])) else []
        argv = [*prefix, *args] if args else image["command"]
    if image.get("entry") and os.path.basename(argv[0]) in image["names"]:
        return image["entry"], argv
    return None, argv


def _is_option(argument: str) -> bool:
    return argument.startswith("-") or "://" in argument
