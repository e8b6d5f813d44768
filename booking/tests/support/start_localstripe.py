# Starts localstripe for a test: on a free port of the loopback alone, with nothing on disk, until standard input ends.
# Prints the port.
import os
import socket
import sys
import threading

from aiohttp import web
from localstripe import resources, server

# It would keep its data in a file that all instances share.
resources.Store.dump_to_disk = lambda self: None


def end_with_parent():
    sys.stdin.read()
    os._exit(0)


threading.Thread(target=end_with_parent, daemon=True).start()
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
web.run_app(server.app, sock=listener, print=None, access_log=None)
