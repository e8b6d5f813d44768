# Starts localstripe for a test: on a free port of the loopback alone, with nothing on disk, until standard input ends.
# Prints the port.
#
# localstripe takes no notice of idempotency keys. Stripe answers a repeated key as it did the first time, and refuses
# it for another request; so does the front below.
import asyncio
import os
import socket
import sys
import threading

from aiohttp import web
from localstripe import resources, server

# It would keep its data in a file that all instances share.
resources.Store.dump_to_disk = lambda self: None

answers = {}
locks = {}


@web.middleware
async def once_per_key(request, handler):
    key = request.headers.get("Idempotency-Key")
    if request.method != "POST" or key is None:
        return await handler(request)
    async with locks.setdefault(key, asyncio.Lock()):
        asked = (request.path, await request.read())
        if key in answers:
            before, status, body = answers[key]
            if before != asked:
                return web.json_response({"error": {"type": "idempotency_error"}}, status=400)
            return web.Response(status=status, body=body, content_type="application/json")
        answer = await handler(request)
        # A request that was malformed may be repeated with its fault mended.
        if answer.status < 400 or answer.status == 402:
            answers[key] = (asked, answer.status, bytes(answer.body))
        return answer


def end_with_parent():
    sys.stdin.read()
    os._exit(0)


threading.Thread(target=end_with_parent, daemon=True).start()
server.app.middlewares.insert(0, once_per_key)
listener = socket.socket()
listener.bind(("127.0.0.1", 0))
print(listener.getsockname()[1], flush=True)
web.run_app(server.app, sock=listener, print=None, access_log=None)
