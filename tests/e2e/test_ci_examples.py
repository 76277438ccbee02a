"""examples/ci, run: the steps of its files on a real audit, the hook by pre-commit, what the Dockerfile installs."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from tests.ci_steps import ACTION, CI, GITLAB, WORKFLOW, bash, github_step, gitlab_script, read, scripts, steps
from tests.e2e.conftest import Workbench
from tests.e2e.test_pipelines import SETTINGS

pytestmark = [pytest.mark.e2e, pytest.mark.toolchain]

STRICT = {"auc": ["error", {"max": 0.501}]}
REPORTS = ("report.html", "audit.json", "junit.xml", "audit.sarif", "summary.md", "verdict.json")


@pytest.fixture(scope="module")
def checkout(shared_bench: Workbench) -> Path:
    """A checkout of a team whose first job ran: the audit is within its budget."""
    shared_bench.write("audit", **SETTINGS, budgets={"auc": ["error", {"max": 0.99}]})
    shared_bench.write("strict", **SETTINGS, budgets=STRICT)
    shared_bench.write("broken", **SETTINGS, budgets={"auk": ["error", {"max": 0.5}]})
    done = github_step(ACTION, "Audit", shared_bench.folder, {})
    assert done.code == 0, done.stdout + done.stderr
    assert done.outputs == {"exit-code": "0", "outcome": "within budget"}
    return shared_bench.folder


def test_steps_that_are_not_run_here_install_packages() -> None:
    # The others are run in this module, or in tests/test_ci_files.py.
    ran = {"Key of the store", "Audit", "Job summary", "Remove raw records from the store", "Sign", "Verify"}
    for path in (ACTION, WORKFLOW):
        for name, script in scripts(path).items():
            assert name in ran or re.fullmatch(r"python -m pip install -r [a-z-]+\.txt", script), name
    ran = {"audit:script", "audit:after_script", "deploy:script"}
    for name, script in scripts(GITLAB).items():
        assert name in ran or re.fullmatch(r"python -m pip install -r [a-z-]+\.txt", script), name


def test_a_job_leaves_the_reports_that_it_uploads(checkout: Path) -> None:
    (upload,) = [step for step in steps(WORKFLOW) if "upload-artifact" in step.get("uses", "")]
    names = {Path(path).name for path in upload["with"]["path"].split()}
    assert names == {*REPORTS, "evidence.dsse.json"}
    for name in REPORTS:
        assert (checkout / "edgeaudit-out" / name).stat().st_size > 0
    told = github_step(ACTION, "Job summary", checkout, {"steps.run.outputs.exit-code": "0"})
    assert (told.code, told.summary) == (0, (checkout / "edgeaudit-out" / "summary.md").read_text("utf-8"))
    assert "within budget" in told.summary.lower()


def test_a_cached_store_has_no_record_and_saves_the_work(checkout: Path) -> None:
    before = json.loads((checkout / "edgeaudit-out" / "audit.json").read_text("utf-8"))
    assert list(checkout.glob(".edgeaudit/population/*/x.npy"))
    purged = github_step(ACTION, "Remove raw records from the store", checkout, {})
    assert (purged.code, purged.outputs) == (0, {"done": "true"}), purged.stderr
    assert not list(checkout.glob(".edgeaudit/**/x.npy"))
    trained = {path: path.stat().st_mtime_ns for path in checkout.glob(".edgeaudit/train/*")}
    assert trained
    again = github_step(ACTION, "Audit", checkout, {})
    assert again.code == 0, again.stderr
    assert {path: path.stat().st_mtime_ns for path in checkout.glob(".edgeaudit/train/*")} == trained
    after = json.loads((checkout / "edgeaudit-out" / "audit.json").read_text("utf-8"))
    assert after["leakage"] == before["leakage"]


def test_a_deployment_verifies_what_the_audit_signed(checkout: Path) -> None:
    signer = Ed25519PrivateKey.generate()
    pem = signer.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    public = signer.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode()
    signed = github_step(WORKFLOW, "Sign", checkout, {"secrets.EDGEAUDIT_SIGNING_KEY": pem})
    assert signed.code == 0, signed.stderr
    evidence = json.loads((checkout / "edgeaudit-out" / "evidence.dsse.json").read_text("utf-8"))
    digests = {one["digest"]["sha256"] for one in json.loads(base64.b64decode(evidence["payload"]))["subject"]}
    audited = [
        path
        for path in checkout.glob(".edgeaudit/*/*/*.onnx")
        if hashlib.sha256(path.read_bytes()).hexdigest() in digests
    ]
    model = checkout / "model.onnx"
    shutil.copy(audited[0], model)
    given = {"vars.EDGEAUDIT_PUBLIC_KEY": public}
    verified = github_step(WORKFLOW, "Verify", checkout, given)
    assert verified.code == 0, verified.stdout + verified.stderr
    key = checkout / "key-of-gitlab.pem"
    key.write_text(public, encoding="utf-8")
    assert gitlab_script("deploy", "script", checkout, EDGEAUDIT_PUBLIC_KEY=str(key)).code == 0
    model.write_bytes(model.read_bytes() + b"\0")
    assert github_step(WORKFLOW, "Verify", checkout, given).code == 1
    assert gitlab_script("deploy", "script", checkout, EDGEAUDIT_PUBLIC_KEY=str(key)).code == 1


@pytest.mark.parametrize("name", ["strict", "broken"])
def test_a_job_fails_unless_budgets_hold(checkout: Path, name: str) -> None:
    given = {"inputs.audit": f"{name}.yaml", "inputs.out": f"out-{name}"}
    done = github_step(ACTION, "Audit", checkout, given)
    verdict = checkout / f"out-{name}" / "verdict.json"
    if name == "broken":
        assert (done.code, done.outputs["outcome"]) == (2, "error")
        assert not verdict.exists()
        assert "auk" in done.stderr
        return
    found = json.loads(verdict.read_text("utf-8"))
    assert done.code in (1, 3)
    assert (found["exit_code"], found["outcome"]) == (done.code, done.outputs["outcome"])
    assert f"(exit code {done.code})" in done.stdout


def test_gitlabs_job_does_the_same(checkout: Path) -> None:
    key = checkout / "signing.pem"
    key.write_bytes(Ed25519PrivateKey.generate().private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    key.chmod(0o600)
    out = checkout / "edgeaudit-out"
    shutil.rmtree(out)
    done = gitlab_script("audit", "script", checkout, EDGEAUDIT_SIGNING_KEY=str(key))
    assert done.code == 0, done.stderr
    for path in read(GITLAB)["audit"]["artifacts"]["paths"]:
        assert (checkout / path).stat().st_size > 0
    assert gitlab_script("audit", "after_script", checkout).code == 0
    assert not list(checkout.glob(".edgeaudit/**/x.npy"))


def test_the_hook_is_run_by_pre_commit(
    bench: Workbench, root_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    hooks = tmp_path_factory.mktemp("hooks")
    shutil.copy(root_folder / ".pre-commit-hooks.yaml", hooks)
    git = "git -c user.name=t -c user.email=t@example.org"
    made = bash(
        f"git init -q && git add .pre-commit-hooks.yaml && {git} commit -qm hooks && git rev-parse HEAD", hooks, {}
    )
    assert made.code == 0, made.stderr
    config = {"repos": [{"repo": str(hooks), "rev": made.stdout.strip(), "hooks": [{"id": "edgeaudit-plan"}]}]}
    (bench.folder / ".pre-commit-config.yaml").write_text(json.dumps(config), encoding="utf-8")
    (bench.folder / "models").mkdir()
    bench.write("audit", **SETTINGS)
    (bench.folder / "unrelated.yaml").write_text("no: audit\n", encoding="utf-8")
    commit = (
        f"git init -q && git add *.yaml models && {git} commit -qm x && "
        "pre-commit run --verbose edgeaudit-plan --all-files"
    )
    home = {"PRE_COMMIT_HOME": str(tmp_path_factory.mktemp("home"))}
    good = bash(commit, bench.folder, home)
    assert good.code == 0, good.stdout + good.stderr
    assert "Passed" in good.stdout
    assert "100 members, 100 nonmembers" in good.stdout
    # The second of two files is planned, too; the first one that is wrong ends it.
    bench.write("models/audit", **SETTINGS, budgets={"auk": ["error", {"max": 0.5}]})
    bad = bash(commit.replace("-qm x", "-qm y"), bench.folder, home)
    assert bad.code == 1
    assert "Failed" in bad.stdout
    assert "exit code: 2" in bad.stdout
    assert "auk" in bad.stdout


def test_what_the_dockerfile_copies_is_what_pip_needs(root_folder: Path, tmp_path: Path) -> None:
    # No image is built here: this is its COPY instructions, and the wheel that pip makes of what they bring.
    source = tmp_path / "src"
    source.mkdir()
    text = (CI / "Dockerfile").read_text(encoding="utf-8")
    copies = re.findall(r"^COPY (?!--from)(.+) (\S+)$", text, re.MULTILINE)
    for names, target in copies:
        for name in names.split():
            origin = root_folder / name
            into = source / (target if origin.is_dir() else name)
            if origin.is_dir():
                shutil.copytree(origin, into, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copy(origin, into)
    build = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        str(source),
    ]
    subprocess.run(build, check=True)
    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as archive:
        packed = {name for name in archive.namelist() if name.endswith(".py")}
    for package in ("edgeaudit", "exporters", "device_profiles"):
        within = {f.relative_to(root_folder).as_posix() for f in (root_folder / package).rglob("*.py")}
        prefix = "" if package == "edgeaudit" else "edgeaudit/"
        assert {prefix + name for name in within} <= packed
    assert re.search(r'^ENTRYPOINT \["edgeaudit"\]$', text, re.MULTILINE)
    assert re.search(r"^USER (?!root|0$)", text, re.MULTILINE)
