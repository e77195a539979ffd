"""What Prometheus is told of one service. Nothing is decided here."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_SECONDS = (0.002, 0.005, 0.01, 0.02, 0.03, 0.05, 0.075, 0.1, 0.2, 0.5, 1, 2, 5, 10)
_TEXTS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


class Metrics:
    """The counters of one service, in a registry of their own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "tidegate_requests", "Requests by path and status", ["path", "status"], registry=self.registry
        )
        self.seconds = Histogram(
            "tidegate_request_seconds", "Seconds from the head of a request to its answer, by path", ["path"],
            buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip
        self.labels = Counter("tidegate_predictions", "Predictions by label", ["label"], registry=self.registry)
        self.batch = Histogram(
            "tidegate_batch_texts", "Texts a call of the model", buckets=_TEXTS, registry=self.registry
        )
        self.commit = Histogram(
            "tidegate_log_commit_seconds", "Seconds a transaction of the prediction log", buckets=_SECONDS,
            registry=self.registry,
        )  # fmt: skip
        self.waiting = Gauge("tidegate_queue_texts", "Texts that wait for the model", registry=self.registry)
        self.feedback = Counter("tidegate_feedback", "True labels taken in", registry=self.registry)
        self.shadow = Counter(
            "tidegate_shadow", "Texts for the challenger by what became of them", ["outcome"], registry=self.registry
        )
        self.reloads = Counter(
            "tidegate_reloads", "Packages that came after the first, by outcome", ["outcome"], registry=self.registry
        )
        self.refused = Gauge(
            "tidegate_champion_refused", "1 while the champion is not served because it was refused",
            registry=self.registry,
        )  # fmt: skip
        self.model = Gauge(
            "tidegate_model", "1 for the package in service", ["digest", "version"], registry=self.registry
        )

    def serves(self, digest: str, version: int | None) -> None:
        """Another package is in service."""
        self.model.clear()
        self.model.labels(digest, str(version or "none")).set(1)

    def text(self) -> bytes:
        """In Prometheus' text format."""
        return generate_latest(self.registry)
