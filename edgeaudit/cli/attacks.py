"""The verb `attacks`."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.table import Column, Table

from edgeaudit.attacks.registry import attack_specs
from edgeaudit.cli.console import Console, print_json
from edgeaudit.cli.options import AsJsonOption

if TYPE_CHECKING:
    from edgeaudit.attacks.base import AttackSpec, Needs

__all__ = ["attacks"]

_LEGEND = (
    "\nIN shadows: shadows that trained on the audited record. reference answers: the target's, on records it did not "
    "train on. shadows' own answers: on reference records each did and did not train on. views: "
    "answers on transformed records (threat.views).\n\n"
    "Attacks on several formats at once (together: in audit.yaml): compleak-sr, compleak-mr, joint-offline, "
    "joint-online, mean-score."
)


def attacks(*, json: AsJsonOption = False) -> None:
    """List the attacks with their variants, needs and papers."""
    from edgeaudit.config.attacks import WITH_SECTIONS

    console = Console()
    specs = attack_specs()
    if json:
        print_json([_about(spec) for spec in specs])
        return
    # Names are what a user copies into audit.yaml, so they are never cut, however narrow the terminal.
    width = max(len(spec.name) for spec in specs)
    for spec in specs:
        table = Table.grid(Column(width=width, no_wrap=True), Column(), padding=(0, 2))
        table.add_row(spec.name, f"{spec.summary} ({spec.paper})")
        for needs, variants in _by_needs(spec).items():
            table.add_row("", f"{', '.join(variants)}: needs {needs}")
        if spec.defaults and spec.name not in WITH_SECTIONS:
            settings = ", ".join(f"{name}: {value}" for name, value in spec.defaults.items())
            table.add_row("", f"settings: {settings}")
        console.print(table, highlight=False)
    console.print(_LEGEND, highlight=False)


def _about(spec: AttackSpec) -> dict[str, object]:
    return {
        "name": spec.name,
        "summary": spec.summary,
        "paper": spec.paper,
        "variants": [{"name": variant, "needs": _words(spec.needs_of(variant))} for variant in spec.variants],
        "settings": dict(spec.defaults),
    }


def _by_needs(spec: AttackSpec) -> dict[str, list[str]]:
    """Variants that need the same, together, by what they need."""
    found: dict[str, list[str]] = {}
    for variant in spec.variants:
        found.setdefault(_words(spec.needs_of(variant)), []).append(variant)
    return found


def _words(needs: Needs) -> str:
    said = {
        f"{needs.shadows}+ shadows": needs.shadows,
        "IN shadows": needs.inside,
        "reference answers": needs.reference,
        "shadows' own answers": needs.examples,
        "noise views" if needs.views == "noise" else "views": needs.views,
    }
    return ", ".join(word for word, needed in said.items() if needed) or "nothing"
