"""The service over HTTP, in this process: answers as the package gives them, logged; and refusals with a reason."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

from tidegate.serving.answering import Model
from tidegate.serving.batching import OverloadedError
from tidegate.serving.prediction_log import Feedback, PredictionLog
from tidegate.serving.service import Service

Client = Callable[..., TestClient]
TEXTS = ["a <b>good</b> film", "bad", "", "日本 😀"]


def test_texts_are_answered_as_by_the_package(client: Client, model: Model) -> None:
    answer = client().post("/predict", json={"texts": TEXTS}).json()
    assert (answer["task"], answer["model"], answer["version"]) == ("channels", model.digest, 3)
    for prediction, expected in zip(answer["predictions"], model.package.predict(TEXTS), strict=True):
        assert list(prediction["probabilities"]) == list(model.package.labels)
        np.testing.assert_allclose(list(prediction["probabilities"].values()), expected)
        assert prediction["label"] == model.package.labels[expected.argmax()]
        assert prediction["model"] == model.digest


def test_what_was_answered_stands_in_the_log_masked(client: Client, prediction_log: PredictionLog) -> None:
    body = {"texts": ["good, says a@b.com", "bad"], "document": "letter"}
    given = client().post("/predict", json=body).json()["predictions"]
    frame = prediction_log.window()
    assert frame["id"].to_list() == [one["id"] for one in given]
    assert frame["label"].to_list() == [one["label"] for one in given]
    assert frame["probabilities"].to_list() == [list(one["probabilities"].values()) for one in given]
    assert frame["text"].to_list() == ["good, says [email]", "bad"]
    assert frame["document"].to_list() == ["letter"] * 2


def test_more_texts_than_a_batch_come_back_in_their_order(client: Client, model: Model) -> None:
    texts = [f"{'good ' * (number % 7)}film" for number in range(50)]
    given = client(batch_texts=8).post("/predict", json={"texts": texts}).json()["predictions"]
    expected = [model.package.labels[best] for best in model.package.predict(texts).argmax(axis=1)]
    assert [one["label"] for one in given] == expected


def test_ids_are_all_different_and_ascend_with_time(client: Client) -> None:
    one = client()
    ids = [
        prediction["id"]
        for _ in range(20)
        for prediction in one.post("/predict", json={"texts": ["a"] * 100}).json()["predictions"]
    ]
    assert len(set(ids)) == 2_000
    assert all(len(name) == 32 for name in ids)
    assert [name[:12] for name in ids] == sorted(name[:12] for name in ids)


@pytest.mark.parametrize(("share", "low", "high"), [(0, 0, 0), (1, 1, 1), (0.3, 0.22, 0.38)])
def test_the_audit_sample_has_its_share(
    client: Client, prediction_log: PredictionLog, share: float, low: float, high: float
) -> None:
    client(audit_share=share).post("/predict", json={"texts": ["good"] * 1_000})
    assert low <= prediction_log.window()["audit"].mean() <= high  # 0.3: beyond with a chance below 1e-7


def test_an_answer_is_explained_by_its_words(client: Client) -> None:
    body = {"texts": ["the very good film", ""], "explain": True}
    explained, empty = client().post("/predict", json=body).json()["predictions"]
    parts = {part["words"]: part["weight"] for part in explained["explanation"]}
    assert list(parts) == ["the", "very", "good", "film"]
    assert max(parts, key=parts.__getitem__) == "good"
    assert parts["good"] > 0.1
    assert empty["explanation"] == []
    assert "explanation" not in client().post("/predict", json={"text": "good"}).json()["predictions"][0]


def test_what_only_explains_is_not_logged(client: Client, prediction_log: PredictionLog) -> None:
    client().post("/predict", json={"text": "the very good film", "explain": True})
    assert prediction_log.window().height == 1


def test_a_true_label_comes_back(client: Client, prediction_log: PredictionLog) -> None:
    one = client()
    name = one.post("/predict", json={"text": "good"}).json()["predictions"][0]["id"]
    answer = one.post("/feedback", json={"id": name, "label": "negative"})
    assert (answer.status_code, answer.json()) == (200, {"id": name, "label": "negative"})
    assert prediction_log.window()["actual"].to_list() == ["negative"]


@pytest.mark.parametrize(
    ("body", "status", "words"),
    [
        ({"id": "0" * 32, "label": "good"}, 422, "the label is none of: negative, neutral, positive"),
        ({"id": "0" * 32, "label": "neutral"}, 404, "no prediction has this id"),
        ({"id": "x'; DROP TABLE predictions", "label": "neutral"}, 422, "id"),
        ({"id": "0" * 33, "label": "neutral"}, 422, "id"),
        ({"id": 1, "label": "neutral"}, 422, "id"),
        ({"label": "neutral"}, 422, "id"),
        ({"id": "0" * 32, "label": "neutral", "by": "a\nb"}, 422, "by"),
        ({"id": "0" * 32, "label": "neutral", "kind": "guessed"}, 422, "kind"),
    ],
)
def test_feedback_that_cannot_be_kept_is_refused(client: Client, body: Any, status: int, words: str) -> None:
    answer = client().post("/feedback", json=body)
    assert answer.status_code == status
    assert words in answer.text


LIMITS = {"max_texts": 100, "max_characters": 5_000, "max_bytes": 200_000, "queue_texts": 100}
HOSTILE = {
    "nothing": (b"", 422),
    "no JSON": (b"no json", 422),
    "a list": (b"[1, 2]", 422),
    "null": (b"null", 422),
    "no text": (b"{}", 422),
    "both": (b'{"text": "a", "texts": ["a"]}', 422),
    "both, one null": (b'{"text": "a", "texts": null}', 422),
    "no texts": (b'{"texts": []}', 422),
    "a text as texts": (b'{"texts": "good"}', 422),
    "a number": (b'{"texts": [1]}', 422),
    "a null": (b'{"texts": ["a", null]}', 422),
    "an object": (b'{"text": {"text": "a"}}', 422),
    "an unknown key": (b'{"text": "a", "odd": 1}', 422),
    "a number as truth": (b'{"text": "a", "explain": 1}', 422),
    "a document with a line end": (b'{"text": "a", "document": "a\\nb"}', 422),
    "a long document": (json.dumps({"text": "a", "document": "d" * 201}).encode(), 422),
    "a lone surrogate": (b'{"text": "\\ud800"}', 422),
    "no UTF-8": (b'{"text": "\xff"}', 422),
    "UTF-16": ('{"text": "a"}'.encode("utf-16"), 422),
    "deep nesting": (b'{"texts": ' + b"[" * 100_000, 422),
    "a huge number": (b'{"text": ' + b"9" * 100_000 + b"}", 422),
    "many unknown keys": (json.dumps({f"k{n}": n for n in range(5_000)}).encode(), 422),
    "a raw control character": (b'{"text": "a\x00b"}', 422),
    "escaped control characters": (b'{"text": "\\u0000\\u0007\\u001b[2J good"}', 200),
    "only blanks": (b'{"text": " \\n\\t "}', 200),
    "too many texts": (json.dumps({"texts": ["a"] * 101}).encode(), 422),
    "100,000 texts": (b'{"texts": [' + b",".join([b"1"] * 90_000) + b"]}", 422),
    "too long a text": (json.dumps({"text": "a" * 5_001}).encode(), 422),
    "too many to explain": (json.dumps({"texts": ["a"] * 17, "explain": True}).encode(), 422),
    "too large": (b" " * 200_001, 413),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_requests_get_their_status_and_a_short_reason_and_the_service_goes_on(
    client: Client, name: str
) -> None:
    body, status = HOSTILE[name]
    one = client(**LIMITS)
    answer = one.post("/predict", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text[:300]
    if status != 200:
        assert answer.json()["detail"]
        assert len(answer.content) < 3_000, "the request is not given back"
    assert one.post("/predict", json={"text": "good"}).status_code == 200


def test_requests_at_the_limits_are_answered(client: Client) -> None:
    one = client(**LIMITS)
    assert one.post("/predict", json={"texts": ["good"] * 100}).status_code == 200
    assert one.post("/predict", json={"text": "good " * 1_000}).status_code == 200
    assert one.post("/predict", json={"texts": ["good"] * 16, "explain": True}).status_code == 200


def raising(error: Exception) -> Callable[..., Any]:
    async def call(*_: Any, **__: Any) -> Any:
        raise error

    return call


def test_a_full_queue_is_429_and_says_when_to_come_again(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Service, "predict", raising(OverloadedError(7)))
    answer = client().post("/predict", json={"text": "good"})
    assert (answer.status_code, answer.headers["retry-after"]) == (429, "7")


def test_no_answer_in_time_is_504(client: Client, model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    import threading

    free = threading.Event()
    monkeypatch.setattr(Model, "answers", lambda *_: [free.wait(30)])
    answer = client(timeout_s=0.05).post("/predict", json={"text": "good"})
    free.set()
    assert answer.status_code == 504


def test_without_a_log_nothing_is_answered(
    client: Client, prediction_log: PredictionLog, capsys: pytest.CaptureFixture[str]
) -> None:
    one = client()
    with prediction_log.transaction() as connection:
        connection.exec_driver_sql("ALTER TABLE predictions RENAME TO away")
    answer = one.post("/predict", json={"text": "good"})
    assert answer.status_code == 503
    assert "predictions" in one.get("/readyz").json()["why"]
    assert one.get("/readyz").status_code == 503
    assert one.get("/healthz").status_code == 200
    with prediction_log.transaction() as connection:
        connection.exec_driver_sql("ALTER TABLE away RENAME TO predictions")
    assert one.post("/predict", json={"text": "good"}).status_code == 200
    assert one.get("/readyz").status_code == 200
    assert "no such table" in capsys.readouterr().out


def test_a_fault_of_ours_is_500_without_its_words(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Service, "predict", raising(ZeroDivisionError("secret")))
    answer = client().post("/predict", json={"text": "good"})
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/json"
    assert "secret" not in answer.text


def test_a_closed_service_answers_503_and_has_logged_what_it_took(service: Any) -> None:
    from tidegate.serving.app import create_app
    from tidegate.serving.guards import Keys

    made = service()
    one = TestClient(create_app(made, Keys(None)))
    made.close()
    assert one.post("/predict", json={"text": "good"}).status_code == 503
    assert one.get("/readyz").json()["status"] == "not ready"


def test_health_and_readiness_name_the_model_and_what_was_refused(service: Any, model: Model) -> None:
    from tidegate.serving.app import create_app
    from tidegate.serving.guards import Keys

    made = service()
    one = TestClient(create_app(made, Keys(None)))
    expected = {"status": "ok", "task": "channels", "model": model.digest, "version": 3, "why": None}
    assert one.get("/healthz").json() == one.get("/readyz").json() == expected
    made.served.refused = "it is broken"
    assert one.get("/readyz").json() == {**expected, "status": "behind", "why": "it is broken"}
    assert one.get("/readyz").status_code == 200
    assert "tidegate_champion_refused 1.0" in one.get("/metrics").text


def test_metrics_count_requests_texts_and_batches(client: Client, model: Model) -> None:
    one = client()
    one.post("/predict", json={"texts": ["good", "good", "bad"]})
    one.post("/predict", json={})
    one.get("/odd/path")
    found = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(one.get("/metrics").text)
        for sample in family.samples
    }
    assert found["tidegate_requests_total", "/predict", "200"] == 1
    assert found["tidegate_requests_total", "/predict", "422"] == 1
    assert found["tidegate_requests_total", "other", "404"] == 1
    assert found["tidegate_predictions_total", "positive"] == 2
    assert found["tidegate_batch_texts_sum",] == 3
    assert found["tidegate_log_commit_seconds_count",] >= 1
    assert found["tidegate_model", model.digest, "3"] == 1


def test_its_documentation_describes_what_it_does(client: Client) -> None:
    one = client(keys="k")
    found: dict[str, Any] = one.get("/openapi.json").json()
    assert set(found["paths"]) == {"/predict", "/feedback", "/healthz", "/readyz", "/metrics"}
    post = found["paths"]["/predict"]["post"]
    for example in post["requestBody"]["content"]["application/json"]["schema"]["examples"]:
        assert one.post("/predict", json=example, headers={"authorization": "Bearer k"}).status_code == 200
    assert {"200", "401", "408", "413", "422", "429", "503", "504"} <= set(post["responses"])
    assert post["security"] == [{"key": []}]


def test_a_package_that_is_tried_out_is_not_logged(client: Client) -> None:
    one = client(logged=False)
    assert one.post("/predict", json={"text": "good"}).json()["predictions"][0]["id"] is None
    assert one.post("/feedback", json={"id": "0" * 32, "label": "neutral"}).status_code == 404


def test_who_gave_a_label_is_the_key_unless_it_says_so(client: Client, prediction_log: PredictionLog) -> None:
    one = client(keys="shop:k1,k2")
    mine = {"authorization": "Bearer k1"}
    name = one.post("/predict", json={"text": "good"}, headers=mine).json()["predictions"][0]["id"]
    for body in ({}, {"by": "ada"}):
        one.post("/feedback", json={"id": name, "label": "neutral", **body}, headers=mine)
    with prediction_log.transaction() as connection:
        assert connection.exec_driver_sql("SELECT by FROM feedback").scalars().all() == ["shop", "ada"]
    assert prediction_log.record_feedback([Feedback(prediction_id=name, label="x", by="y", kind="audit")]) == [True]
