#!/usr/bin/env python3
"""Signs in through `mcp-auth drive`, without a line of OAuth here.

    cargo build -p mcp-auth
    target/debug/mcp-auth demo --serve                                   # in one terminal
    python3 crates/cli/examples/drive.py http://127.0.0.1:PORT/mcp target/debug/mcp-auth  # in another

Python 3, standard library. The machine runs as a child process: events go in, actions come out, one
JSON object a line (docs/design.md, section 8). Here are its HTTP client, its store and its browser. For
loopback alone: a real client checks the resolved address against "addresses", and keeps slots encrypted.
"""

import base64
import json
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request

REDIRECT_URI = "http://127.0.0.1:33418/callback"


class NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_):
        return None


HTTP = urllib.request.build_opener(urllib.request.ProxyHandler({}), NoRedirects)


def exchange(method, url, headers, body=None, timeout=30, limit=1 << 20):
    """One request: no redirect followed, any status is an answer."""
    request = urllib.request.Request(url, data=body, headers=dict(headers), method=method)
    try:
        answer = HTTP.open(request, timeout=timeout)
    except urllib.error.HTTPError as error:
        answer = error
    with answer:
        return answer.status, [[name.lower(), value] for name, value in answer.headers.items()], answer.read(limit + 1)


class Machine:
    def __init__(self, command, config):
        self.slots = {}
        self.child = subprocess.Popen([command, "drive"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.actions = self.say({"config": config})

    def say(self, line):
        """One line in; the actions up to `idle`."""
        self.child.stdin.write(json.dumps(line) + "\n")
        self.child.stdin.flush()
        actions = []
        while True:
            action = json.loads(self.child.stdout.readline())
            if action["action"] == "protocol_error":
                raise RuntimeError(action["message"])
            if action["action"] == "idle":
                return actions
            actions.append(action)

    def event(self, event, **members):
        self.actions += self.say({"now": time.time_ns() // 1_000_000, "event": event, **members})

    def run(self):
        """Works until a token can be had."""
        while self.actions:
            action = self.actions.pop(0)
            kind = action["action"]
            print(kind, action.get("url") or action.get("slot") or action.get("why") or action.get("code") or "")
            if kind == "send_request":
                self.send(action)
            elif kind == "load_slot":
                contents, revision = self.slots.get(action["slot"], (None, None))
                self.event("slot_loaded", id=action["id"], contents=contents, revision=revision)
            elif kind == "persist_slot":
                self.persist(action)
            elif kind == "need_user":
                seed = base64.urlsafe_b64encode(os.urandom(64)).decode().rstrip("=")
                self.event("authorize", seed=seed)
            elif kind == "redirect":
                # A program opens action["url"] in a browser and listens on REDIRECT_URI. The consent
                # page of the built-in server approves itself: following is agreeing.
                _, headers, _ = exchange("GET", action["url"], [])
                self.event("callback_params", url=dict(headers)["location"])
            elif kind == "ready":
                return action
            elif kind == "error":
                raise RuntimeError(action["message"])
        raise RuntimeError("nothing is left to do")

    def send(self, action):
        body = action.get("body", "").encode() or base64.b64decode(action.get("body_base64", "")) or None
        timeout, limit = action["time_limit"] / 1000, action["body_limit"]
        try:
            status, headers, body = exchange(
                action["method"], action["url"], action["headers"], body, timeout, limit)
        except OSError:
            self.event("http_failed", id=action["id"], failure="maybe_sent")
            return
        if len(body) > limit:
            self.event("http_failed", id=action["id"], failure="too_large")
        else:
            body = base64.b64encode(body).decode()
            self.event("http_response", id=action["id"], status=status, headers=headers, body_base64=body)

    def persist(self, action):
        slot = action["slot"]
        contents, revision = self.slots.get(slot, (None, None))
        if revision != action["expected"]:
            self.event("slot_persisted", id=action["id"], outcome="conflict", contents=contents, revision=revision)
            return
        if action["contents"] is None:
            self.slots.pop(slot, None)
        else:
            self.slots[slot] = (action["contents"], action["revision"])
        self.event("slot_persisted", id=action["id"], outcome="done")


def main():
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    url, command = sys.argv[1], sys.argv[2] if len(sys.argv) > 2 else "mcp-auth"
    machine = Machine(command, {
        "mcp_url": url, "redirect_uri": REDIRECT_URI, "principal": "alice", "client_name": "drive.py",
    })
    request = json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}).encode()
    authorization = None
    for _ in range(4):
        headers = [["content-type", "application/json"], ["accept", "application/json, text/event-stream"]]
        if authorization:
            headers.append(["authorization", authorization])
        status, answered, body = exchange("POST", url, headers, request)
        print("mcp tools/list", status)
        if status not in (401, 403):
            machine.event("accepted", operation="tools/list")
            print(body.decode())
            return
        machine.event(
            "challenged", operation="tools/list", status=status, headers=answered, sent=authorization)
        ready = machine.run()
        authorization = f"{ready['scheme']} {ready['token']}"
    sys.exit("refused again and again")


if __name__ == "__main__":
    main()
