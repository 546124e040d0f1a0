# SPDX-License-Identifier: PostgreSQL
"""A client of PostgreSQL's protocol, version 3: simple queries over a Unix socket, and every wait has an end."""
import socket
import struct


class ServerError(Exception):
    """The server has answered with an error."""

    def __init__(self, fields):
        super().__init__("%s: %s" % (fields.get("C"), fields.get("M")))
        self.sqlstate, self.message = fields.get("C", ""), fields.get("M", "")


class Lost(Exception):
    """The connection was lost, or the answer didn't come in time: what was asked may have happened."""


class Connection:
    """`options`: settings of the session, as on the server's command line."""

    def __init__(self, path, options="", timeout_s=10.0):
        self.buffer = b""
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(timeout_s)
        try:
            self.socket.connect(path)
            words = b"".join(w.encode() + b"\0" for w in ("user", "postgres", "database", "postgres", "options", options))
            self.socket.sendall(struct.pack("!ii", 9 + len(words), 196608) + words + b"\0")
            self.answers()
        except (OSError, Lost) as error:
            self.close()
            raise Lost(str(error)) from error
        except ServerError:
            self.close()
            raise

    def close(self):
        self.socket.close()

    def query(self, sql):
        """The rows, as texts; of several statements those of all."""
        data = sql.encode() + b"\0"
        try:
            self.socket.sendall(b"Q" + struct.pack("!i", 4 + len(data)) + data)
            return self.answers()
        except OSError as error:
            self.close()
            raise Lost(str(error)) from error

    def take(self, size):
        while len(self.buffer) < size:
            more = self.socket.recv(65536)
            if not more:
                raise Lost("the server has closed the connection")
            self.buffer += more
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def answers(self):
        rows, error = [], None
        while True:
            try:
                kind, size = struct.unpack("!ci", self.take(5))
                data = self.take(size - 4)
            except Lost:
                # A server that ends says why, and then nothing more.
                if error is not None:
                    raise ServerError(error) from None
                raise
            if kind == b"Z":
                break
            if kind == b"D":
                rows.append(row_of(data))
            elif kind == b"E":
                error = {chr(field[0]): field[1:].decode() for field in data.split(b"\0") if field}
        if error is not None:
            raise ServerError(error)
        return rows


def row_of(data):
    cells, at = [], 2
    for _ in range(struct.unpack_from("!h", data)[0]):
        size = struct.unpack_from("!i", data, at)[0]
        at += 4
        cells.append(None if size < 0 else data[at:at + size].decode())
        at += max(size, 0)
    return cells
