"""Run a Python script, or a module with -m, with the network blocked.

    python tools/offline.py script.py [arguments]
    python tools/offline.py -m module [arguments]

A connection, a look-up of a name or a datagram to anything but this machine raises
`NetworkBlockedError`. Other processes that the script starts are not covered.
"""

import ipaddress
import os
import runpy
import socket
import sys


class NetworkBlockedError(RuntimeError):
    """Something wanted the network. Not an OSError, which libraries catch and then try again."""


def block_network():
    """Block the network in this process, from now to its end."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    # An audit hook sees every caller, also those that hold their own reference to socket.connect.
    sys.addaudithook(_refuse_network)


def _refuse_network(event, args):
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        connection, address = args
        if address is None or connection.family not in (socket.AF_INET, socket.AF_INET6):
            return
        host = address[0]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        host = args[0]
    else:
        return
    if not _is_this_machine(host):
        raise NetworkBlockedError(
            f"{event} to {host!r}: the network is blocked while tests, examples and the demo run"
        )


def _is_this_machine(host):
    if host is None:
        return True
    if isinstance(host, bytes):
        host = host.decode("ascii", "replace")
    if host in ("", "localhost"):
        return True
    try:
        address = ipaddress.ip_address(host.partition("%")[0])
    except ValueError:
        return False
    return address.is_loopback or address.is_unspecified


def main(arguments):
    if not arguments or arguments[0] in ("-h", "--help"):
        print(__doc__.strip())
        return
    block_network()
    if arguments[0] == "-m":
        sys.argv = arguments[1:]
        sys.path[0] = os.getcwd()
        runpy.run_module(arguments[1], run_name="__main__", alter_sys=True)
    else:
        sys.argv = arguments
        sys.path[0] = os.path.dirname(os.path.abspath(arguments[0]))
        runpy.run_path(arguments[0], run_name="__main__")


if __name__ == "__main__":
    main(sys.argv[1:])
