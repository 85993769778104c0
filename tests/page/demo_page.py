#!/usr/bin/env python3
"""Looks at the page of `caltrop demo` as its readers do: headless Chromium, a phone and a laptop, light and dark.

usage: demo_page.py --chromium PROGRAM (--caltrop PROGRAM | --page FILE) [--out DIR]

With --caltrop it first runs a tiny demonstration. The page must be well-formed XML, ask for nothing but itself,
fit each width, follow the reader's colour scheme, and have words for its pictures. Screenshots go to DIR. Standard
library only: the browser is driven over a pipe by its DevTools protocol.
"""
import argparse
import base64
import json
import os
import pathlib
import select
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ElementTree

VIEWS = [("phone", 390, 844, True), ("laptop", 1280, 900, False)]
SECONDS = 60  # for any answer of the browser


class Browser:
    """Chromium behind two pipes: commands go in at its descriptor 3, answers come out at 4."""

    def __init__(self, program, profile):
        command_read, self.commands = os.pipe()
        self.answers, answer_write = os.pipe()

        def connect():
            # Away from 3 and 4 first, in case they are what is to be put there.
            read, write = os.dup(command_read), os.dup(answer_write)
            read, write = os.dup2(read, 100), os.dup2(write, 101)
            os.dup2(read, 3)
            os.dup2(write, 4)

        arguments = ["--headless", "--remote-debugging-pipe", "--disable-gpu", "--hide-scrollbars",
                     "--no-first-run", "--disable-dev-shm-usage", f"--user-data-dir={profile}"]
        if os.geteuid() == 0:
            arguments.append("--no-sandbox")  # which root is refused
        self.process = subprocess.Popen([program, *arguments, "about:blank"], preexec_fn=connect, close_fds=True,
                                        pass_fds=(3, 4), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        os.close(command_read)
        os.close(answer_write)
        self.number, self.buffer, self.events = 0, b"", []

    def close(self):
        try:
            self.call("Browser.close")
        except (OSError, EOFError):
            pass
        try:
            self.process.wait(SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()

    def message(self):
        while b"\0" not in self.buffer:
            if not select.select([self.answers], [], [], SECONDS)[0]:
                raise TimeoutError(f"the browser says nothing for {SECONDS} s")
            more = os.read(self.answers, 1 << 20)
            if not more:
                raise EOFError("the browser ended")
            self.buffer += more
        text, self.buffer = self.buffer.split(b"\0", 1)
        return json.loads(text)

    def call(self, method, session=None, **parameters):
        self.number += 1
        request = {"id": self.number, "method": method, "params": parameters}
        if session:
            request["sessionId"] = session
        os.write(self.commands, json.dumps(request).encode() + b"\0")
        while True:
            answer = self.message()
            if answer.get("id") != self.number:
                self.events.append(answer)
                continue
            if "error" in answer:
                raise RuntimeError(f"{method}: {answer['error']}")
            return answer["result"]

    def wait(self, event):
        while True:
            for k, message in enumerate(self.events):
                if message.get("method") == event:
                    return self.events.pop(k)
            self.events.append(self.message())


class Tab:
    def __init__(self, browser):
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        self.browser = browser
        self.session = browser.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(domain + ".enable")

    def call(self, method, **parameters):
        return self.browser.call(method, self.session, **parameters)

    def value(self, expression):
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{expression}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def show(self, address, width, height, phone, scheme):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, mobile=phone,
                  deviceScaleFactor=2 if phone else 1)
        self.call("Emulation.setEmulatedMedia", media="screen",
                  features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.browser.events.clear()
        self.call("Page.navigate", url=address)
        self.browser.wait("Page.loadEventFired")

    def requests(self):
        return [event["params"]["request"]["url"] for event in self.browser.events
                if event.get("method") == "Network.requestWillBeSent"]

    def screenshot(self, path):
        height = self.value("document.documentElement.scrollHeight")
        width = self.value("window.innerWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": 1}
        picture = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)
        path.write_bytes(base64.b64decode(picture["data"]))


# Elements that reach beyond the page, but for those that scroll within a box of their own.
TOO_WIDE = """(() => {
  const width = document.documentElement.clientWidth;
  return [...document.querySelectorAll('body *')]
    .filter(e => !e.closest('.scroll') && e.getBoundingClientRect().right > width + 1)
    .map(e => e.tagName + ' ' + e.textContent.slice(0, 40)).slice(0, 5);
})()"""
# Tables that must be scrolled: none that is open from the start.
SCROLLING = """[...document.querySelectorAll('main > .scroll')]
  .filter(e => e.scrollWidth > e.clientWidth + 1).map(e => e.getAttribute('aria-label'))"""
# Words of charts that are cut off by their drawing or lie across one another.
CROWDED = """(() => {
  const bad = [];
  for (const chart of document.querySelectorAll('svg.chart')) {
    const frame = chart.getBoundingClientRect();
    const words = [...chart.querySelectorAll('text')].map(t => [t.textContent, t.getBoundingClientRect()]);
    words.forEach(([text, a], i) => {
      if (a.left < frame.left - 6 || a.right > frame.right + 6 || a.bottom > frame.bottom + 6)
        bad.push('cut: ' + text);
      for (const [other, b] of words.slice(i + 1)) {
        const across = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const down = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (across > 2 && down > 0.35 * Math.min(a.height, b.height)) bad.push(text + ' across ' + other);
      }
    });
  }
  return bad;
})()"""
DARKNESS = """(() => {
  const light = c => c.match(/\\d+/g).slice(0, 3).reduce((sum, v) => sum + Number(v), 0) / 765;
  const style = getComputedStyle(document.body);
  return [light(style.backgroundColor), light(style.color)];
})()"""


def check_file(page, expect):
    try:
        tree = ElementTree.fromstring(page.read_text(encoding="utf-8"))
    except ElementTree.ParseError as problem:
        expect(False, f"the page is not well-formed: {problem}")
        return
    for element in tree.iter():
        for name in ("src", "href", "data", "action", "poster", "srcset"):
            value = element.get(name)
            expect(value is None or value.startswith(("data:image/png;base64,", "#")),
                   f"<{element.tag} {name}> refers to {str(value)[:60]}")
        expect(element.tag != "script", "the page holds a script")
        expect(element.tag != "img" or element.get("alt"), "an image has no words")
        expect(element.get("role") != "img" or element.get("aria-label"), "a chart has no words")
    expect("url(" not in page.read_text(encoding="utf-8"), "the style refers to something")
    words = " ".join(tree.find("body").itertext()).lower().split()
    expect(not {"nan", "-nan", "inf", "-inf"} & set(words), "the page says nan or inf")


def check_view(tab, address, view, scheme, out, expect):
    name, width, height, phone = view
    tab.show(address, width, height, phone, scheme)
    where = f"{name}, {scheme}"
    expect(tab.value("window.innerWidth") == width, f"{where}: the window is {tab.value('window.innerWidth')} wide")
    expect(tab.value("document.documentElement.scrollWidth") <= width, f"{where}: the page scrolls sideways")
    expect(tab.value(TOO_WIDE) == [], f"{where}: too wide: {tab.value(TOO_WIDE)}")
    expect(tab.value(SCROLLING) == [], f"{where}: scrolls: {tab.value(SCROLLING)}")
    expect(tab.value(CROWDED) == [], f"{where}: charts: {tab.value(CROWDED)}")
    paper, ink = tab.value(DARKNESS)
    expect((paper < 0.2 and ink > 0.8) if scheme == "dark" else (paper > 0.9 and ink < 0.2),
           f"{where}: paper {paper:.2f}, ink {ink:.2f}")
    small = "Math.min(...[...document.querySelectorAll('svg.chart text')].map(t => t.getBoundingClientRect().height))"
    expect(tab.value(small) >= 11, f"{where}: letters of charts are {tab.value(small)} pixels high")
    outside = [url for url in tab.requests() if url != address and not url.startswith("data:")]
    expect(outside == [], f"{where}: asks for {outside}")
    tab.screenshot(out / f"{name}-{scheme}.png")
    expect((out / f"{name}-{scheme}.png").stat().st_size > 20000, f"{where}: an empty screenshot")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chromium", required=True)
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--caltrop")
    source.add_argument("--page")
    parser.add_argument("--out")
    given = parser.parse_args()
    failures = []

    def expect(holds, words):
        if not holds:
            failures.append(words)

    with tempfile.TemporaryDirectory(prefix="caltrop-page-") as temporary:
        place = pathlib.Path(temporary)
        out = pathlib.Path(given.out) if given.out else place
        out.mkdir(parents=True, exist_ok=True)
        page = pathlib.Path(given.page).resolve() if given.page else place / "demo" / "report.html"
        if given.caltrop:
            subprocess.run([given.caltrop, "demo", "--dataset", "digits", "--limit", "600", "--images", "30",
                            "--epochs", "2", "--defence-epochs", "1", "--adaptive", "4", "--seed", "1", "--quiet",
                            "--json", str(place / "json"), "--out", str(place / "demo")], check=True,
                           stdout=subprocess.DEVNULL)
        check_file(page, expect)
        browser = Browser(given.chromium, place / "profile")
        try:
            tab = Tab(browser)
            for view in VIEWS:
                for scheme in ("light", "dark"):
                    check_view(tab, page.as_uri(), view, scheme, out, expect)
        finally:
            browser.close()
    for words in failures:
        print("error:", words)
    print("the page holds" if not failures else f"{len(failures)} things are wrong with the page")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
