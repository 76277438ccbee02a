"""The session that all transports share once a server is up: queries through the client."""

from __future__ import annotations

from typing import Any

import numpy.typing as npt

from edgeaudit.agent.messages import Fingerprint, ServedFacts
from edgeaudit.devices.oip.client import OipClient
from edgeaudit.devices.transport import InferenceSession
from edgeaudit.errors import ProtocolError

__all__ = ["ClientSession"]


class ClientSession(InferenceSession):
    """A session with a server. Subclasses define how it is restored and closed.

    client: for the server. `restore` may replace it.
    """

    client: OipClient

    def infer(self, model: str, native: npt.NDArray[Any], request: str) -> npt.NDArray[Any]:
        """See `InferenceSession.infer`. The server's metadata name the only input and the first output."""
        name, output = self._tensors(model)
        answers = self.client.infer(model, {name: native}, request=request)
        if output not in answers:
            raise ProtocolError(f"{self.client.url} answered for '{model}' without its output '{output}'")
        return answers[output]

    def facts(self, model: str) -> ServedFacts:
        """As edgeaudit's agent reports them."""
        return self.client.facts(model)

    def fingerprint(self) -> Fingerprint:
        """As edgeaudit's agent reports it."""
        return self.client.fingerprint()

    def time(self, model: str, native: npt.NDArray[Any], repetitions: int, seconds: float) -> tuple[list[float], float]:
        """Milliseconds of calls with one batch, and their CPU share, measured by edgeaudit's agent on the device."""
        name, _ = self._tensors(model)
        return self.client.time(model, {name: native}, repetitions, seconds)

    def _tensors(self, model: str) -> tuple[str, str]:
        """Names of the input and the output, cached."""
        names_of: dict[str, tuple[str, str]] = self.__dict__.setdefault("_names", {})
        if model not in names_of:
            about = self.client.model_metadata(model)
            names, outputs = _names(about.get("inputs")), _names(about.get("outputs"))
            if names is None or not outputs:
                raise ProtocolError(f"{self.client.url} does not report the inputs and outputs of '{model}'")
            if len(names) != 1:
                raise ProtocolError(f"'{model}' at {self.client.url} takes {len(names)} inputs ({', '.join(names)})")
            names_of[model] = names[0], outputs[0]
        return names_of[model]


def _names(tensors: object) -> list[str] | None:
    """The names of tensors in a server's metadata; None if they have no such form."""
    if not isinstance(tensors, list) or not all(isinstance(tensor, dict) and "name" in tensor for tensor in tensors):
        return None
    return [str(tensor["name"]) for tensor in tensors]
