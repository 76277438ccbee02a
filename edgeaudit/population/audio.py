"""WAV files in one sub-folder for each class, as log-mel spectrograms or as they are."""

from __future__ import annotations

import struct
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from edgeaudit.digests import tree_sha256
from edgeaudit.errors import DataError
from edgeaudit.population.class_folders import class_files, excluded
from edgeaudit.population.memory import require_memory
from edgeaudit.population.raw import Raw
from edgeaudit.population.sources import Source, SourceSpec, SourceUse

__all__ = ["LogMel", "Wav", "log_mel"]

FloatArray = npt.NDArray[np.float32]

_FEATURES = ("log-mel", "waveform")
_FLOOR = 1e-6
"""Added to energies before the logarithm, so that digital silence has a finite value."""


@dataclass(frozen=True)
class LogMel:
    """Settings of a spectrogram. rate: samples a second. window, step: of a frame, in seconds. mels: bands.

    The defaults of window and step are those of MLPerf Tiny's keyword spotting: 49 frames of one second.
    """

    rate: int
    window: float = 0.03
    step: float = 0.02
    mels: int = 40


def log_mel(samples: npt.NDArray[np.floating[Any]], settings: LogMel) -> FloatArray:
    """Natural logarithm of the energy in mel bands, float32 [frames, mels].

    samples: [n], -1 to 1, n at least one window. Frames are Hann windows without padding, the spectrum is the squared
    magnitude of the DFT at the next power of 2, and bands are triangles, equally spaced on the scale 2595 log10(1 + f /
    700) from 0 to half the rate (O'Shaughnessy 1987, as in HTK).
    """
    length, step = round(settings.window * settings.rate), round(settings.step * settings.rate)
    size = 1 << (length - 1).bit_length()
    frames = np.lib.stride_tricks.sliding_window_view(np.asarray(samples, np.float64), length)[::step]
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(length) / length)
    power = np.abs(np.fft.rfft(frames * hann, size, axis=1)) ** 2
    return np.asarray(np.log(power @ _bands(settings, size) + _FLOOR), np.float32)


def _bands(settings: LogMel, size: int) -> npt.NDArray[np.float64]:
    """Weights of the bands, float64 [frequencies, mels]."""
    top = 2595 * np.log10(1 + settings.rate / 2 / 700)
    edges = 700 * (10 ** (np.linspace(0, top, settings.mels + 2) / 2595) - 1)
    frequencies = np.arange(size // 2 + 1)[:, None] * settings.rate / size
    rising = (frequencies - edges[:-2]) / (edges[1:-1] - edges[:-2])
    falling = (edges[2:] - frequencies) / (edges[2:] - edges[1:-1])
    return np.asarray(np.clip(np.minimum(rising, falling), 0, None), np.float64)


class Wav(Source):
    """WAV files in one sub-folder for each class (`edgeaudit.population.class_folders`).

    data.options: `features`, `log-mel` or `waveform`; `seconds`, the length to which records are cut or filled with
    zeros at their end; `rate`, samples a second to which they are resampled; `mels`, `window` and `step` (`LogMel`);
    `exclude`, folders that are no classes.
    """

    spec: ClassVar[SourceSpec] = SourceSpec(
        "wav",
        "WAV files, one sub-folder for each class",
        needs_path=True,
        options=("features", "seconds", "rate", "mels", "window", "step", "exclude"),
    )

    def __init__(self, use: SourceUse) -> None:
        super().__init__(use)
        if not self.path.is_dir():
            raise DataError(
                f"{use.where}: {self.path} is a file; the source 'wav' needs a folder with one sub-folder per class"
            )

    @property
    def name(self) -> str:
        """See `Source.name`."""
        return f"wav:{self.path.name}"

    def fingerprint(self) -> str:
        """See `Source.fingerprint`. Hidden files, which are not read, do not count."""
        try:
            return tree_sha256(self.path, hidden=False)
        except OSError as exc:
            raise DataError(f"{self.use.where}: {exc.filename or self.path} cannot be read: {exc.strerror}") from exc

    def read(self) -> Raw:
        """See `Source.read`. Records are float32 [n, frames, mels] or [n, samples, 1]; labels are names of folders."""
        options = self.use.options
        features = options.get("features", _FEATURES[0])
        if features not in _FEATURES:
            raise DataError(f"data.options: features is {features!r}; it is one of {', '.join(_FEATURES)}")
        found = class_files(self.path, (".wav", ".wave"), "WAV files", excluded(options))
        wish = _positive(options, "rate")
        seconds = _positive(options, "seconds")
        records: list[FloatArray] = []
        first_rate, first_length, mixed, changed = 0, 0, 0, 0
        for file in found.files:
            rate, samples, channels = _read(file)
            mixed += channels > 1
            if wish is not None and rate != round(wish):
                samples, rate = _resampled(samples, rate, round(wish)), round(wish)
            first_rate = first_rate or rate
            if rate != first_rate:
                raise DataError(
                    f"{file} has {rate} samples a second, and {found.files[0]} {first_rate}; set data.options: {{rate: "
                    f"{min(rate, first_rate)}}}"
                )
            if seconds is not None:
                length = round(seconds * rate)
                changed += len(samples) != length
                samples = np.pad(samples[:length], (0, max(0, length - len(samples))))
            first_length = first_length or len(samples)
            if len(samples) != first_length:
                raise DataError(
                    f"{file} has {len(samples) / rate:.3g} seconds, and {found.files[0]} {first_length / rate:.3g}; "
                    "set the length of a record in data.options: {seconds: 1}"
                )
            mel = features == "log-mel"
            record = log_mel(samples, _settings(options, rate, file, samples)) if mel else samples[:, None]
            if not records:
                what = f"data: reading {len(found.files):,} files of {self.path}"
                require_memory(record.nbytes * len(found.files), what)
            records.append(record)
        notes = found.notes
        if mixed:
            notes += (f"channels of {mixed:,} files were averaged",)
        if changed:
            notes += (f"{changed:,} files were cut or filled with zeros to {seconds:g} s",)
        columns = {"folder": np.array(found.folders), "split": np.array(found.splits)}
        return Raw(np.stack(records), np.array(found.labels), names=found.names, columns=columns, notes=notes)


def _read(file: Path) -> tuple[int, FloatArray, int]:
    """Rate, samples (float32 [n], -1 to 1, the mean of all channels) and number of channels."""
    from scipy.io import wavfile

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", wavfile.WavFileWarning)  # chunks that are no sound, such as titles
            rate, samples = wavfile.read(file)
    except (OSError, ValueError, EOFError, struct.error) as exc:
        raise DataError(f"{file} cannot be read as WAV: {exc}. Remove or fix it") from exc
    if samples.dtype.kind == "f":
        values = samples.astype(np.float32)
    else:  # bytes are unsigned around 128; 24 bits come as the upper ones of 32
        half = float(np.iinfo(samples.dtype).max // 2 + 1) if samples.dtype.kind == "u" else 0.0
        full = half or -float(np.iinfo(samples.dtype).min)
        values = ((samples.astype(np.float64) - half) / full).astype(np.float32)
    channels = 1 if values.ndim == 1 else values.shape[1]
    if len(values) == 0 or not np.isfinite(values).all():
        raise DataError(f"{file} has no samples, or some that are not finite; remove or fix it")
    return int(rate), values if values.ndim == 1 else values.mean(axis=1), channels


def _resampled(samples: FloatArray, rate: int, wish: int) -> FloatArray:
    """Samples at another rate, by a polyphase filter."""
    from math import gcd

    from scipy.signal import resample_poly

    divisor = gcd(rate, wish)
    return np.asarray(resample_poly(samples, wish // divisor, rate // divisor), np.float32)


def _settings(options: Mapping[str, object], rate: int, file: Path, samples: FloatArray) -> LogMel:
    window = _positive(options, "window") or LogMel.window
    step = _positive(options, "step") or LogMel.step
    mels = round(_positive(options, "mels") or LogMel.mels)
    if round(window * rate) < 2 or round(step * rate) < 1:
        raise DataError(f"data.options: a window of {window:g} s and a step of {step:g} s are too short at {rate} Hz")
    if len(samples) < round(window * rate):
        raise DataError(f"{file} is shorter than a window of {window:g} s; set data.options: {{seconds: ...}}")
    found = LogMel(rate, window, step, mels)
    if (_bands(found, 1 << (round(window * rate) - 1).bit_length()).sum(axis=0) == 0).any():
        raise DataError(
            f"data.options: {mels} mel bands are too many for windows of {window:g} s at {rate} Hz: some contain no "
            "frequency; set fewer mels or a longer window"
        )
    return found


def _positive(options: Mapping[str, object], key: str) -> float | None:
    value = options.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or value <= 0:
        raise DataError(f"data.options: {key} is {value!r}; it must be a number above 0")
    return float(value)
