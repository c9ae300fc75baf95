"""What a pod asks for and does not get here, in words for an event. Pure.

`securityContext` has its own, in identity.py.
"""

from __future__ import annotations

from lightkube.resources.core_v1 import Pod


def ignored(pod: Pod) -> list[str]:
    """One sentence per field that has no effect."""
    spec = pod.spec
    assert spec
    own = "every container has processes of its own and sees only these"
    told = {
        "shareProcessNamespace": own if spec.shareProcessNamespace else "",
        "hostPID": own if spec.hostPID else "",
        "hostIPC": "its containers share one IPC namespace, which is the pod's" if spec.hostIPC else "",
    }
    for volume in spec.volumes or ():
        if volume.emptyDir and volume.emptyDir.sizeLimit:
            told[f"volumes[{volume.name}].emptyDir.sizeLimit"] = "nobody measures what is written there"
    return [f"spec.{field} has no effect in minik8s-net: {why}" for field, why in told.items() if why]
