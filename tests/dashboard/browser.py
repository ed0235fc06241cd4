"""Debian's Chromium, driven as a person would: opened once, looked at by axe, and photographed."""

import os
import shutil
import time
from contextlib import contextmanager, suppress

import pytest
from axe_selenium_python import Axe
from selenium import webdriver
from selenium.common.exceptions import NoSuchElementException, StaleElementReferenceException
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from tests.support import DATA

PICTURES = DATA.parent / "build/screenshots"
SIZE = (1440, 900)
_COMMANDS = {"chromium": "chromium", "chromium-driver": "chromedriver"}


def _commands():
    found = {package: shutil.which(name) for package, name in _COMMANDS.items()}
    missing = [package for package, path in found.items() if path is None]
    if missing:
        why = f"the Debian packages {' and '.join(missing)} are not installed"
        if os.environ.get("NEXTGEN_REQUIRE_SERVERS") == "1":
            pytest.fail(f"{why}, and NEXTGEN_REQUIRE_SERVERS=1 asks for them")
        pytest.skip(why)
    return found["chromium"], found["chromium-driver"]


class Browser:
    """One window."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, url, *, theme="light", language="en"):
        """Load a page anew, in a theme and a language."""
        self.driver.get("about:blank")
        self.driver.get(url)  # whose origin keeps what follows
        self.run(
            "localStorage.setItem('nextgen-theme', arguments[0]);"
            "localStorage.setItem('nextgen-language', arguments[1]);",
            theme,
            language,
        )
        self.errors()
        self.driver.refresh()
        self.wait("main h1")

    def run(self, script, *values):
        """Run a script in the page and return what it returns."""
        return self.driver.execute_script(script, *values)

    def all(self, css):
        """Return all elements that a selector finds."""
        return self.driver.find_elements(By.CSS_SELECTOR, css)

    def one(self, css):
        """Return the first of them."""
        return self.driver.find_element(By.CSS_SELECTOR, css)

    def text(self, css):
        """Return the visible text of the first of them."""
        return self.one(css).text

    def until(self, true, seconds=15.0, pause=0.05):
        """Wait until `true()` gives something, and return it."""
        end = time.monotonic() + seconds
        while True:
            with suppress(StaleElementReferenceException, NoSuchElementException):
                if found := true():
                    return found
            assert time.monotonic() < end, f"it did not come about: {self.text('body')[:2000]}"
            time.sleep(pause)

    def wait(self, css, seconds=15.0):
        """Wait for an element, and return it."""
        return self.until(lambda: self.all(css), seconds)[0]

    def errors(self):
        """Return what the console has complained of since the last time."""
        return [
            entry["message"]
            for entry in self.driver.get_log("browser")
            if entry["level"] in {"SEVERE", "WARNING"}
        ]

    def faults(self):
        """Return what axe finds wrong with the page: (rule, where)."""
        axe = Axe(self.driver)
        axe.inject()
        return [
            (found["id"], [node["target"] for node in found["nodes"]])
            for found in axe.run()["violations"]
        ]

    def photograph(self, name):
        """Keep a picture of the whole page."""
        PICTURES.mkdir(parents=True, exist_ok=True)
        height = self.run("return document.documentElement.scrollHeight")
        self.driver.set_window_size(SIZE[0], min(max(height + 140, SIZE[1]), 2400))
        # Charts draw in a picture after the one in which they grew.
        self.driver.execute_async_script(
            "const done = arguments[0];"
            "requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done, 100)));"
        )
        self.driver.save_screenshot(str(PICTURES / f"{name}.png"))
        self.driver.set_window_size(*SIZE)


@contextmanager
def chromium():
    """Yield a browser."""
    binary, driver = _commands()
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    flags = ["--headless=new", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars"]
    if os.geteuid() == 0:  # as in a container
        flags.append("--no-sandbox")
    for flag in (*flags, f"--window-size={SIZE[0]},{SIZE[1]}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driven = webdriver.Chrome(options=options, service=Service(driver))
    try:
        driven.set_script_timeout(60)
        yield Browser(driven)
    finally:
        driven.quit()
