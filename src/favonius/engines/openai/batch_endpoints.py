"""Which of a model's endpoints takes batches, and how each is reached."""

from __future__ import annotations

import aiohttp

from favonius.engines.config import OpenAI
from favonius.engines.openai.batch_api import BatchApi, ProviderError
from favonius.errors import FavoniusError


class BatchEndpoints:
    """Opened at the first use, within one event loop; `aclose` ends the connections."""

    def __init__(self, config: OpenAI) -> None:
        self.config = config
        self._session: aiohttp.ClientSession | None = None
        self._apis: dict[str, BatchApi] = {}
        self._home: BatchApi | None = None

    async def home(self) -> BatchApi:
        """The first endpoint that has batches and takes the key. ProviderError where none does."""
        refusals = []
        for endpoint in self.config.endpoints:
            if self._home is None:
                api = self.at(endpoint.base_url)
                try:
                    await api.probe()
                    self._home = api
                except ProviderError as error:
                    refusals.append(str(error))
        if self._home is None:
            raise ProviderError("; ".join(refusals) + "; mend that or set `mode: live`: nothing answered is lost")
        return self._home

    def at(self, name: str) -> BatchApi:
        """The endpoint with this address. FavoniusError where the recipe no longer names it."""
        if self._session is None:
            self._session = aiohttp.ClientSession()
            for endpoint in reversed(self.config.endpoints):
                self._apis[endpoint.base_url] = BatchApi(self.config, endpoint, self._session)
        if name not in self._apis:
            raise FavoniusError(f"a batch waits at {name}; name it among the engine's `endpoints` to collect it")
        return self._apis[name]

    async def aclose(self) -> None:
        if self._session is not None:
            await self._session.close()
