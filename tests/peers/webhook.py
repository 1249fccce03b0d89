"""A web server that takes webhooks: Python's own, which tells each request as a line of JSON.

  webhook.py PORT SECRET [CERTIFICATE KEY]

Paths that end so are answered otherwise than with 204: `/down-N` with 503 for the first N requests, `/redirect` with 307 to
`/elsewhere`, `/refused` with 403, `/silent` never.
"""

import hashlib
import hmac
import http.server
import json
import ssl
import sys
import threading
import time

PORT, SECRET = int(sys.argv[1]), sys.argv[2].encode()
asked, lines = {}, threading.Lock()


class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        wanted = "sha256=" + hmac.new(SECRET, body, hashlib.sha256).hexdigest()
        asked[self.path] = asked.get(self.path, 0) + 1
        told = {
            "path": self.path,
            "event": self.headers["X-Nuncio-Event"],
            "type": self.headers["Content-Type"],
            "signed": hmac.compare_digest(self.headers.get("X-Nuncio-Signature", ""), wanted),
            "body": json.loads(body),
        }
        with lines:
            print(json.dumps(told), flush=True)
        if "/down-" in self.path and asked[self.path] <= int(self.path.rsplit("-", 1)[1]):
            self.send_response(503)
        elif self.path.endswith("/redirect"):
            self.send_response(307)
            self.send_header("Location", "/elsewhere")
        elif self.path.endswith("/refused"):
            self.send_response(403)
        elif self.path.endswith("/silent"):
            time.sleep(600)
        else:
            self.send_response(204)
        self.end_headers()

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", PORT), Handler)
if len(sys.argv) > 3:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*sys.argv[3:5])
    server.socket = context.wrap_socket(server.socket, server_side=True)
print("ready", flush=True)
server.serve_forever()
