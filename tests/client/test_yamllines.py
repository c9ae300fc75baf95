"""From a refusal to the line of the manifest that caused it."""

from __future__ import annotations

import pytest

from minik8s_net.client.yamllines import documents, excerpt, fields_of, line_of

TEXT = """\
apiVersion: v1
kind: Service
metadata:
  name: web
  labels: {"a.b/c": d}
spec:
  ports:
    - port: 80
    - port: 99999
      targetPort: 8080
"""


@pytest.mark.parametrize(
    ("field", "line"),
    [
        ("spec.ports[1].port", 9),
        ("spec.ports[1].targetPort", 10),
        ("spec.ports[0].protocol", 8),  # not there: the deepest part that is
        ("spec.selector", 6),
        ('metadata.labels["a.b/c"]', 5),
        ("metadata.name", 4),
        ("nowhere", None),
    ],
)
def test_a_field_has_a_line(field: str, line: int | None) -> None:
    (root,) = documents(TEXT)
    assert line_of(root, field) == line


def test_fields_come_from_causes_else_from_the_message() -> None:
    details = {"causes": [{"field": "spec.ports[1].port", "message": "…"}]}
    assert fields_of("whatever", details) == ["spec.ports[1].port"]
    assert fields_of('strict decoding error: unknown field "spec.portz"', None) == ["spec.portz"]


def test_an_excerpt_points_at_its_line() -> None:
    shown = excerpt(TEXT, 9).splitlines()
    assert len(shown) == 4
    assert [line for line in shown if line.startswith("▶")] == ["▶   9 │     - port: 99999"]


def test_empty_documents_do_not_count() -> None:
    assert len(documents(f"---\n---\n{TEXT}---\n# nothing\n")) == 1
