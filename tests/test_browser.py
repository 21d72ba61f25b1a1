"""The notebooks in a real browser: JupyterLab, and the pages.

Needs chromium and its driver, from Debian's packages of these names; the
tests are skipped where they are missing.
"""

import base64
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import sys
import urllib.request

import pytest
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait

import convert
from running import NAMES, PATIENCE, make_notebook, write_pages
from support import copy_workshop, wait_for

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (BROWSER and DRIVER), reason="chromium or chromedriver is missing"
    ),
]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    """A browser of its own, with nothing of the user's."""
    options = webdriver.ChromeOptions()
    options.binary_location = BROWSER
    options.add_argument("--headless")
    options.add_argument("--no-sandbox")  # with it, it refuses to run as root
    options.add_argument("--disable-background-networking")
    options.add_argument("--window-size=1200,1000")
    options.add_argument(f"--user-data-dir={tmp_path_factory.mktemp('user')}")
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.set_script_timeout(PATIENCE)
    # To JupyterLab the notebook is current only where the window has focus.
    focus = "Emulation.setFocusEmulationEnabled"
    driver.execute_cdp_cmd(focus, {"enabled": True})
    yield driver
    driver.quit()


@pytest.fixture
def lab(tmp_path):
    """JupyterLab on a copy of the notebooks; its address."""
    copy_workshop(tmp_path, "notebooks")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    token = secrets.token_hex()
    own = {
        f"JUPYTER_{name}_DIR": str(tmp_path / name)
        for name in ("CONFIG", "DATA", "RUNTIME")
    }
    command = [sys.executable, "notebooks/lab.py", "--no-browser"]
    command += ["--ip=127.0.0.1", f"--port={port}", "--allow-root"]
    command += [f"--IdentityProvider.token={token}"]
    command += ["--LabApp.expose_app_in_browser=True"]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    env = {**os.environ, **own}
    server = subprocess.Popen(command, cwd=tmp_path, env=env, **quiet)
    address = f"http://127.0.0.1:{port}"
    api = f"{address}/api?token={token}"
    try:
        wait_for(lambda: urllib.request.urlopen(api).read(), PATIENCE)
        yield f"{address}/lab/tree/1_port.ipynb?token={token}"
    finally:
        server.terminate()
        server.wait(timeout=60)


READY = """
const panel = window.jupyterapp?.shell.currentWidget;
return panel?.sessionContext?.session?.kernel?.status === "idle";
"""
RUN_ALL = """
const done = arguments[arguments.length - 1];
const app = window.jupyterapp;
app.commands.execute("notebook:run-all-cells").then(() => done(
  JSON.stringify(app.shell.currentWidget.content.model.sharedModel.cells.map(
    cell => cell.toJSON()
  ))
));
"""
IS_SHOWN = "return arguments[0].checkVisibility()"
MEDIA = "Emulation.setEmulatedMedia"
PHONE = {"width": 400, "height": 800, "deviceScaleFactor": 1, "mobile": False}
GO_TO = """
const content = window.jupyterapp.shell.currentWidget.content;
content.activeCellIndex = arguments[0];
content.scrollToItem(arguments[0]);
"""


def find_all(browser, css):
    """The elements, once there are any."""
    wait = WebDriverWait(browser, PATIENCE)
    return wait.until(lambda _: browser.find_elements(By.CSS_SELECTOR, css))


def test_run_all_in_jupyterlab_and_the_sliders_move_the_picture(browser, lab):
    wait = WebDriverWait(browser, PATIENCE)
    browser.get(lab)
    wait.until(lambda _: browser.execute_script(READY))
    cells = json.loads(browser.execute_async_script(RUN_ALL))
    for cell in cells:
        if cell["cell_type"] == "code":
            assert cell["execution_count"], cell["source"]
            kinds = [output["output_type"] for output in cell["outputs"]]
            assert "error" not in kinds, cell["source"]
    starts = ["".join(cell["source"])[:8] for cell in cells]
    browser.execute_script(GO_TO, starts.index("explore("))
    image = ".widget-html-content img"
    find_all(browser, image)
    labels = [x.text for x in find_all(browser, ".widget-slider label")]
    assert labels == ["rule", "width", "num_steps"]
    handle, *_ = find_all(browser, ".noUi-handle")
    handle.send_keys(Keys.ARROW_RIGHT)
    rule, width, num_steps = find_all(browser, ".widget-readout")
    wait.until(lambda _: rule.text == "111")
    enter(num_steps, 400)
    enter(width, 40)
    alt = "rule 111, width 40, num_steps 400"
    (picture,) = find_all(browser, f'{image}[alt="{alt}"]')
    wait.until(lambda _: picture.get_property("complete"))
    assert picture.get_property("naturalWidth") == 40
    assert (picture.size["width"], picture.size["height"]) == (40, 400)


def enter(readout, value):
    """Type a number beside a slider."""
    readout.click()
    readout.send_keys(Keys.CONTROL, "a")
    readout.send_keys(str(value), Keys.ENTER)


def test_pages_fit_show_their_pictures_and_print_their_solutions(
    browser, run_notebook, tmp_path
):
    write_pages(tmp_path, run_notebook)
    for name in NAMES:
        browser.get((tmp_path / "index.html").as_uri())
        (link,) = find_all(browser, f'h2 a[href="{name}.html"]')
        link.click()
        assert browser.title == convert.find_title(make_notebook(name))
        for picture in find_all(browser, "img"):
            assert picture.get_property("naturalWidth") > 0
            assert picture.is_displayed()
        assert browser.execute_script(
            "return performance.getEntriesByType('resource')"
            ".every(entry => entry.name.startsWith('data:'))"
        )
        solution = find_all(browser, "details .input")[0]
        assert not browser.execute_script(IS_SHOWN, solution)
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
        page = browser.find_element(By.TAG_NAME, "html")
        assert page.get_property("scrollWidth") <= 400
        for picture in find_all(browser, ".output_png img"):
            natural = picture.get_property("naturalWidth")
            assert picture.size["width"] >= min(natural, 500)
        browser.execute_cdp_cmd(MEDIA, {"media": "print"})
        assert browser.execute_script(IS_SHOWN, solution)
        browser.execute_cdp_cmd(MEDIA, {"media": ""})
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
    look_at_handout(browser)


def look_at_handout(browser):
    """One sheet, in A4 and Letter, with its picture; it fits a phone."""
    (link,) = find_all(browser, 'nav a[href="handout.html"]')
    link.click()
    for size in ({"paperWidth": 8.27, "paperHeight": 11.69}, {}):
        printed = browser.execute_cdp_cmd("Page.printToPDF", size)
        pdf = base64.b64decode(printed["data"])
        assert len(re.findall(rb"/Type /Page\b", pdf)) == 2
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", PHONE)
    page = browser.find_element(By.TAG_NAME, "html")
    assert page.get_property("scrollWidth") <= 400
    (picture,) = find_all(browser, "img")
    assert picture.get_property("naturalWidth") > 500
    browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
