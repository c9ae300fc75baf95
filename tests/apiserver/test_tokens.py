"""ServiceAccount tokens: whom they name, what they open, and when that is over."""

from __future__ import annotations

import base64
import json
import time

import pytest

from minik8s_net.apiserver import tokenrequest, tokens

from .serving import Api, Json, Serving

REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"
OVER = "service account token has been invalidated"


@pytest.fixture
def robot(api: Api, namespace: str) -> str:
    """The path of a ServiceAccount; a pod of the same name runs as it."""
    path = f"/api/v1/namespaces/{namespace}"
    api.create(f"{path}/serviceaccounts", {"metadata": {"name": "robot"}})
    spec = {"nodeName": "node-1", "serviceAccountName": "robot", "containers": [{"name": "c", "image": "busybox"}]}
    api.create(f"{path}/pods", {"metadata": {"name": "robot"}, "spec": spec})
    return f"{path}/serviceaccounts/robot"


def ask(api: Api, account: str, **spec: object) -> str:
    return str(api.create(f"{account}/token", {"spec": spec})["status"]["token"])


def code(cluster: Serving, token: str) -> int:
    with cluster.api(token) as api:
        return api("GET", "/api/v1/secrets").code


def review(api: Api, token: str, *audiences: str) -> Json:
    spec = {"token": token, **({"audiences": list(audiences)} if audiences else {})}
    status: Json = api.create(REVIEWS, {"spec": spec})["status"]
    return status


def claims(token: str) -> Json:
    body = token.split(".")[1]
    found: Json = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
    return found


def test_a_token_names_its_account(cluster: Serving, api: Api, namespace: str, robot: str) -> None:
    token = ask(api, robot, expirationSeconds=600)
    assert code(cluster, token) == 200
    with cluster.api(token) as account:
        who = account("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}).json["status"]["userInfo"]
    seen = review(api, token)
    assert seen["authenticated"] and seen["user"] == who and seen["audiences"] == [tokens.ISSUER]
    assert who["username"] == f"system:serviceaccount:{namespace}:robot"
    forged = token[:-4] + ("AAAA" if token[-4:] != "AAAA" else "BBBB")
    assert review(api, forged) == {"user": {}, "error": "invalid bearer token"}
    assert api("POST", REVIEWS, {"spec": {}}).code == 400


def test_a_token_opens_only_what_it_was_made_for(cluster: Serving, api: Api, robot: str) -> None:
    vault = ask(api, robot, audiences=["vault", "other"])
    assert code(cluster, vault) == 401
    assert review(api, vault, "https://x", "vault")["audiences"] == ["vault"]
    why = f'token audiences ["vault" "other"] is invalid for the target audiences ["{tokens.ISSUER}"]'
    assert review(api, vault) == {"user": {}, "error": f"[invalid bearer token, {why}]"}
    ours = ask(api, robot)
    assert not review(api, ours, "https://other").get("authenticated")
    assert review(api, ours, "https://other", tokens.ISSUER)["audiences"] == [tokens.ISSUER]
    assert not review(api, cluster.tokens.admin, "https://other").get("authenticated")
    assert code(cluster, ask(api, robot, audiences=["vault", tokens.ISSUER])) == 200


def test_a_token_ends_with_its_account(cluster: Serving, api: Api, robot: str) -> None:
    first = ask(api, robot)
    assert code(cluster, first) == 200  # from now on its signature is known
    assert api("DELETE", robot).code == 200
    assert code(cluster, first) == 401
    assert 'serviceaccounts "robot" not found' in review(api, first)["error"]
    api.create(robot.removesuffix("/robot"), {"metadata": {"name": "robot"}})
    assert code(cluster, first) == 401  # another account of that name
    assert "does not match claim" in review(api, first)["error"]
    assert code(cluster, ask(api, robot)) == 200


def test_a_token_ends_with_its_pod(cluster: Serving, api: Api, robot: str) -> None:
    pod = robot.replace("serviceaccounts", "pods")
    bound = {"apiVersion": "v1", "kind": "Pod", "name": "robot"}
    token = ask(api, robot, boundObjectRef=bound)
    user, uid = review(api, token)["user"], api.get(pod)["metadata"]["uid"]
    assert user["extra"]["authentication.kubernetes.io/pod-uid"] == [uid]
    spec = api.get(pod)["spec"]
    api("DELETE", f"{pod}?gracePeriodSeconds=0")
    assert (code(cluster, token), OVER in review(api, token)["error"]) == (401, True)
    api.create(pod.removesuffix("/robot"), {"metadata": {"name": "robot"}, "spec": spec})
    assert (code(cluster, token), "pod UID" in review(api, token)["error"]) == (401, True)


def test_a_token_ends_with_its_secret(cluster: Serving, api: Api, robot: str) -> None:
    secrets = robot.replace("serviceaccounts/robot", "secrets")
    api.create(secrets, {"metadata": {"name": "s"}})
    token = ask(api, robot, boundObjectRef={"apiVersion": "v1", "kind": "Secret", "name": "s"})
    assert code(cluster, token) == 200
    api("DELETE", f"{secrets}/s")
    assert code(cluster, token) == 401


def test_a_token_ends_in_its_time(cluster: Serving, api: Api, robot: str, monkeypatch: pytest.MonkeyPatch) -> None:
    token = ask(api, robot, expirationSeconds=600)
    assert code(cluster, token) == 200
    real = time.time
    monkeypatch.setattr(tokens.time, "time", lambda: real() + 601)
    assert (code(cluster, token), review(api, token)["error"].endswith("has expired]")) == (401, True)


@pytest.mark.parametrize(
    ("spec", "answer", "said"),
    [
        ({"expirationSeconds": 599}, 422, "may not specify a duration less than 10 minutes"),
        ({"expirationSeconds": 0}, 422, "may not specify a duration less than 10 minutes"),
        ({"expirationSeconds": 2**32 + 1}, 422, "may not specify a duration larger than 2^32 seconds"),
        ({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "nope"}}, 404, 'pods "nope" not found'),
        ({"boundObjectRef": {"kind": "Pod", "apiVersion": "v1", "name": "robot", "uid": "x"}}, 409, "UID in record"),
        ({"boundObjectRef": {"kind": "ConfigMap", "apiVersion": "v1", "name": "x"}}, 400, "/v1, Kind=ConfigMap"),
    ],
)
def test_what_is_no_token_request(api: Api, robot: str, spec: Json, answer: int, said: str) -> None:
    refused = api("POST", f"{robot}/token", {"spec": spec})
    assert refused.code == answer and said in refused.json["message"]


def test_a_pod_of_another_account_is_not_bound_to(api: Api, namespace: str, robot: str) -> None:
    api.create(robot.removesuffix("/robot"), {"metadata": {"name": "other"}})
    bound = {"kind": "Pod", "apiVersion": "v1", "name": "robot"}
    refused = api("POST", robot.replace("robot", "other") + "/token", {"spec": {"boundObjectRef": bound}})
    assert refused.code == 400 and "running with different serviceaccount name" in refused.json["message"]


def test_what_admission_mounts_is_good_for_a_year(api: Api, robot: str) -> None:
    """As with --service-account-extend-token-expiration, Kubernetes' default: renewed by the hour all the same."""
    bound = {"kind": "Pod", "apiVersion": "v1", "name": "robot"}
    spec = {"expirationSeconds": tokenrequest.ADMISSION_SECONDS, "boundObjectRef": bound}
    answer = api.create(f"{robot}/token", {"spec": spec})
    made = claims(answer["status"]["token"])
    assert made["exp"] - made["iat"] == tokenrequest.YEAR
    assert made["kubernetes.io"]["warnafter"] - made["iat"] == tokenrequest.ADMISSION_SECONDS
    other = claims(ask(api, robot, **spec, audiences=["vault"]))
    assert other["exp"] - other["iat"] == tokenrequest.ADMISSION_SECONDS
