"""The scripts of examples/ci, taken out of their files and run as the build servers run them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CI = Path(__file__).resolve().parent.parent / "examples" / "ci"
ACTION, WORKFLOW, GITLAB = CI / "action" / "action.yml", CI / "github.yml", CI / "gitlab.yml"
BIN = Path(sys.executable).parent
_EXPRESSION = re.compile(r"\$\{\{\s*(.*?)\s*\}\}")


def read(path: Path) -> dict[str, Any]:
    """A YAML file."""
    found: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))
    return found


def path_variable() -> str:
    """PATH with this environment's programs first."""
    return f"{BIN}{os.pathsep}{os.environ['PATH']}"


def steps(path: Path) -> list[dict[str, Any]]:
    """All steps of a workflow or of a composite action."""
    content = read(path)
    jobs = content["jobs"].values() if "jobs" in content else [content["runs"]]
    return [step for job in jobs for step in job["steps"]]


def scripts(path: Path) -> dict[str, str]:
    """Name -> script of what a GitHub file runs; of a GitLab file `job:key`."""
    content = read(path)
    if "stages" not in content:
        return {step["name"]: step["run"] for step in steps(path) if "run" in step}
    return {
        f"{job}:{key}": "\n".join(content[job][key])
        for job in content["stages"]
        for key in ("before_script", "script", "after_script")
        if key in content[job]
    }


@dataclass(frozen=True)
class Ran:
    """What a script left: exit code, what it printed, its outputs, and what it added to the job's summary."""

    code: int
    stdout: str
    stderr: str
    outputs: dict[str, str]
    summary: str


def bash(script: str, folder: Path, env: Mapping[str, str]) -> Ran:
    """Run a script as a GitHub runner does for `shell: bash`, and GitLab's for images that have bash."""
    outputs, summary = folder / ".github-output", folder / ".github-summary"
    outputs.write_text("", encoding="utf-8")
    summary.write_text("", encoding="utf-8")
    file = folder / ".step.sh"
    file.write_text(script, encoding="utf-8")
    done = subprocess.run(
        ["bash", "--noprofile", "--norc", "-eo", "pipefail", str(file)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        env={
            **os.environ,
            "PATH": path_variable(),
            "GITHUB_OUTPUT": str(outputs),
            "GITHUB_STEP_SUMMARY": str(summary),
            "RUNNER_TEMP": str(folder),
            "OMP_NUM_THREADS": "1",
            **env,
        },
    )
    pairs = dict(line.split("=", 1) for line in outputs.read_text(encoding="utf-8").splitlines())
    return Ran(done.returncode, done.stdout, done.stderr, pairs, summary.read_text(encoding="utf-8"))


def github_step(path: Path, name: str, folder: Path, values: Mapping[str, str], **env: str) -> Ran:
    """Run a step of a GitHub file.

    Args:
        path: the file.
        name: of the step.
        folder: the checkout.
        values: expression -> its value; an input of the action that is missing has its default.
        env: variables that replace those of the step.
    """
    (step,) = [one for one in steps(path) if one.get("name") == name]
    inputs = read(path).get("inputs", {})
    known = {f"inputs.{key}": str(one["default"]) for key, one in inputs.items()} | dict(values)
    given = {key: _EXPRESSION.sub(lambda found: known[found[1]], str(text)) for key, text in step["env"].items()}
    return bash(step["run"], folder, given | env)


def gitlab_script(job: str, key: str, folder: Path, **env: str) -> Ran:
    """Run a script of a job of the GitLab file with the job's variables."""
    content = read(GITLAB)[job]
    project = {"CI_PROJECT_DIR": str(folder)}
    variables = {key: str(text).replace("$CI_PROJECT_DIR", str(folder)) for key, text in content["variables"].items()}
    return bash("\n".join(content[key]), folder, project | variables | env)
