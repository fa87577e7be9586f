import socket

import pytest

from transport.server import BindError, Place, check_free, place_of


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("127.0.0.1:50051", ("127.0.0.1", 50051)),
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("127.8.9.1:5", ("127.8.9.1", 5)),
        ("[::1]:50051", ("::1", 50051)),
    ],
)
def test_loopback_is_taken(address, expected):
    place = place_of(address)
    assert (place.host, place.port) == expected
    assert place.ips == (place.host,)


def test_a_name_is_bound_as_it_was_when_it_was_checked():
    resolved = socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)
    assert set(place_of("localhost:50051").ips) == {place[0] for *_, place in resolved}


@pytest.mark.parametrize("address", ["", "localhost", "localhost:", ":50051", "localhost:http", "localhost:70000"])
def test_a_malformed_address_is_refused(address):
    with pytest.raises(BindError, match=r"address must be HOST:PORT, e\.g\. localhost:50051\. Got: "):
        place_of(address)


def test_an_unknown_host_is_refused():
    with pytest.raises(BindError, match=r"host 'nowhere\.invalid' is unknown"):
        place_of("nowhere.invalid:50051")


def test_a_taken_port_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BindError, match=rf"localhost:{port} is taken by another program .*choose another port"):
            check_free(Place("localhost", port, ("127.0.0.1",)))
    check_free(Place("localhost", port, ("127.0.0.1",)))
