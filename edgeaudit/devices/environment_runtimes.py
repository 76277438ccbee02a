"""Runtimes whose packages are in an environment of their own: the agent serves them from there."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from edgeaudit.devices.agent_file import agent_in
from edgeaudit.devices.agent_process import AgentProcess
from edgeaudit.devices.asking import Pace, Patient
from edgeaudit.devices.device_runtime import RemoteRuntime
from edgeaudit.devices.environments import Environment, find_environment
from edgeaudit.runtimes.base import RuntimeSpec
from edgeaudit.runtimes.tflite_runtime import TfliteRuntime

__all__ = ["EnvironmentRuntime", "EnvironmentSpec", "TfliteRuntimeElsewhere"]


@dataclass(frozen=True)
class EnvironmentSpec(RuntimeSpec):
    """A runtime's spec with the name of the environment that its packages are in."""

    environment: str = ""

    @classmethod
    def of(cls, spec: RuntimeSpec, environment: str) -> EnvironmentSpec:
        """The device side's spec, as it is seen from here."""
        known = {field.name: getattr(spec, field.name) for field in fields(RuntimeSpec)}
        return cls(**{**known, "code": (*spec.code, "edgeaudit.agent.main")}, environment=environment)

    @property
    def home(self) -> Environment:
        """The environment itself."""
        return find_environment(self.environment)

    @property
    def remedy(self) -> str:
        """The command that makes the environment."""
        return self.home.remedy

    @property
    def timed_here(self) -> bool:
        """False: a call goes through the agent."""
        return False

    def installed(self) -> dict[str, str | None]:
        """Version of each package in the environment, None where it is missing."""
        return self.home.installed(self.packages)

    def versions(self) -> dict[str, str]:
        """Version of each package in the environment; raises `MissingEnvironment` with the command that makes it."""
        return self.home.versions(self.packages)


class EnvironmentRuntime(RemoteRuntime):
    """A runtime that an agent serves from its environment: one process for each artifact that is opened.

    The process starts when the artifact is opened, has one thread and ends with this object or with this process.
    """

    def _serve(self, artifacts: Mapping[str, Path], max_body: int) -> Patient:
        spec = self.spec
        assert isinstance(spec, EnvironmentSpec)  # noqa: S101  a mistake of whoever wrote the subclass
        command = [str(spec.home.python()), "-I", str(agent_in(spec.home.folder))]
        serving = AgentProcess(command, spec.name, artifacts, self.options, max_body=max_body)
        return Patient(serving, Pace(spec.name, retries=0))


class TfliteRuntimeElsewhere(EnvironmentRuntime):
    """tflite-runtime 2.14, which needs numpy 1."""

    spec = EnvironmentSpec.of(TfliteRuntime.spec, "tflite-runtime")
