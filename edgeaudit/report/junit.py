"""JUnit XML, which build servers show as test results.

JUnit has no word for a budget that the records cannot decide. Such a case is `skipped`, which dashboards show as green;
so the last case, `gate`, is an error wherever the verdict is neither a pass nor a fail. Controls that fail are errors,
not failures: the test could not be made.

A waived limit is `skipped`, as test frameworks report what is expected to fail: counted apart and with its reason,
where `passed` would say that the limit is met. The gate passes if nothing else counts.

The file follows the schema of Jenkins (junit-4.xsd), in which `skipped` is a text without attributes and only suites
count what was skipped.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree as ET

from edgeaudit.report.cases import GATE, CaseStatus, JudgedCase, judged_cases
from edgeaudit.report.files import write_atomically
from edgeaudit.report.model import Audit
from edgeaudit.report.words import printable
from edgeaudit.report.writers import Writer, WriterSpec

__all__ = ["JUnitWriter"]

_ELEMENTS: dict[CaseStatus, str] = {
    "failed": "failure", "invalid": "error", "error": "error", "open": "skipped", "waived": "skipped",
    "not run": "skipped",
}  # fmt: skip


class JUnitWriter(Writer):
    """Writes junit.xml: a test case for each budget on each deployment, each control, and the gate."""

    spec: ClassVar[WriterSpec] = WriterSpec("junit", "junit.xml", "JUnit XML: a test case a budget, format and control")

    def write(self, audit: Audit, path: Path) -> None:
        """See `Writer.write`."""
        cases = list(judged_cases(audit))
        found = Counter(_element(case) for case in cases)
        counts = {
            "tests": len(cases),
            "failures": found["failure"],
            "errors": found["error"],
            "skipped": found["skipped"],
        }
        numbers = {name: str(count) for name, count in counts.items()}
        suites = ET.Element("testsuites", {name: number for name, number in numbers.items() if name != "skipped"})
        about = {"name": f"edgeaudit {printable(audit.name)}", **numbers, "time": f"{sum(audit.timings.values()):.3f}"}
        suite = ET.SubElement(suites, "testsuite", {**about, "timestamp": audit.created})
        for case in cases:
            _add(suite, case)
        ET.indent(suites)
        write_atomically(path, ET.tostring(suites, encoding="utf-8", xml_declaration=True).decode() + "\n")


def _element(case: JudgedCase) -> str | None:
    """The element that says what became of a case; None where it passed."""
    if case.group == GATE and case.status == "open":
        return "error"
    return _ELEMENTS.get(case.status)


def _add(suite: ET.Element, case: JudgedCase) -> None:
    test = ET.SubElement(suite, "testcase", {"classname": case.group, "name": case.name, "time": "0"})
    element = _element(case)
    if element is not None:
        said = ET.SubElement(test, element, {} if element == "skipped" else {"message": case.message})
        said.text = case.message
    if element in (None, "skipped"):
        # Dashboards drop what a skipped case says.
        ET.SubElement(test, "system-out").text = case.message
