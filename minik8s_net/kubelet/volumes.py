"""A pod's volumes as folders under the state folder, in the real kubelet's layout: volumes/KIND/NAME.

What comes from the API (ConfigMaps, Secrets, tokens) is replaced atomically: a new timestamped folder, then the link
`..data` to it, so that a reader sees the old files or the new ones, never a mixture.
https://kubernetes.io/docs/concepts/storage/volumes/
"""

from __future__ import annotations

import base64
import errno
import os
import secrets
import shutil
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path, PurePosixPath

from lightkube.models.core_v1 import Container, DownwardAPIVolumeFile, KeyToPath, Volume
from lightkube.resources.core_v1 import ConfigMap, Pod, Secret

from ..api.errors import StatusError
from ..runtime.cri import Mount
from ..runtime.paths import open_source
from ..store.client import Client
from .fields import field_value, resource_value
from .tokens import PodTokens

Files = dict[str, tuple[bytes, int]]  # relative path -> content, mode
SERVICE_ACCOUNT = "/var/run/secrets/kubernetes.io/serviceaccount"
TOKEN_VOLUME, TOKEN_SECONDS = "kube-api-access", 3607
DEFAULT_MODE = 0o644
HOST_PATHS = ("/usr",)  # what a pod may see of the machine, read-only
_FOLDERS = {
    "emptyDir": "kubernetes.io~empty-dir",
    "configMap": "kubernetes.io~configmap",
    "secret": "kubernetes.io~secret",
    "projected": "kubernetes.io~projected",
    "downwardAPI": "kubernetes.io~downward-api",
}


class VolumeError(Exception):
    """A volume can't be set up: FailedMount with this message."""


class Volumes:
    """The volumes of one pod. `root` is state.pods/UID; `tokens` gives its ServiceAccount's tokens."""

    def __init__(self, root: Path, client: Client, tokens: PodTokens | None, ca_pem: str, node_ip: str) -> None:
        self.root, self.client, self.tokens, self.ca_pem, self.node_ip = root, client, tokens, ca_pem, node_ip

    def set_up(self, pod: Pod, address: str) -> list[str]:
        """Make or refresh every volume; what is to be said of those that can't be. One doesn't keep another back."""
        failed = []
        for volume in (pod.spec.volumes if pod.spec else None) or ():
            try:
                self._set_up(pod, volume, address)
            except (VolumeError, OSError, ValueError) as error:  # OSError: a full disk, a name too long
                failed.append(f'MountVolume.SetUp failed for volume "{volume.name}" : {error}')
        if needs_token(pod):
            try:
                write_atomically(self._folder("projected", TOKEN_VOLUME), self._access_files(pod))
            except (VolumeError, OSError, ValueError) as error:
                failed.append(f'MountVolume.SetUp failed for volume "{TOKEN_VOLUME}" : {error}')
        return failed

    def tear_down(self) -> None:
        """Unmount and remove a pod's volumes."""
        shutil.rmtree(self.root, ignore_errors=True)

    def mounts(self, pod: Pod, container: Container, expand: Callable[[str], str]) -> list[Mount]:
        """The bind mounts of one container. Raises VolumeError (a subPath that leads out of its volume)."""
        volumes = {v.name: v for v in (pod.spec.volumes if pod.spec else None) or ()}
        result = [Mount("/etc/hosts", str(self.root / "etc-hosts"))]
        for mount in container.volumeMounts or ():
            volume = volumes[mount.name]
            source = str(self._source(volume))
            if sub := mount.subPath or expand(mount.subPathExpr or ""):
                _ensure_inside(source, sub, make=volume.hostPath is None)
            result.append(Mount(mount.mountPath, source, _read_only(volume, bool(mount.readOnly)), sub))
        taken = {m.container_path for m in result[1:]}
        if needs_token(pod) and SERVICE_ACCOUNT not in taken:
            result.append(Mount(SERVICE_ACCOUNT, str(self._folder("projected", TOKEN_VOLUME)), True))
        return result[1:] if "/etc/hosts" in taken else result

    # -- one volume ----------------------------------------------------------------------------------------------
    def _folder(self, kind: str, name: str) -> Path:
        return self.root / "volumes" / _FOLDERS[kind] / name

    def _source(self, volume: Volume) -> Path:
        if volume.hostPath:
            return Path(volume.hostPath.path)
        return self._folder(kind_of(volume), volume.name)

    def _set_up(self, pod: Pod, volume: Volume, address: str) -> None:
        if volume.hostPath:
            return _check_host_path(volume.hostPath.path)
        kind = kind_of(volume)
        folder = self._folder(kind, volume.name)
        if kind == "emptyDir":
            folder.mkdir(parents=True, exist_ok=True)
            return folder.chmod(0o777)
        write_atomically(folder, self._files(pod, volume, address))
        return None

    def _files(self, pod: Pod, volume: Volume, address: str) -> Files:
        namespace = (pod.metadata.namespace if pod.metadata else "") or ""
        if source := volume.configMap:
            mode = source.defaultMode or DEFAULT_MODE
            return self._data("configmap", source.name or "", namespace, source.items, bool(source.optional), mode)
        if secret := volume.secret:
            mode = secret.defaultMode or DEFAULT_MODE
            return self._data("secret", secret.secretName or "", namespace, secret.items, bool(secret.optional), mode)
        if downward := volume.downwardAPI:
            return self._downward(pod, downward.items, downward.defaultMode or DEFAULT_MODE, address)
        assert volume.projected
        files: Files = {}
        mode = volume.projected.defaultMode or DEFAULT_MODE
        for part in volume.projected.sources or ():
            if part.configMap:
                s = part.configMap
                files |= self._data("configmap", s.name or "", namespace, s.items, bool(s.optional), mode)
            elif part.secret:
                p = part.secret
                files |= self._data("secret", p.name or "", namespace, p.items, bool(p.optional), mode)
            elif part.downwardAPI:
                files |= self._downward(pod, part.downwardAPI.items, mode, address)
            elif part.serviceAccountToken:
                asked = part.serviceAccountToken
                files[asked.path] = (self._token(pod, asked.audience or "", asked.expirationSeconds or 3600), mode)
        return files

    def _data(
        self, kind: str, name: str, namespace: str, items: list[KeyToPath] | None, optional: bool, mode: int
    ) -> Files:
        data = read_data(self.client, kind, name, namespace)
        if data is None and name == "kube-root-ca.crt":
            data = {"ca.crt": self.ca_pem.encode()}  # its controller may come a moment later than the pod
        if data is None:
            if optional:
                return {}
            raise VolumeError(f'{kind} "{name}" not found')
        if items is None:
            return {key: (value, mode) for key, value in data.items()}
        files: Files = {}
        for item in items:
            if item.key in data:
                files[item.path] = (data[item.key], item.mode or mode)
            elif not optional:
                raise VolumeError(f"references non-existent {kind} key: {item.key}")
        return files

    def _downward(self, pod: Pod, items: list[DownwardAPIVolumeFile] | None, mode: int, address: str) -> Files:
        files: Files = {}
        for item in items or ():
            if item.fieldRef:
                text = field_value(pod, item.fieldRef.fieldPath, (address, self.node_ip))
            elif item.resourceFieldRef:
                text = resource_value(pod, item.resourceFieldRef, None)
            else:
                continue
            files[item.path] = (text.encode(), item.mode or mode)
        return files

    def _token(self, pod: Pod, audience: str = "", seconds: int = TOKEN_SECONDS) -> bytes:
        try:
            return self.tokens.get(pod, audience, seconds).encode() if self.tokens else b""
        except StatusError as error:
            raise VolumeError(f"failed to fetch token: {error}") from None

    def _access_files(self, pod: Pod) -> Files:
        namespace = ((pod.metadata.namespace if pod.metadata else "") or "").encode()
        files = {"token": self._token(pod), "ca.crt": self.ca_pem.encode(), "namespace": namespace}
        return {name: (content, DEFAULT_MODE) for name, content in files.items()}


def needs_token(pod: Pod) -> bool:
    """True where admission has not already put the token's volume into the pod, and it wasn't declined."""
    spec = pod.spec
    if spec is None or spec.automountServiceAccountToken is False:
        return False
    projected = [v.projected for v in spec.volumes or () if v.projected]
    return not any(part.serviceAccountToken for p in projected for part in p.sources or ())


def kind_of(volume: Volume) -> str:
    """The name of the volume's source field. Raises VolumeError for one that nothing here can serve."""
    for kind in _FOLDERS:
        if getattr(volume, kind) is not None:
            return kind
    other = sorted(set(volume.to_dict()) - {"name"})
    kind = other[0] if other else "unknown"
    raise VolumeError(f"volumes of type {kind} are not supported by minik8s-net: use an emptyDir")


def read_data(client: Client, kind: str, name: str, namespace: str) -> Mapping[str, bytes] | None:
    """A ConfigMap's data and binaryData, or a Secret's data; None where there is no such object."""
    if kind == "configmap":
        config = client.find(ConfigMap, name, namespace)
        if config is None:
            return None
        binary = {k: base64.b64decode(v) for k, v in (config.binaryData or {}).items()}
        return {k: v.encode() for k, v in (config.data or {}).items()} | binary
    secret = client.find(Secret, name, namespace)
    return None if secret is None else {k: base64.b64decode(v) for k, v in (secret.data or {}).items()}


def write_atomically(folder: Path, files: Files) -> None:
    """Make `folder` show exactly `files`; does nothing where it already does. Raises VolumeError, OSError: all is as
    before then."""
    data = folder / "..data"
    if data.is_symlink() and _same(data, files):
        return
    _refuse_collisions(files)
    folder.mkdir(parents=True, exist_ok=True)
    fresh = folder / f"..{datetime.now():%Y_%m_%d_%H_%M_%S}.{secrets.token_hex(4)}"
    fresh.mkdir()
    try:
        for path, (content, mode) in files.items():
            target = fresh / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
            target.chmod(mode)
    except OSError:
        shutil.rmtree(fresh, ignore_errors=True)
        raise
    old = data.readlink() if data.is_symlink() else None
    link = folder / "..data_tmp"
    link.unlink(missing_ok=True)
    link.symlink_to(fresh.name)
    link.rename(data)
    tops = {Path(path).parts[0] for path in files}
    for top in tops:
        if not (folder / top).is_symlink():
            (folder / top).symlink_to(f"..data/{top}")
    for entry in folder.iterdir():
        if entry.is_symlink() and not entry.name.startswith("..") and entry.name not in tops:
            entry.unlink()
    if old:
        shutil.rmtree(folder / old, ignore_errors=True)


def _refuse_collisions(files: Files) -> None:
    """A path can't be a file and the folder of another one. Raises VolumeError."""
    paths = {PurePosixPath(path) for path in files}
    for path in sorted(paths):
        if folder := next((p for p in path.parents if p in paths), None):
            raise VolumeError(f'"{folder}" can\'t be a file and the folder of "{path}": give one of them another path')


def _same(data: Path, files: Files) -> bool:
    present = {str(p.relative_to(data)): p for p in data.rglob("*") if p.is_file()}
    return present.keys() == files.keys() and all(present[n].read_bytes() == c for n, (c, _) in files.items())


def _ensure_inside(volume: str, sub: str, make: bool) -> None:
    """Make a folder of a subPath that is missing. Only says early what is wrong with it: the runtime, when it mounts,
    resolves it again, for containers may have changed what is in the volume by then."""
    try:
        os.close(open_source(volume, sub, make))
    except OSError as error:
        why = "leads out of its volume" if error.errno == errno.EXDEV else f"cannot be had: {error.strerror}"
        raise VolumeError(f'subPath "{sub}" {why}') from None


def _read_only(volume: Volume, asked: bool) -> bool:
    return asked or volume.emptyDir is None


def _check_host_path(path: str) -> None:
    normal = Path(path).resolve()
    if ".." in Path(path).parts or not any(normal.is_relative_to(p) for p in HOST_PATHS):
        allowed = ", ".join(HOST_PATHS)
        raise VolumeError(
            f'hostPath "{path}" is refused: of the machine, pods see only {allowed}, read-only; use an emptyDir'
        )
    if not normal.exists():
        raise VolumeError(f"hostPath type check failed: {path} does not exist")
