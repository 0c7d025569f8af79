"""What is not answered, and in which words: sizes, time, places, forms, hosts, tokens."""

from __future__ import annotations

import socket
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from tests.serve.conftest import TOKEN, Server, film_bytes, finished, form, reply

Start = Callable[..., Server]


def test_a_film_that_is_too_large_is_refused_by_its_announced_length_and_read_to_its_end(start: Start) -> None:
    server = start("--max-upload-mb", "1")
    found = server.send(bytes(3_000_000))
    assert (found.status, found.headers["content-type"]) == (413, "application/json")
    assert found.json["error"] == "A film may have 1 MB at most; this one is larger."
    content, kind = form(bytes(1_100_000))
    assert server.ask("POST", "/predict", content, {"Content-Type": kind}).status == 413
    assert server.send(bytes(1_000_000)).status == 422
    content, kind = form(bytes(1_000_000))
    assert server.ask("POST", "/predict", content, {"Content-Type": kind}).status == 422


def test_a_film_that_announces_no_length_is_counted(start: Start) -> None:
    server = start("--max-upload-mb", "1")
    with closing(server.connect()) as connection:
        for pieces, status in (([bytes(400_000)] * 5, 413), ([film_bytes(138)], 200)):
            connection.request("POST", "/predict", iter(pieces), encode_chunked=True, headers={"Transfer-Encoding": "chunked"})
            assert reply(connection).status == status


def test_a_client_that_asks_first_is_told_before_it_sends(start: Start) -> None:
    server = start("--max-upload-mb", "1")
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as stream:
        stream.sendall(b"POST /predict HTTP/1.1\r\nHost: localhost\r\nExpect: 100-continue\r\nContent-Length: 9000000\r\n\r\n")
        answer = b"".join(iter(lambda: stream.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 413 ")
    assert b"connection: close" in answer


def test_a_slow_client_is_told_and_its_place_given_free(start: Start) -> None:
    server = start("--timeout", "1", "--queue", "1")
    found = finished(server.begin(film_bytes(138), 20))
    assert (found.status, found.headers["connection"]) == (408, "close")
    assert "within 1 seconds" in found.json["error"]
    assert server.send(film_bytes(138)).status == 200


def test_a_client_that_hangs_up_gives_its_place_free(start: Start) -> None:
    server = start("--queue", "1")
    server.begin(film_bytes(138), 20).close()
    statuses = iter(lambda: server.send(film_bytes(138)).status, 200)
    assert set(statuses) <= {429}
    assert server.errors.read_text() == ""


def test_when_all_places_are_taken_a_film_is_told_when_to_come_again(start: Start) -> None:
    server, film = start("--queue", "2"), film_bytes(138)
    waiting = [server.begin(film, 20), server.begin(film, 30)]
    turned_away = server.send(bytes(2_000_000))
    assert turned_away.status == 429
    assert int(turned_away.headers["Retry-After"]) >= 1
    assert turned_away.json["error"] == f"All 2 places are taken; send the film again in {turned_away.headers['Retry-After']} s."
    assert server.ask("GET", "/health").json == {"status": "ok", "busy": 2, "queue": 2}
    for connection, sent in zip(waiting, (20, 30), strict=True):
        assert finished(connection, film[sent:]).status == 200
    assert server.send(film).status == 200


CONTENT, KIND = form(film_bytes(138))


@pytest.mark.parametrize(
    ("content", "kind", "why"),
    [
        (CONTENT, "multipart/form-data", "has no boundary"),
        (CONTENT, "multipart/form-data; boundary=another", "is damaged"),
        (CONTENT, f"multipart/form-data; boundary={'x' * 400}", "is damaged"),
        (CONTENT[:-40], KIND, "ends too early"),
        (b"", KIND, "ends too early"),
        (form(film_bytes(138), field="picture")[0], KIND, "holds 0 fields 'file'"),
        (CONTENT.removesuffix(b"--limit--\r\n") + CONTENT, KIND, "holds 2 fields 'file'"),
        (CONTENT.replace(b"Content-Type", b"X" * 20_000), KIND, "is damaged"),
    ],
    ids=["no boundary", "another boundary", "endless boundary", "truncated", "empty", "no film", "two films", "endless head"],
)
def test_a_form_that_cannot_be_read_is_refused(server: Server, content: bytes, kind: str, why: str) -> None:
    found = server.ask("POST", "/predict", content, {"Content-Type": kind})
    assert (found.status, why in found.json["error"]) == (400, True), found.json


def test_a_parameter_without_sense_is_refused(server: Server) -> None:
    found = server.send(film_bytes(138), "?heatmap=yes")
    assert (found.status, found.json["error"]) == (400, "heatmap may be one of true, 1, false, 0.")


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/predict/", 404),
        ("GET", "/../page.html", 404),
        ("GET", "/predict", 405),
        ("PUT", "/predict", 405),
        ("POST", "/model", 405),
        ("DELETE", "/", 405),
        ("OPTIONS", "/predict", 405),
    ],
)
def test_unknown_paths_and_methods(server: Server, method: str, path: str, status: int) -> None:
    found = server.ask(method, path, b"x" * 100_000 if method in ("POST", "PUT") else None)
    assert (found.status, set(found.json)) == (status, {"error"})
    assert ("allow" in found.headers) == (status == 405)


def test_what_is_no_http_is_answered_without_a_word_in_the_log(server: Server) -> None:
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as stream:
        stream.sendall(b"\x16\x03\x01 this is TLS\r\n\r\n")
        assert stream.recv(100).startswith(b"HTTP/1.1 400 ")
    assert server.send(film_bytes(138)).status == 200
    assert server.errors.read_text() == ""


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8000", "192.168.1.20", "127.0.0.1.evil.example", "a@localhost", "", "[::1", "a b"]
)
def test_another_host_is_refused_on_the_loopback(server: Server, host: str) -> None:
    for method, path in (("GET", "/"), ("POST", "/predict")):
        assert server.ask(method, path, b"film" if method == "POST" else None, {"Host": host}).status == 421


@pytest.mark.parametrize("host", ["localhost", "localhost:9000", "127.0.0.1", "[::1]:9000", "LOCALHOST"])
def test_names_of_this_machine_are_answered_and_the_port_may_be_a_tunnels(server: Server, host: str) -> None:
    assert server.ask("GET", "/model", headers={"Host": host}).status == 200


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"Origin": "http://localhost:9000", "Host": "localhost:9000"}, 200),
        ({"Origin": "https://clinic.example", "Sec-Fetch-Site": "same-origin"}, 200),
        ({"Origin": "https://evil.example"}, 403),
        ({"Origin": "null"}, 403),
        ({"Origin": "http://localhost:9000", "Host": "localhost:9000", "Sec-Fetch-Site": "same-site"}, 403),
        ({"Sec-Fetch-Site": "cross-site"}, 403),
    ],
)
def test_a_page_of_another_site_may_not_send_films(server: Server, headers: dict[str, str], status: int) -> None:
    assert server.send(film_bytes(138), **headers).status == status


@pytest.mark.parametrize("given", [None, "", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", f"Basic {TOKEN}", TOKEN])
@pytest.mark.parametrize("from_file", [False, True])
def test_a_wrong_token_is_refused(with_token: dict[bool, Server], from_file: bool, given: str | None) -> None:
    server, headers = with_token[from_file], {} if given is None else {"Authorization": given}
    for method, path in (("POST", "/predict"), ("GET", "/model"), ("GET", "/nothing")):
        found = server.ask(method, path, film_bytes(138) if method == "POST" else None, headers)
        assert (found.status, found.headers["www-authenticate"]) == (401, "Bearer")
        assert "Authorization: Bearer TOKEN" in found.json["error"]


@pytest.mark.parametrize("from_file", [False, True])
def test_the_right_token_opens_and_page_and_health_need_none(with_token: dict[bool, Server], from_file: bool) -> None:
    server, headers = with_token[from_file], {"Authorization": f"Bearer {TOKEN}"}
    assert server.send(film_bytes(138), **headers).status == 200
    assert server.ask("GET", "/model", headers=headers).status == 200
    assert [server.ask("GET", path).status for path in ("/", "/health", "/openapi.json")] == [200, 200, 200]
    arguments = Path(f"/proc/{server.process.pid}/cmdline")
    assert not arguments.exists() or TOKEN.encode() not in arguments.read_bytes()


@pytest.fixture(scope="module")
def with_token(sealed: Path, tmp_path_factory: pytest.TempPathFactory):  # type: ignore[no-untyped-def]
    """Two servers with the same token, by whether it came from a file. The first is open to other machines, if there were any."""
    from tests.serve.conftest import running

    folder = tmp_path_factory.mktemp("token")
    (folder / "token").write_text(f"{TOKEN}\n")
    with (
        running(sealed, folder / "a", "--host", "0.0.0.0", token=TOKEN) as from_environment,
        running(sealed, folder / "b", "--token-file", str(folder / "token")) as from_file,
    ):
        yield {False: from_environment, True: from_file}


def test_on_another_address_the_token_decides_and_not_the_host(with_token: dict[bool, Server]) -> None:
    headers = {"Host": "clinic.example", "Authorization": f"Bearer {TOKEN}"}
    assert with_token[False].ask("GET", "/model", headers=headers).status == 200
    assert with_token[True].ask("GET", "/model", headers=headers).status == 421
