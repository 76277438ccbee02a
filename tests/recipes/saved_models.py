# mypy: disable-error-code="misc,untyped-decorator"
"""SavedModels that tests write, in a process that has TensorFlow."""

from __future__ import annotations

from pathlib import Path

import tensorflow as tf

from edgeaudit.errors import RecipeError
from edgeaudit.recipes.saved_model_graph import require_harmless

_LINE = [tf.TensorSpec([None], tf.float32)]


class _Reads(tf.Module):
    @tf.function(input_signature=_LINE)
    def serve(self, x: tf.Tensor) -> tf.Tensor:
        return x + tf.cast(tf.strings.length(tf.io.read_file("/etc/hostname")), tf.float32)


class _WritesInABranch(tf.Module):
    @tf.function(input_signature=_LINE)
    def serve(self, x: tf.Tensor) -> tf.Tensor:
        def write() -> tf.Tensor:
            with tf.control_dependencies([tf.raw_ops.WriteFile(filename="stolen", contents="x")]):
                return x * 1

        return tf.cond(tf.reduce_sum(x) > 0, write, lambda: x)


class _CallsPython(tf.Module):
    @tf.function(input_signature=_LINE)
    def serve(self, x: tf.Tensor) -> tf.Tensor:
        return tf.numpy_function(lambda values: values, [x], tf.float32)


class _PrintsToAFile(tf.Module):
    @tf.function(input_signature=_LINE)
    def serve(self, x: tf.Tensor) -> tf.Tensor:
        tf.print(x, output_stream="file://stolen")
        return x


class _SavesWhenAsked(tf.Module):
    @tf.function(input_signature=_LINE)
    def serve(self, x: tf.Tensor) -> tf.Tensor:
        tf.raw_ops.SaveV2(prefix="stolen", tensor_names=["x"], shape_and_slices=[""], tensors=[x])
        return x


class _ReadsAVocabulary(tf.Module):
    def __init__(self, folder: Path) -> None:
        super().__init__()
        words = folder / "words.txt"
        words.write_text("a\nb\n")
        whole, number = tf.lookup.TextFileIndex.WHOLE_LINE, tf.lookup.TextFileIndex.LINE_NUMBER
        first = tf.lookup.TextFileInitializer(str(words), tf.string, whole, tf.int64, number)
        self.table = tf.lookup.StaticHashTable(first, -1)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def serve(self, x: tf.Tensor) -> tf.Tensor:
        return self.table.lookup(x)


class _TableInMemory(tf.Module):
    def __init__(self) -> None:
        super().__init__()
        first = tf.lookup.KeyValueTensorInitializer(tf.constant([1, 2]), tf.constant([1.0, 2.0]))
        self.table, self.scale = tf.lookup.StaticHashTable(first, 0.0), tf.Variable(2.0)

    @tf.function(input_signature=_LINE)
    def serve(self, x: tf.Tensor) -> tf.Tensor:
        return self.scale * self.table.lookup(tf.cast(x, tf.int32)) + tf.random.normal(tf.shape(x))


HOSTILE = {
    "ReadFile": _Reads,
    "WriteFile": _WritesInABranch,
    "PyFunc": _CallsPython,
    "PrintV2": _PrintsToAFile,
    "SaveV2": _SavesWhenAsked,
    "InitializeTableFromTextFileV2": _ReadsAVocabulary,
}


def refusal(operator: str, folder: str) -> str:
    """Write the SavedModel with this operator; return what is said of it, or nothing."""
    kind = HOSTILE[operator]
    return _refusal(kind(Path(folder)) if kind is _ReadsAVocabulary else kind(), folder)


def refusal_of_models(folder: str) -> list[str]:
    """What is said of SavedModels of usual layers, written by Keras, and of a table in memory."""
    import keras

    layers = keras.layers
    flat = [layers.Input((4,)), layers.Normalization(), layers.Dense(8, "gelu"), layers.Dropout(0.2), layers.Dense(3)]
    steps = [layers.Input((5, 4)), layers.LSTM(4, return_sequences=True), layers.GRU(4), layers.Dense(3)]
    images = [
        layers.Input((8, 8, 1)), layers.RandomFlip(), layers.Conv2D(4, 3), layers.BatchNormalization(),
        layers.MaxPooling2D(), layers.Flatten(), layers.Dense(3, "softmax"),
    ]  # fmt: skip
    tokens = [layers.Input((6,), dtype="int32"), layers.Embedding(10, 4), layers.GlobalAveragePooling1D()]
    said = []
    for number, parts in enumerate((flat, steps, images, tokens)):
        path = str(Path(folder) / str(number))
        keras.Sequential(parts).export(path, verbose=False)
        said.append(_said(path))
    return [*said, _refusal(_TableInMemory(), str(Path(folder) / "table"))]


def _refusal(module: tf.Module, folder: str) -> str:
    tf.saved_model.save(module, folder)
    return _said(folder)


def _said(folder: str) -> str:
    try:
        require_harmless(Path(folder), "model.checkpoint: saved")
    except RecipeError as exc:
        return str(exc)
    return ""
