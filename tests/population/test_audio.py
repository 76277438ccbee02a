"""Folders of WAV files, and log-mel spectrograms against an independent computation."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from scipy.io import wavfile

from edgeaudit.errors import DataError
from edgeaudit.population.audio import LogMel, log_mel
from edgeaudit.population.raw import Raw
from edgeaudit.population.sources import find_source

RATE = 8000


def _tone(hertz: float, seconds: float = 0.5, rate: int = RATE) -> npt.NDArray[np.float64]:
    return np.asarray(0.5 * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate), np.float64)


def _write(file: Path, samples: npt.NDArray[Any], rate: int = RATE) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    wavfile.write(file, rate, samples)


def _folder(root: Path) -> None:
    for name, hertz in (("high", 2000), ("low", 300)):
        for i in range(2):
            _write(root / name / f"{i}.wav", np.round(_tone(hertz + i) * 32767).astype(np.int16))


def _read(root: Path, **options: Any) -> Raw:
    return find_source("wav", root, options).read()


def test_bands_of_a_tone_and_of_twice_its_amplitude() -> None:
    settings = LogMel(RATE)
    found = log_mel(_tone(1000), settings)
    # 0.5 s in frames of 240 samples, one each 160: (4000 - 240) // 160 + 1
    assert found.shape == (24, 40)
    edges = 700 * (10 ** (np.linspace(0, 2595 * np.log10(1 + 4000 / 700), 42) / 2595) - 1)
    assert (found.argmax(axis=1) == np.abs(edges[1:-1] - 1000).argmin()).all()
    loudest = int(found[0].argmax())
    assert log_mel(2 * _tone(1000), settings)[:, loudest] - found[:, loudest] == pytest.approx(np.log(4), abs=1e-3)


def test_energies_are_those_of_an_independent_spectrogram() -> None:
    samples = np.random.default_rng(0).normal(size=4000) / 10
    hann = np.hanning(241)[:-1]  # periodic
    expected = np.abs(np.fft.fft(np.stack([samples[160 * i : 160 * i + 240] * hann for i in range(24)]), 256)) ** 2
    # The same scale by the natural logarithm: 2595 / ln 10 = 1127.01048.
    points = np.linspace(0, 1127.01048 * np.log(1 + 4000 / 700), 42)
    bins = np.arange(129) * RATE / 256
    hertz = 700 * (np.exp(points / 1127.01048) - 1)
    bands = np.stack([np.interp(bins, hertz[i : i + 3], [0, 1, 0]) for i in range(40)], axis=1)
    assert log_mel(samples, LogMel(RATE)) == pytest.approx(np.log(expected[:, :129] @ bands + 1e-6), rel=1e-3, abs=1e-3)


def test_a_folder_is_read_by_class(tmp_path: Path) -> None:
    _folder(tmp_path)
    found = _read(tmp_path)
    assert isinstance(found.x, np.ndarray)
    assert found.x.shape == (4, 24, 40)
    assert found.x.dtype == np.float32
    assert found.y.tolist() == ["high", "high", "low", "low"]
    assert found.names[0] == "high/0.wav"
    assert found.x[0].mean(axis=0).argmax() > found.x[2].mean(axis=0).argmax()


@pytest.mark.parametrize(
    "stored",
    [
        lambda x: np.round(x * 32767).astype(np.int16),
        lambda x: np.round(x * 2147483647).astype(np.int32),
        lambda x: np.round(x * 127 + 128).astype(np.uint8),
        lambda x: x.astype(np.float32),
        lambda x: np.stack([x, x], axis=1).astype(np.float32),
    ],
)
def test_every_depth_gives_the_same_samples(tmp_path: Path, stored: Any) -> None:
    for name in ("a", "b"):
        _write(tmp_path / name / "0.wav", stored(_tone(440)))
    x = _read(tmp_path, features="waveform").x
    assert isinstance(x, np.ndarray)
    assert x.shape == (2, 4000, 1)
    assert np.abs(x[0, :, 0] - _tone(440)).max() < 1 / 120


def test_lengths_and_rates_are_refused_or_made_equal_and_it_is_said(tmp_path: Path) -> None:
    _folder(tmp_path)
    _write(tmp_path / "low" / "2.wav", _tone(300, 0.25).astype(np.float32))
    with pytest.raises(DataError, match=r"low/2\.wav has 0\.25 seconds, and .*high/0\.wav 0\.5; .*seconds: 1"):
        _read(tmp_path)
    found = _read(tmp_path, seconds=0.4)
    assert isinstance(found.x, np.ndarray)
    assert found.x.shape == (5, 19, 40)  # (3200 - 240) // 160 + 1
    assert found.notes == ("5 files were cut or filled with zeros to 0.4 s",)
    _write(tmp_path / "low" / "2.wav", _tone(300, 0.5, 16000).astype(np.float32), 16000)
    with pytest.raises(DataError, match=r"low/2\.wav has 16000 samples a second, and .* 8000; .*rate: 8000"):
        _read(tmp_path)
    resampled = _read(tmp_path, rate=8000, features="waveform").x
    assert isinstance(resampled, np.ndarray)
    assert np.abs(resampled[4, 100:-100, 0] - _tone(300)[100:-100]).max() < 0.01


def test_a_folder_of_noise_is_left_out_by_name(tmp_path: Path) -> None:
    _folder(tmp_path)
    _write(tmp_path / "_background_noise_" / "hum.wav", _tone(50, 3).astype(np.float32))
    assert _read(tmp_path, exclude="_background_noise_").y.tolist() == ["high", "high", "low", "low"]
    with pytest.raises(DataError, match="exclude has 'noise', which is no class of"):
        _read(tmp_path, exclude=["noise"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"features": "mfcc"}, "features is 'mfcc'; it is one of log-mel, waveform"),
        ({"seconds": 0}, "seconds is 0; it must be a number above 0"),
        ({"rate": "8k"}, "rate is '8k'"),
        ({"window": 0.0001}, "too short at 8000 Hz"),
        ({"window": 2}, "shorter than a window of 2 s"),
        ({"mels": 400}, "400 mel bands are too many"),
        ({"mel": 4}, "no option 'mel'"),
        ({"exclude": 1.5}, r"exclude is 1\.5; it must be a folder's name"),
    ],
)
def test_settings_that_make_no_spectrogram_are_refused(tmp_path: Path, options: dict[str, Any], message: str) -> None:
    _folder(tmp_path)
    with pytest.raises(DataError, match=message):
        _read(tmp_path, **options)


@pytest.mark.parametrize("content", [b"", b"RIFF", b"no sound at all", b"RIFF\x24\0\0\0WAVEfmt "])
def test_a_file_that_is_no_wav_is_named(tmp_path: Path, content: bytes) -> None:
    _folder(tmp_path)
    (tmp_path / "low" / "9.wav").write_bytes(content)
    with pytest.raises(DataError, match=r"low/9\.wav cannot be read as WAV"):
        _read(tmp_path)
