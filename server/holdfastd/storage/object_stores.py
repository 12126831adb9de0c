"""The buckets that the daemon talks to, opened when they are first needed, through obstore.

Credentials, region and endpoint come from the daemon's environment, by the names that every tool for these stores
knows; nothing of them is kept here. A request is sent again, ever later, while the store is busy or does not answer.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from ..format.urls import split_url
from .store_errors import StoreError, StoreProblem, store_errors

if TYPE_CHECKING:
    from types import ModuleType

    from obstore.store import ClientConfig, ObjectStore, RetryConfig

PLAIN_HTTP, HTTPS = "http://", "https://"
_ENDPOINTS = {
    "s3": ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT"),
    "gs": ("GOOGLE_BASE_URL",),
    "az": ("AZURE_STORAGE_ENDPOINT", "AZURE_ENDPOINT"),
}


class ObjectStores:
    """One store per bucket. Any thread. ``environment``: where an endpoint is named, such as ``AWS_ENDPOINT_URL``.

    ``patience``: seconds for which a request is sent again.
    """

    def __init__(self, environment: Mapping[str, str], *, patience: float = 60.0) -> None:
        self._environment = environment
        self._patience = patience
        self._open: dict[tuple[str, str], ObjectStore] = {}
        self._silent: set[tuple[str, str]] = set()
        self._hurries = False

    def hurry(self) -> None:
        """The daemon ends: whoever has not answered in time is not asked again, not even to clean up."""
        self._hurries = True

    @contextmanager
    def asking(self, url: str) -> Iterator[None]:
        """As ``store_errors``, of something that is asked of a store, and that is refused at once in a hurry."""
        bucket = split_url(url)[:2]
        if self._hurries and bucket in self._silent:
            raise StoreError(StoreProblem.UNREACHABLE, url, "and the daemon is being stopped")
        try:
            with store_errors(url):
                yield
        except StoreError as error:
            if error.is_passing:
                self._silent.add(bucket)
            raise
        self._silent.discard(bucket)

    def library(self, url: str) -> ModuleType:
        """obstore itself. Raises StoreError where it is not installed."""
        try:
            import obstore
        except ModuleNotFoundError:
            raise StoreError(StoreProblem.NOT_INSTALLED, url) from None
        return obstore

    def of(self, url: str) -> ObjectStore:
        """The bucket that an URL lies in. Sends nothing. Raises StoreError."""
        scheme, bucket, _ = split_url(url)
        found = self._open.get((scheme, bucket))
        if found is None:
            self.library(url)
            endpoint = self._endpoint(scheme)
            if endpoint and not endpoint.lower().startswith((PLAIN_HTTP, HTTPS)):
                # Not repeated: it may hold a password.
                raise StoreError(StoreProblem.MISCONFIGURED, url, "its endpoint begins with no http:// or https://")
            with store_errors(url):
                # Two threads may both make one: either will do.
                found = self._open[scheme, bucket] = self._make(scheme, bucket)
        return found

    def _make(self, scheme: str, bucket: str) -> ObjectStore:
        from obstore.store import AzureStore, GCSStore, S3Store

        options: dict[str, Any] = {"client_options": self._client(scheme), "retry_config": self._retries()}
        if scheme == "gs":
            return GCSStore(bucket, **options)
        if scheme == "az":
            return AzureStore(bucket, **options)
        if endpoint := self._endpoint(scheme):
            options["endpoint"] = endpoint
        return S3Store(bucket, **options)

    def _client(self, scheme: str) -> ClientConfig:
        """A request may take long where the line is thin; one that does not move at all is given up much sooner."""
        return {
            "connect_timeout": timedelta(seconds=10),
            "read_timeout": timedelta(seconds=30),
            "timeout": timedelta(minutes=10),
            # Whoever names an endpoint without TLS means it.
            "allow_http": self._endpoint(scheme).startswith(PLAIN_HTTP),
        }

    def _retries(self) -> RetryConfig:
        return {
            "max_retries": 8,
            "retry_timeout": timedelta(seconds=self._patience),
            "backoff": {
                "init_backoff": timedelta(milliseconds=100),
                "max_backoff": timedelta(seconds=10),
                "base": 2,
            },
        }

    def _endpoint(self, scheme: str) -> str:
        return next((self._environment[name] for name in _ENDPOINTS[scheme] if self._environment.get(name)), "")
