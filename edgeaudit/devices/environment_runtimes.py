"""Runtimes installed in an environment of their own, from which the agent serves them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from edgeaudit.devices.agent_file import agent_in
from edgeaudit.devices.agent_process import AgentProcess
from edgeaudit.devices.device_runtime import RemoteRuntime
from edgeaudit.devices.environments import Environment, find_environment
from edgeaudit.devices.querying import QueryPolicy, RetryingSession
from edgeaudit.runtimes.base import RuntimeSpec
from edgeaudit.runtimes.tflite_runtime import TfliteRuntime

__all__ = ["EnvironmentRuntime", "EnvironmentSpec", "TfliteRuntimeElsewhere"]


@dataclass(frozen=True)
class EnvironmentSpec(RuntimeSpec):
    """A runtime's spec and the name of the environment that has its packages."""

    environment: str = ""

    @classmethod
    def of(cls, spec: RuntimeSpec, environment: str) -> EnvironmentSpec:
        """The device-side spec, adapted to run through an agent."""
        values = {field.name: getattr(spec, field.name) for field in fields(RuntimeSpec)}
        return cls(**{**values, "code": (*spec.code, "edgeaudit.agent.main")}, environment=environment)

    @property
    def home(self) -> Environment:
        """The environment."""
        return find_environment(self.environment)

    @property
    def remedy(self) -> str:
        """The command that creates the environment."""
        return self.home.remedy

    @property
    def timed_here(self) -> bool:
        """False: a call goes through the agent."""
        return False

    def installed(self) -> dict[str, str | None]:
        """Version of each package in the environment, None if it is missing."""
        return self.home.installed(self.packages)

    def versions(self) -> dict[str, str]:
        """Version of each package in the environment; raises `MissingEnvironment` with the command that creates it."""
        return self.home.versions(self.packages)


class EnvironmentRuntime(RemoteRuntime):
    """A runtime that an agent serves from its environment, in one process per opened artifact.

    The single-threaded process starts when the artifact is opened, and exits with this object or this process.
    """

    def _serve(self, artifacts: Mapping[str, Path], max_body: int) -> RetryingSession:
        spec = self.spec
        assert isinstance(spec, EnvironmentSpec)  # noqa: S101  an error in the subclass
        command = [str(spec.home.python()), "-I", str(agent_in(spec.home.folder))]
        session = AgentProcess(command, spec.name, artifacts, self.options, max_body=max_body)
        return RetryingSession(session, QueryPolicy(spec.name, retries=0))


class TfliteRuntimeElsewhere(EnvironmentRuntime):
    """tflite-runtime 2.14, which needs numpy 1."""

    spec = EnvironmentSpec.of(TfliteRuntime.spec, "tflite-runtime")
