"""What passes, and what does not: forged, changed and foreign evidence, other files, and verdicts that are no pass."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from typer.testing import CliRunner

import edgeaudit
from edgeaudit.attestation.verification import verify_evidence
from edgeaudit.cli import app
from edgeaudit.errors import AttestationError, SpecError
from edgeaudit.report.model.verdict import Waiver
from tests.attestation.cases import BUDGETS, IN_TOTO, Desk, budget, control, format_result, pae, sha256


@pytest.fixture
def model(desk: Desk) -> Path:
    """A file within its budget; beside it one that is not. The evidence of both is signed."""
    file, other = desk.file("model.tflite"), desk.file("other.tflite", b"pruned")
    desk.audited(
        [format_result("litert-int8", file), format_result("nncf-pruned", other)],
        [budget("litert-int8"), budget("nncf-pruned", "fail")],
        "budget exceeded",
        [control(), control("warning", "litert-int8"), control("not run")],
    )
    desk.sign()
    return file


def test_a_file_within_its_budgets_passes_whatever_another_format_does(desk: Desk, model: Path) -> None:
    found = desk.verify(model, audit=desk.run / "audit.json", budgets=BUDGETS)
    assert (found.exit_code, found.reasons) == (0, ())
    (checked,) = found.files
    assert (checked.finding, checked.formats, checked.budgets) == ("passed", ("litert-int8",), 1)
    assert found.line.startswith("VERIFIED (exit code 0): model.tflite (litert-int8) within 1 budget check of")
    assert "limits read before figures were known" in found.line
    other = desk.verify(desk.folder / "other.tflite")
    assert other.exit_code == 1
    assert "budget auc <= 0.7 is exceeded: lira/offline 0.600 [0.550, 0.650]" in other.line
    both = desk.verify(model, desk.folder / "other.tflite")
    assert both.exit_code == 1
    assert [one.finding for one in both.files] == ["passed", "refused"]


def test_a_renamed_file_is_the_same_file(desk: Desk, model: Path) -> None:
    assert desk.verify(model.rename(desk.folder / "product.bin")).exit_code == 0


def test_a_changed_file_does_not_pass(desk: Desk, model: Path) -> None:
    model.write_bytes(model.read_bytes() + b"\0")
    found = desk.verify(model)
    assert (found.exit_code, found.files[0].finding) == (1, "refused")
    assert "is no file that was audited" in found.line


def test_other_subjects_are_no_artifacts(desk: Desk, model: Path) -> None:
    assert desk.verify(desk.run / "audit.json").exit_code == 1  # its digest is a subject's


def test_another_audit_and_other_budgets_do_not_pass(desk: Desk, model: Path) -> None:
    audit = desk.run / "audit.json"
    changed = desk.file("changed.json", audit.read_bytes().replace(b"resnet8", b"resnet9"))
    found = desk.verify(model, audit=changed)
    assert (found.exit_code, found.reasons) == (1, (f"{changed} is not the audit.json that was signed",))
    found = desk.verify(model, budgets={"auc": ["error", {"max": 0.71}]})
    assert (found.exit_code, found.reasons) == (1, ("the budgets given are not those that were judged",))
    file = desk.file("audit.yaml", b"budgets: {auc: [error, {max: 0.7}]}")
    assert desk.verify(model, budgets=file).exit_code == 0
    with pytest.raises(SpecError, match="budgets: there are none in what was given"):
        desk.verify(model, budgets={})


def test_evidence_without_limits_has_not_judged_the_budgets_given(desk: Desk) -> None:
    file = desk.file("model.tflite")
    desk.audited([format_result("litert-int8", file)], [], "not judged")
    desk.sign()
    found = desk.verify(file, budgets=BUDGETS)
    assert found.exit_code == 1
    assert "the evidence names no budgets" in found.line


def test_a_foreign_key_does_not_pass(desk: Desk, model: Path) -> None:
    _, public = desk.keys("foreign", Ed25519PrivateKey.generate())
    found = desk.verify(model, key=public)
    assert (found.exit_code, found.statement, found.files) == (1, None, ())
    assert "no signature of" in found.line


def test_the_hint_of_a_key_proves_nothing(desk: Desk, model: Path) -> None:
    """A stranger signs what he likes and writes our key's id beside it."""
    path = desk.folder / "evidence.json"
    envelope = json.loads(path.read_text())
    stranger = Ed25519PrivateKey.generate()
    payload = base64.b64decode(envelope["payload"])
    envelope["signatures"][0]["sig"] = base64.b64encode(stranger.sign(pae(IN_TOTO, payload))).decode()
    path.write_text(json.dumps(envelope))
    assert desk.verify(model).exit_code == 1


def test_our_signature_of_something_else_does_not_help(desk: Desk, model: Path) -> None:
    """Two signatures: a stranger's of this payload, and ours of another one."""
    path = desk.folder / "evidence.json"
    envelope = json.loads(path.read_text())
    ours = base64.b64decode(envelope["signatures"][0]["sig"])
    forged = base64.b64decode(envelope["payload"]).replace(b'"verdict":"fail"', b'"verdict":"pass"')
    desk.write_envelope(forged, [Ed25519PrivateKey.generate().sign(pae(IN_TOTO, forged)), ours])
    assert desk.verify(model).exit_code == 1
    desk.write_envelope(forged, [ours, b"", b"\0" * 64])
    assert desk.verify(model).exit_code == 1


def test_a_second_signature_does_no_harm(desk: Desk, model: Path) -> None:
    payload = json.dumps(desk.statement()).encode()
    signatures = [key.sign(pae(IN_TOTO, payload)) for key in (Ed25519PrivateKey.generate(), desk.signer)]
    desk.write_envelope(payload, signatures)
    assert desk.verify(model).exit_code == 0
    desk.write_envelope(payload, signatures * 17)
    with pytest.raises(AttestationError, match="has 34 signatures; one to 32 are read"):
        desk.verify(model)
    desk.write_envelope(payload, [])
    with pytest.raises(AttestationError, match="has 0 signatures"):
        desk.verify(model)


def test_the_other_alphabet_of_base64_is_read(desk: Desk, model: Path) -> None:
    """DSSE: either alphabet. Bytes that both alphabets write differently are made by trying names."""
    path = desk.folder / "evidence.json"
    envelope: dict[str, Any] = {"signatures": [{"sig": ""}]}
    names = (f"{number} ÿþÿþ" for number in range(200))
    while not set("+/") & set(envelope["signatures"][0]["sig"]):
        desk.sign(responsible=next(names))
        envelope = json.loads(path.read_text())
    for one in (envelope, envelope["signatures"][0]):
        name = "payload" if one is envelope else "sig"
        one[name] = one[name].replace("+", "-").replace("/", "_")
    path.write_text(json.dumps(envelope))
    assert desk.verify(model).exit_code == 0


def test_every_changed_byte_of_an_envelope_is_noticed(desk: Desk, model: Path) -> None:
    path = desk.folder / "evidence.json"
    good = path.read_bytes()
    start, end = good.index(b'"payload":"') + 11, good.index(b'","payloadType"')
    for place in range(start, end - 3, 97):
        letter = b"A" if good[place : place + 1] != b"A" else b"B"
        path.write_bytes(good[:place] + letter + good[place + 1 :])
        assert desk.verify(model).exit_code == 1
    path.write_bytes(good)
    assert desk.verify(model).exit_code == 0


DAMAGED: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "truncated": (lambda text: text[:-20], "is not JSON"),
    "empty": (lambda _: b"", "is not JSON"),
    "not text": (lambda text: b"\xff" + text, "is not JSON"),
    "a list": (lambda text: b"[" + text + b"]", "is no JSON object"),
    "another file": (lambda _: b'{"schema_version": "1.0"}', "is no DSSE envelope"),
    "not base64": (lambda text: text.replace(b'"payload":"', b'"payload":"!'), "payload is not base64"),
    "a number": (lambda text: text.replace(b'"payload":"', b'"payload":1,"x":"'), "payload is not base64"),
    "a second payload": (lambda text: text.replace(b"{", b'{"payload":"e30=",', 1), "'payload' stands twice"),
    "a second sig": (lambda text: text.replace(b'"sig":', b'"sig":"","sig":'), "'sig' stands twice"),
    "a signature of no kind": (lambda text: text.replace(b'"sig":', b'"gis":'), "sig is not base64"),
    "signatures of no kind": (lambda text: text.replace(b'"signatures":', b'"signatures":{},"x":'), "no DSSE envelope"),
    "nested": (lambda _: b'{"a":' * 100_000, "nested too deeply|is not JSON"),
    "NaN": (lambda text: text.replace(b"{", b'{"x":NaN,', 1), "is not JSON"),
    "a long number": (lambda text: text.replace(b"{", b'{"x":' + b"9" * 5000 + b",", 1), "is not JSON"),
    "huge": (lambda text: text + b" " * (8 * 2**20), "has more than 8,388,608 bytes"),
    "another type": (lambda text: text.replace(b"vnd.in-toto", b"vnd.other"), "payloadType is 'application/vnd.other"),
}


@pytest.mark.parametrize("damage", DAMAGED)
def test_a_damaged_envelope_cannot_be_read(desk: Desk, model: Path, damage: str) -> None:
    path, (change, sentence) = desk.folder / "evidence.json", DAMAGED[damage]
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(AttestationError, match=sentence):
        desk.verify(model)


STATEMENTS: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "another statement": (lambda s: s.update(_type="https://in-toto.io/Statement/v0.1"), "_type is not https"),
    "another predicate": (lambda s: s.update(predicateType="https://slsa.dev/provenance/v1"), "name another file"),
    "a newer type": (
        lambda s: s.update(predicateType="urn:edgeaudit:leakage-audit:v2"),
        "verify it with the edgeaudit that wrote it",
    ),
    "a newer schema": (lambda s: s["predicate"].update(schema_version="2.0"), "schema_version is '2.0'"),
    "no schema": (lambda s: s["predicate"].pop("schema_version"), "schema_version is 'None'"),
    "no predicate": (lambda s: s.update(predicate=[]), "schema_version is 'None'"),
    "no budgets": (lambda s: s["predicate"].pop("budgets"), "predicate.budgets: Field required"),
    "budgets of no kind": (lambda s: s["predicate"].update(budgets=["pass"]), r"predicate\.budgets\.0"),
    "no controls": (lambda s: s["predicate"].pop("controls"), "predicate.controls: Field required"),
    "no subjects": (lambda s: s.update(subject=[]), "audit.json is stated, and not among the subjects"),
    "an artifact that is no subject": (
        lambda s: s["predicate"]["artifacts"][0].update(sha256="0" * 64),
        "litert-int8/local/model.tflite is stated, and not among the subjects",
    ),
    "a digest of no kind": (lambda s: s["predicate"]["artifacts"][0].update(sha256="0"), "sha256"),
    "an artifact twice": (
        lambda s: s["predicate"]["artifacts"].append(s["predicate"]["artifacts"][0]),
        "a format stands twice",
    ),
    "a companion elsewhere": (
        lambda s: s["predicate"]["artifacts"][0].update(companions={"../x": s["subject"][0]["digest"]["sha256"]}),
        "the companion '../x' lies outside",
    ),
}


@pytest.mark.parametrize("change", STATEMENTS)
def test_signed_statements_of_another_kind_cannot_be_read(desk: Desk, model: Path, change: str) -> None:
    edit, sentence = STATEMENTS[change]
    desk.resign(edit)
    with pytest.raises(AttestationError, match=sentence):
        desk.verify(model)


@pytest.mark.parametrize(
    ("payload", "sentence"),
    [
        (b"not json", "payload is not JSON"),
        (b'{"_type":"a","_type":"b"}', "'_type' stands twice"),
        (b"[]", "no JSON obj"),
    ],
)
def test_signed_payloads_that_are_no_statements_cannot_be_read(
    desk: Desk, model: Path, payload: bytes, sentence: str
) -> None:
    desk.resign(payload)
    with pytest.raises(AttestationError, match=sentence):
        desk.verify(model)


def test_a_key_that_stands_twice_in_a_signed_row_cannot_be_read(desk: Desk, model: Path) -> None:
    text = json.dumps(desk.statement()).replace('"verdict": "fail"', '"verdict": "fail", "verdict": "pass"')
    desk.resign(text.encode())
    with pytest.raises(AttestationError, match="the key 'verdict' stands twice"):
        desk.verify(desk.folder / "other.tflite")


def test_keys_that_later_versions_add_are_ignored(desk: Desk, model: Path) -> None:
    def newer(statement: dict[str, Any]) -> None:
        statement["predicate"].update(schema_version="1.7", more={"a": 1})
        for row in statement["predicate"]["budgets"]:
            row["waiver"] = {"owner": "A"}

    desk.resign(newer)
    assert desk.verify(model).exit_code == 0
    assert desk.verify(desk.folder / "other.tflite").exit_code == 1


def _row(**values: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda statement: statement["predicate"]["budgets"][0].update(values)


def _verdict(outcome: str, *failed: str) -> Callable[[dict[str, Any]], Any]:
    return lambda s: s["predicate"]["verdict"].update(outcome=outcome, failed=list(failed))


def _control(status: str, of: str | None) -> Callable[[dict[str, Any]], Any]:
    return lambda s: s["predicate"]["controls"][0].update(status=status, format=of)


OPEN: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "an inconclusive row": (_row(verdict="inconclusive"), "is undecided"),
    "a waived row": (_row(verdict="waived"), "is 'waived', which does not pass"),
    "another case": (_row(verdict="PASS"), "is 'PASS', which does not pass"),
    "no status": (_row(verdict=""), "is '', which does not pass"),
    "warnings alone": (_row(level="warn"), "was not judged as litert-int8: no budget of level error"),
    "rows of another format": (_row(format="litert-int9"), "was not judged as litert-int8"),
    "rows of another device": (_row(device="pi4"), "was not judged as litert-int8"),
    "no rows": (lambda s: s["predicate"].update(budgets=[]), "was not judged as litert-int8"),
    "an audit that judged nothing": (_verdict("not judged"), "the audit judged nothing"),
    "an audit that is not valid": (_verdict("invalid"), "the audit is not valid"),
    "an audit with an error": (_verdict("error"), "the audit ended in an error"),
    "a failed format": (_verdict("within budget", "onnx-int8"), "onnx-int8 could not be audited"),
    "an unknown outcome": (_verdict("waived"), "the audit's outcome is 'waived'"),
    "a failed control": (_control("failed", None), "the control null target failed"),
    "another format's failed control": (_control("failed", "nncf-pruned"), "null target .nncf-pruned. failed"),
    "an undecided control": (_control("undecided", None), "the control null target is undecided"),
    "this format's undecided control": (_control("undecided", "litert-int8"), "null target .litert-int8. is undecided"),
    "a control of no known format": (_control("undecided", "litert-int"), "null target .litert-int. is undecided"),
    "an unknown control": (_control("skipped", None), "is skipped"),
}


@pytest.mark.parametrize("change", OPEN)
def test_what_is_open_or_not_known_does_not_pass(desk: Desk, model: Path, change: str) -> None:
    edit, sentence = OPEN[change]
    desk.resign(edit)
    found = desk.verify(model)
    assert found.exit_code == 3
    assert found.line.startswith("UNDECIDED (exit code 3): ")
    (reason,) = found.reasons
    assert re.search(sentence, reason), reason


REFUSED: dict[str, Callable[[dict[str, Any]], Any]] = {
    "exceeded": _row(verdict="fail"),
    "exceeded on all devices": _row(verdict="fail", device=None),
    "exceeded, of an unknown level": _row(verdict="fail", level="critical"),
    "exceeded, in an audit that says otherwise": lambda s: (
        _row(verdict="fail")(s),
        _verdict("within budget")(s),
    ),
}


@pytest.mark.parametrize("change", REFUSED)
def test_an_exceeded_budget_refuses(desk: Desk, model: Path, change: str) -> None:
    desk.resign(REFUSED[change])
    assert desk.verify(model).exit_code == 1


def test_an_exceeded_warning_and_another_formats_open_control_do_not_matter(desk: Desk, model: Path) -> None:
    def change(statement: dict[str, Any]) -> None:
        rows = statement["predicate"]["budgets"]
        rows.append({**rows[0], "level": "warn", "verdict": "fail"})
        _control("undecided", "nncf-pruned")(statement)

    desk.resign(change)
    assert desk.verify(model).exit_code == 0


def test_a_file_has_to_pass_on_every_device(desk: Desk) -> None:
    file = desk.file("model.tflite")
    desk.audited(
        [format_result("litert-int8", file), format_result("litert-int8", file, "pi4")],
        [budget("litert-int8"), budget("litert-int8", "inconclusive", device="pi4")],
        "inconclusive",
    )
    desk.sign()
    found = desk.verify(file)
    assert found.exit_code == 3
    assert found.files[0].formats == ("litert-int8", "litert-int8 @ pi4")
    assert "(litert-int8 @ pi4): budget auc <= 0.7 is undecided" in found.line
    desk.resign(lambda s: s["predicate"]["budgets"][1].update(verdict="fail"))
    assert desk.verify(file).exit_code == 1
    desk.resign(lambda s: s["predicate"]["budgets"].pop())  # judged on one of them alone
    assert desk.verify(file).exit_code == 3
    desk.resign(lambda s: s["predicate"]["budgets"][0].update(device=None))
    assert desk.verify(file).exit_code == 0


class TestCompanions:
    """Files that are a model together with others beside them."""

    @pytest.fixture
    def onnx(self, desk: Desk) -> Path:
        file = desk.file("onnx/net.onnx", b"graph")
        desk.file("onnx/data/a.bin", b"one")
        desk.file("onnx/b.bin", b"two")
        result = format_result("onnx-int8", file, companions=["data/a.bin", "b.bin"])
        desk.audited([result], [budget("onnx-int8")])
        desk.sign()
        return file

    def test_they_are_compared(self, desk: Desk, onnx: Path) -> None:
        assert desk.verify(onnx).exit_code == 0
        moved = onnx.rename(onnx.with_name("product.onnx"))
        assert desk.verify(moved).exit_code == 0
        (onnx.parent / "data" / "a.bin").write_bytes(b"eno")
        found = desk.verify(moved)
        assert found.exit_code == 1
        assert f"a.bin, beside {moved}, was changed" in found.line

    def test_one_that_is_missing_or_a_link_cannot_be_read(self, desk: Desk, onnx: Path) -> None:
        companion = onnx.parent / "b.bin"
        aside = companion.rename(desk.folder / "aside.bin")
        with pytest.raises(AttestationError, match=r"b\.bin: the weights beside it cannot be read: No such file"):
            desk.verify(onnx)
        companion.symlink_to(aside)
        with pytest.raises(AttestationError, match="is a link"):
            desk.verify(onnx)

    def test_a_folder_that_leads_elsewhere_cannot_be_read(self, desk: Desk, onnx: Path) -> None:
        folder = onnx.parent / "data"
        folder.rename(desk.folder / "elsewhere")
        folder.symlink_to(desk.folder / "elsewhere")
        with pytest.raises(AttestationError, match=r"a link leads out of the folder of net\.onnx"):
            desk.verify(onnx)

    def test_a_companion_alone_is_no_artifact(self, desk: Desk, onnx: Path) -> None:
        found = desk.verify(onnx.parent / "b.bin")
        assert found.exit_code == 1
        assert "ships beside net.onnx, which has to be named" in found.line

    def test_openvino_finds_weights_by_the_name_of_the_xml(self, desk: Desk) -> None:
        """A renamed .xml reads the .bin of its new name: good weights under the old name prove nothing."""
        file = desk.file("net.xml", b"<net/>")
        desk.file("net.bin", b"good")
        desk.audited([format_result("ov-int8", file, companions=["net.bin"])], [budget("ov-int8")])
        desk.sign()
        assert desk.verify(file).exit_code == 0
        renamed = desk.file("product.xml", b"<net/>")
        with pytest.raises(AttestationError, match=r"product\.bin: the weights beside it cannot be read"):
            desk.verify(renamed)
        desk.file("product.bin", b"evil")
        assert desk.verify(renamed).exit_code == 1
        desk.file("product.bin", b"good")
        assert desk.verify(renamed).exit_code == 0

    def test_one_graph_with_two_sets_of_weights_is_two_models(self, desk: Desk) -> None:
        """The int8 file passes and the pruned one does not; their .xml are equal byte by byte."""
        first, second = desk.file("a/net.xml", b"<net/>"), desk.file("b/net.xml", b"<net/>")
        desk.file("a/net.bin", b"int8")
        desk.file("b/net.bin", b"pruned")
        files = {"ov-int8": first, "ov-pruned": second}
        desk.audited(
            [format_result(name, file, companions=["net.bin"]) for name, file in files.items()],
            [budget("ov-int8"), budget("ov-pruned", "fail")],
            "budget exceeded",
        )  # fmt: skip
        desk.sign()
        assert desk.verify(first).exit_code == 0
        assert desk.verify(second).exit_code == 1

    def test_one_file_with_weights_of_several_names_cannot_be_told(self, desk: Desk) -> None:
        first, second = desk.file("a/net.onnx", b"graph"), desk.file("b/net.onnx", b"graph")
        desk.file("b/w.bin", b"pruned")
        desk.audited(
            [format_result("onnx-int8", first), format_result("pruned", second, companions=["w.bin"])],
            [budget("onnx-int8"), budget("pruned", "fail")],
        )
        desk.sign()
        for file in (first, second):
            with pytest.raises(AttestationError, match="audited with weights of several names"):
                desk.verify(file)


def test_links_pipes_and_folders_are_no_artifacts(desk: Desk, model: Path) -> None:
    link, pipe = desk.folder / "link.tflite", desk.folder / "pipe"
    link.symlink_to(model)
    os.mkfifo(pipe)
    for path, sentence in (
        (link, "is a link, which may lead elsewhere later"),
        (pipe, "is no regular file"),
        (desk.folder, "is no regular file"),
        (desk.folder / "none.tflite", "cannot be read: No such file"),
        (desk.folder / "a\0b", "null byte"),
    ):
        with pytest.raises(AttestationError, match=sentence):
            desk.verify(path)
    with pytest.raises(AttestationError, match="no artifact was named"):
        desk.verify()


def test_a_key_that_is_mounted_as_a_link_is_read(desk: Desk, model: Path) -> None:
    link = desk.folder / "mounted.pem"
    link.symlink_to(desk.public)
    assert desk.verify(model, key=link).exit_code == 0


def test_other_keys_cannot_be_read(desk: Desk, model: Path) -> None:
    other = ec.generate_private_key(ec.SECP256R1()).public_key()
    cases = {
        "is a private key, which a step that verifies must not have": desk.private.read_bytes(),
        "of another algorithm": other.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "no public key in PEM": b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n",
        "no PEM text": b"\xff",
        "2 PEM blocks": desk.public.read_bytes() * 2,
    }
    for sentence, content in cases.items():
        with pytest.raises(AttestationError, match=sentence):
            desk.verify(model, key=desk.file("other.pem", content))


class TestCommandLine:
    """Exit codes, the line, and JSON."""

    def _run(self, desk: Desk, model: Path, *more: str) -> tuple[int, str]:
        arguments = ["verify", str(desk.folder / "evidence.json"), "--key", str(desk.public), "--artifact", str(model)]
        done = CliRunner().invoke(app, [*arguments, *more])
        return done.exit_code, done.stdout

    def test_one_line_or_json(self, desk: Desk, model: Path) -> None:
        code, text = self._run(desk, model)
        assert code == 0
        assert len(text.strip().splitlines()) == 1
        code, text = self._run(desk, model, "--json", "--audit", str(desk.run / "audit.json"))
        found = json.loads(text)
        assert (code, found["verified"], found["exit_code"], found["reasons"]) == (0, True, 0, [])
        assert found["files"][0]["sha256"] == sha256(b"weights")
        code, text = self._run(desk, desk.folder / "other.tflite", "--json")
        assert (code, json.loads(text)["verified"], json.loads(text)["exit_code"]) == (1, False, 1)

    def test_what_cannot_be_read_is_json_too(self, desk: Desk, model: Path) -> None:
        (desk.folder / "evidence.json").write_text("{")
        code, text = self._run(desk, model, "--json")
        assert code != 0
        assert json.loads(text) == {"verified": False, "exit_code": 2, "reasons": [json.loads(text)["reasons"][0]]}

    def test_an_artifact_and_a_key_are_required(self, desk: Desk, model: Path) -> None:
        evidence = str(desk.folder / "evidence.json")
        for arguments in (["--key", str(desk.public)], ["--artifact", str(model)]):
            assert CliRunner().invoke(app, ["verify", evidence, *arguments]).exit_code == 2

    def test_names_in_evidence_do_not_control_the_terminal(self, desk: Desk, model: Path) -> None:
        desk.resign(lambda s: s["predicate"].update(name="\x1b[2Jnamed\nVERIFIED"))
        _, text = self._run(desk, model)
        assert "\x1b" not in text
        assert len(text.strip().splitlines()) == 1

    def test_signing_says_where_and_warns(self, desk: Desk, model: Path) -> None:
        desk.private.chmod(0o644)
        done = CliRunner().invoke(app, ["sign", str(desk.run), "--key", str(desk.private)])
        assert done.exit_code == 0
        assert "evidence.dsse.json, signed by key" in done.stdout
        assert "has mode 0644" in done.stderr


def test_a_budget_of_the_pipeline_is_said_to_be_one(desk: Desk, model: Path) -> None:
    row = budget("litert-int8").model_copy(update={"scope": "pipeline"})
    desk.audited([format_result("litert-int8", model)], [row, budget("litert-int8")])
    desk.sign()
    found = desk.verify(model)
    assert found.exit_code == 0
    assert "2 budget checks (1 of them on the mean of files that the pipeline makes, not on this file)" in found.line


class TestWaivers:
    """A row that a policy waives passes until its waivers end, by the clock of whoever verifies."""

    @staticmethod
    def waiver(expires: str) -> Waiver:
        return Waiver(
            metric="auc", formats=("onnx-int8",), device=None, subset="all", attack=None, scope="file", against=None,
            max=None, owner="privacy", reason="recall in spring", expires=expires,
        )  # fmt: skip

    def signed(self, desk: Desk, model: Path, verdict: str, *expires: str) -> Callable[[str], edgeaudit.Verification]:
        """Sign an audit whose only row is waived; gives what verifying it on a day finds."""
        row = budget("onnx-int8", verdict).model_copy(update={"waived_by": tuple(map(self.waiver, expires))})
        desk.audited([format_result("onnx-int8", model)], [row])
        desk.sign()

        def on(day: str) -> edgeaudit.Verification:
            return verify_evidence(desk.folder / "evidence.json", desk.public, [model], today=date.fromisoformat(day))

        return on

    @pytest.mark.parametrize("verdict", ["fail", "inconclusive"])
    def test_they_hold_to_their_last_day(self, desk: Desk, model: Path, verdict: str) -> None:
        on = self.signed(desk, model, verdict, "2027-01-31")
        found = on("2027-01-31")
        assert found.exit_code == 0
        assert "within 1 budget check (waived until 2027-01-31 by privacy) of the audit" in found.line
        assert found.to_json()["files"][0]["waived"] == ["until 2027-01-31 by privacy"]
        ended = on("2027-02-01")
        assert ended.exit_code == 1
        assert "the waiver of privacy ended on 2027-01-31" in ended.line

    def test_of_several_the_first_to_end_decides(self, desk: Desk, model: Path) -> None:
        on = self.signed(desk, model, "fail", "2027-06-30", "2027-01-31")
        assert [on(day).exit_code for day in ("2027-01-31", "2027-02-01")] == [0, 1]

    def test_a_verdict_that_is_not_known_is_not_waived(self, desk: Desk, model: Path) -> None:
        self.signed(desk, model, "fail", "2999-12-31")
        desk.resign(lambda statement: statement["predicate"]["budgets"][0].update(verdict="postponed"))
        assert desk.verify(model).exit_code == 1

    def test_a_day_that_is_none_cannot_be_read(self, desk: Desk, model: Path) -> None:
        self.signed(desk, model, "fail", "2027-01-31")
        desk.resign(lambda statement: statement["predicate"]["budgets"][0]["waived_by"][0].update(expires="never"))
        with pytest.raises(AttestationError, match="expires"):
            desk.verify(model)

    def test_the_policy_given_has_to_be_the_one_that_was_judged(self, desk: Desk, model: Path) -> None:
        policy = desk.file("policy.yaml", b"name: privacy\nbudgets: {auc: [error, {max: 0.7}]}\n")
        desk.audited([format_result("onnx-int8", model)], [budget("onnx-int8")])
        desk.sign()
        without = desk.verify(model, policy=policy)
        assert (without.exit_code, without.reasons) == (
            1, ("the evidence names no policy, so that the one given was not judged",)
        )  # fmt: skip
        signed = {"name": "privacy", "owner": None, "sha256": sha256(policy.read_bytes()), "before_figures": True}

        def named(statement: dict[str, Any]) -> None:
            statement["predicate"]["files"]["policy"] = signed
            statement["subject"].append({"name": "policy", "digest": {"sha256": signed["sha256"]}})

        desk.resign(named)
        assert desk.verify(model, policy=policy).exit_code == 0
        policy.write_bytes(b"name: privacy\nbudgets: {auc: [error, {max: 0.8}]}\n")
        changed = desk.verify(model, policy=policy)
        assert (changed.exit_code, changed.reasons) == (1, ("the policy given is not the one that was judged",))
