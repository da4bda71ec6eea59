"""Asks https://arzur.net:PORT/ in the ways that Python has: PORT CA-FILE."""

import http.client
import socket
import ssl
import sys

port, ca = int(sys.argv[1]), sys.argv[2]
request = b"GET / HTTP/1.1\r\nHost: arzur.net\r\nConnection: close\r\n\r\n"


def dial():
    s = socket.create_connection(("127.0.0.1", port), timeout=20)
    s.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return s


def simple(context, name="arzur.net", session=None):
    """One request over a new connection: the answer and the session."""
    with context.wrap_socket(dial(), server_hostname=name, session=session) as s:
        s.sendall(request)
        answer = b""
        while part := s.recv(65536):
            answer += part
        return answer, s.session, s.session_reused, s.version()


def byte_by_byte(context):
    """A MemoryBIO between the two, whose every byte is a packet of its own."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = context.wrap_bio(incoming, outgoing, server_hostname="arzur.net")
    with dial() as s:

        def until_done(step):
            while True:
                try:
                    result = step()
                except ssl.SSLWantReadError:
                    result = None
                for b in outgoing.read():
                    s.sendall(bytes((b,)))
                if result is not None:
                    return result
                if data := s.recv(1):
                    incoming.write(data)
                else:
                    incoming.write_eof()

        until_done(lambda: tls.do_handshake() or True)
        until_done(lambda: tls.write(request))
        answer = b""
        while part := until_done(lambda: tls.read(65536)):
            answer += part
        return answer


def good(answer):
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.endswith(b"\r\n\r\none\n"), answer


for version in ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3:
    context = ssl.create_default_context(cafile=ca)
    context.minimum_version = context.maximum_version = version
    answer, session, reused, spoken = simple(context)
    good(answer)
    assert not reused and spoken == version.name.replace("_", "."), (reused, spoken)
    answer, _, reused, _ = simple(context, session=session)
    good(answer)
    assert reused
    good(byte_by_byte(context))

    # Many requests over one connection.
    client = http.client.HTTPSConnection("arzur.net", port, context=context)
    client._create_connection = lambda *_: dial()
    for _ in range(100):
        client.request("GET", "/")
        assert client.getresponse().read() == b"one\n"
    client.close()

try:
    simple(ssl.create_default_context(cafile=ca), "example.com")
    raise SystemExit("example.com was not refused")
except ssl.SSLError as e:
    assert e.reason == "TLSV1_UNRECOGNIZED_NAME", e

print("ok", ssl.OPENSSL_VERSION)
