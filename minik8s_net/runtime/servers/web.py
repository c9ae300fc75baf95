"""The web server behind the image `nginx`: static files, its welcome page, its error pages, its log format.

The document root is writable, so that `kubectl exec … sh -c 'echo hello > /usr/share/nginx/html/index.html'` works.
"""

from __future__ import annotations

import os
import socket
import sys
import time

from .http import HttpServer, Request, Response, leave_on_signals

NGINX_ROOT = "/usr/share/nginx/html"
_TYPES = {
    "css": "text/css",
    "gif": "image/gif",
    "htm": "text/html",
    "html": "text/html",
    "ico": "image/x-icon",
    "jpg": "image/jpeg",
    "js": "application/javascript",
    "json": "application/json",
    "png": "image/png",
    "svg": "image/svg+xml",
    "txt": "text/plain",
    "xml": "text/xml",
}
_WELCOME = """<!DOCTYPE html>
<html>
<head>
<title>Welcome to nginx!</title>
</head>
<body>
<h1>Welcome to nginx!</h1>
<p>This page is served by the pod <em>{pod}</em>. It stands in for nginx: a small web server built into minik8s.</p>
<p><em>Thank you for using nginx.</em></p>
</body>
</html>
"""
_ERROR = (
    "<html>\r\n<head><title>{title}</title></head>\r\n<body>\r\n<center><h1>{title}</h1></center>\r\n"
    "<hr><center>{software}</center>\r\n</body>\r\n</html>\r\n"
)
_TITLES = {403: "403 Forbidden", 404: "404 Not Found", 405: "405 Not Allowed"}


class Files:
    """A folder, served as nginx does: index.html, redirect to the slash, 403 without an index, 405 for POST."""

    def __init__(self, root: str, software: str) -> None:
        self._root, self._software = root, software

    def __call__(self, request: Request) -> Response:
        if request.method not in ("GET", "HEAD"):
            return self.error(405)
        path = os.path.normpath(self._root + "/" + request.path)
        if path != self._root and not path.startswith(self._root + "/"):
            return self.error(404)
        if os.path.isdir(path):
            if not request.path.endswith("/"):
                return Response(301, b"", "text/html", Location=request.path + "/")
            path += "/index.html"
            if not os.path.exists(path):
                return self.error(403)
        try:
            with open(path, "rb") as file:
                body, modified = file.read(), os.fstat(file.fileno()).st_mtime
        except FileNotFoundError:
            return self.error(404)
        except OSError:
            return self.error(403)
        changed = time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(modified))
        kind = _TYPES.get(path.rpartition(".")[2].lower(), "application/octet-stream")
        return Response(200, body, kind, Last_Modified=changed, Accept_Ranges="none")

    def error(self, status: int) -> Response:
        page = _ERROR.format(title=_TITLES[status], software=self._software)
        return Response(status, page.encode(), "text/html")


def serve(root: str, page: str, software: str, port: int) -> int:
    leave_on_signals()
    os.makedirs(root, exist_ok=True)
    index = f"{root}/index.html"
    if not os.listdir(root) and os.access(root, os.W_OK):
        with open(index, "w") as file:
            file.write(page.format(pod=socket.gethostname()))
    server = HttpServer(Files(root, software), software)
    try:
        listener = server.listen(port)
    except OSError as error:
        name = software.partition("/")[0]
        print(
            f"{name}: [emerg] bind() to 0.0.0.0:{port} failed ({error.errno}: {os.strerror(error.errno or 0)})",
            file=sys.stderr,
        )
        return 1
    server.serve(listener)
    return 0


def nginx() -> int:
    return serve(NGINX_ROOT, _WELCOME, "nginx/1.27.0", 80)


def httpd() -> int:
    return serve(
        "/usr/local/apache2/htdocs", "<html><body><h1>It works!</h1></body></html>\n", "Apache/2.4.62 (Unix)", 80
    )


def hello() -> int:
    """google-samples/hello-app: which pod answers, for watching a Service spread its load."""
    leave_on_signals()
    server = HttpServer(lambda _request: _hello(), "hello-app")
    server.serve(server.listen(int(os.environ.get("PORT", "8080"))))
    return 0


def _hello() -> Response:
    return Response(200, f"Hello, world!\nVersion: 1.0.0\nHostname: {socket.gethostname()}\n".encode())
