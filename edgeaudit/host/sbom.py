"""The software bill of materials of this Python environment, as CycloneDX 1.6 in JSON."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

from edgeaudit.host.lock import LOCKS, locked

__all__ = ["sbom", "sbom_text"]

_OWN = "edgeaudit"
_SCHEMA = "http://cyclonedx.org/schema/bom-1.6.schema.json"


def sbom(folder: Path | None = None) -> dict[str, Any]:
    """Describe edgeaudit and every installed distribution, with licences and what each requires.

    It names no path, user or machine. The time is that of SOURCE_DATE_EPOCH where it is set; then the same environment
    gives the same bytes.

    Args:
        folder: has the lock files with the SHA-256 of what was installed; a distribution of another version has none.
    """
    digests: dict[str, tuple[str, str]] = {}
    for name in LOCKS if folder is not None else ():
        path = Path(folder or "", name)
        digests |= locked(path) if path.is_file() else {}
    found: dict[str, metadata.Distribution] = {}
    for one in metadata.distributions():
        if one.metadata["Name"]:  # leftovers of an interrupted installation have none
            found.setdefault(canonicalize_name(one.metadata["Name"]), one)
    references = {name: f"pkg:pypi/{name}@{one.version}" for name, one in sorted(found.items())}
    components = {name: _component(name, found[name], references[name], digests.get(name)) for name in references}
    if (own := components.pop(_OWN, None)) is not None:
        own["type"] = "application"
    requires = [
        {
            "ref": references[name],
            "dependsOn": sorted(references[other] for other in _requires(found[name], references)),
        }
        for name in references
    ]
    content = {
        "metadata": {"timestamp": _time(), **({} if own is None else {"component": own})},
        "components": list(components.values()),
        "dependencies": requires,
    }
    number = uuid.uuid5(uuid.NAMESPACE_URL, json.dumps(content, sort_keys=True))
    return {
        "$schema": _SCHEMA,
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{number}",
        "version": 1,
        **content,
    }


def sbom_text(folder: Path | None = None) -> str:
    """`sbom` as text."""
    return json.dumps(sbom(folder), indent=1) + "\n"


def _time() -> str:
    epoch = os.environ.get("SOURCE_DATE_EPOCH", "")
    moment = datetime.fromtimestamp(int(epoch), UTC) if epoch.isdecimal() else datetime.now(UTC)
    return moment.isoformat(timespec="seconds").replace("+00:00", "Z")


def _component(
    name: str, found: metadata.Distribution, reference: str, digest: tuple[str, str] | None
) -> dict[str, Any]:
    about: Any = found.metadata  # an email.message.Message, whose type leaves out `get`
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": reference,
        "name": name,
        "version": found.version,
        "purl": reference,
    }
    if summary := about.get("Summary", ""):
        component["description"] = summary
    if licence := _licence(about):
        component["licenses"] = [licence]
    if digest is not None and digest[0] == found.version:
        component["hashes"] = [{"alg": "SHA-256", "content": digest[1]}]
    return component


def _licence(about: Any) -> dict[str, Any] | None:
    """An SPDX expression where the distribution states one, or else the name that it gives."""
    if expression := about.get("License-Expression"):
        return {"expression": expression}
    classifiers = [text for text in about.get_all("Classifier") or () if text.startswith("License ::")]
    text = (about.get("License") or "").strip()
    if text and "\n" not in text and len(text) < 100:  # some have the whole text of the licence here
        return {"license": {"name": text}}
    return {"license": {"name": classifiers[0].rpartition(" :: ")[2]}} if classifiers else None


def _requires(found: metadata.Distribution, installed: Mapping[str, str]) -> Iterator[str]:
    """Installed distributions that one requires, without extras."""
    seen = set()
    for text in found.requires or ():
        try:
            requirement = Requirement(text)
        except InvalidRequirement:  # of old packages
            continue
        name = canonicalize_name(requirement.name)
        applies = requirement.marker is None or requirement.marker.evaluate({"extra": ""})
        if applies and name in installed and name not in seen:
            seen.add(name)
            yield name
