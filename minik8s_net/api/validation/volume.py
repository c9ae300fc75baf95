"""Volumes of a pod: exactly one source each, unique names, safe paths."""

from __future__ import annotations

from typing import Any

from minik8s_net.api import quantity
from minik8s_net.api.errors import FieldError, bad_value, duplicate, prohibited, required
from minik8s_net.api.validation import names
from minik8s_net.api.validation.container import field_path
from minik8s_net.api.validation.meta import one_of

Json = dict[str, Any]
MIN_TOKEN_SECONDS, MAX_TOKEN_SECONDS = 600, 2**32
HOST_PATH_TYPES = (
    "",
    "BlockDevice",
    "CharDevice",
    "Directory",
    "DirectoryOrCreate",
    "File",
    "FileOrCreate",
    "Socket",
)


def validate_volumes(volumes: list[Json], path: str) -> tuple[set[str], list[FieldError]]:
    """(names that containers may mount, errors)."""
    found: set[str] = set()
    errors: list[FieldError] = []
    for i, volume in enumerate(volumes):
        at, name = f"{path}[{i}]", volume.get("name", "")
        wrong = _source(volume, at)
        if not name:
            wrong.append(required(f"{at}.name"))
        else:
            wrong += [bad_value(f"{at}.name", name, e) for e in names.dns_label(name)]
        if name in found:
            wrong.append(duplicate(f"{at}.name", name))
        errors += wrong
        found.add(name)
    return found, errors


def _source(volume: Json, path: str) -> list[FieldError]:
    given = [f for f in volume if f != "name"]
    if not given:
        return [required(path, "must specify a volume type")]
    errors = [prohibited(f"{path}.{f}", "may not specify more than 1 volume type") for f in given[1:]]
    field = given[0]
    source, at = volume[field], f"{path}.{field}"
    if field == "configMap" and not source.get("name"):
        errors.append(required(f"{at}.name"))
    if field == "secret" and not source.get("secretName"):
        errors.append(required(f"{at}.secretName"))
    if field in ("configMap", "secret", "projected", "downwardAPI"):
        errors += _mode(source.get("defaultMode"), f"{at}.defaultMode")
    if field in ("configMap", "secret"):
        errors += _items(source.get("items", []), f"{at}.items")
    if field == "downwardAPI":
        for i, item in enumerate(source.get("items", [])):
            errors += _downward(item, f"{at}.items[{i}]" if item.get("fieldRef") else at)
    if field == "projected":
        errors += _projected(source, at)
    if field == "hostPath":
        if not source.get("path"):
            errors.append(required(f"{at}.path"))
        errors += _no_backsteps(source.get("path", ""), f"{at}.path")
        errors += one_of(f"{at}.type", source.get("type", ""), HOST_PATH_TYPES)
    if field == "emptyDir" and (limit := source.get("sizeLimit")) and quantity.parse(limit) < 0:
        errors.append(prohibited(f"{at}.sizeLimit", "SizeLimit field must be a valid resource quantity"))
    if field == "persistentVolumeClaim" and not source.get("claimName"):
        errors.append(required(f"{at}.claimName"))
    return errors


def _projected(source: Json, path: str) -> list[FieldError]:
    """One kind of source in each entry, and no path that two of them write."""
    errors: list[FieldError] = []
    paths: set[str] = set()
    for i, entry in enumerate(source.get("sources", [])):
        at = f"{path}.sources[{i}]"
        for field in ("secret", "configMap", "downwardAPI"):
            part, place = entry.get(field), f"{at}.{field}"
            if part is None:
                continue
            if field == "downwardAPI":
                for n, item in enumerate(part.get("items", [])):
                    errors += _downward(item, f"{place}.items[{n}]" if item.get("fieldRef") else place)
            else:
                errors += [] if part.get("name") else [required(f"{place}.name")]
                errors += _items(part.get("items", []), f"{place}.items")
            for name in filter(None, (item.get("path") for item in part.get("items", []))):
                if name in paths:
                    errors.append(bad_value(path, part.get("name", name), "conflicting duplicate paths"))
                paths.add(name)
        if (token := entry.get("serviceAccountToken")) is not None:
            errors += _token(token, f"{at}.serviceAccountToken")
        if len(entry) > 1:
            errors.append(prohibited(at, "may not specify more than 1 volume type"))
    return errors


def _token(token: Json, path: str) -> list[FieldError]:
    seconds, errors = token.get("expirationSeconds", MIN_TOKEN_SECONDS), []
    if seconds < MIN_TOKEN_SECONDS:
        detail = "may not specify a duration less than 10 minutes"
        errors.append(bad_value(f"{path}.expirationSeconds", seconds, detail))
    if seconds > MAX_TOKEN_SECONDS:
        detail = "may not specify a duration larger than 2^32 seconds"
        errors.append(bad_value(f"{path}.expirationSeconds", seconds, detail))
    if not token.get("path"):
        return [*errors, required(f"{path}.path")]
    return errors + _relative(token["path"], f"{path}.path")


def _items(items: list[Json], path: str) -> list[FieldError]:
    errors: list[FieldError] = []
    for i, item in enumerate(items):
        at = f"{path}[{i}]"
        if not item.get("key"):
            errors.append(required(f"{at}.key"))
        if not item.get("path"):
            errors.append(required(f"{at}.path"))
        errors += _relative(item.get("path", ""), f"{at}.path") + _mode(item.get("mode"), f"{at}.mode")
    return errors


def _downward(item: Json, path: str) -> list[FieldError]:
    errors = [] if item.get("path") else [required(f"{path}.path")]
    errors += _relative(item.get("path", ""), f"{path}.path")
    if "fieldRef" in item:
        name = item["fieldRef"].get("fieldPath", "")
        if name not in ("metadata.annotations", "metadata.labels"):
            errors += field_path(name, f"{path}.fieldRef.fieldPath")
    elif "resourceFieldRef" not in item:
        errors.append(required(path, "one of fieldRef and resourceFieldRef is required"))
    return errors


def _relative(value: str, path: str) -> list[FieldError]:
    """A file in a volume. What begins with `..` there is the kubelet's own (`..data`)."""
    errors = [bad_value(path, value, "must be a relative path")] if value.startswith("/") else []
    errors += _no_backsteps(value, path)
    if value.startswith("..") and not value.startswith("../"):
        errors.append(bad_value(path, value, "must not start with '..'"))
    return errors


def _no_backsteps(value: str, path: str) -> list[FieldError]:
    return [bad_value(path, value, "must not contain '..'")] if ".." in value.split("/") else []


def _mode(mode: int | None, path: str) -> list[FieldError]:
    if mode is None or 0 <= mode <= 0o777:
        return []
    return [bad_value(path, mode, "must be a number between 0 and 0777 (octal), both inclusive")]
