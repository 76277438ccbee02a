"""`quiet` silences every channel and gives the process back as it was."""

from __future__ import annotations

import logging
import os
import sys
import warnings

import pytest

from edgeaudit.host.quiet import quiet


class OtherLogger(logging.Logger):
    pass


def test_every_channel_is_silent(capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture) -> None:
    with quiet():
        os.write(1, b"a C++ library")
        os.write(2, b"a C++ library")
        logging.getLogger("toolchain").critical("a record")
        warnings.warn("a warning", DeprecationWarning, stacklevel=1)
    os.write(1, b"after")
    assert capfd.readouterr() == ("after", "")
    assert not caplog.records


def test_the_process_is_as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "1")
    monkeypatch.setenv("HOME", "/home/somebody")
    monkeypatch.delenv("LITERT_TORCH_SHOW_PROGRESS", raising=False)
    before = (dict(os.environ), logging.getLoggerClass(), list(logging.root.handlers), list(warnings.filters))
    with quiet({"EDGEAUDIT_TEST": "1"}):
        assert os.environ["TF_CPP_MIN_LOG_LEVEL"] == "3"
        assert os.environ["EDGEAUDIT_TEST"] == "1"
        os.environ["LEFT_BEHIND"] = "1"
        del os.environ["HOME"]
        logging.setLoggerClass(OtherLogger)
        logging.root.addHandler(logging.NullHandler())
        warnings.simplefilter("error")
    after = (dict(os.environ), logging.getLoggerClass(), list(logging.root.handlers), list(warnings.filters))
    assert after == before
    assert logging.getLogger("edgeaudit").isEnabledFor(logging.ERROR)


def fail() -> None:
    with quiet():
        os.write(2, b"the reason\n")
        raise ValueError("wrong")


def test_output_before_a_failure_is_kept() -> None:
    with pytest.raises(ValueError, match="wrong") as caught:
        fail()
    assert caught.value.__notes__ == ["output before the failure:\nthe reason"]


def test_without_a_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    """As under pythonw or a daemon: the streams are None."""
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    with quiet():
        pass
