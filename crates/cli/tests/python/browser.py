#!/usr/bin/env python3
"""A browser without a window that presses buttons.

    browser.py URL

Follows redirects, keeps cookies in memory, and submits the first form of a page whose button or action
holds the text of $PRESS ("allow" or "approve" unless set). The last page is written to $PAGE.
"""

import os
import re
import sys
import urllib.error
import urllib.parse
import urllib.request
from html.parser import HTMLParser
from http.cookiejar import CookieJar


class Forms(HTMLParser):
    """The forms of a page: action, method, fields, and the text of all their buttons."""

    def __init__(self):
        super().__init__()
        self.forms, self.inside, self.text = [], None, ""

    def handle_starttag(self, tag, attributes):
        names = dict(attributes)
        if tag == "form":
            self.inside = {
                "action": names.get("action") or "",
                "method": (names.get("method") or "get").lower(),
                "fields": [],
                "buttons": [],
            }
            self.forms.append(self.inside)
        elif self.inside is not None and tag == "input" and names.get("type") != "submit":
            self.inside["fields"].append((names.get("name"), names.get("value") or ""))
        elif self.inside is not None and tag in ("button", "input"):
            self.inside["buttons"].append((names.get("name"), names.get("value") or ""))

    def handle_endtag(self, tag):
        if tag == "form":
            self.inside = None


press = re.compile(os.environ.get("PRESS", "allow|approve"), re.IGNORECASE)
jar = urllib.request.HTTPCookieProcessor(CookieJar())
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), jar)
url, data = sys.argv[1], None
for _ in range(10):
    try:
        answer = opener.open(urllib.request.Request(url, data=data), timeout=60)
    except urllib.error.HTTPError as error:
        answer = error
    page = answer.read().decode("utf-8", "replace")
    if path := os.environ.get("PAGE"):
        with open(path, "w") as file:
            file.write(page)
    parser = Forms()
    parser.feed(page)
    chosen = None
    for form in parser.forms:
        button = next((b for b in form["buttons"] if press.search(f"{b[0]} {b[1]}")), None)
        if button or press.search(form["action"]):
            chosen = (form, button)
            break
    if chosen is None:
        break
    form, button = chosen
    fields = [f for f in form["fields"] if f[0]] + ([button] if button and button[0] else [])
    url = urllib.parse.urljoin(answer.geturl(), form["action"] or answer.geturl())
    encoded = urllib.parse.urlencode(fields)
    if form["method"] == "post":
        data = encoded.encode()
    else:
        url, data = f"{url}?{encoded}", None
sys.exit(0)
