"""What lies under the upstream's URL, and what is said of an upstream that fails."""

from __future__ import annotations

import socket
import ssl
from itertools import pairwise

import httpx
import pytest

from bertguard.errors import ConfigurationError
from bertguard.server.upstream import behind_gateway, cause, climbs, upstream_url


@pytest.mark.parametrize(
    "upstream",
    [
        "http://xn--.x",  # httpx lets idna's own error through
        "http://" + "a" * 70 + ".x",
        "http://a..b",
        "http://host:0",
        "http://host:65536",
        "http://host:-1/v1",
    ],
)
def test_host_or_port_that_cannot_be_is_an_error_at_once(upstream: str) -> None:
    """Not a trace, and not a 500 for each request."""
    with pytest.raises(ConfigurationError, match=r"^upstream "):
        upstream_url(upstream)


@pytest.mark.parametrize(
    "upstream", ["http://host:65535", "http://[::1]:1", "https://bücher.example", "http://my_host."]
)
def test_what_can_be_is_taken(upstream: str) -> None:
    """The edges, an address, a name beyond ASCII, one that only a local network has."""
    assert upstream_url(upstream).host


@pytest.mark.parametrize(
    ("upstream", "location", "expected"),
    [
        ("https://llm.example", b"https://llm.example/v1/x?q=%2F#f", b"/v1/x?q=%2F#f"),
        ("https://llm.example", b"HTTPS://LLM.example:443", b"/"),
        ("https://llm.example", b"https://llm.example?q", b"/?q"),
        ("https://llm.example", b"//llm.example/v1", b"/v1"),
        ("http://llm.example:81", b"http://llm.example:81/v1/../x", b"/v1/../x"),
        ("http://[::1]:81", b"http://[::1]:81/v1", b"/v1"),
        ("http://h/base/", b"http://h/base/v1?/base", b"/v1?/base"),
        ("http://h/base", b"/base/v1", b"/v1"),
        ("http://h/base", b"/base", b"/"),
        ("http://h/base", b"http://h/base#f", b"/#f"),
        # What is left must not read as another host.
        ("http://h", b"http://h//evil.example/x", b"/.//evil.example/x"),
        ("http://h", b"http://h/\\evil.example", b"/./\\evil.example"),
        ("http://h/base", b"/base//evil.example", b"/.//evil.example"),
    ],
)
def test_place_under_the_upstream_becomes_one_at_the_gateway(
    upstream: str, location: bytes, expected: bytes
) -> None:
    """Whoever follows it comes by the guard again."""
    assert behind_gateway(location, httpx.URL(upstream)) == expected
    if not expected.startswith(b"/."):
        assert behind_gateway(location, httpx.URL(upstream), b"/guard") == b"/guard" + expected


@pytest.mark.parametrize(
    ("upstream", "location"),
    [
        ("https://llm.example", b"http://llm.example/v1"),
        ("https://llm.example", b"https://llm.example:444/v1"),
        ("https://llm.example", b"https://llm.example.evil.example/v1"),
        ("https://llm.example", b"https://llm.example@evil.example/v1"),
        ("https://llm.example", b"https://evil.example/https://llm.example/"),
        ("https://llm.example", b"https://llm.example\\@evil.example/"),
        ("https://llm.example", b"https://xn--.x/"),
        ("https://llm.example", b"https://\xff/"),
        ("https://llm.example", b"mailto:someone"),
        ("https://llm.example", b"/v1//x"),
        ("https://llm.example", b"next?page=2"),
        ("https://llm.example", b""),
        ("http://h/base", b"http://h/basement"),
        ("http://h/base", b"http://h/base/../other"),
        ("http://h/base", b"/other/base"),
        ("http://h/base", b"v1"),
    ],
)
def test_any_other_place_stays_as_it_is(upstream: str, location: bytes) -> None:
    """Another origin, another path, or one that is relative anyway."""
    assert behind_gateway(location, httpx.URL(upstream)) == location


@pytest.mark.parametrize(
    "path",
    [
        b"/..",
        b"/v1/../x",
        b"/v1/%2e%2E/x",
        b"/v1/.%2e%2fx",
        b"/v1%2f..%2fx",
        b"/v1\\..\\x",
        b"/v1%5C..%5cx",
        b"/v1/%252e%252e/x",
        b"/v1%25255c%2e.%252fx",
        b"/v1/..;a=b/x",
        b"/%2525252525252525252e",
    ],
)
def test_path_climbs_in_every_spelling_of_two_dots(path: bytes) -> None:
    """However often it has to be decoded; what has to be decoded out of all proportion, too."""
    assert climbs(path)


@pytest.mark.parametrize(
    "path",
    [b"/", b"/v1/...", b"/v1/..x/x..", b"/./v1", b"/100%25", b"/a%2Fb//c%2520d", b"/%", b"/."],
)
def test_other_paths_do_not_climb(path: bytes) -> None:
    """Dots inside names, single ones, and escapes of anything else."""
    assert not climbs(path)


def raised(*errors: BaseException) -> BaseException:
    """The first error, caused by the second, caused by the third."""
    for error, cause_of_it in pairwise(errors):
        error.__context__, error.__suppress_context__ = cause_of_it, True
    return errors[0]


@pytest.mark.parametrize(
    ("errors", "words"),
    [
        ((httpx.ConnectError("h"), socket.gaierror(-2, "h")), "DNS"),
        ((httpx.ConnectError("h"), OSError("h"), ConnectionRefusedError(111, "h")), "refused"),
        (
            (
                httpx.ConnectError("h"),
                ExceptionGroup("h", [OSError("h"), ConnectionRefusedError()]),
            ),
            "refused",
        ),
        ((httpx.ConnectError("h"), ssl.SSLCertVerificationError("h")), "certificate"),
        ((httpx.ConnectError("h"), ssl.SSLError("h")), "TLS failed"),
        ((httpx.ConnectTimeout("h"), TimeoutError(), ssl.SSLWantReadError()), "time ran out"),
        ((httpx.LocalProtocolError("h"),), "protocol"),
    ],
)
def test_cause_is_said_in_words_and_names_of_errors(
    errors: tuple[BaseException, ...], words: str
) -> None:
    """The way httpcore chains them: raised `from None`, with the cause still there."""
    said = cause(raised(*errors))
    assert words in said
    assert all(type(error).__name__ in said for error in errors)
    assert "h'" not in said


def test_cause_that_is_not_known_is_its_names() -> None:
    """Nothing is guessed, and errors that cause each other end."""
    first, second = httpx.ReadError("h"), ConnectionResetError("h")
    first.__cause__, second.__cause__ = second, first
    assert cause(first) == "ReadError, ConnectionResetError"
