from __future__ import annotations

import re
from io import StringIO
from pathlib import Path

import pytest
from rich.table import Table
from rich.text import Text

import edgeaudit.cli
from edgeaudit.cli.console import Console

HOSTILE = "\x1b]0;title\x07\x1b[2J\x1b[32mWITHIN BUDGET\x1b[0m\r\x9b1A \u202etegdub \ud800"


def _written(renderable: object, **settings: object) -> str:
    file = StringIO()
    Console(file=file, force_terminal=True, color_system="standard", width=120, **settings).print(renderable)
    return file.getvalue()


def _table(text: str) -> Table:
    table = Table(text, title=text)
    table.add_row(text)
    return table


@pytest.mark.parametrize("made", [str, Text, _table])
def test_text_from_elsewhere_cannot_control_the_terminal(made: type[Text]) -> None:
    written = _written(made(HOSTILE))
    # What rich itself writes is colour alone.
    left = re.sub(r"\x1b\[[0-9;]*m", "", written)
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\ud800-\udfff]", left)
    assert "?[2J?[32mWITHIN BUDGET?[0m" in left
    assert "\x1b[32m" not in written
    written.encode()


def test_own_colours_and_all_letters_stay() -> None:
    written = _written(Text("größer 漢字 ✓ [bold]", "green"))
    assert written == "\x1b[32mgrößer 漢字 ✓ [bold]\x1b[0m\n"


def test_a_name_is_no_markup() -> None:
    assert "[link=file:x]here" in _written("[link=file:x]here", highlight=False)


def test_no_command_writes_past_it() -> None:
    folder = Path(edgeaudit.cli.__file__).parent
    for path in folder.glob("*.py"):
        text = path.read_text(encoding="utf-8")
        assert not re.search(
            r"from rich\.console import .*\bConsole\b|^\s*print\(|sys\.std(out|err)\.write", text, re.MULTILINE
        ), path
