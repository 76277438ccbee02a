"""Fitted scikit-learn estimators, as edgeaudit keeps them: a pickle, which no other program should read."""

from __future__ import annotations

from edgeaudit.filetypes.base import FileType, FileTypeSpec

__all__ = ["Sklearn"]

_PICKLE = "a fitted estimator is a pickle, which is not read without running it"


class Sklearn(FileType):
    """A whole estimator. None of its facts can be read; foreign ones are audited as the ONNX files made of them."""

    spec = FileTypeSpec(
        name="sklearn",
        title="scikit-learn",
        suffixes=(".pickle",),
        extra="sklearn",
        packages=("scikit-learn",),
        unreadable=dict.fromkeys(("contract", "weights", "softmax", "operators", "state", "traits"), _PICKLE),
    )
