from __future__ import annotations

import base64
import hashlib
import html
import os
import re
import subprocess
import sys
from collections import Counter
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from edgeaudit.errors import StoreError
from edgeaudit.report.html import html_text, write_html
from edgeaudit.report.model import Audit, Verdict
from tests.report import sample

pytestmark = pytest.mark.slow  # every test makes whole pages, with all their plots

HOSTILE = "<script>alert(1)</script>\"' onload=x {{ 7*7 }} $\\frac$ &amp;"
VOID = {"meta", "br", "hr", "img", "input", "link"}


class Page(HTMLParser):
    """Tags with their attributes, the text, and whether all tags are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join(" ".join(self.words).split())


@pytest.fixture(scope="module")
def parsed(page: str) -> Page:
    return Page(page)


def test_tags_are_balanced(parsed: Page) -> None:
    assert parsed.open == []


def test_nothing_is_loaded_from_elsewhere(page: str, parsed: Page) -> None:
    names = {tag for tag, _ in parsed.tags}
    assert not names & {"link", "img", "iframe", "object", "embed", "base", "form", "image"}
    for tag, attrs in parsed.tags:
        assert not {"src", "srcset", "action", "data", "poster", "background"} & set(attrs), tag
        assert (attrs.get("href") or "#").startswith("#")
    assert "http:" not in page
    assert "https:" not in page
    assert "@import" not in page
    assert set(re.findall(r"url\((.)", page)) == {"#"}


def test_only_its_own_style_and_script_run(page: str) -> None:
    """The policy names both by the hash of their text; anything else, an attribute of style included, is refused."""
    policy = re.findall(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert len(policy) == 1
    for tag in ("style", "script"):
        (text,) = re.findall(rf"<{tag}>(.*?)</{tag}>", page, flags=re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(html.unescape(text).encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy[0]
        assert text == html.unescape(text)
    assert "unsafe" not in policy[0]
    assert not re.search(r"<[^>]* (style|on\w+)=", page)


def test_a_sortable_table_says_what_its_cells_are_ordered_by(audit: Audit, page: str) -> None:
    table = page[page.index('<table class="formats sortable">') :]
    table = table[: table.index("</table>")]
    sizes = {f.id: f.artifact.bytes for f in audit.formats if f.artifact and f.status == "ok"}
    for name, size in sizes.items():
        row = next(part for part in table.split("<tr>") if f">{name}<" in part)
        assert f'data-s="{size}"' in row
    assert "data-s" not in page[page.index('<section id="controls">') : page.index('<section id="compared">')]


def test_a_page_of_twenty_formats_is_below_a_megabyte(audit: Audit) -> None:
    names = [f.id for f in audit.formats][:8]

    def more(rows: Any) -> Any:
        return (*rows, *(replace(r, format=f"{r.format}-b") for r in rows if r.format in names))

    many = audit.model_copy(
        update={
            "formats": (
                *audit.formats,
                *(f.model_copy(update={"id": f"{f.id}-b"}) for f in audit.formats if f.id in names),
            ),
            **{name: more(getattr(audit, name)) for name in ("leakage", "curves", "null_p_values", "p_calibration")},
        }
    )
    assert len(many.formats) >= 20
    assert len(html_text(many).encode()) < 1_000_000


def test_ids_are_unique_and_all_targets_exist(parsed: Page) -> None:
    ids = Counter(attrs["id"] for _, attrs in parsed.tags if "id" in attrs)
    assert [name for name, count in ids.items() if count > 1] == []
    targets = {(attrs["href"] or "")[1:] for _, attrs in parsed.tags if "href" in attrs}
    assert targets <= set(ids)


def test_tables_and_plots_have_accessible_labels(parsed: Page) -> None:
    for tag, attrs in parsed.tags:
        if tag == "th":
            assert attrs.get("scope") in {"row", "col", "colgroup"}
        if tag == "svg":
            assert attrs.get("aria-hidden") or (attrs.get("role") == "img" and attrs.get("aria-label"))
    count = Counter(tag for tag, _ in parsed.tags)
    assert count["table"] == count["caption"]
    assert count["h1"] == count["main"] == 1


def test_sections_in_order(page: str) -> None:
    order = ["Budget exceeded", "Formats", "Summary", "Controls", "Across 5 targets"]
    order += ["What helps, measured", "Formats compared"]
    order += [
        "Cost and quality",
        "Leakage per attack",
        "Effect of the shadow-target match",
        "Against other attacks",
        "CM-MIA verdicts",
    ]
    order += [
        "ROC curves",
        "Calibration of p-values",
        "Single records",
        "Budgets",
        "Provenance",
        "How to read",
        "Limits",
    ]
    headings = [re.sub(r"<.*?>", "", h).split(" exit")[0].strip() for h in re.findall(r"<h2.*?>(.*?)</h2>", page)]
    assert headings == order


def test_every_format_and_attack_is_shown(audit: Audit, parsed: Page) -> None:
    for result in audit.formats:
        assert result.id in parsed.text
        if result.artifact:
            assert result.artifact.sha256 in parsed.text
    for name in ("cm-mia calibrated", "cm-mia t", "cm-mia ecdf", "cm-mia pchip", "gap", "yeom", "lira offline-global"):
        assert name in parsed.text


def test_failed_format_shows_its_error(parsed: Page) -> None:
    assert f"failed {sample.ERROR}" in parsed.text


def test_null_is_not_resolvable_with_its_reason(audit: Audit, parsed: Page) -> None:
    # Of other subsets the page has the AUC alone; of verdicts the headline's, and others at a cutoff of .05.
    verdict = re.compile(r"^(?!tpr|ppv@prior).*@(nominal=)?(0.01|0.02|0.1)$")
    main = [
        r
        for r in audit.leakage
        if (r.subset == "all" or r.metric == "auc") and (r.variant == "calibrated" or not verdict.match(r.metric))
    ]
    shown = {r.note for r in main if r.value is None and r.metric != "tpr@fpr=0.001"}
    notes = {note for note in shown if note}
    assert notes
    assert "not resolvable" in parsed.text
    for note in notes:
        assert note in parsed.text
    assert "None" not in parsed.text


def test_one_plot_per_format_and_test(audit: Audit, page: str) -> None:
    audited = sum(f.status == "ok" for f in audit.formats)
    assert page.count('aria-label="ROC curve of') == audited
    # Of the headline's test; the others are in the table above.
    assert page.count('aria-label="Histogram of the ') == audited
    assert page.count('aria-label="Histogram of the calibrated p-values') == audited
    assert page.count('aria-label="ROC curves of 7 attacks on nncf-pruned-70') == 1


def test_verdict_says_outcome_and_exit_code(parsed: Page) -> None:
    assert "Budget exceeded exit code 1" in parsed.text


def test_controls_show_their_findings(audit: Audit, parsed: Page, page: str) -> None:
    for control in audit.controls:
        assert control.statement in parsed.text
    assert "0.513 [0.475, 0.551]" in parsed.text  # the figure and its interval
    # Twelve null targets that hold are folded away; what warns is not.
    folded = page[page.index("Per format: 12 controls that hold") : page.index('<section id="compared">')]
    assert folded.count("finds no members of null-target") == 12
    assert "nonmembers cannot resolve it" not in folded


def test_every_footnote_of_the_controls_is_referred_to(audit: Audit) -> None:
    noted = replace(audit.controls[0], value=None, low=None, high=None, note="of 7 tests")
    text = html_text(audit.model_copy(update={"controls": (noted,)}))
    section = text[text.index('<section id="controls">') : text.index('<section id="compared">')]
    assert "of 7 tests" in section
    assert f"{noted.statement}<sup>1</sup>" in section


def test_dark_colours_stay_on_the_screen(page: str) -> None:
    assert "@media screen and (prefers-color-scheme: dark)" in page
    assert "@media (prefers-color-scheme" not in page


def test_a_failed_control_of_a_format_comes_first(audit: Audit) -> None:
    *others, last = audit.controls
    failed = replace(last, status="failed", name="null target", statement="members were found")
    text = html_text(audit.model_copy(update={"controls": (*others, failed)}))
    section = Page(text[text.index('<section id="controls">') : text.index('<section id="compared">')]).text
    assert section.index("members were found") < section.index("raw inputs does not separate")
    assert "This audit has no controls." in html_text(audit.model_copy(update={"controls": ()}))


def test_ablation_gives_the_difference_where_it_was_not_tested(audit: Audit) -> None:
    text = Page(html_text(audit.model_copy(update={"comparisons": ()}))).text
    figures = {
        r.shadow_match: r.value
        for r in audit.leakage
        if (r.format, r.attack, r.variant, r.subset, r.metric) == ("nncf-pruned-70", "cm-mia", "t", "all", "auc")
    }
    assert figures["matched"] is not None
    assert figures["fp32"] is not None
    assert f"{figures['matched'] - figures['fp32']:+.3f}" in text


def test_same_audit_same_bytes(audit: Audit, page: str, tmp_path: Path) -> None:
    write_html(Audit.model_validate(audit.model_dump()), tmp_path / "report.html")
    assert (tmp_path / "report.html").read_bytes() == page.encode()


def test_bytes_do_not_depend_on_the_process(page: str, tmp_path: Path) -> None:
    code = "import sample, sys, pathlib as p; import edgeaudit.report.html as h; "
    code += "h.write_html(sample.audit(), p.Path(sys.argv[1]))"
    paths = os.pathsep.join([str(Path(sample.__file__).parent), *filter(None, sys.path)])
    environment = os.environ | {"PYTHONHASHSEED": "1", "PYTHONPATH": paths, "TZ": "Asia/Tokyo"}
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "r.html")], check=True, env=environment)
    assert (tmp_path / "r.html").read_bytes() == page.encode()


def hostile(audit: Audit) -> Audit:
    formats = tuple(
        f.model_copy(
            update={"id": HOSTILE if n == 0 else f.id, "summary": HOSTILE, "error": HOSTILE if f.error else None}
        )
        for n, f in enumerate(audit.formats)
    )
    rename = {audit.formats[0].id: HOSTILE}
    return audit.model_copy(
        update={
            "name": HOSTILE,
            "formats": formats,
            "threat": {HOSTILE: HOSTILE},
            "leakage": tuple(
                replace(
                    r,
                    format=rename.get(r.format, r.format),
                    attack=HOSTILE if r.attack == "yeom" else r.attack,
                    note=HOSTILE if r.note else None,
                )
                for r in audit.leakage
            ),
            "curves": tuple(replace(c, format=rename.get(c.format, c.format)) for c in audit.curves),
            "verdict": audit.verdict.model_copy(update={"reasons": (HOSTILE,)}),
        }
    )  # fmt: skip


def test_hostile_text_stays_text(audit: Audit) -> None:
    text = html_text(hostile(audit))
    parsed = Page(text)
    assert text.count("<script") == html_text(audit).count("<script") == 1
    assert {attr for _, attrs in parsed.tags for attr in attrs if attr.startswith("on")} == set()
    assert HOSTILE in "".join(parsed.words)
    assert "49" not in "".join(re.findall(r"<h1>.*?</h1>", text))


@pytest.mark.parametrize("count", [4, 5])
def test_many_warnings_are_folded_below_what_decided(audit: Audit, count: int) -> None:
    warnings = [f"warning: format {n}: budget auc <= 0.7 is exceeded" for n in range(count)]
    reasons = ("budget auc <= 0.9 is exceeded", *warnings, "controls that warn: resolution")
    verdict = audit.verdict.model_copy(update={"reasons": reasons})
    text = html_text(audit.model_copy(update={"verdict": verdict}))
    box = text[text.index('<section class="verdict') :]
    box = box[: box.index("</section>")]
    assert all(html.escape(reason) in box for reason in reasons)
    view, _, folded = box.partition(f"<details><summary>{count} warnings of budgets</summary>")
    assert [reason for reason in reasons if html.escape(reason) in folded] == (warnings if count > 4 else [])
    assert all(html.escape(reason) in view for reason in (reasons[0], reasons[-1]))


@pytest.mark.parametrize("status", ["ok", "failed"])
def test_an_audit_without_figures_gives_a_report(audit: Audit, status: str) -> None:
    bare = audit.formats[0].model_copy(update={
        "status": status, "artifact": None, "accuracy": None, "outputs": None, "agreement": None, "runtime": None,
        "passes": (),
    })  # fmt: skip
    nothing = Verdict(outcome="error", exit_code=2, reasons=(), budgets=())
    fields = {"formats": (bare,), "leakage": (), "curves": (), "null_p_values": (), "exposed": (), "verdict": nothing}
    fields |= dict.fromkeys(("p_calibration", "across_targets", "comparisons"), ())
    text = Page(html_text(audit.model_copy(update=fields))).text
    assert bare.id in text
    assert "No budget was set." in text


def test_several_devices_are_distinguished(audit: Audit) -> None:
    other = audit.formats[1].model_copy(update={"device": "jetson"})
    text = Page(html_text(audit.model_copy(update={"formats": (*audit.formats, other)}))).text
    assert f"{other.id} @ jetson" in text
    assert f"{other.id} @ {sample.DEVICE}" not in text  # this machine's are named without it
    assert other.id in text.replace(f"{other.id} @ jetson", "")


def test_missing_folder(audit: Audit, tmp_path: Path) -> None:
    with pytest.raises(StoreError):
        write_html(audit, tmp_path / "nowhere" / "report.html")


def _with_attacks(audit: Audit, count: int) -> Audit:
    """The audit with `count` more attacks, each weaker than the one before, and one that could not be run."""
    headline = [r for r in audit.leakage if (r.attack, r.variant, r.subset) == ("cm-mia", "t", "all")]
    rows = [
        replace(row, attack=f"extra-{n}", variant="one", value=0.5 + 0.1 / n)
        for n in range(1, count + 1)
        for row in headline
        if row.metric == "auc" and row.value is not None
    ]
    rows += [
        replace(
            row,
            attack="online",
            variant="one",
            value=None,
            low=None,
            high=None,
            note="not applicable: no IN shadows",
        )
        for row in headline
        if row.metric == "auc"
    ]
    return audit.model_copy(update={"leakage": (*audit.leakage, *rows)})


def test_many_attacks_are_spread_over_tables_and_none_is_lost(audit: Audit) -> None:
    html = html_text(_with_attacks(audit, 20))
    assert all(f"extra-{n} one" in html for n in range(1, 21))
    assert "Weaker attacks" in html
    widest = max(table.count('<th scope="col"') for table in html.split("<table")[1:] if "matrix" in table[:40])
    assert widest <= 9  # the format and eight attacks
    assert "1 attacks could not be run here" in html
    assert "no IN shadows" in html
    assert "Weaker attacks" not in html_text(audit)
