"""examples/ci: what its files say, by the tools that check such files where these are installed, and exit codes."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.ci_steps import (
    ACTION,
    CI,
    GITLAB,
    WORKFLOW,
    Ran,
    github_step,
    gitlab_script,
    path_variable,
    read,
    scripts,
    steps,
)

FILES = [ACTION, WORKFLOW, GITLAB]
# What docs/commands.md calls records' scores, ids and paths.
PRIVATE = {"scores", "labels.npy", "evidence.npz", "spec.json", ".edgeaudit"}


def _tool(name: str) -> str:
    found = shutil.which(name, path=path_variable())
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def _passes(*command: str | Path, folder: Path | None = None) -> None:
    done = subprocess.run([str(part) for part in command], cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("schema", "path"), [("github-workflows", WORKFLOW), ("github-actions", ACTION), ("gitlab-ci", GITLAB)]
)
def test_files_follow_the_schemas_of_their_servers(schema: str, path: Path) -> None:
    transform = ["--data-transform", "gitlab-ci"] if schema == "gitlab-ci" else []
    _passes(_tool("check-jsonschema"), "--builtin-schema", f"vendor.{schema}", *transform, path)


def test_actionlint_finds_nothing(tmp_path: Path) -> None:
    program = _tool("actionlint")
    places = {WORKFLOW: ".github/workflows/edgeaudit.yml", ACTION: ".github/actions/edgeaudit/action.yml"}
    for path, place in places.items():  # as the files say that they are copied
        assert f"Copy to {place}" in path.read_text(encoding="utf-8")
        (tmp_path / place).parent.mkdir(parents=True)
        shutil.copy(path, tmp_path / place)
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    _passes(program, folder=tmp_path)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_shellcheck_finds_nothing(path: Path, tmp_path: Path) -> None:
    program = _tool("shellcheck")
    found = scripts(path)
    assert found
    for name, script in found.items():
        file = tmp_path / f"{re.sub('[^a-z]', '-', name.lower())}.sh"
        file.write_text(f"#!/bin/bash\n{script}\n", encoding="utf-8")
        _passes(program, file)


def test_hadolint_finds_nothing() -> None:
    _passes(_tool("hadolint"), CI / "Dockerfile")


def test_pre_commit_reads_the_hooks(root_folder: Path) -> None:
    _passes(_tool("pre-commit"), "validate-manifest", root_folder / ".pre-commit-hooks.yaml")


@pytest.mark.parametrize("path", [ACTION, WORKFLOW], ids=lambda path: path.name)
def test_no_script_has_an_expression_in_it(path: Path) -> None:
    # A branch with the name `$(...)` would run in it; variables are quoted by the shell.
    for name, script in scripts(path).items():
        assert "${{" not in script, name


@pytest.mark.parametrize("path", [ACTION, WORKFLOW], ids=lambda path: path.name)
def test_actions_of_others_are_pinned_by_commit(path: Path) -> None:
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if re.match(r"\s*(- )?uses:", line)]
    assert len(lines) == sum("uses" in step for step in steps(path))
    for line in lines:
        assert re.search(r"uses: (\./\S+|[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+)$", line), line


def test_uploads_are_files_by_name_and_none_is_private() -> None:
    (upload,) = [step for step in steps(WORKFLOW) if "upload-artifact" in step.get("uses", "")]
    github = upload["with"]["path"].split()
    gitlab = read(GITLAB)["audit"]["artifacts"]["paths"]
    assert github == gitlab
    for path in github:
        folder, _, name = path.partition("/")
        assert folder == "edgeaudit-out"
        assert re.fullmatch(r"[a-z.]+\.(html|json|xml|sarif|md)", name), path  # no folder, no pattern
        assert name not in PRIVATE


def test_the_store_is_cached_only_when_asked_and_only_after_records_are_removed() -> None:
    assert read(ACTION)["inputs"]["cache"]["default"] == "false"
    found = steps(ACTION)
    for step in found:
        if "restore@" in step.get("uses", "") or step["name"] == "Key of the store":
            assert step["if"] == "inputs.cache == 'true'"
    names = [step["name"] for step in found]
    save = names.index("Put the store into the cache")
    assert names.index("Remove raw records from the store") < save
    # The step that removes them says so at its end: where it fails, nothing is saved.
    assert "steps.purged.outputs.done == 'true'" in found[save]["if"]
    assert "purge-records" in "".join(read(GITLAB)["audit"]["after_script"])


@pytest.fixture
def stand_in(tmp_path: Path) -> Callable[[int, str | None], dict[str, str]]:
    """Make an `edgeaudit` that writes a verdict, if one is given, and ends with a code; the variables that find it."""

    def make(code: int, outcome: str | None) -> dict[str, str]:
        (tmp_path / "bin").mkdir()
        verdict = json.dumps({"outcome": outcome, "exit_code": code})
        lines = ["#!/bin/bash", 'while [ "$1" ]; do case $1 in']
        if outcome is not None:
            lines += [f"--json) echo '{verdict}' > \"$2\";;", '--markdown) echo "# $AUDIT" > "$2";;']
        lines += ["esac; shift; done", f"exit {code}"]
        program = tmp_path / "bin" / "edgeaudit"
        program.write_text("\n".join(lines), encoding="utf-8")
        program.chmod(0o755)
        return {"PATH": f"{tmp_path / 'bin'}:{path_variable()}"}

    return make


@pytest.mark.parametrize(
    ("code", "outcome", "says"),
    [
        (0, "within budget", ""),
        (1, "budget exceeded", "::error title=edgeaudit::A budget is exceeded (exit code 1)"),
        (2, "error", "::error title=edgeaudit::The audit ended in an error, which the log tells (exit code 2)"),
        (2, None, "::error title=edgeaudit::The audit ended in an error, which the log tells (exit code 2)"),
        (3, "inconclusive", "::error title=edgeaudit::The audit decides nothing - inconclusive (exit code 3)"),
        (3, "invalid", "::error title=edgeaudit::The audit decides nothing - invalid (exit code 3)"),
        (137, None, "::error title=edgeaudit::The audit ended in an error, which the log tells (exit code 137)"),
    ],
)
def test_exit_codes_pass_through(
    code: int, outcome: str | None, says: str, tmp_path: Path, stand_in: Callable[[int, str | None], dict[str, str]]
) -> None:
    env = stand_in(code, outcome)
    old = tmp_path / "edgeaudit-out"
    old.mkdir()
    for name in ("verdict.json", "summary.md", "audit.sarif", "evidence.dsse.json"):  # of an earlier run that passed
        (old / name).write_text('{"outcome": "within budget"}', encoding="utf-8")
    done = github_step(ACTION, "Audit", tmp_path, {}, **env)
    assert done.code == code
    assert done.stdout.strip() == says
    assert done.outputs == {"exit-code": str(code), "outcome": outcome or "error"}
    assert not (old / "evidence.dsse.json").exists()
    assert not (old / "audit.sarif").exists()
    told = github_step(ACTION, "Job summary", tmp_path, {"steps.run.outputs.exit-code": str(code)})
    assert told.code == 0
    if outcome is None:
        assert told.summary == (
            f"edgeaudit ended without a verdict (exit code {code}); the log of the step says why.\n"
        )
    else:
        assert told.summary == "# audit.yaml\n"
    assert gitlab_script("audit", "script", tmp_path, **env).code == code


def test_the_key_of_the_store_follows_what_the_audit_reads(tmp_path: Path) -> None:
    (tmp_path / "audit.yaml").write_text("a", encoding="utf-8")
    (tmp_path / "my data").mkdir()

    def key() -> Ran:
        return github_step(ACTION, "Key of the store", tmp_path, {"inputs.reads": "audit.yaml\n\nmy data\n"})

    first = key()
    assert first.code == 0, first.stderr
    assert key().outputs == first.outputs
    seen = {first.outputs["reads"]}
    for name, text in (("my data/x.npz", "x"), ("my data/x.npz", "y"), ("my data/z.npz", "y"), ("audit.yaml", "b")):
        (tmp_path / name).write_text(text, encoding="utf-8")
        changed = key().outputs
        seen.add(changed.pop("reads"))
        assert changed == {name: first.outputs[name] for name in ("version", "packages")}
    assert len(seen) == 5
    (tmp_path / "audit.yaml").unlink()
    assert key().code != 0  # named and not there
    empty = github_step(ACTION, "Key of the store", tmp_path, {"inputs.reads": "empty\n"})
    assert empty.code != 0
    (tmp_path / "empty").mkdir()
    for reads in ("empty\n", "\n", ""):
        empty = github_step(ACTION, "Key of the store", tmp_path, {"inputs.reads": reads})
        assert (empty.code, empty.outputs) == (2, {})
        assert "There is no file" in empty.stdout
