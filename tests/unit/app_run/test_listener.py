import contextlib
import select
import socket
import sys

import pytest

from app.listener import ListenError, local_address, local_url, open_listener, open_listeners


def test_a_free_port_is_taken_and_listened_on_at_once() -> None:
    with open_listener("127.0.0.1", 0) as listener:
        host, port = local_address(listener)
        assert port > 0
        assert local_url(listener) == f"http://127.0.0.1:{port}"
        socket.create_connection((host, port)).close()


def test_all_addresses_are_reached_at_this_machines_own() -> None:
    with open_listener("0.0.0.0", 0) as listener:
        assert local_url(listener) == f"http://127.0.0.1:{listener.getsockname()[1]}"


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_ipv6_is_written_in_brackets() -> None:
    with open_listener("::1", 0) as listener:
        assert local_url(listener) == f"http://[::1]:{listener.getsockname()[1]}"


def test_a_port_in_use_names_the_option() -> None:
    with open_listener("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(ListenError, match=rf"Port {port} of 127\.0\.0\.1 is in use.*--port"):
            open_listener("127.0.0.1", port)


def test_a_port_can_be_had_again_right_after_a_stop() -> None:
    with open_listener("127.0.0.1", 0) as listener:
        address = listener.getsockname()
        with socket.create_connection(address):
            listener.accept()[0].close()  # leaves a connection in TIME_WAIT on our side
    open_listener(*address).close()


@pytest.mark.parametrize("host", ["no such host", "192.0.2.1"])  # RFC 5737: nobody's address
def test_a_host_that_is_not_ours_names_the_option(host: str) -> None:
    with pytest.raises(ListenError, match="--host"):
        open_listener(host, 0)


def test_several_listeners_share_a_port_and_each_connection_reaches_one_of_them() -> None:
    with contextlib.ExitStack() as stack:
        listeners = open_listeners("127.0.0.1", 0, 3)
        for listener in listeners:
            stack.callback(listener.close)
        assert len({listener.getsockname() for listener in listeners}) == 1
        for _ in range(64):
            stack.enter_context(socket.create_connection(local_address(listeners[0])))
        reached = 0
        while ready := select.select(listeners, [], [], 0)[0]:
            for listener in {each.fileno(): each for each in ready}.values():
                listener.accept()[0].close()
                reached += 1
        assert reached == 64


@pytest.mark.skipif(sys.platform != "linux", reason="other systems do not deal connections out evenly")
def test_a_crowd_that_comes_at_once_is_dealt_out_over_all_listeners() -> None:
    with contextlib.ExitStack() as stack:
        listeners = [stack.enter_context(listener) for listener in open_listeners("127.0.0.1", 0, 2)]
        for _ in range(64):
            stack.enter_context(socket.create_connection(local_address(listeners[0])))
        assert select.select(listeners, [], [], 0)[0] == listeners


def test_several_listeners_take_no_port_that_is_shared_by_others_already() -> None:
    with contextlib.ExitStack() as stack:
        listeners = open_listeners("127.0.0.1", 0, 2)
        for listener in listeners:
            stack.callback(listener.close)
        for count in (1, 2):
            with pytest.raises(ListenError, match="is in use by another program"):
                open_listeners(*local_address(listeners[0]), count)
