"""10,000 connections that do nothing, on HTTP/1.1 and on HTTP/2: what each costs the server, and how long a request takes meanwhile."""
import resource
import socket
import statistics
import time
import urllib.parse
import urllib.request

MANY = 10000
H1 = b'GET /apis/v2beta1/healthz HTTP/1.1\r\nHost: localhost\r\n\r\n'
H2_HEADERS = b'\x82\x86\x04\x19/apis/v2beta1/healthz?a=1' + b'\x01\x09localhost'
H2 = b'PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n' + b'\0\0\0\4\0\0\0\0\0' + len(H2_HEADERS).to_bytes(3, 'big') + b'\x01\x05\0\0\0\x01' + H2_HEADERS


def rss(pid):
    with open(f'/proc/{pid}/status') as f:
        return next(int(line.split()[1]) for line in f if line.startswith('RssAnon'))


def ask(url):
    began = time.monotonic()
    urllib.request.urlopen(url + '/apis/v2beta1/healthz', timeout=10).read()
    return (time.monotonic() - began) * 1000


def until(sock, end):
    got = b''
    while end not in got:
        piece = sock.recv(4096)
        if not piece:
            raise RuntimeError('the server closed a connection')
        got += piece


def bench(tidemill, note):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    many = min(MANY, hard - 200)
    at = urllib.parse.urlsplit(tidemill.ready['url'])
    for name, request, end in (('HTTP/1.1', H1, b'}'), ('HTTP/2', H2, b'"database"}')):
        for _ in range(50):
            ask(tidemill.ready['url'])
        before = rss(tidemill.ready['pid'])
        open_, took = [], []
        began = time.monotonic()
        for i in range(many - 100):
            s = socket.create_connection((at.hostname, at.port))
            s.sendall(request)
            until(s, end)
            open_.append(s)
            if i % 100 == 99:
                took.append(ask(tidemill.ready['url']))
        seconds = time.monotonic() - began
        note(f'{name}: memory of an idle connection', (rss(tidemill.ready['pid']) - before) / len(open_), 'KiB', aim='below 16')
        note(f'{name}: connections opened and used', len(open_) / seconds, '/s')
        note(f'{name}: a request meanwhile (median)', statistics.median(took), 'ms')
        note(f'{name}: a request meanwhile (longest)', max(took), 'ms')
        for s in open_:
            s.close()
        time.sleep(1)
