"""The shop's application: orders go to PostgreSQL; what was sold is remembered in Redis until the next order."""

import html
import http.server
import json
import os
import socket
import urllib.parse

import psycopg2
import redis

SETTINGS = json.load(open("/etc/shop.json"))
PASSWORD = open(os.environ["DB_PASSWORD_FILE"]).read().strip()
CACHE = redis.Redis(os.environ["CACHE_HOST"], socket_timeout=3, socket_connect_timeout=3)


def query(statement, *values):
    """Runs one statement in a transaction of its own and returns its rows."""
    connection = psycopg2.connect(host=os.environ["DB_HOST"], dbname="shop", user="shop", password=PASSWORD, connect_timeout=3)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall()
    finally:
        connection.close()


def sold():
    """Amounts by item, and where they come from."""
    known = CACHE.get("sold")
    if known:
        return json.loads(known), "redis"
    rows = dict(query("SELECT item, sum(amount)::int FROM orders GROUP BY item ORDER BY item"))
    CACHE.set("sold", json.dumps(rows), ex=60)
    return rows, "postgresql"


def order(item, amount):
    number = query("INSERT INTO orders (item, amount) VALUES (%s, %s) RETURNING id", item, amount)[0][0]
    CACHE.delete("sold")
    return number


class Request(http.server.BaseHTTPRequestHandler):
    def answer(self, status, body, kind="application/json", **headers):
        data = (body if isinstance(body, str) else json.dumps(body) + "\n").encode()
        self.send_response(status)
        for name, value in {"Content-Type": kind, "Content-Length": len(data), "X-Server": socket.gethostname(), **headers}.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()
        self.wfile.write(data)

    def guarded(self, serve):
        try:
            serve()
        except (psycopg2.errors.CheckViolation, psycopg2.errors.NumericValueOutOfRange, KeyError, ValueError) as error:
            self.answer(400, {"error": f"an order has an item and an amount above 0: {error}"})
        except (psycopg2.Error, redis.RedisError) as error:
            self.answer(503, {"error": str(error)})

    def do_GET(self):
        self.guarded(self.get)

    def do_POST(self):
        self.guarded(self.post)

    def get(self):
        if self.path == "/health":
            query("SELECT 1")
            self.answer(200, {"visits": int(CACHE.get("visits") or 0)})
        elif self.path == "/orders":
            rows, source = sold()
            self.answer(200, rows, X_Source=source)
        elif self.path == "/":
            visits, (rows, _) = CACHE.incr("visits"), sold()
            name = html.escape(SETTINGS["name"])
            lines = "".join(f"<li>{html.escape(item)}: {amount}</li>" for item, amount in rows.items())
            self.answer(200, f"<!doctype html><title>{name}</title><h1>{name}</h1><p>Visitor {visits}, served by {socket.gethostname()}.</p><ul>{lines}</ul>"
                        "<form method=post action=/orders><input name=item placeholder=item><input name=amount value=1><button>Order</button></form>",
                        "text/html; charset=utf-8")
        else:
            self.answer(404, {"error": f"nothing is at {self.path}"})

    def post(self):
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
        if self.path != "/orders":
            return self.answer(404, {"error": f"nothing is at {self.path}"})
        form = {name: values[0] for name, values in urllib.parse.parse_qs(text).items()}
        self.answer(201, {"id": order(form["item"], int(form["amount"]))})


class Server(http.server.ThreadingHTTPServer):
    request_queue_size = 128


Server(("", 8000), Request).serve_forever()
