"""Questions about users: who am I, whose token is this, may I? (Whoever gets in may do everything here.)

https://kubernetes.io/docs/reference/access-authn-authz/authorization/#checking-api-access
"""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from ..api.errors import bad_request
from ..store.events import timestamp
from . import answers, bodies
from .target import Query, Target, method_not_allowed
from .tokens import API_AUDIENCES, Refused, Tokens, User

Json = dict[str, Any]
ALLOWED = {"allowed": True, "reason": "every authenticated user may do everything in this cluster"}
EVERYTHING = [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]
ANSWERS = frozenset({
    "localsubjectaccessreviews", "selfsubjectaccessreviews", "selfsubjectreviews", "selfsubjectrulesreviews",
    "subjectaccessreviews", "tokenreviews",
})  # fmt: skip


async def answer(request: Request, target: Target, query: Query, user: User, tokens: Tokens) -> Response:
    """201 with the review's status filled in. Raises StatusError 400, 405."""
    if request.method != "POST":
        raise method_not_allowed()
    options = query.write_options("CreateOptions")
    body = await bodies.read(request)
    review = bodies.decode(target.kind, body, bodies.media_type(request), options)
    review["metadata"] = {**review["metadata"], "creationTimestamp": timestamp()}
    review["status"] = _status(target.kind.plural, review, user, tokens)
    return answers.json(review, 201, options.warnings)


def _status(plural: str, review: Json, user: User, tokens: Tokens) -> Json:
    if plural == "selfsubjectreviews":
        return {"userInfo": user.to_json()}
    if plural == "tokenreviews":
        spec = review.get("spec", {})
        if not spec.get("token"):
            raise bad_request("token is required for TokenReview in authentication")
        try:
            owner, audiences = tokens.review(spec["token"], spec.get("audiences") or API_AUDIENCES)
        except Refused as refused:
            return {"user": {}, "error": str(refused)}
        return {"authenticated": True, "user": owner.to_json(), "audiences": audiences}
    if plural == "selfsubjectrulesreviews":
        urls = [{"verbs": ["*"], "nonResourceURLs": ["*"]}]
        return {"resourceRules": EVERYTHING, "nonResourceRules": urls, "incomplete": False}
    return dict(ALLOWED)
