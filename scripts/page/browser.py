"""A headless Chromium that looks at the page of a server: what test_page.py drives it with.

CHROMIUM and CHROMEDRIVER name the programs, if they are elsewhere than in /usr/bin.
"""

import base64
import json
import os
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

from selenium import webdriver
from selenium.webdriver import ActionChains
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

TASKS = ["fill-mask", "order", "classify", "tag", "answer", "choose", "similarity", "embeddings"]
PATIENCE_SECONDS = 20


class Skipped(Exception):
    pass


def percent(share):
    """As the page writes it."""
    if 0 < share < 0.001:
        return "<0.1%"
    if 0.999 < share < 1:
        return ">99.9%"
    return f"{100 * share:.1f}%"


def word(token):
    if token.startswith("▁"):
        return token[1:] or "(space)"
    return f"-{token[2:]}" if token.startswith("##") else token


class Browser:
    """One Chromium, and the server it looks at."""

    def __init__(self, url, key):
        self.url, self.key = url.rstrip("/") + "/", key
        options = webdriver.ChromeOptions()
        options.binary_location = os.environ.get("CHROMIUM", "/usr/bin/chromium")
        self.profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        for flag in ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
                     "--disable-sync", "--hide-scrollbars", f"--user-data-dir={self.profile.name}"]:
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(os.environ.get("CHROMEDRIVER", "/usr/bin/chromedriver")))
        self.driver.execute_cdp_cmd("Browser.grantPermissions", {"origin": self.url.rstrip("/"), "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]})
        self.models = self.ask("v1/models")["data"]

    def close(self):
        self.driver.quit()
        self.profile.cleanup()

    def ask(self, route, body=None):
        """The server's own answer; of an error, its object."""
        headers = {"content-type": "application/json"}
        if self.key:
            headers["authorization"] = f"Bearer {self.key}"
        request = urllib.request.Request(self.url + route, json.dumps(body).encode() if body else None, headers)
        try:
            return json.load(urllib.request.urlopen(request))
        except urllib.error.HTTPError as error:
            return json.load(error)

    def screen(self, width=1280, height=860, dark=False, still=True):
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 500})
        features = [("prefers-color-scheme", "dark" if dark else "light"), ("prefers-reduced-motion", "reduce" if still else "no-preference")]
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": n, "value": v} for n, v in features]})

    def open(self, task=""):
        """The page anew, at a task."""
        self.driver.get("about:blank")
        if self.key:
            self.driver.get(self.url + "icon.svg")
            self.script("sessionStorage.setItem('albert-key', arguments[0])", self.key)
        self.driver.get(self.url)
        self.until(lambda: self.all("[role=tab]"), "tabs")
        if not task:
            return None
        if not self.able(task):
            raise Skipped(f"no loaded model can {task}")
        self.one(f"#tab-{task}").click()
        return Panel(self, task)

    def able(self, task):
        return [model for model in self.models if task in model["tasks"]]

    def all(self, css):
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def one(self, css):
        return self.driver.find_element(By.CSS_SELECTOR, css)

    def script(self, text, *arguments):
        return self.driver.execute_script(text, *arguments)

    def until(self, condition, what):
        end = time.time() + PATIENCE_SECONDS
        while time.time() < end:
            found = condition()
            if found:
                return found
            time.sleep(0.05)
        raise AssertionError(f"waited {PATIENCE_SECONDS} s in vain for {what}")

    def press(self, *keys):
        actions = ActionChains(self.driver)
        for one in keys:
            actions.send_keys(one)
        actions.perform()

    def copied(self):
        return self.driver.execute_async_script("const done = arguments[0]; navigator.clipboard.readText().then(done, (error) => done(String(error)))")

    def shot(self, path):
        size = self.script("return [innerWidth, Math.max(innerHeight, document.documentElement.scrollHeight)]")
        clip = {"x": 0, "y": 0, "width": size[0], "height": size[1], "scale": 1}
        image = self.driver.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", "captureBeyondViewport": True, "clip": clip})
        Path(path).write_bytes(base64.b64decode(image["data"]))


class Panel:
    """One task on the page."""

    def __init__(self, browser, task):
        self.browser, self.task = browser, task
        self.root = browser.one(f"#panel-{task}")

    def all(self, css):
        return self.root.find_elements(By.CSS_SELECTOR, css)

    def one(self, css):
        return self.root.find_element(By.CSS_SELECTOR, css)

    def pick(self, model):
        """Chooses the model, if there are several."""
        for option in self.all("select option"):
            if option.get_attribute("value") == model["id"]:
                option.click()

    def write(self, css, text):
        # Keys of WebDriver stop at the first plane of Unicode, so the value is set as a paste would.
        self.browser.script("arguments[0].value = arguments[1]; arguments[0].dispatchEvent(new Event('input', {bubbles: true}));"
                            "arguments[0].dispatchEvent(new Event('change', {bubbles: true}))", self.one(css), text)

    def run(self):
        self.one(".primary").click()
        self.answered()

    def answered(self):
        self.browser.until(lambda: self.one(".meta").text.startswith("Answered in ") or self.error(), "an answer")
        assert not self.error(), self.error()

    def error(self):
        found = self.one(".error")
        return found.text if found.is_displayed() else ""

    def bars(self, css=".output .bars"):
        # In one step: an answer that comes in between would replace rows that were already found.
        found = self.browser.script("return [...arguments[0].querySelectorAll(arguments[1])].map((row) => ['.name', '.value']"
                                    ".map((part) => row.querySelector(part).textContent))", self.root, f"{css} li")
        return [tuple(one) for one in found]

    def ask(self, body):
        return self.browser.ask(f"v1/{self.task}", body)


def same(found, wanted):
    assert found == wanted, f"the page shows\n    {found}\n  but the server says\n    {wanted}"


def console(browser):
    """What the browser itself complained of: a policy, a missing file, an uncaught error."""
    # Errors that a test asks for; and the icon that browsers look for where a page is a picture.
    expected = ("status of 422", "status of 413", "status of 429", "/favicon.ico")
    return [one["message"] for one in browser.driver.get_log("browser") if one["level"] == "SEVERE" and not any(e in one["message"] for e in expected)]


def pictures(browser, folder):
    """Every task in light, dark, and on a phone."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for name, screen in {"light": {}, "dark": {"dark": True}, "phone": {"width": 360, "height": 740}}.items():
        browser.screen(**screen)
        for task in [task for task in TASKS if browser.able(task)]:
            panel = browser.open(task)
            if task == "fill-mask":
                panel.all("button.word")[1].click()
            elif task == "order":
                panel.one(".primary").click()
            else:
                panel.one(".example").click()
            panel.answered()
            time.sleep(0.6)
            browser.shot(f"{folder}/{name}-{task}.png")
    browser.screen()
