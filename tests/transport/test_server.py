import socket

import pytest

from transport.server import BindError, Place, check_free, check_loopback


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
    place = check_loopback(address)
    assert (place.host, place.port) == expected
    assert place.ips == (place.host,)


def test_a_name_is_bound_as_it_was_when_it_was_checked():
    resolved = socket.getaddrinfo("localhost", 0, type=socket.SOCK_STREAM)
    assert set(check_loopback("localhost:50051").ips) == {place[0] for *_, place in resolved}


@pytest.mark.parametrize("address", ["0.0.0.0:50051", "[::]:50051", "192.168.1.5:50051", "8.8.8.8:50051"])
def test_anything_else_is_refused_and_names_ssh(address):
    with pytest.raises(BindError, match=r"binds loopback alone .*ssh -L 50051:localhost:50051 GPUBOX") as caught:
        check_loopback(address)
    assert repr(address) in str(caught.value)


@pytest.mark.parametrize("address", ["", "localhost", "localhost:", ":50051", "localhost:http", "localhost:70000"])
def test_a_malformed_address_is_refused(address):
    with pytest.raises(BindError, match=r"address must be HOST:PORT, e\.g\. localhost:50051\. Got: "):
        check_loopback(address)


def test_an_unknown_host_is_refused():
    with pytest.raises(BindError, match=r"host 'nowhere\.invalid' is unknown"):
        check_loopback("nowhere.invalid:50051")


def test_a_taken_port_is_named():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(BindError, match=rf"localhost:{port} is taken by another program .*choose another port"):
            check_free(Place("localhost", port, ("127.0.0.1",)))
    check_free(Place("localhost", port, ("127.0.0.1",)))
