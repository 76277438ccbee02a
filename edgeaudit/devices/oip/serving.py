"""What every way shares once a server is up: asking it through the client."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy.typing as npt

from edgeaudit.devices.oip.client import OipClient
from edgeaudit.devices.transport import Serving
from edgeaudit.errors import ProtocolError

__all__ = ["ClientServing"]


class ClientServing(Serving):
    """Artifacts that a server answers for. Subclasses say how it is reached again and ended.

    client: for the server. It may be another one after `restore`.
    """

    client: OipClient

    def infer(self, model: str, native: npt.NDArray[Any], request: str) -> npt.NDArray[Any]:
        """See `Serving.infer`. The names of the one input and the first output are those that the server tells."""
        name, output = self._tensors(model)
        answers = self.client.infer(model, {name: native}, request=request)
        if output not in answers:
            raise ProtocolError(f"{self.client.url} answered for '{model}' without its output '{output}'")
        return answers[output]

    def facts(self, model: str) -> Mapping[str, Any]:
        """As edgeaudit's agent tells them."""
        return self.client.facts(model)

    def fingerprint(self) -> Mapping[str, Any]:
        """As edgeaudit's agent tells it."""
        return self.client.fingerprint()

    def time(self, model: str, native: npt.NDArray[Any], repetitions: int, seconds: float) -> tuple[list[float], float]:
        """Milliseconds of calls on the device with one batch, and their CPU share, as edgeaudit's agent takes them."""
        name, _ = self._tensors(model)
        return self.client.time(model, {name: native}, repetitions, seconds)

    def _tensors(self, model: str) -> tuple[str, str]:
        """Names of the input and of the output, asked once."""
        known: dict[str, tuple[str, str]] = self.__dict__.setdefault("_names", {})
        if model not in known:
            about = self.client.model_metadata(model)
            try:
                names = [str(tensor["name"]) for tensor in about["inputs"]]
                first = str(about["outputs"][0]["name"])
            except (KeyError, IndexError, TypeError) as exc:
                raise ProtocolError(f"{self.client.url} does not say what '{model}' takes and answers") from exc
            if len(names) != 1:
                raise ProtocolError(f"'{model}' at {self.client.url} takes {len(names)} inputs ({', '.join(names)})")
            known[model] = names[0], first
        return known[model]
