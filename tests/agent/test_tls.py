"""Who is believed to be the server, and where a token may go."""

from __future__ import annotations

import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from edgeaudit.agent.routes import Routes
from edgeaudit.agent.served import Served
from edgeaudit.agent.server import AgentServer
from edgeaudit.devices.oip.client import OipClient
from edgeaudit.errors import DeviceError, DeviceLost
from tests.agent.serving import TOKEN, doubling, serving

VALUES = np.array([[1, 2], [np.pi, 1e-30]], np.float32)


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """ca.pem, and here.pem and there.pem (with keys) signed by it, for this machine and for another one."""
    if shutil.which("openssl") is None:
        pytest.skip("there is no openssl to make certificates with")
    folder = tmp_path_factory.mktemp("certificates")
    new = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:prime256v1",
        "-nodes",
        "-days",
        "2",
    ]
    of_ca = ["-subj", "/CN=an authority", "-addext", "keyUsage=critical,keyCertSign"]
    run(folder, [*new, *of_ca, "-keyout", "ca.key", "-out", "ca.pem"])
    for name, names in {"here": "IP:127.0.0.1,DNS:localhost", "there": "DNS:elsewhere.example"}.items():
        files = ["-keyout", f"{name}.key", "-out", f"{name}.pem"]
        by = ["-CA", "ca.pem", "-CAkey", "ca.key"]
        about = ["-subj", f"/CN={name}", "-addext", f"subjectAltName={names}", "-addext", "basicConstraints=CA:FALSE"]
        run(folder, [*new, *about, *by, *files])
    return folder


def run(folder: Path, command: list[str]) -> None:
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


class Listening:
    """An agent over TLS, and how many connections got past the handshake."""

    def __init__(self, server: AgentServer) -> None:
        self.port = int(server.server_address[1])
        self.url = f"https://127.0.0.1:{self.port}"
        self.let_in = 0


@contextmanager
def over_tls(certificate: Path) -> Iterator[Listening]:
    server = AgentServer(Routes("onnxruntime", {"double": Served("double", doubling())}), TOKEN)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_suffix(".key"))
    server.socket = context.wrap_socket(server.socket, server_side=True)
    found = Listening(server)
    accept = server.get_request

    def counted() -> tuple[socket.socket, object]:
        accepted = accept()  # shakes hands; a failure is an OSError, which socketserver passes over
        found.let_in += 1
        return accepted

    server.get_request = counted  # type: ignore[method-assign]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    try:
        yield found
    finally:
        server.shutdown()
        server.server_close()
        thread.join(5)


def test_an_unknown_authority_is_refused(certificates: Path) -> None:
    with over_tls(certificates / "here.pem") as agent:
        client = OipClient(agent.url, TOKEN)
        for _ in range(2):
            with pytest.raises(DeviceError, match=r"local issuer certificate\. .*SSL_CERT_FILE=/path") as told:
                client.live()
            assert not isinstance(told.value, DeviceLost)  # waiting makes no certificate right
        assert agent.let_in == 0


def test_a_named_authority_is_trusted(certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
    with over_tls(certificates / "here.pem") as agent:
        for url in (agent.url, f"https://localhost:{agent.port}"):
            client = OipClient(url, TOKEN)
            assert client.live()
            for binary in (True, False):
                np.testing.assert_array_equal(client.infer("double", {"in": VALUES}, binary=binary)["out"], VALUES * 2)
            assert client._connection.sock is not None
            client._connection.sock.shutdown(socket.SHUT_RDWR)
            assert client.live()  # over a new connection
            client.close()


def test_a_certificate_of_another_host_is_refused(certificates: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(certificates / "ca.pem"))
    with (
        over_tls(certificates / "there.pem") as agent,
        pytest.raises(DeviceError, match=r"IP address mismatch, certificate is not valid for '127\.0\.0\.1'"),
    ):
        OipClient(agent.url, TOKEN).live()


def test_a_server_without_tls_never_gets_the_token(certificates: Path) -> None:
    """Not at the first try, and not over what is left of that one at the second."""
    heard = b""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def listen() -> None:
            nonlocal heard
            for _ in range(2):
                connection, _address = listening.accept()
                with connection:
                    connection.settimeout(5)
                    heard += connection.recv(1 << 16)
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
                    try:
                        heard += connection.recv(1 << 16)
                    except OSError:
                        continue

        thread = threading.Thread(target=listen, daemon=True)
        thread.start()
        client = OipClient(f"https://127.0.0.1:{listening.getsockname()[1]}", TOKEN)
        for _ in range(2):
            with pytest.raises(DeviceError, match=r"the TLS handshake with .* failed: WRONG_VERSION_NUMBER") as told:
                client.live()
            assert not isinstance(told.value, DeviceLost)
        thread.join(10)
    assert heard.startswith(b"\x16\x03")  # a handshake
    assert b"Authorization" not in heard
    assert TOKEN.encode() not in heard


def test_plain_http_to_a_server_with_tls(certificates: Path) -> None:
    with over_tls(certificates / "here.pem") as agent, pytest.raises(DeviceError):
        OipClient(agent.url.replace("https", "http"), TOKEN).live()


@pytest.mark.parametrize(
    "host",
    ["192.0.2.1", "[2001:db8::1]", "lab", "localhost.example", "127.0.0.1.example", "0.0.0.0", "[::]"],  # noqa: S104
)
def test_a_token_is_not_sent_over_http_to_other_hosts(host: str) -> None:
    with pytest.raises(DeviceError, match=r"not sent over http to .* use https, or a tunnel: ssh -L 8000:127") as told:
        OipClient(f"http://{host}:8000", TOKEN)
    assert TOKEN not in str(told.value)
    OipClient(f"http://{host}:8000")
    OipClient(f"https://{host}:8000", TOKEN)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "localhost", "LOCALHOST", "[::1]"])
def test_a_token_may_be_sent_to_this_machine(host: str) -> None:
    OipClient(f"http://{host}:8000", TOKEN)


@pytest.mark.parametrize("token", ["", "two words", "line\nbreak", "X\r\nHost: other", "\u00e9" * 20])
def test_invalid_tokens(token: str) -> None:
    with pytest.raises(DeviceError, match="empty or contains characters") as told:
        OipClient("https://lab:8000", token)
    assert not token or token not in str(told.value)


@pytest.mark.parametrize("url", ["http://user:secret@127.0.0.1:8000", "https://secret@lab"])
def test_passwords_in_addresses_are_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(DeviceError, match="contains a user name or password") as told:
        OipClient(url)
    assert "secret" not in str(told.value)


def test_a_path_before_the_protocols(certificates: Path) -> None:
    """A gateway's; the agent says what it was asked for."""
    with serving() as agent, pytest.raises(DeviceError, match="'/models/one/v2'"):
        OipClient(f"{agent.url}/models/one/", TOKEN).server_metadata()
